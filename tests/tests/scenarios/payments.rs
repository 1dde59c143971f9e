//! The gateway's answers and their effect on a checkout. The samples cover most kinds of token (`events.rs`), the
//! shop's `test_card.rs` all.

use crate::backend::{Backend, Reservation};
use checkout::{customer_text, testing::steps};
use serde_json::json;
use stepwell_tests::until;

on_both_backends! {
    declined_card_fails_at_the_first_attempt,
    declined_checkout_completes_with_another_card,
    checkout_is_retried_until_the_gateway_recovers,
    lost_answer_of_the_gateway_is_settled_by_the_next_attempt,
    retry_waits_as_long_as_the_gateway_rate_limit_asks,
}

const PAYMENT: &str = "process_payment";

async fn declined_card_fails_at_the_first_attempt<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 5)]).await;
    let (task, status, details) = shop.api().run(&product.request(1, "test_insufficient_funds")).await;

    assert_eq!(status["status"], "failed", "{status}");
    assert_eq!(status["task_id"], task);
    assert_eq!(status["failed_step"], PAYMENT);
    assert_eq!(status["failed_steps"], json!([PAYMENT]));
    assert_eq!(status["error"]["code"], "PAYMENT_DECLINED");
    let text = customer_text("PAYMENT_DECLINED").text;
    assert_eq!(status["error"]["message"], text, "what was written for customers, not the gateway's reason");
    let reason = &details.attempts(PAYMENT)[0]["error"]["message"];
    assert!(reason.as_str().unwrap().contains("insufficient funds"), "{reason}");
    assert_eq!(stepwell_tests::shop::cents(&status["charged"]), 0);
    assert_eq!(status["retry_url"], format!("/retry_checkout/{task}?key={}", shop.api().task_key(&task)));
    assert!(status["retry_until"].is_string(), "{status}");

    let before = steps::before(PAYMENT);
    let state = |step| match step {
        PAYMENT => "error",
        step if before.contains(&step) => "complete",
        _ => "pending",
    };
    assert_eq!(details.states(), steps::all().into_iter().map(|step| (step, state(step))).collect::<Vec<_>>());
    assert_eq!(details.outcomes(PAYMENT), ["permanent_error"]);
    assert_eq!(details.attempts(PAYMENT)[0]["next_retry_at"], json!(null));
    assert_eq!(shop.charges(&task).await, [0; 0]);
    assert_eq!(shop.reservations(&task).await, [Reservation::Held]);
    assert_eq!(shop.stock(product.id).await, 4, "the unit stays held until the checkout is compensated");
}

async fn declined_checkout_completes_with_another_card<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 5)]).await;
    let (task, status, _) = shop.api().run(&product.request(1, "test_declined_visa")).await;
    assert_eq!(status["error"]["code"], "PAYMENT_DECLINED", "{status}");
    assert_eq!(shop.card_tokens(&task).await, 1);

    let body = json!({"payment_info": {"token": "test_success_amex"}});
    let retried = shop.api().post(status["retry_url"].as_str().unwrap(), body.to_string()).await;
    assert_eq!(retried.status, 202, "{}", retried.text);
    let status = shop.api().until_ended(&task).await;
    assert_eq!(status["status"], "completed", "{status}");
    assert_eq!(shop.charges(&task).await, [product.total_cents(1)]);
    assert_eq!(shop.api().details(&task).await.step(PAYMENT)["result"]["payment_method_type"], "amex");
    assert_eq!(shop.card_tokens(&task).await, 0, "the card's token is deleted once the card is charged");
}

async fn checkout_is_retried_until_the_gateway_recovers<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 5)]).await;
    let (task, status, details) = shop.api().run(&product.request(1, "test_temp_fail_2_visa")).await;
    assert_eq!(status["status"], "completed", "{status}");
    assert_eq!(details.outcomes(PAYMENT), ["retryable_error", "retryable_error", "complete"]);
    for attempt in &details.attempts(PAYMENT)[..2] {
        assert_eq!(attempt["error"]["code"], "GATEWAY_TEMPORARY_FAILURE", "{attempt}");
        assert!(attempt["next_retry_at"].is_string(), "{attempt}");
    }
    assert_eq!(shop.charges(&task).await, [product.total_cents(1)]);
}

/// The card was charged, so the second attempt must not charge it again.
async fn lost_answer_of_the_gateway_is_settled_by_the_next_attempt<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 5)]).await;
    let (task, status, details) = shop.api().run(&product.request(1, "test_answerlost_visa")).await;
    assert_eq!(status["status"], "completed", "{status}");
    assert_eq!(details.outcomes(PAYMENT), ["retryable_error", "complete"]);
    assert_eq!(details.attempts(PAYMENT)[0]["error"]["code"], "GATEWAY_TIMEOUT");
    assert_eq!(shop.charges(&task).await, [product.total_cents(1)]);
}

async fn retry_waits_as_long_as_the_gateway_rate_limit_asks<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 5)]).await;
    let task = shop.api().start(&product.request(1, "test_rate_limit_visa")).await;

    let details = until("the first attempt's end", async || {
        let details = shop.api().details(&task).await;
        (details.step(PAYMENT)["status"] == "retrying").then_some(details)
    })
    .await;
    let [attempt] = details.attempts(PAYMENT) else { panic!("one attempt: {}", details.step(PAYMENT)) };
    assert_eq!(attempt["error"]["code"], "GATEWAY_RATE_LIMITED");
    let moment = |field: &str| attempt[field].as_str().unwrap().parse::<stepwell::Timestamp>().unwrap();
    assert_eq!(attempt["throttled"], true, "it costs no attempt: {attempt}");
    let wait = moment("next_retry_at").since(moment("finished_at")).as_secs();
    assert!((30..=45).contains(&wait), "{wait} s are not what the gateway has asked for, and up to half as much more");

    assert_eq!(shop.api().until_ended(&task).await["status"], "completed");
    let details = shop.api().details(&task).await;
    assert_eq!(details.outcomes(PAYMENT), ["retryable_error", "complete"]);
    let second: stepwell::Timestamp = details.attempts(PAYMENT)[1]["started_at"].as_str().unwrap().parse().unwrap();
    assert!(second >= moment("next_retry_at"), "the second attempt did not wait: {}", details.step(PAYMENT));
    assert_eq!(shop.charges(&task).await, [product.total_cents(1)]);
}
