//! The status of a checkout, from its start to each of its ends.

use super::*;
use std::time::Duration;
use stepwell::{
    Actor,
    core::{
        format::READS,
        item::{Key, attribute},
        recovery::begins_at,
        snapshot::TaskSnapshot,
        state::StepState,
        transition::Change,
    },
    permanent, retryable,
    testing::{CrashAt, StepFault},
};

fn actor() -> Actor {
    Actor::new("somebody", "a test").unwrap()
}

fn timeout() -> StepFault {
    StepFault::Error(retryable("GATEWAY_TIMEOUT", "The gateway took too long"))
}

fn declined() -> StepFault {
    StepFault::Error(permanent("PAYMENT_DECLINED", "do_not_honor from 10.0.0.7"))
}

/// Runs the task until the step is in this state.
async fn run_until(api: &Api, id: TaskId, step: &str, state: StepState) -> TaskSnapshot {
    let is_there = |snapshot: &TaskSnapshot| snapshot.step(step).is_some_and(|step| step.state == state);
    api.harness.run_until(id, is_there).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn status_follows_a_checkout_to_its_order() {
    let api = Api::new();
    api.harness.fail("process_payment", [timeout()]);
    api.harness.crash("send_confirmation", [CrashAt::Before("finish")]);
    let id = api.started().await;
    let processing = |step: Value, done: &[&str]| {
        let progress = steps::progress(done);
        json!({"status": "processing", "task_id": id, "current_step": step, "progress": progress})
    };
    assert_eq!(api.status(id).await, processing(json!(steps::roots()[0]), &[]));

    let snapshot = run_until(&api, id, "process_payment", StepState::Retrying).await;
    let payment = snapshot.step("process_payment").unwrap();
    let mut waiting = processing(json!("process_payment"), &steps::before("process_payment"));
    waiting["retrying"] = json!({
        "step": "process_payment", "code": "GATEWAY_TIMEOUT", "next_at": payment.next_retry_at.unwrap(),
        "retry_url": url("/retry_checkout", &id),
    });
    assert_eq!(api.status(id).await, waiting);

    run_until(&api, id, "send_confirmation", StepState::Complete).await;
    assert_eq!(
        api.status(id).await,
        processing(Value::Null, &steps::all()),
        "between the last step's end and the task's"
    );

    api.harness.run(id).await.unwrap();
    let text = api.get(&format!("/order_status/{id}")).await.text;
    assert!(text.contains(r#""total_amount":100.00"#), "with every digit: {text}");
    let expected = json!({
        "status": "completed", "task_id": id, "order_id": UNKNOWN, "order_number": "ORD-20231114-0A1B2C3D",
        "total_amount": exact("100.00"), "redirect_url": url("/orders", &UNKNOWN),
    });
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    let details = api.get(&format!("/workflow_details/{id}")).await;
    assert_eq!((&details.body()["status"], details.text.contains(TOKEN)), (&json!("complete"), false));
}

#[tokio::test(start_paused = true)]
async fn confirmation_that_could_not_be_sent_is_sent_again_for_its_customer() {
    let api = Api::new();
    api.harness.fail("send_confirmation", [StepFault::Error(permanent("MAIL_UNKNOWN_ERROR", "not verified"))]);
    let id = api.started().await;
    api.harness.run(id).await.unwrap();
    let status = api.status(id).await;
    assert_eq!((&status["status"], &status["order_number"]), (&json!("completed"), &json!("ORD-20231114-0A1B2C3D")));
    let warning = json!({
        "step": "send_confirmation",
        "message": "We could not send the confirmation e-mail. Your order stands all the same.",
        "retry_url": url("/retry_checkout", &id),
    });
    assert_eq!(status["warnings"], json!([warning]));
    let card = api.retry_with(id, r#"{"payment_info": {"token": "test_success_mastercard"}}"#).await;
    assert_eq!(card.refusal(), (409, "This checkout is paid; it needs no other card".to_owned()));
    let sent = api.harness.sent().len();
    assert_eq!(api.retry(id).await.status, 202);
    assert_eq!(api.notified_steps()[sent..], ["send_confirmation"]);
    assert_eq!(api.retry(id).await.status, 409, "it is on its way");
    api.harness.run(id).await.unwrap();
    let status = api.status(id).await;
    assert_eq!((&status["status"], &status["warnings"]), (&json!("completed"), &Value::Null));
    assert_eq!(api.retry(id).await.status, 409, "it was sent");
}

/// An address that takes no e-mail takes none the next time.
#[tokio::test(start_paused = true)]
async fn confirmation_is_not_sent_again_where_that_cannot_help() {
    let api = Api::new();
    api.harness.fail("send_confirmation", [StepFault::Error(permanent("INVALID_EMAIL", "no address"))]);
    let id = api.started().await;
    api.harness.run(id).await.unwrap();
    assert_eq!(api.status(id).await["warnings"][0]["retry_url"], Value::Null);
    let refusal = api.retry(id).await;
    let actions = api.harness.snapshot(id).await.unwrap().task.actions.len();
    assert_eq!((refusal.status, actions), (409, 0), "{}", refusal.text);
}

/// The customer reads the text that was written for them, and may retry until compensation begins.
#[tokio::test(start_paused = true)]
async fn failed_checkout_shows_its_error_and_until_when_it_can_be_retried() {
    let api = Api::new();
    api.harness.fail("process_payment", [declined()]);
    let id = api.started().await;
    let snapshot = run_until(&api, id, "process_payment", StepState::Error).await;
    let until = snapshot.task.finished_at.unwrap() + Duration::from_secs(900);
    let mut expected = json!({
        "status": "failed", "task_id": id, "failed_step": "process_payment", "failed_steps": ["process_payment"],
        "error": {
            "code": "PAYMENT_DECLINED", "message": "Your card was declined. Please ask your bank, or use another card.",
        },
        "charged": exact("0.00"), "retry_url": url("/retry_checkout", &id), "retry_until": until,
    });
    assert_eq!(api.status(id).await, expected);

    api.harness.run(id).await.unwrap();
    for offer in ["retry_url", "retry_until"] {
        expected.as_object_mut().unwrap().remove(offer);
    }
    let compensated = steps::compensations_of(&steps::up_to("process_payment")).into_iter();
    expected["compensations"] = compensated.map(|step| json!({"step": step, "status": "complete"})).collect();
    assert_eq!(api.status(id).await, expected, "undone");
}

/// The engine redrives it in a minute, and then it may succeed and charge. So it has not failed.
#[tokio::test(start_paused = true)]
async fn checkout_that_will_be_redriven_is_processing() {
    let api = Api::new();
    api.harness.fail("process_payment", vec![timeout(); 3]);
    let id = api.started().await;
    let snapshot = run_until(&api, id, "process_payment", StepState::Error).await;
    let next_at = snapshot.task.finished_at.unwrap() + Duration::from_secs(60);
    let status = api.status(id).await;
    assert_eq!((&status["status"], status.get("error")), (&json!("processing"), None));
    let expected = json!({
        "step": "process_payment", "code": "GATEWAY_TIMEOUT", "next_at": next_at,
        "retry_url": url("/retry_checkout", &id),
    });
    assert_eq!(status["retrying"], expected);

    // Only a newer version knows what follows in a task of its own.
    let needs = vec![Change::Set(attribute::NEEDS, json!(READS + 1))];
    api.harness.memory().store.force(Key::Task(id), needs).unwrap();
    let status = api.status(id).await;
    assert_eq!((&status["status"], status.get("retrying")), (&json!("processing"), None));
}

/// The gateway did not answer, so it may have charged. Whatever it did is undone, and the customer is told so.
#[tokio::test(start_paused = true)]
async fn failed_checkout_that_may_have_been_charged_promises_a_refund() {
    let api = Api::new();
    // Panics, so that no breaker opens, which would keep the payment from being tried until the deadline.
    api.harness.fail("process_payment", [timeout(), timeout(), StepFault::Panic].into_iter().cycle().take(15));
    let id = api.started().await;
    let is_failed = |snapshot: &TaskSnapshot| begins_at(snapshot).is_some();
    api.harness.run_until(id, is_failed).await.unwrap();
    let text = api.get(&format!("/order_status/{id}")).await.text;
    assert!(text.contains(r#""refund":{"amount":100.00,"state":"due"}"#), "with every digit: {text}");
    let status: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&status["status"], status.get("charged")), (&json!("failed"), None));
    assert_eq!(status["retry_url"], url("/retry_checkout", &id));
}

/// The engine reads the steps of a checkout before the checkout itself. Whether a redrive follows cannot be told yet.
#[tokio::test(start_paused = true)]
async fn checkout_read_during_its_failure_is_processing() {
    let api = Api::new();
    let id = api.started().await;
    run_until(&api, id, "update_inventory", StepState::Complete).await;
    let store = api.harness.memory().store.clone();
    let failed = vec![
        Change::Set(attribute::STATUS, json!("error")),
        Change::Include(attribute::FAILED_STEPS, "create_order".to_owned()),
    ];
    api.harness.meanwhile("load_all", async move { store.force(Key::Task(id), failed).unwrap() });
    let status = api.status(id).await;
    assert_eq!((&status["status"], &status["current_step"]), (&json!("processing"), &json!("create_order")));
}

#[tokio::test(start_paused = true)]
async fn compensating_checkout_shows_its_final_status_and_no_retry() {
    for (fault, word) in [(Some(declined()), "failed"), (None, "cancelled")] {
        let api = Api::new();
        api.harness.fail("update_inventory", fault.clone());
        let id = api.started().await;
        run_until(&api, id, "process_payment", StepState::Complete).await;
        if fault.is_none() {
            assert_eq!(api.status(id).await["status"], "processing");
            api.harness.client().cancel(id, &actor()).await.unwrap();
        }
        for (refund, state, is) in [(StepState::Pending, "pending", "due"), (StepState::Complete, "complete", "made")] {
            run_until(&api, id, "refund_payment", refund).await;
            let status = api.status(id).await;
            assert_eq!((&status["status"], status.get("retry_url")), (&json!(word), None));
            assert_eq!(status["refund"], json!({"amount": exact("100.00"), "state": is}));
            let compensations = status["compensations"].as_array().unwrap();
            assert!(compensations.contains(&json!({"step": "refund_payment", "status": state})), "{compensations:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn checkout_ended_by_an_operator_keeps_its_progress_or_order() {
    let api = Api::new();
    let client = api.harness.client();
    let id = api.started().await;
    client.cancel(id, &actor()).await.unwrap();
    api.harness.run(id).await.unwrap();
    let cancelled = json!({"status": "cancelled", "task_id": id, "progress": steps::progress(&[])});
    assert_eq!(api.status(id).await, cancelled);

    let id = api.started().await;
    client.resolve(id, &actor()).await.unwrap();
    assert_eq!(
        api.status(id).await,
        json!({"status": "completed", "task_id": id, "resolved_manually": true}),
        "without an order"
    );
    let id = api.started().await;
    run_until(&api, id, "create_order", StepState::Complete).await;
    client.resolve(id, &actor()).await.unwrap();
    let status = api.status(id).await;
    assert_eq!((&status["status"], &status["order_number"]), (&json!("completed"), &json!("ORD-20231114-0A1B2C3D")));
}
