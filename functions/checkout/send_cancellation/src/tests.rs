use crate::step;
use checkout::{
    Cancellation, Email, MailError,
    testing::{MemoryShop, Outage},
};
use serde_json::{Value, json};
use stepwell::{Input, Step, StepContext, StepError, TaskData, TaskId, Timestamp};
use test_case::test_case;

const ORDER: &str = r#"{"order_id":"018f4e4e-7c1a-7000-8000-0123456789ab","order_number":"ORD-20231114-0123ABCD",
    "status":"confirmed","total_amount":100.00,"customer_email":"test@example.com",
    "created_at":"2023-11-14T22:13:20.123Z","estimated_delivery":"2023-11-19T22:13:20.123Z"}"#;

/// Runs the step after a refund of this amount, or without its result.
async fn run(shop: &MemoryShop, customer: Value, refunded: Option<&str>) -> Result<Cancellation, StepError> {
    run_with(shop, customer, Some(ORDER), refunded).await
}

/// The same with this order, or without one.
async fn run_with(
    shop: &MemoryShop,
    customer: Value,
    order: Option<&str>,
    refunded: Option<&str>,
) -> Result<Cancellation, StepError> {
    let order = order.map(|order| ("create_order".to_owned(), order.to_owned()));
    let refund = refunded.map(|amount| {
        format!(
            r#"{{"refund_id":"re_1","payment_id":"pay_1","amount_refunded":{amount},"currency":"USD",
                "refunded_at":"2023-11-14T22:13:20.123Z"}}"#
        )
    });
    let refund = refund.map(|refund| ("refund_payment".to_owned(), refund));
    let data = TaskData {
        context: json!({ "customer_info": customer }).to_string(),
        results: order.into_iter().chain(refund).collect(),
    };
    let ctx = StepContext::for_test("send_cancellation", TaskId::new(), Timestamp::from_millis(1_700_000_000_123));
    step(shop).unwrap().run(Input::from_data(&data)?, &ctx).await
}

#[test_case("100.00", "We have refunded 100.00 USD. Your bank may take some days to show it."; "a refund")]
#[test_case("0.00", "You have not been charged."; "no charge")]
#[tokio::test]
async fn customer_is_told_of_the_cancellation_and_of_what_was_given_back(refunded: &str, given_back: &str) {
    let shop = MemoryShop::default();
    let customer = json!({"email": "test@example.com", "name": "Test Customer"});
    let result = run(&shop, customer, Some(refunded)).await.unwrap();
    let expected = concat!(
        r#"{"email_sent":true,"recipient":"test@example.com","message_id":"email-00000000000000000000000000000000000000000000000000001","#,
        r#""sent_at":"2023-11-14T22:13:20.123Z"}"#
    );
    assert_eq!(serde_json::to_string(&result).unwrap(), expected);
    let text = format!("Hello,\n\nyour order ORD-20231114-0123ABCD was cancelled. {given_back}\n");
    let subject = "Your order ORD-20231114-0123ABCD was cancelled".to_owned();
    assert_eq!(shop.emails(), [Email { to: "test@example.com".parse().unwrap(), subject, text }]);
}

/// An operator has corrected it. A result that was given by hand, or by an older version, has no address.
#[test_case(json!({"customer_email": "ann@example.org"}), "ann@example.org"; "a corrected address")]
#[test_case(json!({"customer_email": null}), "test@example.com"; "no address")]
#[test_case(json!({}), "test@example.com"; "a result of an older version")]
#[test_case(json!("by hand"), "test@example.com"; "an unreadable result")]
#[tokio::test]
async fn cancellation_goes_to_the_address_that_the_order_had_when_it_was_cancelled(result: Value, recipient: &str) {
    let mut cancelled = json!({"order_id": null, "order_number": null, "cancelled_at": "2023-11-14T22:13:20.123Z"});
    match (cancelled.as_object_mut(), result) {
        (Some(cancelled), Value::Object(more)) => cancelled.extend(more),
        (_, unreadable) => cancelled = unreadable,
    }
    let shop = MemoryShop::default();
    let refund = r#"{"refund_id":"re_1","payment_id":"pay_1","amount_refunded":100.00,"currency":"USD",
        "refunded_at":"2023-11-14T22:13:20.123Z"}"#;
    let results = [
        ("create_order".to_owned(), ORDER.to_owned()),
        ("cancel_order".to_owned(), cancelled.to_string()),
        ("refund_payment".to_owned(), refund.to_owned()),
    ];
    let context = json!({"customer_info": {"email": "test@example.com"}}).to_string();
    let data = TaskData { context, results: results.into() };
    let ctx = StepContext::for_test("send_cancellation", TaskId::new(), Timestamp::from_millis(1_700_000_000_123));
    let result = step(&shop).unwrap().run(Input::from_data(&data).unwrap(), &ctx).await.unwrap();
    assert_eq!((result.recipient.as_deref(), shop.emails()[0].to.as_str()), (Some(recipient), recipient));
}

/// A message that came too early was enough for the confirmation to be claimed.
#[tokio::test]
async fn nobody_is_told_of_an_order_that_was_never_made() {
    let shop = MemoryShop::default();
    let result = run_with(&shop, json!({"email": "test@example.com"}), None, None).await;
    assert_eq!((result, shop.emails().len()), (Ok(Cancellation::default()), 0));
}

#[test_case(json!({}), Some("100.00"), "MISSING_CUSTOMER_EMAIL"; "no address")]
#[test_case(json!({"email": "nobody"}), Some("100.00"), "INVALID_EMAIL"; "no valid address")]
#[test_case(json!({"email": "test@example.com"}), None, "MISSING_RESULT"; "no refund that it could tell of")]
#[tokio::test]
async fn nothing_is_sent_without_an_address_or_a_refund(customer: Value, refunded: Option<&str>, code: &str) {
    let shop = MemoryShop::default();
    let error = run(&shop, customer, refunded).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable(), shop.emails().len()), (code, false, 0));
}

#[tokio::test]
async fn email_service_that_is_out_is_tried_again() {
    let shop = MemoryShop::default();
    shop.set_outage(Outage { mail: Some(MailError::Unavailable("timeout".to_owned())), ..Outage::default() });
    let error = run(&shop, json!({"email": "test@example.com"}), Some("100.00")).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("MAIL_SERVICE_UNAVAILABLE", true));
}
