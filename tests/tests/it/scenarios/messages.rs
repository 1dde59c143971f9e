//! Messages that come twice, and messages that nobody sent.

use stepwell_tests::{shop::STEPS, stack::Stack};
use test_case::test_case;
use uuid::Uuid;

#[tokio::test]
async fn a_message_that_comes_again_changes_nothing() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let (task, status, _) = stack.api.run(&product.request(1, "test_success_visa")).await;
    assert_eq!(status["status"], "completed", "{status}");
    for step in STEPS {
        stack.until_acknowledged(step, &task).await;
    }

    let before = stack.traces(&task, &product.email()).await;
    assert_eq!((before.task.len(), before.payments.len(), before.orders.len(), before.mails.len()), (6, 1, 2, 1));
    let workflow = checkout::workflow().unwrap();
    let plan = workflow.plan_for(&serde_json::json!({}));
    for step in plan.steps() {
        let message = step.message(task.parse().unwrap());
        stack.send(&step.name, &serde_json::to_string(&message).unwrap()).await;
    }
    // Each in its turn, so that what one of them sent on would be found in the next queue.
    for step in STEPS {
        stack.until_acknowledged(step, &task).await;
    }
    assert_eq!(stack.traces(&task, &product.email()).await, before);
    assert_eq!(product.stock().await, 4);
    assert!(stack.messages("undeliverable", &task).await.is_empty());
}

#[test_case("not JSON: {mark}", "not a message of this engine")]
#[test_case(r#"{"hello": "{mark}"}"#, "not a message of this engine")]
#[test_case(r#"{"task_id": "{mark}", "step": "{step}"}"#, "not a message of this engine"; "a task id that is none")]
#[test_case(r#"{"task_id": "{id}", "step": "{step}", "load": ["a b"]}"#, "`load` has to be a list of step names"; "a name that is none")]
#[test_case(r#"{"task_id": "{id}", "step": "brew_coffee"}"#, "a message for step `brew_coffee`")]
#[test_case(r#"{"task_id": "{id}", "step": "{step}"}"#, "the task does not exist")]
#[tokio::test]
async fn a_message_that_is_not_ours_is_kept_and_runs_nothing(body: &str, reason: &str) {
    let stack = Stack::from_env().await;
    for step in STEPS {
        let id = Uuid::now_v7().to_string();
        let mark = format!("mark-{id}");
        let body = body.replace("{mark}", &mark).replace("{id}", &id).replace("{step}", step);
        stack.send(step, &body).await;
        let said = stack.undeliverable(&id).await;
        assert!(said.contains(reason), "{step}: {said}");
        stack.until_acknowledged(step, &id).await;
        assert!(stack.task(&id).await.is_empty(), "{step}: a message alone has left something in the table");
    }
}

#[tokio::test]
async fn a_message_in_the_wrong_queue_does_not_touch_its_task() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let (task, ..) = stack.api.run(&product.request(1, "test_declined_visa")).await;
    let before = stack.traces(&task, &product.email()).await;
    stack.send("validate_cart", &format!(r#"{{"task_id": "{task}", "step": "create_order"}}"#)).await;
    let reason = stack.undeliverable(&task).await;
    assert!(reason.contains("`create_order`") && reason.contains("`validate_cart`"), "{reason}");
    assert_eq!(stack.traces(&task, &product.email()).await, before);
}

#[tokio::test]
async fn a_message_that_comes_too_early_runs_nothing() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    // The payment failed, so nothing after it may run, whoever sends a message.
    let (task, ..) = stack.api.run(&product.request(1, "test_declined_visa")).await;
    let before = stack.api.details(&task).await;
    for step in &STEPS[2..] {
        stack.send(step, &format!(r#"{{"task_id": "{task}", "step": "{step}"}}"#)).await;
        stack.until_acknowledged(step, &task).await;
    }
    assert_eq!(stack.api.details(&task).await.0, before.0);
    assert_eq!(product.stock().await, 5);
    assert!(stack.orders(&task).await.is_empty());
    assert!(stack.mails_to(&product.email()).await.is_empty());
}
