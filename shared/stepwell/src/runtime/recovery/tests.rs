use super::*;
use crate::{
    FailureKind,
    core::{
        item::{Key, attribute},
        record::Outcome,
        state::TaskState,
        transition::Change,
        workflow::Workflow,
    },
    testing::{
        CrashAt, Harness, Returns, StepFault, VirtualClock,
        fixtures::staged::{Log, actor, busy, graph, no},
    },
};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use test_case::test_case;

const MINUTE: Duration = Duration::from_secs(60);

/// The times of the engine's own actions of this kind, in whole minutes after the task's start.
fn engine_actions(harness: &Harness, id: TaskId, what: ActionKind) -> Vec<u64> {
    let actions = harness.memory().store.with_task(id, |task| task.actions.clone()).unwrap();
    let these = actions.into_iter().filter(|action| action.what == what && action.who == ENGINE_ACTOR);
    these.map(|action| action.at.since(VirtualClock::START).as_secs() / 60).collect()
}

#[tokio::test(start_paused = true)]
async fn done_steps_are_compensated_in_reverse_one_after_another() {
    for whole in [true, false] {
        let harness = graph(&[&[], &[0], &[1], &[2]], &[0, 1, 2, 3], "");
        let harness = if whole { harness } else { harness.call_by_call() };
        harness.fail("s2", [no()]);
        let task = harness.begin().await;
        harness.run(task).await.unwrap();
        assert_eq!(harness.state(task), TaskState::Compensated(End::Error));
        assert_eq!(harness.woken(), ["s0", "s1", "s2", "u2", "u1", "u0"]);
        assert_eq!(harness.step(task, "s3").state, StepState::Cancelled);
        assert_eq!(harness.now(), VirtualClock::START, "each sends the message of the next");
        assert_eq!(engine_actions(&harness, task, ActionKind::Compensate), [0]);
    }
}

/// Cancels the task before this call.
fn cancelled_before(harness: &Arc<Harness>, call: &str, task: TaskId) {
    let there = harness.clone();
    harness.meanwhile(call, async move {
        there.client().cancel(task, &actor()).await.unwrap();
        assert_eq!(there.woken(), ["s0"], "the step is in flight");
    });
}

#[tokio::test(start_paused = true)]
async fn compensation_waits_for_the_step_in_flight_and_begins_whatever_its_outcome() {
    for (call, fault, seconds) in [("complete", None, 0), ("fail", Some(no()), 0), ("retry_later", Some(busy()), 1)] {
        let harness = Arc::new(graph(&[&[]], &[0], ""));
        harness.fail("s0", fault);
        let task = harness.begin().await;
        cancelled_before(&harness, call, task);
        harness.run(task).await.unwrap();
        assert_eq!(harness.now().since(VirtualClock::START), Duration::from_secs(seconds), "{call}");
        assert_eq!(
            (harness.state(task), harness.woken()),
            (TaskState::Compensated(End::Cancelled), vec!["s0".to_owned(), "u0".to_owned()]),
            "{call}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn step_of_a_dead_worker_is_closed_after_its_lease() {
    let harness = graph(&[&[]], &[0], "");
    harness.crash("s0", [CrashAt::Before("complete")]);
    let task = harness.begin().await;
    harness.run_for(Duration::ZERO).await.unwrap();
    harness.client().cancel(task, &actor()).await.unwrap();
    harness.lose_messages();
    let cancelled_at = harness.now();
    harness.run(task).await.unwrap();
    assert_eq!(
        (harness.state(task), harness.woken()),
        (TaskState::Compensated(End::Cancelled), vec!["s0".to_owned(), "u0".to_owned()])
    );
    let step = harness.step(task, "s0");
    assert_eq!((step.state, step.attempts[0].outcome), (StepState::Cancelled, Outcome::Lost));
    // The lease ends after 35 s, and the watchdog inspects the task a minute after the cancellation.
    assert_eq!(harness.now().since(cancelled_at), MINUTE);
}

#[tokio::test(start_paused = true)]
async fn compensation_waits_for_a_step_redriven_during_the_read_of_the_task() {
    let harness = Arc::new(graph(&[&[]], &[0], ""));
    harness.fail("s0", [no()]);
    let (task, there) = (harness.begin().await, harness.clone());
    // The first read of the whole task is the worker's, after the step has failed. It reads the steps, then an operator
    // redrives the task, a worker claims the step, an operator cancels the task, and then it reads the task's item.
    harness.meanwhile("load_all", async move {
        there.client().redrive(task, &actor()).await.unwrap();
        there.memory().claim(task, "s0").await;
        there.client().cancel(task, &actor()).await.unwrap();
    });
    harness.run_for(Duration::from_secs(1)).await.unwrap();
    assert_eq!(
        (harness.step(task, "s0").state, harness.state(task)),
        (StepState::InProgress, TaskState::Compensating(End::Cancelled))
    );
    assert_eq!(
        harness.woken(),
        ["s0", "s0"],
        "the messages of the start and of the redrive, and none of a compensation"
    );
}

#[tokio::test(start_paused = true)]
async fn engine_redrives_transient_failures_after_1_2_and_4_minutes_and_then_compensates() {
    let harness = graph(&[&[]], &[0], "redrives: 3,");
    harness.fail("s0", std::iter::repeat_n(busy(), 12));
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    let snapshot = harness.snapshot(task).await.unwrap();
    let attempts = &snapshot.step("s0").unwrap().attempts;
    // The task fails at the end of the last of the three attempts of a set.
    let failures = attempts.iter().skip(2).step_by(3).map(|attempt| attempt.finished_at.unwrap());
    let redrives =
        snapshot.task.actions.iter().filter(|action| action.what == ActionKind::Redrive && action.who == ENGINE_ACTOR);
    let waits: Vec<u64> =
        redrives.zip(failures).map(|(redrive, failed)| redrive.at.since(failed).as_secs() / 60).collect();
    assert_eq!(waits, [1, 2, 4]);
    assert_eq!(engine_actions(&harness, task, ActionKind::Compensate).len(), 1);
    assert_eq!(harness.state(task), TaskState::Compensated(End::Error));
    assert_eq!(harness.step(task, "s0").attempts.len(), 12);
}

#[tokio::test(start_paused = true)]
async fn message_that_began_a_redrive_runs_the_step_if_the_send_failed() {
    let harness = graph(&[&[]], &[], "redrives: 1,").call_by_call();
    harness.stop_watchdog();
    harness.fail("s0", [busy(), busy(), busy()]);
    let task = harness.begin().await;
    harness.run_until(task, |snapshot| snapshot.task.state == TaskState::Failed).await.unwrap();
    harness.fail_call("send", [FailureKind::Throttled]);
    harness.run_until(task, |snapshot| snapshot.task.state == TaskState::Running).await.unwrap();
    assert_eq!(harness.woken(), ["s0"]);
    harness.run(task).await.unwrap();
    assert_eq!((harness.state(task), harness.woken()), (TaskState::Completed, vec!["s0".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn failed_task_waits_for_a_redrive_before_it_is_compensated() {
    let harness = graph(&[&[]], &[0], "compensate_after_seconds: 600,");
    harness.fail("s0", [no()]);
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    assert_eq!(
        (harness.state(task), engine_actions(&harness, task, ActionKind::Compensate)),
        (TaskState::Compensated(End::Error), vec![10])
    );

    harness.fail("s0", [no()]);
    let retried = harness.begin().await;
    harness.run_until(retried, |snapshot| snapshot.task.state == TaskState::Failed).await.unwrap();
    harness.run_for(9 * MINUTE).await.unwrap();
    harness.client().redrive(retried, &actor()).await.unwrap();
    harness.run(retried).await.unwrap();
    assert_eq!(harness.state(retried), TaskState::Completed);
}

#[tokio::test(start_paused = true)]
async fn failed_task_is_compensated_only_on_request_if_its_policy_says_so() {
    for head in ["compensate: on_cancel,", "compensate: manual,"] {
        let harness = graph(&[&[], &[0]], &[0, 1], head);
        harness.fail("s1", [no()]);
        let task = harness.begin().await;
        harness.run(task).await.unwrap();
        harness.run_for(24 * 60 * MINUTE).await.unwrap();
        assert_eq!((harness.state(task), harness.woken().len()), (TaskState::Failed, 2), "{head}");
        harness.client().compensate(task, &actor()).await.unwrap();
        harness.run(task).await.unwrap();
        assert_eq!(
            (harness.state(task), harness.woken()[2..].to_vec()),
            (TaskState::Compensated(End::Error), vec!["u1".to_owned(), "u0".to_owned()]),
            "{head}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn task_cancelled_without_compensation_can_be_compensated_later() {
    let harness = graph(&[&[], &[0]], &[0], "compensate: manual,");
    let task = harness.begin().await;
    harness.run_until(task, |snapshot| snapshot.step("s0").unwrap().state.is_done()).await.unwrap();
    harness.client().cancel(task, &actor()).await.unwrap();
    harness.run(task).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Cancelled);
    harness.client().compensate(task, &actor()).await.unwrap();
    harness.run(task).await.unwrap();
    assert_eq!(
        (harness.state(task), harness.woken()),
        (TaskState::Compensated(End::Cancelled), vec!["s0".to_owned(), "s1".to_owned(), "u0".to_owned()])
    );
}

#[tokio::test(start_paused = true)]
async fn failed_compensation_blocks_the_next_until_it_is_redriven() {
    let harness = graph(&[&[], &[0]], &[0, 1], "");
    harness.fail("s1", [no()]);
    harness.fail("u1", [StepFault::Panic, no()]);
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    harness.run_for(24 * 60 * MINUTE).await.unwrap();
    let snapshot = harness.snapshot(task).await.unwrap();
    assert_eq!(
        (snapshot.task.state, snapshot.task.failed_steps),
        (TaskState::Compensating(End::Error), ["s1".to_owned(), "u1".to_owned()].into())
    );
    assert_eq!(harness.step(task, "u0").attempt, 0);
    harness.client().redrive(task, &actor()).await.unwrap();
    harness.run(task).await.unwrap();
    assert_eq!((harness.state(task), harness.step(task, "u1").attempt), (TaskState::Compensated(End::Error), 3));
    assert_eq!(harness.woken(), ["s0", "s1", "u1", "u1", "u0"]);
}

/// Two compensations that wait for a third, and one that waits for nothing.
fn side_by_side() -> Harness {
    let workflow = r#"
        name: graph
        namespace_name: tests
        step_templates:
          - { name: s0, compensation: { name: u0, after: [u2] } }
          - { name: s1, depends_on_step: s0, compensation: { name: u1, after: [u2] } }
          - { name: s2, depends_on_step: s1, compensation: { name: u2, after: [] } }
          - { name: s3, depends_on_step: s2, compensation: { name: u3, after: [] } }
    "#;
    Harness::new(Workflow::from_yaml(workflow).unwrap()).with_all(Returns("null"))
}

#[test_case(true; "in one transaction")]
#[test_case(false; "call by call")]
#[tokio::test(start_paused = true)]
async fn failed_compensation_holds_up_none_but_those_that_wait_for_it(whole: bool) {
    let harness = if whole { side_by_side() } else { side_by_side().call_by_call() };
    harness.fail("s3", [no()]);
    harness.fail("u0", [no(), no()]);
    harness.fail("u3", [no()]);
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    let done = |step: &str| harness.step(task, step).state;
    assert_eq!(harness.state(task), TaskState::Compensating(End::Error), "it stays open for what failed");
    assert_eq!(["u0", "u3"].map(done), [StepState::Error; 2]);
    assert_eq!(["u1", "u2"].map(done), [StepState::Complete; 2], "neither waits for those");
    assert_eq!(harness.now(), VirtualClock::START, "nobody had to wait for the watchdog");
    harness.client().redrive(task, &actor()).await.unwrap();
    harness.run(task).await.unwrap();
    assert_eq!(["u0", "u3"].map(done), [StepState::Error, StepState::Complete], "both were redriven");
    harness
        .client()
        .resolve_step(task, "u0", crate::ManualResult { json: "{}", attempts_checked: true }, &actor())
        .await
        .unwrap();
    harness.run(task).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Compensated(End::Error));
}

/// Three compensations side by side, of which the last is optional and has two attempts.
fn with_optional_compensation() -> Harness {
    let workflow = r#"
        name: graph
        namespace_name: tests
        step_templates:
          - { name: s0, compensation: { name: u0, after: [] } }
          - { name: s1, depends_on_step: s0, compensation: { name: u1, after: [] } }
          - { name: s2, depends_on_step: s1, compensation: { name: u2, after: [], optional: true, default_retry_limit: 2 } }
    "#;
    Harness::new(Workflow::from_yaml(workflow).unwrap()).with_all(Returns("null"))
}

#[test_case(vec![no()], true; "for good, in one transaction")]
#[test_case(vec![no()], false; "for good, call by call")]
#[test_case(vec![busy(), busy()], true; "in its last attempt")]
#[test_case(vec![shipped()], true; "because it refuses")]
#[tokio::test(start_paused = true)]
async fn task_ends_without_an_optional_compensation_that_failed(faults: Vec<StepFault>, whole: bool) {
    let (log, _guard) = Log::new();
    let harness = with_optional_compensation();
    let harness = if whole { harness } else { harness.call_by_call() };
    let attempts = faults.len() as u32;
    harness.fail("u2", faults);
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    harness.client().cancel(task, &actor()).await.unwrap();
    let snapshot = harness.run(task).await.unwrap();
    assert_eq!(snapshot.task.state, TaskState::Compensated(End::Cancelled));
    let warnings: Vec<_> = snapshot.warnings().iter().map(|warning| warning.step).collect();
    assert_eq!((warnings, snapshot.step("u2").unwrap().attempt), (vec!["u2"], attempts));
    assert_eq!(snapshot.task.failed_steps, ["u2".to_owned()].into());
    assert_eq!(log.lines("ERROR message=optional step failed").len(), 1);
    assert_eq!(log.lines("ERROR message=compensation failed").len(), 0);
    assert!(harness.now() < VirtualClock::START + MINUTE, "nobody had to wait for the watchdog");
}

#[tokio::test(start_paused = true)]
async fn optional_compensation_that_failed_needs_no_person_and_is_not_redriven() {
    let harness = with_optional_compensation();
    harness.fail("u1", [no()]);
    harness.fail("u2", [no()]);
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    harness.client().cancel(task, &actor()).await.unwrap();
    let snapshot = harness.run(task).await.unwrap();
    assert_eq!(snapshot.task.state, TaskState::Compensating(End::Cancelled), "it waits for the other");
    assert_eq!(snapshot.task.failed_steps, ["u1".to_owned()].into());
    assert_eq!((snapshot.is_held_up("u1"), snapshot.is_held_up("u2")), (true, false));
    harness.client().redrive(task, &actor()).await.unwrap();
    let snapshot = harness.run(task).await.unwrap();
    assert_eq!(snapshot.task.state, TaskState::Compensated(End::Cancelled));
    assert_eq!(["u1", "u2"].map(|step| snapshot.step(step).unwrap().attempt), [2, 1]);
}

#[test_case("[u0]", vec![]; "that waits for the refusal")]
#[test_case("[]", vec![shipped()]; "that refuses, too")]
#[tokio::test(start_paused = true)]
async fn refusal_completes_a_task_again_beside_an_optional_compensation(after: &str, faults: Vec<StepFault>) {
    let file = r#"{name: graph, namespace_name: tests, step_templates: [{name: s0, compensation: {name: u0, after: []}},
        {name: s1, depends_on_step: s0, compensation: {name: u1, after: AFTER, optional: true}}]}"#;
    let workflow = Workflow::from_yaml(&file.replace("AFTER", after)).unwrap();
    let harness = Harness::new(workflow).with_all(Returns("null"));
    harness.fail("u0", [shipped()]);
    harness.fail("u1", faults);
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    harness.client().cancel(task, &actor()).await.unwrap();
    let snapshot = harness.run(task).await.unwrap();
    assert_eq!((snapshot.task.state, snapshot.task.refusals.len()), (TaskState::Completed, 1));
    assert_eq!(snapshot.task.refusals[0].step, "u0");
    assert_eq!(snapshot.task.failed_steps, [].into());
    harness.client().cancel(task, &actor()).await.unwrap();
    let snapshot = harness.run(task).await.unwrap();
    assert_eq!(snapshot.task.state, TaskState::Compensated(End::Cancelled));
    assert_eq!((snapshot.step("u1").unwrap().state, snapshot.warnings().len()), (StepState::Complete, 0));
}

#[tokio::test(start_paused = true)]
async fn compensations_that_wait_for_nothing_all_get_their_message_at_once() {
    let harness = graph(&[&[], &[], &[0, 1]], &[0, 1], "");
    harness.fail("s2", [no()]);
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Compensated(End::Error));
    assert_eq!(harness.woken(), ["s0", "s1", "s2", "u1", "u0"]);
    assert_eq!(harness.now(), VirtualClock::START, "nobody had to wait for the watchdog");
}

#[tokio::test(start_paused = true)]
async fn compensations_that_a_version_before_put_in_order_are_finished_in_that_order() {
    let harness = side_by_side();
    harness.fail("s3", [no()]);
    harness.fail("u2", [busy()]);
    let task = harness.begin().await;
    harness.run_until(task, |snapshot| snapshot.task.compensations.is_some()).await.unwrap();
    let list =
        vec![Change::Set(attribute::COMPENSATIONS, json!(["u2", "u0", "u1"])), Change::Remove(attribute::WAITS_FOR)];
    harness.memory().store.force(Key::Task(task), list).unwrap();
    harness.fail("u0", [no()]);
    harness.run_for(24 * 60 * MINUTE).await.unwrap();
    assert_eq!(["u2", "u0", "u1"].map(|step| harness.step(task, step).attempt > 0), [true, true, false]);
    harness.client().redrive(task, &actor()).await.unwrap();
    harness.run(task).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Compensated(End::Error));
}

#[tokio::test(start_paused = true)]
async fn compensation_goes_on_through_an_outage_of_a_day() {
    let harness = graph(&[&[]], &[0], "");
    harness.fail("s0", [no()]);
    let outage = (0..800).map(|number| if number % 8 == 7 { StepFault::Panic } else { busy() });
    harness.fail("u0", outage);
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Compensated(End::Error));
    let compensation = harness.step(task, "u0");
    assert_eq!((compensation.attempt, compensation.attempts.len()), (801, 50));
    let omitted = BTreeMap::from([("BUSY".to_owned(), 657), ("PANIC".to_owned(), 94)]);
    assert_eq!(compensation.omitted_attempts.values().sum::<u32>(), 751);
    assert_eq!(compensation.omitted_attempts, omitted);
    assert!(harness.now().since(VirtualClock::START) > 24 * 60 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn leased_compensation_gets_no_second_message() {
    let harness = graph(&[&[]], &[0], "");
    harness.fail("s0", [no()]);
    let task = harness.begin().await;
    harness.run_until(task, |snapshot| snapshot.task.state.is_compensating()).await.unwrap();
    harness.memory().claim(task, "u0").await;
    let engine = Engine::new(harness.ports(), harness.ports(), harness.memory().runtime.clone());
    engine.recover(task).await.unwrap();
    engine.recover(TaskId::new()).await.unwrap();
    assert_eq!(harness.woken(), ["s0", "u0"]);
}

/// A compensation that refuses.
fn shipped() -> StepFault {
    StepFault::Error(crate::refused("SHIPPED", "it is on its way"))
}

/// A complete task of two steps whose compensations wait for nothing, after its cancellation. The first attempts of the
/// compensations meet these faults.
async fn cancelled_after_the_end(faults: [Option<StepFault>; 2]) -> (Harness, TaskId) {
    let file = r#"{name: graph, namespace_name: tests, step_templates: [
        {name: s0, compensation: {name: u0, after: []}},
        {name: s1, depends_on_step: s0, compensation: {name: u1, after: []}}]}"#;
    let harness = Harness::new(Workflow::from_yaml(file).unwrap()).with_all(Returns("null"));
    for (name, fault) in ["u0", "u1"].into_iter().zip(faults) {
        harness.fail(name, fault);
    }
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Completed);
    harness.client().cancel(task, &actor()).await.unwrap();
    (harness, task)
}

#[tokio::test(start_paused = true)]
async fn complete_task_is_compensated_if_somebody_cancels_it() {
    let (harness, task) = cancelled_after_the_end([None, None]).await;
    let refused = harness.client().cancel(task, &actor()).await.unwrap_err();
    assert_eq!(refused.to_string(), "cannot cancel task in compensating status");
    harness.run(task).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Compensated(End::Cancelled));
    assert_eq!(harness.woken(), ["s0", "s1", "u1", "u0"]);
}

#[tokio::test(start_paused = true)]
async fn task_is_complete_again_after_a_refusal_and_can_be_cancelled_again() {
    let (harness, task) = cancelled_after_the_end([None, Some(shipped())]).await;
    let ended_at = harness.snapshot(task).await.unwrap().task.finished_at;
    let snapshot = harness.run(task).await.unwrap();
    assert_eq!((snapshot.task.state, snapshot.task.finished_at), (TaskState::Completed, ended_at));
    let refusals: Vec<_> =
        snapshot.task.refusals.iter().map(|one| (one.step.as_str(), one.error.code.as_str())).collect();
    assert_eq!(refusals, [("u1", "SHIPPED")]);
    assert_eq!(snapshot.task.actions.len(), 1, "the trail says who has asked");
    assert_eq!(snapshot.task.failed_steps.len(), 0);
    harness.client().cancel(task, &actor()).await.unwrap();
    harness.run(task).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Compensated(End::Cancelled));
    assert_eq!(harness.step(task, "u1").attempt, 2);
}

#[test_case([None, Some(no())]; "another permanent error")]
#[test_case([Some(shipped()), None]; "a refusal after another has undone its step")]
#[test_case([Some(shipped()), Some(no())]; "a refusal beside another permanent error")]
#[tokio::test(start_paused = true)]
async fn cancelled_task_waits_for_a_person_if_something_may_be_undone(faults: [Option<StepFault>; 2]) {
    let (harness, task) = cancelled_after_the_end(faults).await;
    harness.run_for(24 * 60 * MINUTE).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Compensating(End::Cancelled));
    harness.client().redrive(task, &actor()).await.unwrap();
    harness.run(task).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Compensated(End::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn refusal_of_a_task_that_was_not_complete_waits_for_a_person() {
    let harness = graph(&[&[], &[0]], &[0], "");
    harness.fail("s1", [busy()]);
    harness.fail("u0", [shipped()]);
    let task = harness.begin().await;
    harness.run_until(task, |snapshot| snapshot.steps[1].state == StepState::Retrying).await.unwrap();
    harness.client().cancel(task, &actor()).await.unwrap();
    harness.run_for(24 * 60 * MINUTE).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Compensating(End::Cancelled));
}

#[tokio::test(start_paused = true)]
async fn optional_step_that_a_refused_cancellation_has_closed_runs_after_it() {
    let file = r#"{name: graph, namespace_name: tests, step_templates: [
        {name: s0, compensation: {name: u0}}, {name: s1, depends_on_step: s0, optional: true, default_retry_limit: 1}]}"#;
    let harness = Harness::new(Workflow::from_yaml(file).unwrap()).with_all(Returns("null"));
    harness.fail("s1", [no(), busy()]);
    harness.fail("u0", [shipped()]);
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    harness.client().redrive(task, &actor()).await.unwrap();
    harness.lose_messages();
    harness.client().cancel(task, &actor()).await.unwrap();
    assert_eq!(harness.step(task, "s1").state, StepState::Cancelled);
    let snapshot = harness.run(task).await.unwrap();
    assert_eq!((snapshot.task.state, snapshot.warnings().len()), (TaskState::Completed, 1));
    harness.client().redrive(task, &actor()).await.unwrap();
    harness.run(task).await.unwrap();
    assert_eq!(harness.step(task, "s1").state, StepState::Complete);
}

#[tokio::test(start_paused = true)]
async fn complete_task_without_compensations_cannot_be_cancelled() {
    for (head, compensated) in [("", &[][..]), ("compensate: manual,", &[0])] {
        let harness = graph(&[&[]], compensated, head);
        let task = harness.begin().await;
        harness.run(task).await.unwrap();
        let refused = harness.client().cancel(task, &actor()).await.unwrap_err();
        assert_eq!(refused.to_string(), "cannot cancel task in complete status");
    }
}
