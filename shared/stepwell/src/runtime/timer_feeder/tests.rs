use super::*;
use crate::{
    FailureKind, ManualResult, TaskId,
    core::{
        item::Key,
        record::{ActionKind, ENGINE_ACTOR, StepRecord},
        state::{End, StepState, TaskState, TaskStatus},
        timestamp::Timestamp,
        workflow::Workflow,
    },
    testing::{
        CrashAt, Harness, Returns, VirtualClock,
        fixtures::staged::{Log, NEWER, actor, busy, graph, no, renew},
    },
};
use serde_json::json;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A step that waits this long before its second attempt.
fn waiting(seconds: u32) -> Harness {
    let backoff = format!("{{base_seconds: {seconds}, max_seconds: {seconds}, jitter: 0}}");
    let file = format!("{{name: graph, namespace_name: tests, step_templates: [{{name: s0, backoff: {backoff}}}]}}");
    Harness::new(Workflow::from_yaml(&file).unwrap()).with_all(Returns("null"))
}

async fn feed(harness: &Harness) -> FeederReport {
    let feeder = TimerFeeder::new(harness.ports(), harness.ports(), harness.memory().runtime.clone());
    feeder.run(RunBudget { until: harness.now() + MINUTE, tasks: 100 }).await.unwrap()
}

fn timers(harness: &Harness) -> Vec<Timestamp> {
    let is_timer = |place: &crate::core::index::IndexPosition| place.partition == IndexPartition::Timer;
    harness.memory().store.first_listed(is_timer).map(|place| place.timer_at()).into_iter().collect()
}

/// The times of this kind of action of the engine.
async fn actions(harness: &Harness, task: TaskId, what: ActionKind) -> Vec<Timestamp> {
    let actions = harness.snapshot(task).await.unwrap().task.actions;
    actions.iter().filter(|action| action.who == ENGINE_ACTOR && action.what == what).map(|action| action.at).collect()
}

/// A task whose only step has failed for good, and is compensated after so many seconds. Nothing watches it.
async fn failed(after_seconds: u64) -> (Harness, TaskId, Timestamp) {
    let head = format!("compensate: on_error, compensate_after_seconds: {after_seconds},");
    let harness = graph(&[&[]], &[0], &head);
    harness.stop_watchdog();
    harness.fail("s0", [no()]);
    let task = harness.begin().await;
    let failed = harness.run_until(task, |snapshot| snapshot.task.state == TaskState::Failed).await.unwrap();
    let due = failed.task.finished_at.unwrap() + Duration::from_secs(after_seconds);
    (harness, task, due)
}

/// How long after its time the compensation of the task begins.
async fn delay(harness: &Harness, task: TaskId, due: Timestamp) -> Duration {
    harness.run(task).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Compensated(End::Error));
    let begun = actions(harness, task, ActionKind::Compensate).await;
    assert!(begun.len() == 1 && begun[0] >= due, "{begun:?} before {due}");
    begun[0].since(due)
}

#[tokio::test(start_paused = true)]
async fn compensation_begins_on_time_while_the_watchdog_stands_still() {
    for after_seconds in [1, 60, 120, 121, 900, 901, 960, 3_000, 90_000] {
        let (harness, task, due) = failed(after_seconds).await;
        let delay = delay(&harness, task, due).await;
        assert!(delay <= 2 * SECOND, "{delay:?} late after {after_seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn redrives_begin_on_time_while_the_watchdog_stands_still() {
    let harness = graph(&[&[]], &[], "redrives: 6,");
    harness.stop_watchdog();
    harness.fail("s0", std::iter::repeat_n(busy(), 6 * 3));
    let task = harness.begin().await;
    assert_eq!(harness.run(task).await.unwrap().status(), TaskStatus::Complete);
    let redriven = actions(&harness, task, ActionKind::Redrive).await;
    let failed: Vec<_> =
        harness.attempts(task, "s0").await.unwrap().chunks(3).map(|set| set[set.len() - 1].clone()).collect();
    for (number, at) in redriven.iter().enumerate() {
        let due = failed[number].finished_at.unwrap() + MINUTE * 2_u32.pow(u32::try_from(number).unwrap());
        assert!(*at >= due && at.since(due) <= 2 * SECOND, "redrive {number} begins at {at}, and is due at {due}");
    }
    assert_eq!(redriven.len(), 6);
}

#[tokio::test(start_paused = true)]
async fn feeder_that_stands_still_for_less_than_13_minutes_delays_nothing() {
    let (harness, task, due) = failed(3_000).await;
    harness.run_for(due.before(timer::FED_BEFORE).since(harness.now()).saturating_sub(SECOND)).await.unwrap();
    harness.stop_feeder_for(13 * MINUTE);
    let late = delay(&harness, task, due).await;
    assert!(late <= 2 * SECOND, "{late:?}");

    let (harness, task, due) = failed(3_000).await;
    harness.stop_feeder_for(Duration::from_secs(3_000) + 5 * MINUTE);
    let late = delay(&harness, task, due).await;
    assert!(late > 4 * MINUTE && late <= 6 * MINUTE, "it begins once the feeder runs again: {late:?}");
}

#[tokio::test(start_paused = true)]
async fn long_wait_is_in_no_queue_until_the_feeder_sends_its_message() {
    let hour = 60 * MINUTE;
    let harness = waiting(3_600);
    harness.stop_watchdog();
    harness.fail("s0", [busy()]);
    let task = harness.begin().await;
    harness.run_for(MINUTE).await.unwrap();
    let StepRecord { next_retry_at: Some(at), state: StepState::Retrying, .. } = harness.step(task, "s0") else {
        panic!("it waits")
    };
    assert!(at.since(VirtualClock::START) >= hour);
    assert!(!harness.memory().queue.holds_any_of(task), "nothing is in flight");
    assert_eq!(timers(&harness), [at]);
    assert_eq!(feed(&harness).await, FeederReport::default(), "it is not due");
    assert_eq!(harness.run(task).await.unwrap().status(), TaskStatus::Complete);
    let second = harness.attempts(task, "s0").await.unwrap()[1].started_at;
    assert!(second >= at && second.since(at) <= SECOND, "{second} is not {at}");
    assert_eq!(timers(&harness), []);
}

#[tokio::test(start_paused = true)]
async fn lost_message_of_planned_work_is_mended_by_the_watchdog() {
    for after_seconds in [60, 600, 3_000] {
        let head = format!("compensate: on_error, compensate_after_seconds: {after_seconds},");
        let harness = graph(&[&[]], &[0], &head);
        harness.fail("s0", [no()]);
        let task = harness.begin().await;
        harness.run_until(task, |snapshot| snapshot.task.state == TaskState::Failed).await.unwrap();
        let due = harness.now() + Duration::from_secs(after_seconds);
        harness.run_for(due.since(harness.now()) - 30 * SECOND).await.unwrap();
        harness.lose_messages();
        let late = delay(&harness, task, due).await;
        assert!(late >= MINUTE - SECOND && late <= 2 * MINUTE, "{late:?} after {after_seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn worker_that_dies_at_any_call_loses_no_planned_work() {
    for after_seconds in [300, 3_000] {
        for call in 0.. {
            let mut crashed = 0;
            for at in [CrashAt::Before(call), CrashAt::After(call)] {
                let head = format!("compensate: on_error, compensate_after_seconds: {after_seconds},");
                let harness = graph(&[&[]], &[0], &head).call_by_call();
                harness.stop_watchdog();
                harness.fail("s0", [no(), no()]);
                harness.crash_at(at);
                let task = harness.begin().await;
                harness.run(task).await.unwrap();
                assert_eq!(harness.state(task), TaskState::Compensated(End::Error), "{at:?}");
                crashed += harness.crashes();
            }
            if crashed == 0 {
                assert!(call > 10, "there are more calls");
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn timer_that_cannot_be_fed_stays_and_disturbs_no_other() {
    let (log, _guard) = Log::new();
    let (harness, task, due) = failed(3_000).await;
    harness.run_for(MINUTE).await.unwrap();
    harness.skip(due.since(harness.now()) - 10 * MINUTE).await;
    harness.fail_call("send", [FailureKind::Unavailable]);
    assert_eq!(feed(&harness).await, FeederReport { failed: 1, ..FeederReport::default() });
    assert_eq!(log.lines("ERROR message=the timer could not be fed").len(), 1);
    harness.fail_call("take_timer", [FailureKind::Throttled]);
    assert_eq!(feed(&harness).await.failed, 1, "its message was sent");
    assert_eq!(feed(&harness).await, FeederReport { fed: 1, ..FeederReport::default() });
    assert_eq!(feed(&harness).await, FeederReport::default());
    assert!(delay(&harness, task, due).await <= 2 * SECOND, "of two messages");

    let (harness, task, due) = failed(3_000).await;
    harness.run_for(MINUTE).await.unwrap();
    harness.skip(due.since(harness.now()) - 10 * MINUTE).await;
    renew(&harness, &Key::Task(task), NEWER, Vec::new());
    assert_eq!(feed(&harness).await, FeederReport { newer: 1, ..FeederReport::default() });
    assert_eq!(timers(&harness), [due], "it is left to the newer version");
}

#[tokio::test(start_paused = true)]
async fn run_that_is_over_leaves_timers_to_the_next_one() {
    let (harness, task, due) = failed(3_000).await;
    harness.run_for(MINUTE).await.unwrap();
    harness.skip(due.since(harness.now()) - 10 * MINUTE).await;
    let feeder = TimerFeeder::new(harness.ports(), harness.ports(), harness.memory().runtime.clone());
    let report = feeder.run(RunBudget { until: harness.now(), tasks: 100 }).await.unwrap();
    assert_eq!(report, FeederReport { unfinished: true, ..FeederReport::default() });
    assert!(delay(&harness, task, due).await <= 2 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn other_failed_steps_are_redriven_on_time_after_one_was_resolved() {
    let harness = graph(&[&[], &[]], &[], "redrives: 1,");
    harness.stop_watchdog();
    harness.fail("s0", [no()]);
    harness.fail("s1", [busy(), busy(), busy()]);
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    harness.skip(5 * MINUTE).await;
    harness
        .client()
        .resolve_step(task, "s0", ManualResult { json: "{}", attempts_checked: true }, &actor())
        .await
        .unwrap();
    harness.run(task).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Completed);
}

#[tokio::test(start_paused = true)]
async fn message_in_a_loop_is_hidden_and_reported() {
    let (log, _guard) = Log::new();
    let harness = waiting(600);
    harness.stop_watchdog();
    harness.fail("s0", [busy()]);
    let task = harness.begin().await;
    harness.run_for(MINUTE).await.unwrap();
    let now = harness.now().as_millis();
    harness.put_message("s0", json!({"task_id": task, "step": "s0", "hops": 50, "hops_since": now}).to_string());
    let sent = harness.sent().len();
    harness.run_for(MINUTE).await.unwrap();
    assert!(!log.lines("code=\"LOOP_DETECTED\"").is_empty());
    assert_eq!(harness.sent().len(), sent, "it has no successor");
    assert_eq!(harness.run(task).await.unwrap().status(), TaskStatus::Complete);
}
