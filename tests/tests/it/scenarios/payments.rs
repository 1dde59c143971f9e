//! What each kind of card token makes of a checkout.

use serde_json::json;
use stepwell_tests::{api::Details, stack::Stack, until};
use test_case::test_case;

const PAYMENT: &str = "process_payment";

/// The names of the states of a checkout that stopped at the payment.
fn assert_stopped_at_payment(details: &Details) {
    let states: Vec<&str> = details.states().into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, ["complete", "error", "pending", "pending", "pending"]);
}

#[test_case("test_success_visa", "visa")]
#[test_case("test_success_mastercard", "mastercard")]
#[test_case("test_success_amex", "amex")]
#[test_case("test_success_other", "card")]
#[tokio::test]
async fn a_good_card_is_charged_at_once(token: &str, kind: &str) {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let (task, status, details) = stack.api.run(&product.request(1, token)).await;
    assert_eq!(status["status"], "completed", "{status}");
    assert_eq!(details.outcomes(PAYMENT), ["complete"]);
    assert_eq!(details.step(PAYMENT)["result"]["payment_method_type"], kind);
    assert_eq!(stack.charges(&task).await, [product.total_cents(1)]);
}

#[test_case("test_insufficient_funds", "insufficient funds")]
#[test_case("test_declined_visa", "card declined")]
#[test_case("test_invalid_card", "invalid card")]
#[test_case("tok_of_another_gateway", "unknown card")]
#[tokio::test]
async fn a_refused_card_fails_at_the_first_attempt(token: &str, reason: &str) {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let (task, status, details) = stack.api.run(&product.request(1, token)).await;

    assert_eq!(status["status"], "failed", "{status}");
    assert_eq!(status["task_id"], task);
    assert_eq!(status["failed_step"], PAYMENT);
    assert_eq!(status["failed_steps"], json!([PAYMENT]));
    assert_eq!(status["error"]["code"], "PAYMENT_DECLINED");
    assert!(status["error"]["message"].as_str().unwrap().contains(reason), "{status}");
    assert_eq!(status["retry_url"], format!("/retry_checkout/{task}"));

    assert_stopped_at_payment(&details);
    assert_eq!(details.outcomes(PAYMENT), ["permanent_error"]);
    assert_eq!(details.attempts(PAYMENT)[0]["next_retry_at"], json!(null));
    assert_eq!(stack.charges(&task).await, [0; 0]);
    assert_eq!(product.stock().await, 5);
}

#[test_case("test_temp_fail_visa", 1)]
#[test_case("test_temp_fail_2_visa", 2)]
#[tokio::test]
async fn a_gateway_that_recovers_is_tried_again(token: &str, failures: usize) {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let (task, status, details) = stack.api.run(&product.request(1, token)).await;
    assert_eq!(status["status"], "completed", "{status}");

    let mut outcomes = vec!["retryable_error"; failures];
    outcomes.push("complete");
    assert_eq!(details.outcomes(PAYMENT), outcomes);
    for attempt in &details.attempts(PAYMENT)[..failures] {
        assert_eq!(attempt["error"]["code"], "GATEWAY_TEMPORARY_FAILURE", "{attempt}");
        assert!(attempt["next_retry_at"].is_string(), "{attempt}");
    }
    assert_eq!(stack.charges(&task).await, [product.total_cents(1)]);
}

#[tokio::test]
async fn a_gateway_that_always_times_out_uses_up_the_attempts() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let (task, status, details) = stack.api.run(&product.request(1, "test_timeout_visa")).await;
    assert_eq!(status["status"], "failed", "{status}");
    assert_eq!((&status["failed_step"], &status["error"]["code"]), (&json!(PAYMENT), &json!("GATEWAY_TIMEOUT")));
    assert_stopped_at_payment(&details);
    assert_eq!(details.outcomes(PAYMENT), ["retryable_error"; 3]);
    assert_eq!(stack.charges(&task).await, [0; 0]);
}

#[tokio::test]
async fn an_express_order_gives_a_gateway_fewer_attempts() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let mut request = product.request(1, "test_timeout_visa");
    request["checkout"]["priority"] = json!("express");
    let (_, status, details) = stack.api.run(&request).await;
    assert_eq!(status["status"], "failed", "{status}");
    assert_eq!(details.outcomes(PAYMENT), ["retryable_error"; 2]);
}

#[tokio::test]
async fn a_rate_limit_is_waited_out_for_as_long_as_the_gateway_asks() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let task = stack.api.start(&product.request(1, "test_rate_limit_visa")).await;

    let details = until("the first attempt's end", async || {
        let details = stack.api.details(&task).await;
        (details.step(PAYMENT)["status"] == "retrying").then_some(details)
    })
    .await;
    let [attempt] = details.attempts(PAYMENT) else { panic!("one attempt: {}", details.step(PAYMENT)) };
    assert_eq!(attempt["error"]["code"], "GATEWAY_RATE_LIMITED");
    let moment = |field: &str| attempt[field].as_str().unwrap().parse::<stepwell::Timestamp>().unwrap();
    assert_eq!(moment("next_retry_at").since(moment("finished_at")).as_secs(), 30);

    let status = stack.api.order_status(&task).await;
    assert_eq!((&status["status"], &status["current_step"]), (&json!("processing"), &json!(PAYMENT)), "{status}");
    assert_eq!(status["progress"], json!({"completed": 1, "total": 5, "percentage": 20}));
    assert_eq!(status["retrying"]["next_retry_at"], attempt["next_retry_at"], "{status}");

    assert_eq!(stack.api.until_ended(&task).await["status"], "completed");
    let details = stack.api.details(&task).await;
    assert_eq!(details.outcomes(PAYMENT), ["retryable_error", "complete"]);
    let second: stepwell::Timestamp = details.attempts(PAYMENT)[1]["started_at"].as_str().unwrap().parse().unwrap();
    assert!(second >= moment("next_retry_at"), "the second attempt did not wait: {}", details.step(PAYMENT));
    assert_eq!(stack.charges(&task).await, [product.total_cents(1)]);
}

#[tokio::test]
async fn what_the_customer_agreed_to_pay_has_to_be_what_the_cart_comes_to() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    for amount in [0.01, 1_000.0, 31.99, 32.01] {
        let mut request = product.request(1, "test_success_visa");
        assert_eq!(product.total_cents(1), 3_200);
        request["checkout"]["payment_info"]["amount"] = json!(amount);
        let (task, status, details) = stack.api.run(&request).await;
        assert_eq!(status["error"]["code"], "PAYMENT_AMOUNT_MISMATCH", "{status}");
        assert_eq!(details.outcomes(PAYMENT), ["permanent_error"]);
        assert_eq!(stack.charges(&task).await, [0; 0]);
    }
    assert_eq!(product.stock().await, 5);
}
