//! The deadline of a task, on the harness.

use crate::{
    ActionError, Context, ManualResult, Step, StepContext, StepError, TaskId, Workflow,
    core::{
        index::OVERDUE_AFTER,
        state::{End, StepState, TaskState},
        timestamp::Timestamp,
    },
    retryable,
    testing::{
        Harness, Returns, StepFault, VirtualClock,
        fixtures::staged::{actor, busy, graph, no},
    },
};
use serde_json::Value;
use std::time::Duration;

/// The deadline of these tasks, in seconds: shorter than [`busy_for_long`], and longer than a message can be hidden.
const DEADLINE: u64 = 200;

/// A chain of three steps with a deadline after so many seconds, and with `more` in the head of its file; the first two have
/// compensations.
fn chain_within(seconds: u64, more: &str) -> Harness {
    graph(&[&[], &[0], &[1]], &[0, 1], &format!("complete_within_seconds: {seconds}, {more}"))
}

fn chain(more: &str) -> Harness {
    chain_within(DEADLINE, more)
}

fn after(seconds: u64) -> Timestamp {
    VirtualClock::START + Duration::from_secs(seconds)
}

/// A transient failure after which the next attempt comes five minutes later or more.
fn busy_for_long() -> StepFault {
    StepFault::Error(retryable("BUSY", "try again").retry_after(Duration::from_secs(3_600)))
}

/// A step that takes this long.
struct Slow(Duration);

impl Step for Slow {
    type Input = Context<Value>;
    type Output = Value;

    async fn run(&self, _: Context<Value>, _: &StepContext) -> Result<Value, StepError> {
        tokio::time::sleep(self.0).await;
        Ok(Value::Null)
    }
}

/// The error codes of the attempts of a step.
fn codes(harness: &Harness, task: TaskId, step: &str) -> Vec<String> {
    let attempts = harness.step(task, step).attempts;
    attempts.into_iter().map(|attempt| attempt.error.map_or_else(String::new, |error| error.code)).collect()
}

#[tokio::test(start_paused = true)]
async fn wait_ends_at_the_deadline_and_the_task_fails_there_and_is_undone_at_once() {
    for point in ["", "point_of_no_return: s1,", "point_of_no_return: s2,"] {
        let harness = chain(&format!("{point} compensate_after_seconds: 900, redrives: 4,"));
        harness.stop_watchdog();
        harness.fail("s1", [busy_for_long()]);
        let task = harness.begin().await;
        harness.run(task).await.unwrap();
        assert_eq!(codes(&harness, task, "s1"), ["BUSY", "DEADLINE_EXCEEDED"], "{point}");
        assert_eq!(harness.step(task, "s1").attempts[0].next_retry_at, Some(after(DEADLINE)));
        assert_eq!((harness.state(task), harness.now()), (TaskState::Compensated(End::Error), after(DEADLINE)));
        assert_eq!(harness.woken().split_off(2), ["s1", "u1", "u0"], "the timer's message, and the compensations");
    }
}

#[tokio::test(start_paused = true)]
async fn step_past_the_point_of_no_return_is_finished_however_late_it_is() {
    let harness = chain("point_of_no_return: s1,");
    harness.fail("s2", [busy_for_long()]);
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    assert_eq!((harness.state(task), harness.now() > after(DEADLINE)), (TaskState::Completed, true));
}

#[tokio::test(start_paused = true)]
async fn attempt_that_began_in_time_counts_and_the_next_step_is_not_started() {
    let harness = chain("point_of_no_return: s1,").with("s0", Slow(Duration::from_secs(2)));
    let task = harness.begin().await;
    harness.skip(Duration::from_secs(DEADLINE - 1)).await;
    harness.run(task).await.unwrap();
    assert_eq!(
        (harness.step(task, "s0").state, harness.step(task, "s1").state),
        (StepState::Complete, StepState::Error)
    );
    assert_eq!(harness.state(task), TaskState::Compensated(End::Error));
}

#[tokio::test(start_paused = true)]
async fn failed_task_is_redriven_before_its_deadline_only_and_its_grace_ends_there() {
    for (redrives, grace, redriven) in [(10, 86_400, 4), (2, 86_400, 2), (10, 0, 4)] {
        let half_an_hour = 1_800;
        let more = format!("redrives: {redrives}, compensate_after_seconds: {grace},");
        let harness = chain_within(half_an_hour, &more);
        harness.fail("s0", std::iter::repeat_n(busy(), 100));
        let task = harness.begin().await;
        harness.run(task).await.unwrap();
        // A set has three attempts. The fifth redrive would come 31 minutes after the start.
        assert_eq!(harness.step(task, "s0").attempts.len(), 3 * (1 + redriven), "{redrives} redrives");
        assert_eq!(harness.state(task), TaskState::Compensated(End::Error));
        let (now, deadline) = (harness.now(), after(half_an_hour));
        assert!(if grace == 0 { now < deadline } else { now == deadline }, "{now}");
    }
}

#[tokio::test(start_paused = true)]
async fn watchdog_begins_the_compensation_at_the_deadline_if_the_message_is_lost() {
    let harness = chain("compensate_after_seconds: 86400,");
    harness.fail("s1", [no()]);
    let task = harness.begin().await;
    harness.run_for(Duration::ZERO).await.unwrap();
    harness.lose_messages();
    harness.run(task).await.unwrap();
    let late = harness.now().since(after(DEADLINE));
    assert_eq!(
        (harness.state(task), late <= 2 * OVERDUE_AFTER),
        (TaskState::Compensated(End::Error), true),
        "{late:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn only_an_operator_gives_a_task_its_whole_time_once_more() {
    for resolves in [false, true] {
        let harness = chain("compensate: manual,");
        harness.fail("s1", [no()]);
        let task = harness.begin().await;
        harness.run(task).await.unwrap();
        harness.skip(Duration::from_secs(DEADLINE)).await;
        let refused = harness.client().redrive_before_deadline(task, &actor()).await.unwrap_err();
        assert!(matches!(refused, ActionError::DeadlineExceeded(at) if at == after(DEADLINE)), "{refused}");
        let by_hand = ManualResult { json: "null", attempts_checked: true };
        if resolves {
            harness.client().resolve_step(task, "s1", by_hand, &actor()).await.unwrap();
        } else {
            harness.fail("s1", [busy()]);
            harness.client().redrive(task, &actor()).await.unwrap();
        }
        assert_eq!(harness.snapshot(task).await.unwrap().task.deadline_of("s1"), Some(after(2 * DEADLINE)));
        harness.run(task).await.unwrap();
        assert_eq!(harness.state(task), TaskState::Completed, "resolves: {resolves}");
    }
}

#[tokio::test(start_paused = true)]
async fn completed_task_has_met_its_deadline_so_its_optional_step_may_be_redriven() {
    let steps = "step_templates: [{name: s0}, {name: s1, depends_on_step: s0, optional: true}]";
    let workflow = Workflow::from_yaml(&format!("{{name: graph, complete_within_seconds: {DEADLINE}, {steps}}}"));
    let harness = Harness::new(workflow.unwrap()).with_all(Returns("null"));
    harness.fail("s1", [no()]);
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    harness.skip(Duration::from_secs(DEADLINE)).await;
    harness.client().redrive(task, &actor()).await.unwrap();
    harness.run_for(Duration::ZERO).await.unwrap();
    assert_eq!(harness.step(task, "s1").state, StepState::Complete);
}
