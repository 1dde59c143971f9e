//! What the harness itself says and does.

use super::{
    Attempt, CrashAt, Harness, HarnessError, MAX_RECEIVES, Returns, StepFault, VirtualClock,
    fixtures::{
        at, compensation, snapshot,
        staged::{actor, graph, no, workflow},
    },
};
use crate::{
    Context, FailureKind, ResultOf, Step, StepContext, StepError, StepResult, TaskData, TaskId,
    core::{
        message::DEAD_LETTERS,
        record::Outcome,
        state::{StepState, TaskState, TaskStatus},
    },
    permanent,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Later(u32);

impl StepResult for Later {
    const STEP: &'static str = "s1";
}

/// Takes what only comes after it.
struct TooEarly;

impl Step for TooEarly {
    type Input = ResultOf<Later>;
    type Output = ();

    async fn run(&self, _: ResultOf<Later>, _: &StepContext) -> Result<(), StepError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn workflow_with_missing_steps_is_not_started() {
    let harness = Harness::new(workflow(&[&[], &[0]], &[1], "")).with("s0", Returns("7"));
    let missing = harness.start(&Value::Null).await.unwrap_err();
    let message = "the workflow has steps that the harness was not given: s1, u1. Give it each by `with`";
    assert_eq!(missing.to_string(), message);
    assert_eq!(harness.memory().store.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn step_that_takes_the_result_of_its_dependent_is_refused_at_the_start() {
    let harness = graph(&[&[], &[0]], &[], "").with("s0", TooEarly);
    let refused = harness.start(&Value::Null).await.unwrap_err();
    assert!(matches!(&refused, HarnessError::Undeclared(found) if found.result_of == "s1"), "{refused}");
    let harness = graph(&[&[], &[0]], &[], "schema: {type: object},");
    let refused = harness.start(&Value::Null).await.unwrap_err();
    assert_eq!(refused.to_string(), "the context does not fit the workflow's schema in 1 places");
}

#[tokio::test(start_paused = true)]
async fn result_is_read_as_the_requested_type() {
    let harness = graph(&[&[], &[0]], &[], "").with("s1", Returns("7"));
    let task = harness.start(&json!(7)).await.unwrap();
    let early = harness.result::<Later>(task, "s1").await.unwrap_err();
    assert_eq!(early.to_string(), "the result of step `s1` cannot be read: there is none");
    harness.run(task).await.unwrap();
    assert_eq!(harness.result::<Later>(task, "s1").await.unwrap(), Later(7));
    let wrong = harness.result::<String>(task, "s1").await.unwrap_err().to_string();
    assert!(wrong.starts_with("the result of step `s1` cannot be read: invalid type"), "{wrong}");
    let numbers = |attempts: Vec<crate::core::record::AttemptRecord>| attempts.len();
    assert_eq!(numbers(harness.attempts(task, "s1").await.unwrap()), 1);
    assert_eq!(numbers(harness.attempts(task, "s9").await.unwrap()), 0);
}

#[tokio::test(start_paused = true)]
async fn missing_task_and_unreached_state_are_errors() {
    let harness = graph(&[&[]], &[], "");
    let nobody = TaskId::new();
    let gone = harness.run(nobody).await.unwrap_err().to_string();
    assert_eq!(gone, format!("there is no task {nobody}"));
    let task = harness.begin().await;
    let never = harness.run_until(task, |snapshot| snapshot.task.state == TaskState::Failed).await.unwrap_err();
    assert_eq!(never.to_string(), format!("task {task} does not get there; it is complete"));
    assert_eq!(
        harness.run_until(task, |snapshot| snapshot.task.state == TaskState::Completed).await.unwrap().task.id,
        task
    );
}

#[tokio::test(start_paused = true)]
async fn engine_error_is_returned() {
    let harness = graph(&[&[]], &[], "");
    let task = harness.begin().await;
    harness.lose_messages();
    harness.fail_call("list", [FailureKind::Refused]);
    let failed = harness.run(task).await.unwrap_err();
    assert_eq!(failed.to_string(), "list was refused: as the test wants it");
}

#[tokio::test(start_paused = true)]
async fn task_that_needs_a_person_is_at_rest() {
    let harness = graph(&[&[]], &[0], "");
    harness.fail("s0", [no()]);
    harness.fail("u0", [no()]);
    let task = harness.begin().await;
    let snapshot = harness.run(task).await.unwrap();
    assert_eq!((snapshot.status(), harness.now()), (TaskStatus::Compensating, VirtualClock::START));
    harness.client().redrive(task, &actor()).await.unwrap();
    assert!(matches!(harness.run(task).await.unwrap().task.state, TaskState::Compensated(_)));
}

#[tokio::test(start_paused = true)]
async fn each_fault_affects_one_run_and_each_crash_one_delivery() {
    let harness = graph(&[&[]], &[], "").call_by_call();
    let late = || permanent("LATE", "after its work");
    harness.fail("s0", [StepFault::Timeout, StepFault::Panic, StepFault::ErrorAfterEffect(late())]);
    harness.crash("s0", [CrashAt::Before("claim"), CrashAt::After("claim")]);
    let task = harness.begin().await;
    harness.run(task).await.unwrap();
    let attempts = harness.attempts(task, "s0").await.unwrap();
    let seen: Vec<_> = attempts
        .iter()
        .map(|attempt| (attempt.outcome, attempt.error.as_ref().map(|error| error.code.as_str())))
        .collect();
    let expected =
        [(Outcome::Lost, None), (Outcome::RetryableError, Some("TIMEOUT")), (Outcome::RetryableError, Some("PANIC"))];
    assert_eq!(seen, expected, "a lost attempt counts, so there is no fourth");
    // A dead worker's message is hidden as long as its invocation would have lasted: the step's 30 s, and 5 s more.
    assert_eq!(attempts[0].started_at.since(VirtualClock::START).as_secs(), 35);
    assert!(attempts[1].started_at.since(VirtualClock::START) >= 70 * SECOND);
    harness.client().redrive(task, &actor()).await.unwrap();
    harness.run(task).await.unwrap();
    let step = harness.step(task, "s0");
    assert_eq!((step.state, step.error.unwrap().code.as_str(), step.result), (StepState::Error, "LATE", None));
}

#[tokio::test(start_paused = true)]
async fn message_without_a_worker_becomes_a_dead_letter() {
    let harness = graph(&[&[]], &[], "");
    let task = harness.begin().await;
    harness.lose_messages();
    harness.put_message("nobody", "poison");
    harness.put_message("nobody", json!({ "task_id": task, "step": "s0" }).to_string());
    // Each time it is hidden for as long as an invocation lasts. So long nobody works, nor does the watchdog.
    harness.client().resolve(task, &actor()).await.unwrap();
    harness.memory().force_task(task, TaskState::Running);
    harness.run_for(60 * SECOND * MAX_RECEIVES - SECOND).await.unwrap();
    assert_eq!((harness.undeliverable().len(), harness.step(task, "s0").state), (0, StepState::Pending));
    harness.run_for(2 * SECOND).await.unwrap();
    let [kept] = &harness.undeliverable()[..] else { panic!("{:?}", harness.undeliverable()) };
    assert!(kept.body == "poison" && kept.reason.starts_with("not a message of this engine"), "{kept:?}");
    let error = harness.step(task, "s0").error.unwrap();
    let sent = VirtualClock::START;
    let message =
        format!("SQS gave up on the step's message: received 1 times from graph-nobody, first sent at {sent}");
    assert_eq!((error.code.as_str(), error.message), ("DELIVERY_EXHAUSTED", message));
    assert_eq!(harness.memory().queue.next_due(), None);
    harness.put_message(DEAD_LETTERS, "poison");
    harness.run_for(SECOND).await.unwrap();
    assert_eq!(harness.undeliverable().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn harness_runs_for_the_given_time() {
    let harness = graph(&[&[]], &[], "");
    harness.skip(5 * SECOND).await;
    let task = harness.begin().await;
    harness.run_for(SECOND).await.unwrap();
    assert_eq!(harness.now().since(VirtualClock::START), 6 * SECOND);
    assert_eq!(harness.snapshot(task).await.unwrap().status(), TaskStatus::Complete);
    assert_eq!(format!("{harness:?}"), r#"Harness { steps: ["s0"], .. }"#);
}

/// Answers with what it was given, or panics.
struct Tells;

impl Step for Tells {
    type Input = (Context<Value>, Option<ResultOf<Earlier>>);
    type Output = Value;

    async fn run(&self, (Context(context), earlier): Self::Input, ctx: &StepContext) -> Result<Value, StepError> {
        assert!(context["panics"] != true, "told to");
        let result = earlier.map(|ResultOf(Earlier(result))| result);
        Ok(json!({
            "context": context, "result": result, "key": ctx.idempotency_key(), "attempt": ctx.attempt, "at": ctx.started_at,
            "compensation": ctx.compensation, "compensates": ctx.compensates, "left": ctx.time_left().as_secs(),
        }))
    }
}

#[derive(Serialize, Deserialize)]
struct Earlier(Value);

impl StepResult for Earlier {
    const STEP: &'static str = "s0";
}

#[tokio::test(start_paused = true)]
async fn attempt_by_itself_gets_what_a_worker_would_give_it() {
    let snapshot = snapshot(&[&[], &[0]], &[1]);
    let (task, plan) = (snapshot.task.id, &snapshot.task.plan);
    let run = async |step: &str, context: Value, results: &[(&str, &str)]| {
        let step = plan.step(step).unwrap();
        let (task_created_at, started_at) = (at(0), at(7));
        let attempt = Attempt { task_id: task, task_created_at, plan, step, number: 3, started_at };
        let results = results.iter().map(|(step, result)| ((*step).to_owned(), (*result).to_owned())).collect();
        attempt.run(&Tells, &TaskData { context: context.to_string(), results }).await
    };
    let told = run("s1", json!({"a": 1}), &[("s0", "250")]).await.unwrap();
    let expected = json!({
        "context": {"a": 1}, "result": 250, "key": format!("{task}:s1"), "attempt": 3, "at": at(7),
        "compensation": compensation(1), "compensates": null, "left": 30,
    });
    assert_eq!(serde_json::from_str::<Value>(&told).unwrap(), expected);
    let undone: Value = serde_json::from_str(&run(&compensation(1), json!({}), &[]).await.unwrap()).unwrap();
    assert_eq!((&undone["compensates"], &undone["result"]), (&json!("s1"), &Value::Null));
    let panic = run("s1", json!({"panics": true}), &[]).await.unwrap_err();
    assert_eq!((panic.code.as_str(), panic.is_retryable()), ("PANIC", true));
}
