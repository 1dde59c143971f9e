//! Messages that come twice, and messages that nobody sent.

use checkout::testing::steps;
use futures::future::join_all;
use std::time::Duration;
use stepwell::TaskId;
use stepwell_tests::stack::Stack;
use uuid::Uuid;

#[tokio::test]
async fn duplicate_message_for_a_completed_step_changes_nothing() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let (task, status, _) = stack.api.run(&product.request(1, "test_success_visa")).await;
    assert_eq!(status["status"], "completed", "{status}");
    for step in steps::all() {
        stack.until_acknowledged(step, &task).await;
    }

    let before = stack.traces(&task, &product.email()).await;
    assert_eq!(before.task.len(), 1 + steps::all().len(), "the task's item, and one a step");
    assert_eq!((before.payments.len(), before.orders.len(), before.mails.len()), (1, 2, 1));
    for step in steps::plan().steps() {
        let message = step.message(task.parse().unwrap());
        stack.send(&step.name, &serde_json::to_string(&message).unwrap()).await;
    }
    // Each in its turn, so that what one of them sent on would be found in the next queue.
    for step in steps::all() {
        stack.until_acknowledged(step, &task).await;
    }
    assert_eq!(stack.traces(&task, &product.email()).await, before);
    assert_eq!(product.stock().await, 4);
    assert!(stack.messages("undeliverable", &task).await.is_empty());
}

#[tokio::test]
async fn invalid_message_is_kept_as_undeliverable_and_runs_nothing() {
    let stack = Stack::from_env().await;
    for step in [steps::all(), steps::compensations()].concat() {
        let id = Uuid::now_v7().to_string();
        stack.send(step, &format!(r#"{{"task_id": "{id}", "step": "{step}"}}"#)).await;
        let said = stack.undeliverable(&id).await;
        assert!(said.contains("the task does not exist"), "{step}: {said}");
        stack.until_acknowledged(step, &id).await;
        assert!(stack.task(&id).await.is_empty(), "{step}: a message alone has left something in the table");
    }
}

#[tokio::test]
async fn a_claim_that_belongs_to_no_task_is_waited_for_and_taken_away() {
    let stack = Stack::from_env().await;
    let stack = &stack;
    join_all([steps::all(), steps::compensations()].concat().into_iter().map(async |step| {
        let task = TaskId::new();
        let id = task.to_string();
        stack.hold(task, step, Duration::from_secs(25)).await;
        stack.wake(&id, step).await;
        let said = stack.undeliverable(&id).await;
        assert!(said.contains("the task does not exist"), "{step}: {said}");
        stack.until_acknowledged(step, &id).await;
        assert!(stack.task(&id).await.is_empty(), "{step}: the claim is still there");
    }))
    .await;
}
