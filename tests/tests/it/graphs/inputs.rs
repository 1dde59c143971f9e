//! What reaches a handler, typed as its author wrote it, and what becomes of its output.

use super::*;
use serde::{Deserialize, Serialize};
use stepwell::{Context, ResultOf, Step, StepContext, StepResult};
use stepwell_tests::{emulator::in_sandbox, poller::Poller};
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
    const STEP: &'static str = "s00";
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

#[tokio::test]
async fn the_context_and_the_results_of_ancestors_reach_the_handler() {
    let graph = Graph::chain(3);
    in_sandbox(&graph.names(), async |sandbox| {
        let task = start(sandbox, &graph).await;
        let poller = Poller::new(sandbox).with_numbered(2, &Journal::default().script()).with("s02", Sum);
        let history = poller.run(task).await;
        assert_eq!(history.step("s02").unwrap().result.as_deref(), Some(r#"{"total":100,"first":["s00"]}"#));
    })
    .await;
}

#[test_case(&json!({ "total": "a lot" }), &Graph::chain(3), "INVALID_CONTEXT"; "a context of another shape")]
#[test_case(&context(), &Graph::new([vec![], vec![], vec![]]), "UNDECLARED_DEPENDENCY"; "a result of a step that need not be done")]
#[tokio::test]
async fn an_input_that_cannot_be_read_is_a_permanent_error(context: &Value, graph: &Graph, expected: &str) {
    in_sandbox(&graph.names(), async |sandbox| {
        let task = sandbox.client().start(&graph.workflow(), context, None).await.unwrap().task_id;
        // Where nothing has to come before it, its message is worked first.
        let poller = Poller::new(sandbox).with("s02", Sum);
        if expected == "UNDECLARED_DEPENDENCY" {
            poller.run(task).await;
        } else {
            poller.with_numbered(2, &Journal::default().script()).run(task).await;
        }
        let history = sandbox.client().history(task).await.unwrap().unwrap();
        assert_eq!((state(&history, "s02"), code(&history, "s02")), (StepState::Error, expected));
        assert_eq!(outcomes(&history, "s02"), [(1, Outcome::PermanentError)]);
    })
    .await;
}

/// An output that panics while it is written as JSON: the step author's code as much as the handler is.
struct Bomb;

struct Blast;

impl Serialize for Blast {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("bang")
    }
}

impl Step for Bomb {
    type Input = Context<Value>;
    type Output = Blast;

    async fn run(&self, _: Context<Value>, _: &StepContext) -> Result<Blast, StepError> {
        Ok(Blast)
    }
}

#[tokio::test]
async fn a_panic_in_the_output_is_a_panic_of_the_step() {
    let graph = Graph::chain(1).retry_limit(2);
    in_sandbox(&graph.names(), async |sandbox| {
        let task = start(sandbox, &graph).await;
        let history = Poller::new(sandbox).with("s00", Bomb).run(task).await;
        assert_eq!((state(&history, "s00"), code(&history, "s00")), (StepState::Error, "PANIC"));
    })
    .await;
}
