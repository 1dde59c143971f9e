//! What reaches a handler, typed as its author wrote it, and what becomes of its output.

use super::*;
use serde::{Deserialize, Serialize};
use std::panic::resume_unwind;
use stepwell::{
    Context, ResultOf, StepResult,
    core::{limits::MAX_RESULT_BYTES, state::TaskStatus},
};
use test_case::test_case;

/// A step with its input spelt out, as its author would: the context, and an ancestor's result that it does not
/// depend on directly.
struct Sum;

#[derive(Deserialize)]
struct Request {
    total: u32,
}

#[derive(Serialize)]
struct Summed {
    total: u32,
    first: Value,
}

/// The result of the first step.
#[derive(Serialize, Deserialize)]
struct First(Value);

impl StepResult for First {
    const STEP: &'static str = "s0";
}

impl Step for Sum {
    type Input = (Context<Request>, ResultOf<First>);
    type Output = Summed;

    async fn run(
        &self,
        (Context(request), ResultOf(First(first))): Self::Input,
        _: &StepContext,
    ) -> Result<Summed, StepError> {
        Ok(Summed { total: request.total, first })
    }
}

#[tokio::test(start_paused = true)]
async fn context_and_results_of_ancestors_reach_the_handler() {
    let harness = TestWorkflow::chain(3).harness(Journal::default(), false).with("s2", Sum);
    let task = start(&harness).await;
    assert_eq!(run(&harness, task).await.status(), TaskStatus::Complete);
    assert_eq!(harness.result::<Value>(task, "s2").await.unwrap(), json!({ "total": 100, "first": ["s0"] }));
}

/// The harness would refuse the second at the start.
#[test_case(&json!({ "total": "a lot" }), &TestWorkflow::chain(3), "INVALID_CONTEXT"; "context of another shape")]
#[test_case(&context(), &TestWorkflow::new([vec![], vec![], vec![]]), "UNDECLARED_DEPENDENCY"; "result of no ancestor")]
#[tokio::test(start_paused = true)]
async fn input_that_cannot_be_read_is_a_permanent_error(context: &Value, graph: &TestWorkflow, expected: &str) {
    let harness = graph.harness(Journal::default(), false).with("s2", Sum);
    let task = harness.client().start(&graph.workflow(), context, None).await.unwrap().task_id;
    let snapshot = run(&harness, task).await;
    assert_eq!((state(&snapshot, "s2"), code(&snapshot, "s2")), (StepState::Error, expected));
    assert_eq!(outcomes(&snapshot, "s2"), [(1, Outcome::PermanentError)]);
}

/// What is the step author's code too, though it runs in the engine.
#[derive(Clone)]
struct Writes<T>(T);

impl<T: Serialize + Clone + Send + Sync> Step for Writes<T> {
    type Input = Raw;
    type Output = T;

    async fn run(&self, _: Raw, _: &StepContext) -> Result<T, StepError> {
        Ok(self.0.clone())
    }
}

/// An output that cannot be written as JSON, or panics while it is.
#[derive(Clone, Copy)]
enum Blast {
    Panic,
    Fail,
}

impl Serialize for Blast {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Panic => resume_unwind(Box::new("bang")),
            Self::Fail => Err(serde::ser::Error::custom("no")),
        }
    }
}

#[test_case(Blast::Panic, "PANIC", "the handler panicked: bang")]
#[test_case(Blast::Fail, "INVALID_RESULT", "the handler's output cannot be written as JSON: no")]
#[tokio::test(start_paused = true)]
async fn output_that_cannot_be_written_is_an_error_of_the_step(output: Blast, code: &str, message: &str) {
    let harness = TestWorkflow::chain(1).max_attempts(1).harness(Writes(output), false);
    let task = start(&harness).await;
    let snapshot = run(&harness, task).await;
    let error = snapshot.step("s0").unwrap().error.clone().unwrap();
    assert_eq!((error.code.as_str(), error.message.as_str()), (code, message));
}

#[tokio::test(start_paused = true)]
async fn result_is_kept_up_to_the_limit_and_refused_above_it() {
    // As JSON a text has two quotation marks more.
    let text = |bytes: usize| Writes("r".repeat(bytes - 2));
    let harness = TestWorkflow::new([vec![], vec![]]).harness(text(MAX_RESULT_BYTES), false);
    let harness = harness.with("s1", text(MAX_RESULT_BYTES + 1));
    let task = start(&harness).await;
    let snapshot = run(&harness, task).await;
    assert_eq!(snapshot.step("s0").unwrap().result.as_ref().unwrap().len(), MAX_RESULT_BYTES);
    assert_eq!((state(&snapshot, "s1"), code(&snapshot, "s1")), (StepState::Error, "RESULT_TOO_LARGE"));
    assert_eq!(outcomes(&snapshot, "s1"), [(1, Outcome::PermanentError)]);
}

#[test]
fn opaque_key_shows_neither_task_nor_step_and_is_another_for_each_attempt() {
    let task = TaskId::new();
    let key = |step: &str, attempt: u32| {
        let mut ctx = StepContext::for_test(step, task, Timestamp::from_millis(0));
        ctx.attempt = attempt;
        ctx.opaque_key()
    };
    let keys = [key("pay", 1), key("pay", 2), key("ship", 1)];
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), 3, "{keys:?}");
    assert_eq!(key("pay", 1), keys[0]);
    let (whole, bare) = (task.to_string(), task.to_string().replace('-', ""));
    for key in keys {
        assert!(key.len() == 32 && !key.contains(&whole) && !key.contains(&bare), "{key}");
    }
}
