//! A step that is paused, by the mapping of its queue. tests/run.sh runs it apart from all others, whose checkouts would wait.

use serde_json::{Value, json};
use std::time::Duration;
use stepwell_tests::{stack::Stack, until};

const STEP: &str = "/workflows/checkout/steps/process_payment";

const MAPPINGS: &str = "/2015-03-31/event-source-mappings/";

/// The mapping of the step's queue.
async fn mapping(stack: &Stack) -> Value {
    let path = format!("{MAPPINGS}?FunctionName={}", stack.function("process_payment"));
    let listed = stack.aws("lambda", ("GET", &path), &[], String::new()).await.expect(200);
    let mappings = listed["EventSourceMappings"].as_array().unwrap();
    assert_eq!(mappings.len(), 1, "{listed}");
    mappings[0].clone()
}

async fn until_it_is(stack: &Stack, state: &str) {
    until(state, async || (mapping(stack).await["State"] == state).then_some(())).await;
}

#[tokio::test]
async fn paused_step_is_not_attempted_until_it_is_resumed_and_the_watchdog_keeps_its_mapping_so() {
    let tasks = tokio::task::LocalSet::new();
    let outcome = tasks.run_until(async { tokio::task::spawn_local(pause_and_resume()).await }).await;
    // Also after a failure: all other checkouts would wait.
    Stack::from_env().await.operator().post(&format!("{STEP}/resume"), &json!({"reason": "cleanup"})).await.expect(202);
    outcome.unwrap();
}

async fn pause_and_resume() {
    let stack = Stack::from_env().await;
    let (operator, reason) = (stack.operator(), json!({"reason": "to see what happens"}));
    let paused = operator.post(&format!("{STEP}/pause"), &reason).await.expect(202);
    assert_eq!((&paused["told"], &paused["paused"]["reason"]), (&json!(true), &reason["reason"]), "{paused}");
    until_it_is(&stack, "Disabled").await;
    // Its poller may have asked for messages before.
    tokio::time::sleep(Duration::from_secs(5)).await;

    let product = stack.product(2_500, 5).await;
    let task = stack.api.start(&product.request(1, "test_success_visa")).await;
    let waits = async || {
        let task = operator.task(&task).await;
        (task["paused"][0]["step"] == "process_payment").then_some(())
    };
    until("the checkout to wait behind the pause", waits).await;
    assert_eq!(stack.api.details(&task).await.attempts("process_payment"), &[] as &[Value]);

    // Somebody else enables it, and the watchdog takes that back. (AWS answers with 202.)
    let path = format!("{MAPPINGS}{}", mapping(&stack).await["UUID"].as_str().unwrap());
    stack.aws("lambda", ("PUT", &path), &[], json!({"Enabled": true}).to_string()).await.expect(200);
    stack.invoke("watchdog", "{}").await;
    until_it_is(&stack, "Disabled").await;

    let resumed = operator.post(&format!("{STEP}/resume"), &reason).await.expect(202);
    assert_eq!((&resumed["told"], &resumed["paused"]), (&json!(true), &Value::Null), "{resumed}");
    let status = stack.api.until_ended(&task).await;
    assert_eq!(status["status"], "completed", "{status}");
}
