use crate::step;
use checkout::{
    Confirmation, Email, MailError,
    testing::{MemoryShop, Outage},
};
use serde_json::{Value, json};
use std::time::Duration;
use stepwell::{ErrorKind, Input, Step, StepContext, StepError, TaskData, TaskId, Timestamp};
use test_case::test_case;

const ORDER: &str = r#"{"order_id":"018f4e4e-7c1a-7000-8000-0123456789ab","order_number":"ORD-20231114-0123ABCD",
    "status":"confirmed","total_amount":100.00,"customer_email":"test@example.com",
    "created_at":"2023-11-14T22:13:20.123Z","estimated_delivery":"2023-11-19T22:13:20.123Z"}"#;

async fn run(shop: &MemoryShop, customer: Value) -> Result<Confirmation, StepError> {
    let data = TaskData {
        context: json!({ "customer_info": customer }).to_string(),
        results: [("create_order".to_owned(), ORDER.to_owned())].into(),
    };
    let ctx = StepContext::for_test("send_confirmation", TaskId::new(), Timestamp::from_millis(1_700_000_000_123));
    step(shop).unwrap().run(Input::from_data(&data).unwrap(), &ctx).await
}

#[tokio::test]
async fn confirmation_is_sent_to_the_customer() {
    let shop = MemoryShop::default();
    let result = run(&shop, json!({"email": "test@example.com", "name": "Test Customer"})).await;
    let expected = concat!(
        r#"{"email_sent":true,"recipient":"test@example.com","message_id":"email-00000000000000000000000000000000000000000000000000001","#,
        r#""sent_at":"2023-11-14T22:13:20.123Z"}"#
    );
    assert_eq!(serde_json::to_string(&result.unwrap()).unwrap(), expected);
    let text = "Hello,\n\n\
        thank you for your order ORD-20231114-0123ABCD. We have charged 100.00 USD.\n\
        It should be with you by 2023-11-19.\n";
    let subject = "Your order ORD-20231114-0123ABCD is confirmed".to_owned();
    assert_eq!(shop.emails(), [Email { to: "test@example.com".parse().unwrap(), subject, text: text.to_owned() }]);
}

#[test_case(json!({"email": "test@example.com"}); "no name")]
#[test_case(json!({"email": "test@example.com", "name": "Zoë\nclick here"}); "a second line")]
#[test_case(json!({"email": "test@example.com", "name": "Zoë\u{202E}"}); "a turn of direction")]
#[test_case(json!({"email": "test@example.com", "name": " "}); "a blank")]
#[test_case(json!({"email": "test@example.com", "name": "you won, claim at evil.example"}); "a link")]
#[tokio::test]
async fn nothing_that_the_buyer_has_written_is_in_the_email(customer: Value) {
    let shop = MemoryShop::default();
    let result = run(&shop, customer).await;
    assert!(result.is_ok());
    let text = &shop.emails()[0].text;
    assert!(text.starts_with("Hello,\n"), "{text}");
}

#[tokio::test]
async fn malformed_address_is_refused_with_the_reason_of_its_type() {
    let result = run(&MemoryShop::default(), json!({"email": "A <a@example.org>"})).await;
    let problem = "A <a@example.org>".parse::<checkout::EmailAddress>().unwrap_err();
    assert_eq!(result.unwrap_err().to_string(), format!("INVALID_EMAIL: customer_info.email {problem}"));
}

#[test_case(json!({}), "MISSING_CUSTOMER_EMAIL")]
#[test_case(json!(null), "MISSING_CUSTOMER_EMAIL"; "no customer")]
#[test_case(json!({"email": " "}), "MISSING_CUSTOMER_EMAIL"; "a blank")]
#[test_case(json!({"email": "nobody"}), "INVALID_EMAIL"; "no address")]
#[test_case(json!({"email": "A <a@example.org>"}), "INVALID_EMAIL"; "a display name")]
#[test_case(json!({"email": 5}), "INVALID_EMAIL"; "a number")]
#[test_case(json!({"email": "a@example.com\r\nBcc: b@example.com"}), "INVALID_EMAIL"; "another header")]
#[tokio::test]
async fn missing_or_invalid_address_sends_nothing(customer: Value, code: &str) {
    let shop = MemoryShop::default();
    let result = run(&shop, customer).await;
    let error = result.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), (code, false));
    assert!(shop.emails().is_empty());
}

#[test_case(MailError::RateLimited, "MAIL_RATE_LIMITED", ErrorKind::Throttled { retry_after: Some(Duration::from_secs(60)) })]
#[test_case(MailError::Unavailable("timeout".to_owned()), "MAIL_SERVICE_UNAVAILABLE", ErrorKind::Retryable { retry_after: None })]
#[test_case(MailError::Unknown("MessageRejected".to_owned()), "MAIL_UNKNOWN_ERROR", ErrorKind::Retryable { retry_after: None })]
#[tokio::test]
async fn every_error_of_the_email_service_is_retryable(error: MailError, code: &str, kind: ErrorKind) {
    let shop = MemoryShop::default();
    shop.set_outage(Outage { mail: Some(error), ..Outage::default() });
    let result = run(&shop, json!({"email": "test@example.com"})).await;
    let error = result.unwrap_err();
    assert_eq!(error.code, code);
    assert_eq!(error.kind, kind);
}
