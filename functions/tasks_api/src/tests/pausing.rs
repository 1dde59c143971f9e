//! Pauses of steps.

use super::*;
use std::time::Duration;
use stepwell::{Actor, core::message::StepQueue, ports::Deliveries};
use test_case::test_case;

const PAY: &str = "/workflows/checkout/steps/process_payment";

fn shop() -> Api {
    Api::with(checkout::workflow().unwrap())
}

impl Api {
    async fn pause(&self, path: &str, why: &str) -> ApiAnswer {
        self.post(path, &json!({"reason": why}).to_string()).await
    }

    /// The pause of `process_payment`, as the workflows show it.
    async fn shown(&self) -> Value {
        let workflows = self.get("/workflows").await.body();
        let steps = workflows["workflows"][0]["steps"].as_array().unwrap().clone();
        steps.into_iter().find(|step| step["name"] == "process_payment").unwrap()["paused"].clone()
    }
}

#[tokio::test(start_paused = true)]
async fn paused_step_is_shown_with_who_and_why_wherever_one_looks() {
    let api = shop();
    assert_eq!(api.shown().await, Value::Null);
    let since = api.0.now();
    let answer = api.pause(&format!("{PAY}/pause"), "the gateway is down").await;
    let pause = json!({"since": since, "by": ARN, "reason": "the gateway is down"});
    let expected = json!({
        "success": true, "workflow": "checkout", "step": "process_payment", "paused": pause, "told": true,
    });
    assert_eq!((answer.status, answer.body()), (202, expected));
    assert_eq!(api.shown().await, pause);

    let named = json!([{
        "workflow": "checkout", "step": "process_payment", "since": since, "by": ARN, "reason": "the gateway is down",
    }]);
    assert_eq!(api.get("/health/status").await.body()["paused_steps"], named);
    let task = api.started().await;
    assert_eq!(api.show(task).await["paused"], Value::Null, "its first step is another one");
    api.0.run_for(Duration::from_secs(10)).await.unwrap();
    assert_eq!(api.show(task).await["paused"], named);
    let told = api.get(&format!("/tasks/{task}/events?wait=0")).await;
    assert!(told.text.contains(r#""paused":[{"workflow":"checkout","step":"process_payment""#), "{}", told.text);

    let answer = api.pause(&format!("{PAY}/resume"), "the gateway is back").await;
    assert_eq!((answer.status, &answer.body()["paused"]), (202, &Value::Null));
    assert_eq!(api.shown().await, Value::Null);
    assert_eq!(api.get("/health/status").await.body()["paused_steps"], json!([]));
    api.0.run(task).await.unwrap();
    let shown = api.show(task).await;
    assert_eq!((&shown["status"], &shown["paused"]), (&json!("complete"), &Value::Null));
}

#[tokio::test(start_paused = true)]
async fn step_that_is_paused_for_another_reason_shows_both_until_it_is_resumed() {
    let api = shop();
    let first = api.pause(&format!("{PAY}/pause"), "the gateway is down").await.body();
    api.0.skip(Duration::from_secs(60)).await;
    assert_eq!(api.pause(&format!("{PAY}/pause"), "the gateway is down").await.body(), first);
    let also = json!([{"since": api.0.now(), "by": ARN, "reason": "another reason"}]);
    let both = api.pause(&format!("{PAY}/pause"), "another reason").await.body();
    assert_eq!((&both["paused"]["since"], &both["paused"]["also"]), (&first["paused"]["since"], &also));
    assert_eq!(api.shown().await, both["paused"]);
    assert_eq!(api.get("/health/status").await.body()["paused_steps"][0]["also"], also);
    api.pause(&format!("{PAY}/resume"), "both are over").await;
    assert_eq!(api.shown().await, Value::Null);
}

/// A repeat tells the queue again, so that it mends what a crash after the write has left.
#[test_case("pause", false)]
#[test_case("resume", true)]
#[tokio::test(start_paused = true)]
async fn repeat_tells_the_queue_again(act: &str, delivers: bool) {
    let api = shop();
    api.pause(&format!("{PAY}/{act}"), "the gateway").await;
    let queue = StepQueue::new("checkout", "process_payment");
    api.0.memory().deliver(&queue, !delivers).await.unwrap();
    api.pause(&format!("{PAY}/{act}"), "the gateway").await;
    let task = api.started().await;
    api.0.run_for(Duration::from_secs(30)).await.unwrap();
    assert_eq!(api.0.attempts(task, "process_payment").await.unwrap().is_empty(), !delivers);
}

#[test_case("/workflows/checkout/steps/no_such_step/pause"; "step")]
#[test_case("/workflows/returns/steps/process_payment/pause"; "workflow")]
#[test_case("/workflows/ecommerce%2Fcheckout@1.0.0/steps/process_payment/resume"; "id of a workflow in the place of its name")]
#[tokio::test]
async fn step_that_no_workflow_has_is_not_found(path: &str) {
    assert_eq!(shop().pause(path, "why").await.status, 404);
}

/// A deployment may take a paused step away.
#[tokio::test]
async fn pause_of_a_step_that_no_workflow_has_any_more_can_be_ended() {
    let (api, gone) = (shop(), StepQueue::new("checkout", "gone"));
    let actor = Actor::new("ann", "a test").unwrap();
    api.0.client().pause(api.0.memory(), &gone, &actor).await.unwrap();
    let path = |act: &str| format!("/workflows/checkout/steps/gone/{act}");
    assert_eq!(api.pause(&path("pause"), "why").await.status, 404);
    assert_eq!(api.pause(&path("resume"), "it is gone").await.status, 202);
    assert_eq!(api.pause(&path("resume"), "it is gone").await.status, 404);
    assert_eq!(api.get("/health/status").await.body()["paused_steps"], json!([]));
}

#[tokio::test]
async fn pause_needs_a_reason() {
    let api = shop();
    for body in ["{}", r#"{"reason": ""}"#, r#"{"reason": 1}"#] {
        api.post(&format!("{PAY}/pause"), body).await.is_violation("/reason", "");
    }
    assert_eq!(api.shown().await, Value::Null);
}

#[tokio::test(start_paused = true)]
async fn compensation_can_be_paused() {
    let api = shop();
    assert_eq!(api.pause("/workflows/checkout/steps/refund_payment/pause", "wrong amounts").await.status, 202);
    let workflows = api.get("/workflows").await.body();
    let compensations = workflows["workflows"][0]["compensations"].as_array().unwrap();
    let paused: Vec<&Value> = compensations.iter().filter(|step| step["paused"] != Value::Null).collect();
    assert_eq!((paused.len(), &paused[0]["name"]), (1, &json!("refund_payment")));
}
