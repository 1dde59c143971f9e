//! What an operator has run now: the attempts that were planned for later, and no more of them.

use super::operate::{in_state, waiting};
use crate::{
    ActionError, Actor, TaskId,
    core::{
        format::RUN_NOW,
        item::{Key, attribute},
        record::ActionKind,
        snapshot::TaskSnapshot,
        state::{StepState, TaskState},
    },
    retryable,
    testing::{
        Harness, StepFault,
        fixtures::{
            compensation,
            staged::{actor, graph, no},
        },
    },
};
use std::time::Duration;

const HOURS: Duration = Duration::from_secs(3 * 60 * 60);

fn later() -> StepFault {
    StepFault::Error(retryable("BUSY", "try again").retry_after(HOURS))
}

async fn retries(harness: &Harness, task: TaskId, step: &str) {
    let waits = |state: Option<StepState>| state == Some(StepState::Retrying);
    let step = step.to_owned();
    harness.run_until(task, |snapshot| waits(snapshot.step(&step).map(|step| step.state))).await.unwrap();
}

/// What was done to the task, and to which step.
async fn done(harness: &Harness, task: TaskId) -> Vec<(ActionKind, Option<String>)> {
    let actions = harness.snapshot(task).await.unwrap().task.actions;
    assert!(actions.iter().all(|action| (action.who.as_str(), action.why.as_str()) == ("somebody", "a test")));
    actions.into_iter().map(|action| (action.what, action.step)).collect()
}

#[tokio::test(start_paused = true)]
async fn step_that_waits_for_hours_is_attempted_at_once_and_gets_no_more_attempts() {
    let (harness, task) = waiting(HOURS).await;
    let max_attempts = harness.snapshot(task).await.unwrap().task.plan.steps()[0].max_attempts;
    let mut asked = Vec::new();
    while harness.step(task, "s0").state == StepState::Retrying {
        harness.client().run_now(task, &actor()).await.unwrap();
        let (sent, before) = (harness.sent(), harness.snapshot(task).await.unwrap());
        let refused = harness.client().run_now(task, &actor()).await.unwrap_err();
        let now = harness.now();
        assert_eq!(refused.to_string(), format!("step `s0` is due since {now}: its attempt is on its way"));
        assert_eq!((harness.sent(), harness.snapshot(task).await.unwrap()), (sent, before), "nothing is done");
        asked.push(now);
        harness.run_for(Duration::from_secs(1)).await.unwrap();
    }
    let step = harness.step(task, "s0");
    assert_eq!((step.state, step.attempt), (StepState::Error, max_attempts));
    let begun: Vec<_> = step.attempts.iter().skip(1).map(|attempt| attempt.started_at).collect();
    assert_eq!(begun, asked, "at once");
    assert_eq!(done(&harness, task).await, vec![(ActionKind::RunNow, Some("s0".to_owned())); asked.len()]);
    // The messages and the timers that waited find nothing to do.
    harness.run_for(2 * HOURS).await.unwrap();
    assert_eq!(harness.step(task, "s0").attempt, max_attempts);
}

#[tokio::test(start_paused = true)]
async fn all_steps_that_wait_for_their_next_attempt_are_attempted_and_those_that_wait_for_a_step_are_not() {
    let harness = graph(&[&[], &[], &[0, 1]], &[], "");
    harness.fail("s0", [later()]);
    harness.fail("s1", [later()]);
    let task = harness.begin().await;
    retries(&harness, task, "s0").await;
    retries(&harness, task, "s1").await;
    let asked_at = harness.now();
    let before = harness.client().run_now(task, &actor()).await.unwrap();
    assert_eq!(before.step("s0").unwrap().state, StepState::Retrying, "as it was before");
    let snapshot = harness.run(task).await.unwrap();
    assert_eq!(snapshot.task.state, TaskState::Completed);
    let begun = snapshot.steps.iter().map(|step| step.attempts.last().unwrap().started_at.since(asked_at));
    assert!(begun.max().unwrap() < Duration::from_secs(60));
    assert_eq!(snapshot.steps.iter().map(|step| step.attempt).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(done(&harness, task).await, [(ActionKind::RunNow, None)]);
}

#[tokio::test(start_paused = true)]
async fn compensation_that_waits_is_attempted_at_once() {
    let harness = graph(&[&[]], &[0], "");
    harness.fail("s0", [no()]);
    harness.fail(&compensation(0), [later()]);
    let task = harness.begin().await;
    retries(&harness, task, &compensation(0)).await;
    let asked_at = harness.now();
    harness.client().run_now(task, &actor()).await.unwrap();
    let snapshot = harness.run(task).await.unwrap();
    assert!(matches!(snapshot.task.state, TaskState::Compensated(_)));
    assert_eq!((snapshot.compensations[0].attempt, snapshot.compensations[0].started_at), (2, Some(asked_at)));
    assert!(done_by_operator(&snapshot).eq([ActionKind::RunNow]));
}

#[tokio::test(start_paused = true)]
async fn of_two_operators_in_the_same_millisecond_one_is_told_that_the_step_is_due() {
    let (harness, task) = waiting(HOURS).await;
    let other = harness.client();
    harness.meanwhile("run_now", async move {
        other.run_now(task, &actor()).await.unwrap();
    });
    let late = Actor::new("somebody else", "a test").unwrap();
    let refused = harness.client().run_now(task, &late).await.unwrap_err();
    assert!(matches!(refused, ActionError::IsDue { .. }), "{refused}");
    assert_eq!(done(&harness, task).await, [(ActionKind::RunNow, Some("s0".to_owned()))]);
}

/// A compensation is retried without end. What is left of the audit trail is for the redrives and cancellations.
#[tokio::test(start_paused = true)]
async fn what_is_run_now_too_often_goes_on_by_itself() {
    let harness = graph(&[&[]], &[0], "");
    harness.fail("s0", [no()]);
    harness.fail(&compensation(0), std::iter::repeat_with(later).take(50));
    let task = harness.begin().await;
    retries(&harness, task, &compensation(0)).await;
    let wordy = Actor::new("s".repeat(Actor::MAX_WHO), "a".repeat(Actor::MAX_WHY)).unwrap();
    let mut times = 0;
    let refused = loop {
        if let Err(refused) = harness.client().run_now(task, &wordy).await {
            break refused;
        }
        harness.run_for(Duration::from_secs(1)).await.unwrap();
        times += 1;
    };
    assert!(matches!(refused, ActionError::RunTooOften), "{refused}");
    assert!((15..30).contains(&times), "{times} entries of about 0.8 KB each");
    assert!(harness.snapshot(task).await.unwrap().task.has_room_for_redrive());
    assert!(matches!(harness.run(task).await.unwrap().task.state, TaskState::Compensated(_)));
}

fn done_by_operator(snapshot: &TaskSnapshot) -> impl Iterator<Item = ActionKind> {
    let by_operator = snapshot.task.actions.iter().filter(|action| action.who == "somebody");
    by_operator.map(|action| action.what)
}

/// The plan allows two sets of attempts besides the first.
#[tokio::test(start_paused = true)]
async fn planned_redrive_is_made_at_once_and_is_one_of_those_that_the_plan_allows() {
    let harness = graph(&[&[]], &[0], "redrives: 2, complete_within_seconds: 3600,");
    let busy = || StepFault::Error(retryable("BUSY", "try again"));
    harness.fail("s0", std::iter::repeat_with(busy).take(100));
    let task = harness.begin().await;
    let failed = async || {
        harness.run_until(task, |snapshot| snapshot.task.state == TaskState::Failed).await.unwrap();
        harness.now()
    };
    let failed_at = failed().await;
    harness.client().run_now(task, &actor()).await.unwrap();
    let snapshot = harness.snapshot(task).await.unwrap();
    assert_eq!((snapshot.task.state, snapshot.task.deadline_from), (TaskState::Running, None));
    assert!(failed().await.since(failed_at) < Duration::from_secs(60), "the redrive was due after a minute");
    let snapshot = harness.run(task).await.unwrap();
    let by: Vec<_> = snapshot.task.actions.iter().map(|action| (action.what, action.who.as_str())).collect();
    let expected =
        [(ActionKind::RedriveNow, "somebody"), (ActionKind::Redrive, "stepwell"), (ActionKind::Compensate, "stepwell")];
    assert_eq!((by, snapshot.steps[0].attempt), (expected.to_vec(), 9));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_run_now_in_a_task_of_which_nothing_waits_for_its_time() {
    for state in TaskState::ALL {
        let (harness, task) = in_state(state).await;
        let before = harness.snapshot(task).await.unwrap();
        let refused = harness.client().run_now(task, &actor()).await.unwrap_err();
        assert!(matches!(refused, ActionError::NothingWaits(_)), "{state:?}: {refused}");
        assert_eq!(harness.snapshot(task).await.unwrap(), before, "{state:?}");
    }
    // Another delivery claims the step between the read and the write.
    let (harness, task) = waiting(HOURS).await;
    let memory = harness.memory().clone();
    harness.meanwhile("run_now", async move {
        memory.force_step(task, "s0", StepState::InProgress);
    });
    let refused = harness.client().run_now(task, &actor()).await.unwrap_err();
    assert_eq!(refused.to_string(), "no step of the task waits for a retry: it is in_progress");
    assert_eq!(done(&harness, task).await, []);
}

/// The deadline of a failed task is over, and its compensation is about to begin.
#[tokio::test(start_paused = true)]
async fn redrive_that_would_come_after_the_deadline_is_not_made_now() {
    let harness = graph(&[&[]], &[0], "redrives: 1, complete_within_seconds: 80,");
    harness.stop_watchdog();
    let busy = || StepFault::Error(retryable("BUSY", "try again"));
    harness.fail("s0", std::iter::repeat_with(busy).take(100));
    let task = harness.begin().await;
    harness.run_until(task, |snapshot| snapshot.task.state == TaskState::Failed).await.unwrap();
    harness.lose_messages();
    harness.skip(Duration::from_secs(90)).await;
    let refused = harness.client().run_now(task, &actor()).await.unwrap_err();
    assert_eq!(refused.to_string(), "no step of the task waits for a retry: it is error");
}

#[tokio::test(start_paused = true)]
async fn task_that_was_run_now_needs_a_version_that_knows_it() {
    let (harness, task) = waiting(HOURS).await;
    let needs = || harness.memory().store.item(&Key::Task(task)).get(attribute::NEEDS).cloned();
    assert_eq!(needs(), None);
    harness.client().run_now(task, &actor()).await.unwrap();
    assert_eq!(needs(), Some(RUN_NOW.into()));
}
