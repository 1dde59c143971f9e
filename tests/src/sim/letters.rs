//! What becomes of the messages that SQS gave up on.

use super::scene::{LEASE, Scene};
use crate::graph::Graph;
use serde_json::json;
use std::time::Duration;
use stepwell::{
    TaskId,
    core::state::{StepState, TaskState},
    runtime::dead_letters::DELIVERY_EXHAUSTED,
};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_step_whose_message_is_given_up_fails_and_with_it_the_task() {
    let scene = Scene::new(Graph::chain(1)).await;
    assert!(!scene.bury(&scene.body("s00")).await);
    let step = scene.table.step(scene.task, "s00");
    assert_eq!((step.state, step.error.unwrap().code.as_str()), (StepState::Error, DELIVERY_EXHAUSTED));
    assert_eq!(scene.table.all(scene.task).task.unwrap().state, TaskState::Failed);
    assert_eq!(scene.rejected(), []);
}

#[tokio::test]
async fn a_step_that_somebody_is_at_is_waited_for() {
    let scene = Scene::new(Graph::chain(1)).await;
    scene.claim("s00").await;
    assert!(scene.bury(&scene.body("s00")).await, "the letter is kept");
    assert_eq!(scene.hidden(), [LEASE + SECOND], "until the lease is over");
    assert_eq!(scene.table.step(scene.task, "s00").state, StepState::InProgress);
    scene.now.set(scene.now.get() + LEASE + SECOND);
    assert!(!scene.bury(&scene.body("s00")).await);
    assert_eq!(scene.table.step(scene.task, "s00").state, StepState::Error);
}

#[tokio::test]
async fn what_a_given_up_step_may_have_done_is_undone() {
    let scene = Scene::new(Graph::chain(1).undone([0].into())).await;
    scene.claim("s00").await;
    scene.now.set(scene.now.get() + LEASE + SECOND);
    assert!(!scene.bury(&scene.body("s00")).await);
    assert_eq!(scene.sent(), ["s50"]);
}

#[tokio::test]
async fn a_letter_on_which_nothing_hangs_is_let_go() {
    let scene = Scene::new(Graph::chain(2)).await;
    assert!(!scene.bury(&scene.body("s01")).await, "it is not its turn");
    assert_eq!(scene.table.step(scene.task, "s01").state, StepState::Pending);
    assert_eq!(scene.rejected(), []);
}

#[tokio::test]
async fn a_letter_that_belongs_to_nothing_is_kept_with_the_reason() {
    let scene = Scene::new(Graph::chain(1)).await;
    let nowhere = json!({ "task_id": TaskId::new(), "step": "s00" }).to_string();
    let letters = [("poison".to_owned(), "not a message"), (nowhere, "the task"), (scene.body("s99"), "no such step")];
    for (letter, _) in &letters {
        assert!(!scene.bury(letter).await, "{letter}");
    }
    let rejected = scene.rejected();
    assert_eq!(rejected.len(), letters.len(), "{rejected:?}");
    for ((body, reason), (letter, expected)) in rejected.iter().zip(&letters) {
        assert!(body == letter && reason.contains(expected), "{body}: {reason}");
    }
}
