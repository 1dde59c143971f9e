//! The edges of what a task may hold, and what stands in its trail of a handler that went too far.

use super::scene::Scene;
use crate::{graph::Graph, steps::Script};
use serde_json::{Value, json};
use stepwell::{
    StartError,
    core::{
        limits::{MAX_CONTEXT_BYTES, MAX_RESULT_BYTES},
        record::Failure,
        state::StepState,
    },
};

/// The quotes around a text.
const QUOTES: usize = 2;

#[tokio::test]
async fn a_context_may_be_as_large_as_is_said_and_no_larger() {
    let scene = Scene::new(Graph::chain(1)).await;
    let workflow = Graph::chain(1).workflow();
    let largest = json!("a".repeat(MAX_CONTEXT_BYTES - QUOTES));
    scene.client().start(&workflow, &largest, None).await.unwrap();
    let larger = json!("a".repeat(MAX_CONTEXT_BYTES - QUOTES + 1));
    let refused = scene.client().start(&workflow, &larger, None).await.unwrap_err();
    assert!(matches!(refused, StartError::TooLarge { bytes } if bytes == MAX_CONTEXT_BYTES + 1), "{refused}");
}

/// How the only step of a task stands after its handler has run so.
async fn after(handler: impl Fn() -> Value + Send + Sync + 'static) -> (StepState, Option<Failure>) {
    let scene = Scene::new(Graph::chain(1)).await;
    scene.deliver(0, Script::new(move |_| Ok(handler()))).await;
    let step = scene.table.step(scene.task, "s00");
    (step.state, step.error)
}

#[tokio::test]
async fn a_result_may_be_as_large_as_is_said_and_no_larger() {
    let largest = MAX_RESULT_BYTES - QUOTES;
    assert_eq!(after(move || json!("a".repeat(largest))).await, (StepState::Complete, None));
    let (state, error) = after(move || json!("a".repeat(largest + 1))).await;
    let error = error.unwrap();
    assert_eq!((state, error.code.as_str()), (StepState::Error, "RESULT_TOO_LARGE"));
    assert!(error.message.contains(&(MAX_RESULT_BYTES + 1).to_string()), "{error:?}");
}

#[tokio::test]
async fn what_a_handler_panicked_with_is_in_the_trail() {
    for handler in [|| panic!("a text"), || panic!("{}", "a text".to_owned())] as [fn() -> Value; 2] {
        let (state, error) = after(handler).await;
        let error = error.unwrap();
        assert_eq!((state, error.code.as_str()), (StepState::Retrying, "PANIC"));
        assert!(error.message.ends_with("panicked: a text"), "{error:?}");
    }
}
