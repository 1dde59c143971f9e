//! What is lost is found, what SQS gives up on becomes visible, and what a failed checkout has done is undone.

use aws_sdk_dynamodb::types::AttributeValue;
use checkout::testing::steps;
use futures::future::join_all;
use serde_json::json;
use std::time::Duration;
use stepwell::{
    Runtime, System, TaskId, Timestamp,
    core::{
        record::{Action, ActionKind, AttemptRecord, NewTask, Outcome},
        state::End,
        step::{self, Claim, ClaimRequest},
        task::{self, Termination},
        timer::set_timer,
    },
    ports::Store,
};
use stepwell_aws::DynamoTable;
use stepwell_tests::{
    stack::{Stack, TemporaryProduct},
    until,
};

/// How long ago the starts were that the watchdog is to find.
const TWO_MINUTES: Duration = Duration::from_secs(120);

/// Writes the task of a checkout that was started so long ago, and sends no message: its start died after the write.
async fn lost_start(stack: &Stack, product: &TemporaryProduct, ago: Duration) -> String {
    let workflow = checkout::workflow().unwrap();
    let context = product.request(1, "test_success_visa")["checkout"].to_string();
    let created_at = Timestamp::from_millis(System.now().as_millis() - i64::try_from(ago.as_millis()).unwrap());
    let id = TaskId::new();
    let new = NewTask {
        correlation_id: None,
        id,
        workflow: workflow.id().to_string(),
        context: &context,
        plan: workflow.plan(),
        created_at,
    };
    let table = DynamoTable::new(stack.dynamo.clone(), stack.tasks_table());
    assert!(table.apply(&task::create(&new)).await.unwrap().is_written());
    id.to_string()
}

#[tokio::test]
async fn watchdog_finds_a_checkout_whose_first_message_is_lost() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let task = lost_start(&stack, &product, TWO_MINUTES).await;
    // It comes by itself as well, each minute and for other tests, and may have been there first. Nobody else would send the
    // message.
    let report = stack.invoke("watchdog", r#"{"source": "aws.events"}"#).await;
    assert_eq!(report["failed"], 0, "{report}");
    let status = stack.api.until_ended(&task).await;
    assert_eq!(status["status"], "completed", "{status}");
    assert_eq!(stack.charges(&task).await, [product.total_cents(1)]);
    assert_eq!(product.stock().await, 4);
}

#[tokio::test]
async fn timer_feeder_sends_the_message_of_a_step_that_has_waited_for_long() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let task = lost_start(&stack, &product, Duration::ZERO).await;
    let (id, step) = (task.parse().unwrap(), steps::roots()[0]);
    let table = DynamoTable::new(stack.dynamo.clone(), stack.tasks_table());
    let now = System.now();
    // As if its first attempt had failed a while ago, and the next one were due in two seconds.
    let request = ClaimRequest { task: id, step, owner: "nobody/nothing", now, lease_until: now + TWO_MINUTES };
    let claimed = table.apply(&step::claim(&request)).await.unwrap();
    let Claim::Granted(lease) = Claim::read(&request, claimed).unwrap() else { panic!("{step} is pending") };
    let until = now + Duration::from_secs(2);
    let attempt = AttemptRecord {
        number: 1,
        started_at: now,
        finished_at: Some(now),
        outcome: Outcome::RetryableError,
        error: None,
        next_retry_at: Some(until),
        request_id: "nobody".to_owned(),
        throttled: false,
        refused: false,
    };
    assert!(table.apply(&step::retry_later(&lease, &attempt)).await.unwrap().is_written());
    assert!(table.apply(&set_timer(id, step, until)).await.unwrap().is_written());
    // It comes by itself as well, each minute, and may have been there first. Nobody else would send the message.
    let report = stack.invoke("timer_feeder", r#"{"source": "aws.events"}"#).await;
    assert_eq!(report["failed"], 0, "{report}");
    let status = stack.api.until_ended(&task).await;
    assert_eq!(status["status"], "completed", "{status}");
    assert_eq!(stack.charges(&task).await, [product.total_cents(1)]);
}

#[tokio::test]
async fn failed_checkout_is_compensated_when_its_wait_is_over() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let task = lost_start(&stack, &product, TWO_MINUTES).await;
    // An order that was cancelled before it was made cannot be made any more: the checkout fails after the charge.
    let text = |value: &str| AttributeValue::S(value.to_owned());
    let mark = stack.dynamo.put_item().table_name(stack.shop_table("orders")).item("id", text(&task));
    let mark = mark.item("status", text("cancelled")).item("cancelled_at", text("2026-01-01T00:00:00.000Z"));
    mark.send().await.unwrap();
    for step in steps::roots() {
        stack.wake(&task, step).await;
    }
    let status = stack.api.until_ended(&task).await;
    assert_eq!((&status["status"], &status["failed_step"]), (&json!("failed"), &json!("create_order")), "{status}");
    assert_eq!(status["refund"]["state"], "due", "{status}");
    assert_eq!(stack.charges(&task).await, [product.total_cents(1)]);
    assert_eq!(product.stock().await, 4);
    stack.invoke("watchdog", "{}").await;
    assert_eq!(stack.charges(&task).await, [product.total_cents(1)], "it may still be retried");

    // As if it had failed twenty minutes ago.
    let past = Timestamp::from_millis(System.now().as_millis() - 20 * 60_000);
    stack.pretend_ended(&task, past).await;
    stack.invoke("watchdog", "{}").await;
    let compensations = until(&format!("the compensation of {task}"), async || {
        let details = stack.api.details(&task).await.0;
        let steps = details["compensations"].as_array().cloned().unwrap_or_default();
        (details["status"] == "error" && !steps.is_empty()).then_some(steps)
    })
    .await;
    let compensated =
        compensations.iter().map(|step| (step["name"].as_str().unwrap(), step["status"].as_str().unwrap()));
    let expected = steps::compensations_of(&steps::up_to("create_order"));
    assert_eq!(
        compensated.collect::<Vec<_>>(),
        expected.into_iter().map(|step| (step, "complete")).collect::<Vec<_>>()
    );
    assert_eq!(stack.charges(&task).await, [0; 0]);
    assert_eq!(product.stock().await, 5);
}

#[tokio::test]
async fn dead_letter_that_was_the_timer_of_a_retry_is_sent_again() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    // Its gateway asks to be left alone for half a minute.
    let task = stack.api.start(&product.request(1, "test_rate_limit_visa")).await;
    until("the payment to wait", async || {
        let status = stack.api.order_status(&task).await;
        (status["retrying"]["step"] == "process_payment").then_some(())
    })
    .await;
    let message = steps::plan().step("process_payment").unwrap().message(task.parse().unwrap());
    stack.send("dead_letters", &serde_json::to_string(&message).unwrap()).await;
    let status = stack.api.until_ended(&task).await;
    assert_eq!(status["status"], "completed", "{status}");
    stack.until_acknowledged("dead_letters", &task).await;
    assert_eq!(stack.charges(&task).await, [product.total_cents(1)]);
}

#[tokio::test]
async fn dead_letter_of_no_step_is_kept_with_its_reason() {
    let stack = Stack::from_env().await;
    let id = TaskId::new().to_string();
    let bodies = [
        (format!("garbage {id}"), "not a message of this engine"),
        (json!({"task_id": id, "step": "process_payment"}).to_string(), "the task does not exist"),
    ];
    for (body, reason) in bodies {
        stack.send("dead_letters", &body).await;
        let kept = until("it to be kept", async || {
            let kept = stack.messages("undeliverable", &id).await;
            kept.into_iter().find(|message| message["Body"] == body.as_str())
        })
        .await;
        let said = kept["MessageAttributes"]["reason"]["StringValue"].as_str().unwrap().to_owned();
        assert!(said.contains(reason), "{said}");
    }
    stack.until_acknowledged("dead_letters", &id).await;
}

#[tokio::test]
async fn the_message_of_any_open_step_brings_on_what_an_operator_who_died_has_left_undone() {
    let stack = Stack::from_env().await;
    let all = [steps::all(), steps::compensations()].concat();
    join_all(all.into_iter().map(|step| a_message_brings_on_a_cancellation(&stack, step))).await;
}

async fn a_message_brings_on_a_cancellation(stack: &Stack, step: &str) {
    let product = stack.product(2_500, 5).await;
    let task = lost_start(stack, &product, Duration::ZERO).await;
    // Between the cart and the payment its hold is lost, so that the checkout fails with its charge made.
    stack.hold(task.parse().unwrap(), "process_payment", Duration::from_secs(25)).await;
    stack.wake(&task, "validate_cart").await;
    let is_complete = async |step: &str| {
        let item = stack.task(&task).await.remove(&format!("STEP#{step}"));
        item.is_some_and(|item| {
            item.get("state").and_then(|state| state.as_s().ok()).is_some_and(|it| it == "complete")
        })
    };
    until("the cart to be valid", async || is_complete("validate_cart").await.then_some(())).await;
    stack.lose_reservation(&task).await;
    let status = stack.api.until_ended(&task).await;
    assert_eq!((&status["status"], &status["failed_step"]), (&json!("failed"), &json!("update_inventory")), "{status}");
    assert_eq!(stack.charges(&task).await, [product.total_cents(1)]);
    // The message of a step that is done is for what depends on the step, and brings on nothing else.
    if is_complete(step).await {
        return;
    }

    let cancel = Action {
        at: System.now(),
        what: ActionKind::Cancel,
        step: None,
        who: "an operator who dies".to_owned(),
        why: "its hold is lost".to_owned(),
        bulk: None,
        rerun_as: None,
    };
    let table = DynamoTable::new(stack.dynamo.clone(), stack.tasks_table());
    let cancel = task::close_or_compensate(task.parse().unwrap(), Termination::Compensate(End::Cancelled), &cancel);
    assert!(table.apply(&cancel).await.unwrap().is_written());
    stack.wake(&task, step).await;
    let operator = stack.operator();
    let undone = until("the end of the compensation", async || {
        Some(operator.task(&task).await).filter(|task| task["compensated"] == true)
    })
    .await;
    assert_eq!((&undone["ends_as"], &undone["warnings"]), (&json!("cancelled"), &json!([])), "{undone}");
    assert_eq!(stack.charges(&task).await, [0; 0]);
    assert_eq!(product.stock().await, 4, "the unit of the lost hold");
    assert!(stack.mails_to(&product.email()).await.is_empty());
}

#[tokio::test]
async fn dead_letter_fails_its_step_once_it_cannot_be_at_work_and_it_can_be_redriven() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let task = lost_start(&stack, &product, Duration::ZERO).await;
    stack.hold(task.parse().unwrap(), "validate_cart", Duration::from_secs(25)).await;
    stack.send("dead_letters", &json!({"task_id": task, "step": "validate_cart"}).to_string()).await;
    let status = stack.api.until_ended(&task).await;
    assert_eq!(status["retrying"]["code"], "DELIVERY_EXHAUSTED", "{status}");
    let details = stack.api.details(&task).await;
    let said = details.step("validate_cart")["error"]["message"].as_str().unwrap();
    assert!(said.starts_with("SQS gave up on the step's message: received "), "{said}");
    stack.until_acknowledged("dead_letters", &task).await;

    stack.api.post(&format!("/retry_checkout/{task}"), "").await.expect(202);
    let status = stack.api.until_ended(&task).await;
    assert_eq!(status["status"], "completed", "{status}");
    assert_eq!(stack.charges(&task).await, [product.total_cents(1)]);
}

#[tokio::test]
async fn a_dead_letter_of_a_newer_version_s_task_is_left_to_that_version_s_watchdog() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let task = lost_start(&stack, &product, TWO_MINUTES).await;
    stack.pretend_newer(&task, true).await;
    stack.send("dead_letters", &json!({"task_id": task, "step": "validate_cart"}).to_string()).await;
    stack.until_acknowledged("dead_letters", &task).await;
    assert_eq!(stack.messages("validate_cart", &task).await.len(), 0);
    stack.pretend_newer(&task, false).await;
    stack.invoke("watchdog", "{}").await;
    assert_eq!(stack.api.until_ended(&task).await["status"], "completed");
}
