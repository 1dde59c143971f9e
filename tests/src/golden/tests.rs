//! Each fixture, read through the engine and compared with what it is to say.

use super::{
    START, at,
    cases::{self, CONTEXT, MOST_ATTEMPTS, RETRIES, action, busy, by_itself, declined, exhausted, longest_failure},
    id, plans,
    server::Server,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};
use stepwell::{
    TaskId, Timestamp,
    core::{
        backoff::Backoff,
        compensation::{begins_at, restart_at},
        history::{History, Loaded},
        index::{Listed, ListedAt, Listing, Page},
        message::Message,
        plan::{Compensate, Plan, StepPlan},
        record::{ActionKind, AttemptRecord, Failure, KeyRecord, Outcome, StepRecord, TaskRecord},
        state::{End, StepState, TaskState, TaskStatus},
        task,
    },
    ports::{Queue, Store},
};

// ---- How a fixture is read

/// What the engine reads of a fixture's task, on each of the two ways on which it reads tasks.
async fn load(name: &str, task: TaskId) -> Loaded {
    let table = Server::of(name).table().await;
    let all = table.load_all(task).await.unwrap();
    let steps: BTreeSet<&str> = all.steps.keys().map(String::as_str).collect();
    let some = table.load(task, &steps).await.unwrap();
    assert_eq!((&some.task, &some.steps), (&all.task, &all.steps), "{name}");
    all
}

async fn load_task(name: &str, number: u8) -> TaskRecord {
    load(name, id(number)).await.task.unwrap()
}

async fn load_step(name: &str, number: u8, step: &str) -> StepRecord {
    load(name, id(number)).await.steps.remove(step).unwrap()
}

/// What the index says of a fixture's task, which it lists there and nowhere else.
async fn listed(name: &str, number: u8, listing: Listing) -> Listed {
    let table = Server::of(name).table().await;
    let mut found = Vec::new();
    for other in Listing::ALL {
        let page = Page { listing: other, shard: Listing::shard(id(number)), until: None, after: None, limit: 10 };
        found.extend(table.list(&page).await.unwrap());
    }
    let [only] = found.try_into().unwrap_or_else(|found| panic!("{name} is listed once: {found:?}"));
    assert_eq!((only.place.task, only.place.listing), (id(number), listing), "{name}");
    only
}

// ---- What is expected

/// A task as it is right after its start.
fn started(number: u8, plan: Plan) -> TaskRecord {
    TaskRecord {
        id: id(number),
        workflow: "shop/checkout@1.2.0".to_owned(),
        state: TaskState::Running,
        context: "{}".to_owned(),
        plan,
        created_at: START,
        finished_at: None,
        failed_steps: BTreeSet::new(),
        done_deps: BTreeSet::new(),
        compensations: None,
        actions: Vec::new(),
        newer: None,
    }
}

/// A step that nobody is at, in this state after so many attempts.
fn step(name: &str, state: StepState, attempt: u32) -> StepRecord {
    StepRecord {
        name: name.to_owned(),
        state,
        attempt,
        exempt: 0,
        owner: None,
        started_at: None,
        lease_until: None,
        next_retry_at: None,
        finished_at: None,
        done_deps: BTreeSet::new(),
        result: None,
        error: None,
        attempts: Vec::new(),
        newer: None,
    }
}

/// An attempt that began at this second, took one, and had no error.
fn attempt(number: u32, seconds: u64, outcome: Outcome) -> AttemptRecord {
    AttemptRecord {
        number,
        started_at: at(seconds),
        finished_at: Some(at(seconds + 1)),
        outcome,
        error: None,
        next_retry_at: None,
        request_id: format!("request-{seconds}"),
    }
}

fn failed(number: u32, seconds: u64, outcome: Outcome, error: Failure) -> AttemptRecord {
    AttemptRecord { error: Some(error), ..attempt(number, seconds, outcome) }
}

fn retried(number: u32, seconds: u64, error: Failure, due: u64) -> AttemptRecord {
    AttemptRecord { next_retry_at: Some(at(due)), ..failed(number, seconds, Outcome::RetryableError, error) }
}

/// A step whose only attempt succeeded.
fn completed(name: &str, seconds: u64, result: &str) -> StepRecord {
    StepRecord {
        started_at: Some(at(seconds)),
        finished_at: Some(at(seconds + 1)),
        result: Some(result.to_owned()),
        attempts: vec![attempt(1, seconds, Outcome::Complete)],
        ..step(name, StepState::Complete, 1)
    }
}

/// A step whose only attempt failed for good.
fn declined_step(name: &str, seconds: u64) -> StepRecord {
    StepRecord {
        started_at: Some(at(seconds)),
        finished_at: Some(at(seconds + 1)),
        error: Some(declined()),
        attempts: vec![failed(1, seconds, Outcome::PermanentError, declined())],
        ..step(name, StepState::Error, 1)
    }
}

fn by_name(steps: impl IntoIterator<Item = StepRecord>) -> BTreeMap<String, StepRecord> {
    steps.into_iter().map(|step| (step.name.clone(), step)).collect()
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

fn list<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(str::to_owned).into()
}

fn moment(text: &str) -> Timestamp {
    text.parse().unwrap()
}

// ---- Tasks

#[tokio::test]
async fn pending_task_is_read() {
    let Loaded { task, steps } = load("task-pending", id(1)).await;
    assert_eq!(task, Some(started(1, plans::one_step())));
    assert_eq!(steps, BTreeMap::new(), "no step has an item");
    let expected = Listed {
        place: ListedAt { task: id(1), listing: Listing::Pending, at: moment("2027-01-15T08:01:00.000Z") },
        workflow: "shop/checkout@1.2.0".to_owned(),
        status: TaskStatus::Pending,
        created_at: moment("2027-01-15T08:00:00.000Z"),
        failed_steps: BTreeSet::new(),
    };
    assert_eq!(listed("task-pending", 1, Listing::Pending).await, expected);
}

#[tokio::test]
async fn context_is_read_byte_for_byte() {
    let expected = r#"{"cart":[{"id":1,"price":12.50}],"note":"say \"hi\", Zoë 😀","empty":{},"none":null}"#;
    assert_eq!(load_task("task-with-context", 2).await.context, expected);
}

#[tokio::test]
async fn complete_task_is_read_with_its_leaves() {
    let Loaded { task, steps } = load("task-complete", id(3)).await;
    let expected = TaskRecord {
        state: TaskState::Completed,
        finished_at: Some(at(7)),
        done_deps: names(["mail", "ship"]),
        ..started(3, cases::leaves())
    };
    assert_eq!(task, Some(expected));
    let expected = [
        completed("charge", 1, r#"{"charge":"ch_1"}"#),
        completed("mail", 3, r#"{"sent":true}"#),
        completed("ship", 5, "null"),
    ];
    assert_eq!(steps, by_name(expected));
    assert_eq!(listed("task-complete", 3, Listing::Complete).await.place.at, at(7));
}

#[tokio::test]
async fn failed_task_is_read() {
    let Loaded { task, steps } = load("task-error", id(4)).await;
    let expected = TaskRecord {
        state: TaskState::Failed,
        finished_at: Some(at(2)),
        failed_steps: names(["charge"]),
        ..started(4, plans::one_step())
    };
    assert_eq!(task, Some(expected));
    assert_eq!(steps, by_name([declined_step("charge", 1)]));
    let found = listed("task-error", 4, Listing::Error).await;
    assert_eq!((found.place.at, found.failed_steps, found.status), (at(2), names(["charge"]), TaskStatus::Error));
}

#[tokio::test]
async fn failed_task_beside_whose_failures_other_steps_go_on_is_watched() {
    let Loaded { task, steps } = load("task-error-beside-other-steps", id(5)).await;
    let expected = TaskRecord {
        state: TaskState::Failed,
        finished_at: Some(at(4)),
        failed_steps: names(["charge", "reserve"]),
        ..started(5, cases::roots())
    };
    assert_eq!(task, Some(expected));
    assert_eq!(steps, by_name([declined_step("charge", 1), declined_step("reserve", 3)]));
    let found = listed("task-error-beside-other-steps", 5, Listing::Compensating).await;
    assert_eq!((found.place.at, found.status), (at(4 + 60), TaskStatus::Error));
}

#[tokio::test]
async fn failed_task_with_a_restart_left_is_due_for_it() {
    let loaded = load("task-error-restarts-due", id(6)).await;
    let expected = TaskRecord {
        state: TaskState::Failed,
        finished_at: Some(at(64)),
        failed_steps: names(["charge"]),
        actions: vec![by_itself(62)],
        ..started(6, cases::restarting())
    };
    assert_eq!(loaded.task.as_ref(), Some(&expected));
    let expected = StepRecord {
        exempt: 1,
        started_at: Some(at(63)),
        finished_at: Some(at(64)),
        error: Some(busy()),
        attempts: vec![failed(1, 1, Outcome::RetryableError, busy()), failed(2, 63, Outcome::RetryableError, busy())],
        ..step("charge", StepState::Error, 2)
    };
    assert_eq!(loaded.steps, by_name([expected]));
    assert_eq!(listed("task-error-restarts-due", 6, Listing::Compensating).await.place.at, at(64 + 60));

    let steps = loaded.steps.into_values().collect();
    let mut history = History { task: loaded.task.unwrap(), steps, compensations: Vec::new() };
    assert_eq!(restart_at(&history), Some(at(64 + 120)), "the second restart comes after two minutes");
    history.task.plan = history.task.plan.restarting(1);
    assert_eq!((restart_at(&history), begins_at(&history)), (None, Some(at(64 + 3_600))));
}

#[tokio::test]
async fn compensating_task_without_an_order_is_read() {
    let Loaded { task, steps } = load("task-compensating", id(7)).await;
    let expected = TaskRecord {
        state: TaskState::Compensating(End::Error),
        finished_at: Some(at(4)),
        failed_steps: names(["charge"]),
        compensations: None,
        actions: vec![action(5, ActionKind::Compensate, None)],
        ..started(7, plans::undoable())
    };
    assert_eq!(task, Some(expected));
    assert_eq!(steps, by_name([completed("reserve", 1, "{}"), declined_step("charge", 3)]));
    let found = listed("task-compensating", 7, Listing::Compensating).await;
    assert_eq!((found.place.at, found.status), (at(5 + 60), TaskStatus::Compensating));
}

#[tokio::test]
async fn compensations_are_read_in_their_order_and_amid_their_retries() {
    let Loaded { task, steps } = load("task-compensating-ordered", id(8)).await;
    let expected = TaskRecord {
        state: TaskState::Compensating(End::Error),
        finished_at: Some(at(6)),
        failed_steps: names(["ship"]),
        compensations: Some(list(["refund", "release"])),
        actions: vec![action(7, ActionKind::Compensate, None)],
        ..started(8, plans::twice_undoable())
    };
    assert_eq!(task, Some(expected));
    let release = StepRecord {
        started_at: Some(at(11)),
        next_retry_at: Some(at(13)),
        error: Some(busy()),
        attempts: vec![retried(1, 11, busy(), 13)],
        ..step("release", StepState::Retrying, 1)
    };
    let expected = [
        completed("reserve", 1, "{}"),
        completed("charge", 3, "{}"),
        declined_step("ship", 5),
        completed("refund", 9, "{}"),
        release,
    ];
    assert_eq!(steps, by_name(expected));
    let found = listed("task-compensating-ordered", 8, Listing::Compensating).await;
    assert_eq!((found.place.at, found.status), (at(8 + 60), TaskStatus::Compensating));
}

#[tokio::test]
async fn task_whose_compensation_failed_is_read() {
    let Loaded { task, steps } = load("task-compensating-failed", id(9)).await;
    let expected = TaskRecord {
        state: TaskState::Compensating(End::Error),
        finished_at: Some(at(4)),
        failed_steps: names(["charge", "release"]),
        compensations: Some(list(["release"])),
        actions: vec![action(5, ActionKind::Compensate, None)],
        ..started(9, plans::undoable())
    };
    assert_eq!(task, Some(expected));
    assert_eq!(steps["release"], declined_step("release", 7));
}

#[tokio::test]
async fn compensated_task_is_read() {
    let Loaded { task, steps } = load("task-compensated", id(10)).await;
    let expected = TaskRecord {
        state: TaskState::Compensated(End::Error),
        finished_at: Some(at(9)),
        failed_steps: names(["charge"]),
        compensations: Some(list(["release"])),
        actions: vec![action(5, ActionKind::Compensate, None)],
        ..started(10, plans::undoable())
    };
    assert_eq!(task, Some(expected));
    assert_eq!(steps["release"], completed("release", 7, r#"{"released":2}"#));
    let found = listed("task-compensated", 10, Listing::Error).await;
    assert_eq!((found.place.at, found.status), (at(9), TaskStatus::Compensated(End::Error)));
}

#[tokio::test]
async fn empty_order_of_compensations_is_an_order() {
    let Loaded { task, steps } = load("task-compensated-nothing", id(11)).await;
    let expected = TaskRecord {
        state: TaskState::Compensated(End::Cancelled),
        finished_at: Some(at(4)),
        compensations: Some(Vec::new()),
        actions: vec![action(1, ActionKind::Cancel, None)],
        ..started(11, plans::undoable())
    };
    assert_eq!(task, Some(expected));
    let never = |name| StepRecord { finished_at: Some(at(2)), ..step(name, StepState::Cancelled, 0) };
    assert_eq!(steps, by_name([never("reserve"), never("charge")]));
    let found = listed("task-compensated-nothing", 11, Listing::Cancelled).await;
    assert_eq!((found.place.at, found.status), (at(4), TaskStatus::Compensated(End::Cancelled)));
}

#[tokio::test]
async fn cancelled_task_is_read() {
    let expected = TaskRecord {
        state: TaskState::Cancelled,
        finished_at: Some(at(1)),
        actions: vec![action(1, ActionKind::Cancel, None)],
        ..started(12, plans::undoable().compensating(Compensate::Manual, 0))
    };
    assert!(!expected.plan.compensates_cancellation());
    assert_eq!(load_task("task-cancelled", 12).await, expected);
    assert_eq!(listed("task-cancelled", 12, Listing::Cancelled).await.place.at, at(1));
}

#[tokio::test]
async fn task_that_was_resolved_manually_is_read() {
    let expected = TaskRecord {
        state: TaskState::Resolved,
        finished_at: Some(at(3)),
        failed_steps: names(["charge"]),
        actions: vec![action(3, ActionKind::Resolve, None)],
        ..started(13, plans::one_step())
    };
    assert_eq!(load_task("task-resolved-manually", 13).await, expected);
    assert_eq!(listed("task-resolved-manually", 13, Listing::ResolvedManually).await.place.at, at(3));
}

#[tokio::test]
async fn every_kind_of_action_is_read_in_its_order() {
    let Loaded { task, steps } = load("task-many-actions", id(14)).await;
    let task = task.unwrap();
    let (retries, others) = task.actions.split_at(40);
    for (number, retry) in (0..RETRIES).zip(retries) {
        assert_eq!(*retry, action(10 * number + 5, ActionKind::Retry, None));
    }
    let seen: Vec<_> =
        others.iter().map(|action| (action.at, action.what, action.step.as_deref(), action.who.as_str())).collect();
    let expected = [
        (at(1_000), ActionKind::GiveUp, Some("reserve"), "dead_letters"),
        (at(1_001), ActionKind::ResolveStep, Some("reserve"), "Zoë"),
        (at(1_002), ActionKind::Cancel, None, "Zoë"),
        (at(1_003), ActionKind::Compensate, None, "Zoë"),
    ];
    assert_eq!(seen, expected);
    assert_eq!(others[0].why, "SQS gave up on its message");
    assert_eq!(task.state, TaskState::Compensating(End::Cancelled));
    assert_eq!((task.finished_at, task.failed_steps), (Some(at(1_002)), BTreeSet::new()));
    let step = &steps["reserve"];
    assert_eq!((step.state, step.attempt, step.exempt), (StepState::ResolvedManually, 40, 40));
    assert_eq!(step.attempts.len(), 40);
}

// ---- Plans

#[tokio::test]
async fn plan_of_which_nothing_is_stored_has_the_defaults_of_version_1() {
    let plan = load_task("plan-all-default", 15).await.plan;
    assert_eq!(plan, plans::all_default());

    let usual = Backoff { base_seconds: 1, multiplier: 2.0, max_seconds: 300, jitter: 0.1 };
    let seen: Vec<_> = plan.steps().iter().map(limits).collect();
    assert_eq!(seen, [("charge", 3, 30, usual), ("ship", 3, 30, usual)]);
    assert_eq!(plan.compensations().iter().map(limits).collect::<Vec<_>>(), [("refund", 50, 30, usual)]);
    assert_eq!(plan.compensations()[0].undoes.as_deref(), Some("charge"));
    assert_eq!(plan.step("ship").unwrap().depends_on, ["charge"]);
    // It is compensated when it has failed, at once, and when it is cancelled; and it is never restarted by itself.
    assert_eq!(plan.compensates_failure_after().map(|wait| wait.as_secs()), Some(0));
    assert!(plan.compensates_cancellation());
    assert_eq!(plan.restarts_after(0), None);
}

#[tokio::test]
async fn plan_of_which_everything_is_stored_is_read() {
    let plan = load_task("plan-nothing-default", 16).await.plan;
    assert_eq!(plan, plans::nothing_default());

    let usual = Backoff { base_seconds: 1, multiplier: 2.0, max_seconds: 300, jitter: 0.1 };
    let reserve = Backoff { base_seconds: 5, multiplier: 1.5, max_seconds: 43_200, jitter: 0.25 };
    let refund = Backoff { base_seconds: 60, multiplier: 3.0, max_seconds: 3_600, jitter: 0.0 };
    let seen: Vec<_> = plan.steps().iter().map(limits).collect();
    assert_eq!(seen, [("reserve", 7, 45, reserve), ("charge", 1, 840, usual), ("ship", 50, 30, usual)]);
    let seen: Vec<_> = plan.compensations().iter().map(limits).collect();
    // That of `release` is stored by its name alone, so it has its step's timeout.
    assert_eq!(seen, [("release", 50, 45, usual), ("refund", 9, 60, refund), ("call_back", 3, 30, usual)]);
    let undone: Vec<_> = plan.compensations().iter().map(|step| step.undoes.as_deref().unwrap()).collect();
    assert_eq!(undone, ["reserve", "charge", "ship"]);
    assert_eq!(plan.step("ship").unwrap().depends_on, ["charge", "reserve"]);
    // Only a cancellation is compensated. Its restarts come after 1, 2, 4, ... 512 minutes.
    assert_eq!((plan.compensates_failure_after(), plan.compensates_cancellation()), (None, true));
    let on_error = plan.clone().compensating(Compensate::OnError, 600);
    assert_ne!(plan, on_error, "the policy is part of the plan");
    assert_eq!(plan, on_error.compensating(Compensate::OnCancel, 600), "and so is the wait");
    assert_eq!(
        [0, 9, 10].map(|so_far| plan.restarts_after(so_far).map(|wait| wait.as_secs())),
        [Some(60), Some(512 * 60), None]
    );
}

fn limits(step: &StepPlan) -> (&str, u32, u32, Backoff) {
    (&step.name, step.retry_limit, step.timeout_seconds, step.backoff)
}

// ---- Steps

#[tokio::test]
async fn step_that_was_told_of_half_of_its_dependencies_is_pending() {
    let expected = StepRecord { done_deps: names(["charge"]), ..step("ship", StepState::Pending, 0) };
    assert_eq!(load_step("step-pending-half-arrived", 32, "ship").await, expected);
}

#[tokio::test]
async fn step_in_progress_is_read_with_its_lease() {
    let found = load_step("step-in-progress", 33, "charge").await;
    let expected = StepRecord {
        owner: Some("request-1/message-charge".to_owned()),
        started_at: Some(at(1)),
        lease_until: Some(at(36)),
        ..step("charge", StepState::InProgress, 1)
    };
    assert_eq!(found, expected);
    let running = AttemptRecord { finished_at: None, ..attempt(1, 1, Outcome::InProgress) };
    assert_eq!(found.all_attempts(), [running]);
}

#[tokio::test]
async fn step_that_was_taken_over_is_read_with_the_lost_attempt() {
    let expected = StepRecord {
        owner: Some("request-37/message-charge".to_owned()),
        started_at: Some(at(37)),
        lease_until: Some(at(72)),
        attempts: vec![AttemptRecord { finished_at: Some(at(36)), ..attempt(1, 1, Outcome::Lost) }],
        ..step("charge", StepState::InProgress, 2)
    };
    assert_eq!(load_step("step-in-progress-taken-over", 34, "charge").await, expected);
}

#[tokio::test]
async fn step_in_its_second_attempt_is_read_with_the_error_of_the_first() {
    let expected = StepRecord {
        owner: Some("request-3/message-charge".to_owned()),
        started_at: Some(at(3)),
        lease_until: Some(at(38)),
        next_retry_at: None,
        error: Some(busy()),
        attempts: vec![retried(1, 1, busy(), 3)],
        ..step("charge", StepState::InProgress, 2)
    };
    assert_eq!(load_step("step-in-progress-retry", 35, "charge").await, expected);
}

#[tokio::test]
async fn step_that_waits_for_a_retry_is_read() {
    let expected = StepRecord {
        started_at: Some(at(3)),
        next_retry_at: Some(at(6)),
        error: Some(declined()),
        attempts: vec![retried(1, 1, busy(), 3), retried(2, 3, declined(), 6)],
        ..step("charge", StepState::Retrying, 2)
    };
    assert_eq!(load_step("step-retrying", 36, "charge").await, expected);
}

#[tokio::test]
async fn complete_step_is_read_with_its_result_and_without_an_error() {
    let expected = StepRecord {
        started_at: Some(at(3)),
        finished_at: Some(at(4)),
        result: Some(CONTEXT.to_owned()),
        error: None,
        attempts: vec![retried(1, 1, busy(), 3), attempt(2, 3, Outcome::Complete)],
        ..step("charge", StepState::Complete, 2)
    };
    assert_eq!(load_step("step-complete", 37, "charge").await, expected);
}

#[tokio::test]
async fn complete_join_is_read_with_its_dependencies() {
    let expected = StepRecord { done_deps: names(["charge", "reserve"]), ..completed("ship", 3, "{}") };
    assert_eq!(load_step("step-complete-join", 38, "ship").await, expected);
}

#[tokio::test]
async fn step_that_was_cancelled_after_its_lease_is_read_with_the_lost_attempt() {
    let expected = StepRecord {
        started_at: Some(at(1)),
        finished_at: Some(at(40)),
        attempts: vec![AttemptRecord { finished_at: Some(at(36)), ..attempt(1, 1, Outcome::Lost) }],
        ..step("charge", StepState::Cancelled, 1)
    };
    assert_eq!(load_step("step-cancelled", 39, "charge").await, expected);
}

#[tokio::test]
async fn step_whose_deliveries_were_exhausted_is_read() {
    let Loaded { task, steps } = load("step-error-delivery-exhausted", id(40)).await;
    let expected = StepRecord {
        started_at: Some(at(1)),
        finished_at: Some(at(40)),
        error: Some(exhausted()),
        attempts: vec![AttemptRecord { finished_at: Some(at(36)), ..attempt(1, 1, Outcome::Lost) }],
        ..step("charge", StepState::Error, 1)
    };
    assert_eq!(steps, by_name([expected]));
    assert_eq!(task.unwrap().actions, [action(40, ActionKind::GiveUp, Some("charge"))]);
}

#[tokio::test]
async fn step_that_was_done_by_hand_is_read() {
    let Loaded { task, steps } = load("step-resolved-manually", id(41)).await;
    let expected = StepRecord {
        started_at: Some(at(1)),
        finished_at: Some(at(3)),
        result: Some(r#"{"by":"hand"}"#.to_owned()),
        attempts: vec![failed(1, 1, Outcome::PermanentError, declined())],
        ..step("charge", StepState::ResolvedManually, 1)
    };
    assert_eq!(steps, by_name([expected]));
    let expected = TaskRecord {
        actions: vec![action(3, ActionKind::ResolveStep, Some("charge"))],
        ..started(41, plans::one_step())
    };
    assert_eq!(task, Some(expected), "it goes on");
}

#[tokio::test]
async fn step_that_was_released_has_used_no_attempt() {
    let expected = StepRecord { exempt: 1, ..step("charge", StepState::Pending, 1) };
    assert_eq!(load_step("step-pending-released", 42, "charge").await, expected);
}

#[tokio::test]
async fn step_that_was_restarted_has_all_its_attempts_again() {
    let Loaded { task, steps } = load("step-pending-restarted", id(43)).await;
    let expected = StepRecord {
        exempt: 2,
        started_at: Some(at(3)),
        attempts: vec![retried(1, 1, busy(), 3), failed(2, 3, Outcome::RetryableError, busy())],
        ..step("charge", StepState::Pending, 2)
    };
    assert_eq!(steps, by_name([expected]));
    let expected = TaskRecord { actions: vec![action(5, ActionKind::Retry, None)], ..started(43, plans::one_step()) };
    assert_eq!(task, Some(expected));
}

#[tokio::test]
async fn longest_audit_trail_is_read_to_its_end() {
    let found = load_step("step-error-full-trail", 44, "charge").await;
    assert_eq!((found.state, found.attempt, found.exempt), (StepState::Error, 50, 0));
    assert_eq!(found.attempts.len(), 50);
    for (number, seen) in (1u32..).zip(&found.attempts) {
        let seconds = u64::from(number) * 10;
        let due = (u64::from(number) < MOST_ATTEMPTS).then_some(at(seconds + 10));
        let expected = failed(number, seconds, Outcome::RetryableError, longest_failure());
        assert_eq!(*seen, AttemptRecord { next_retry_at: due, ..expected });
    }
    let error = found.error.unwrap();
    assert_eq!((error.code.len(), error.message.len()), (100, 1_000), "bytes");
}

// ---- The rest

#[tokio::test]
async fn idempotency_key_is_read_for_whoever_comes_second() {
    let second = KeyRecord {
        namespace: "shop".to_owned(),
        key: "order 4711/ü#1".to_owned(),
        task: id(99),
        request_hash: "another".to_owned(),
        created_at: at(60),
        newer: None,
    };
    let reserved = Server::of("idempotency-key").table().await.apply(&task::reserve_key(&second)).await.unwrap();
    let found = task::reserved_key(second.clone(), reserved).unwrap();
    let request_hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned();
    assert_eq!(found, KeyRecord { task: id(1), request_hash, created_at: START, ..second });
}

/// A message with each form of the body, by its name in the fixture.
fn messages() -> [(&'static str, Message); 3] {
    let message = |step: &str, load: &[&str], repeat| Message {
        task_id: id(1),
        step: step.to_owned(),
        load: load.iter().map(|&name| name.to_owned()).collect(),
        repeat,
    };
    [
        ("first", message("charge", &[], false)),
        ("repeat", message("charge", &[], true)),
        ("with-load", message("ship", &["charge", "reserve"], true)),
    ]
}

#[tokio::test]
async fn messages_are_sent_as_version_1_sent_them() {
    let server = Server::default();
    let queue = server.queue().await;
    for (_, message) in messages() {
        queue.send(&message).await.unwrap();
    }
    queue.reject("", "not a message").await.unwrap();
    let names = messages().map(|(name, _)| name).into_iter().chain(["undeliverable"]);
    let sent: Value = names.map(str::to_owned).zip(server.sent()).collect();
    super::compare("messages", &sent);
}

#[test]
fn messages_are_read() {
    let sent = super::read("messages");
    for (name, message) in messages() {
        let body = sent[name]["MessageBody"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Message>(body).unwrap(), message, "{name}");
    }
    let first = format!(r#"{{"task_id":"{}","step":"charge"}}"#, id(1));
    assert_eq!(sent["first"]["MessageBody"], json!(first), "what has its default is not sent");
}

/// So that no fixture is forgotten here: each has to be one that a test above names.
#[test]
fn every_fixture_is_read() {
    let tests = include_str!("tests.rs");
    let mut count = 0;
    for entry in fs::read_dir(super::path("x").parent().unwrap()).unwrap() {
        let file = entry.unwrap().file_name().into_string().unwrap();
        let name = file.strip_suffix(".json").unwrap();
        assert!(tests.contains(&format!("{name:?}")), "no test reads {name}");
        count += 1;
    }
    assert_eq!(count, 31);
}
