use crate::step;
use checkout::{
    GatewayError, Money, Payment,
    testing::{MemoryShop, Outage},
};
use serde_json::{Value, json};
use std::time::Duration;
use stepwell::{ErrorKind, Input, Step, StepContext, StepError, TaskData, TaskId, Timestamp};
use test_case::test_case;

const CART: &str = r#"{"validated_items":[{"product_id":1,"name":"Lamp","price":43.98,"quantity":2,"line_total":87.96}],
    "subtotal":87.96,"tax":7.04,"shipping":5.00,"total":100.00,"item_count":2,"validated_at":"2023-11-14T22:13:20.123Z"}"#;

async fn run(shop: &MemoryShop, payment_info: &str) -> Result<Payment, StepError> {
    let payment_info: Value = serde_json::from_str(payment_info).unwrap();
    let data = TaskData {
        context: json!({ "payment_info": payment_info }).to_string(),
        results: [("validate_cart".to_owned(), CART.to_owned())].into(),
    };
    let task = "018f4e4e-7c1a-7000-8000-0123456789ab".parse::<TaskId>().unwrap();
    let ctx = StepContext::for_test("process_payment", task, Timestamp::from_millis(1_700_000_000_123));
    step(shop).unwrap().run(Input::from_data(&data).unwrap(), &ctx).await
}

#[test_case(r#"{"token": "test_success_visa", "amount": 100.00}"#)]
#[test_case(r#"{"token": "test_success_visa", "amount": 100}"#; "no decimals")]
#[test_case(r#"{"token": "test_success_visa", "amount": 1e2, "currency": "USD", "method": "credit_card"}"#; "all fields")]
#[tokio::test]
async fn card_is_charged_under_the_steps_idempotency_key(payment_info: &str) {
    let shop = MemoryShop::default();
    let payment = run(&shop, payment_info).await.unwrap();
    assert_eq!(payment.amount_charged, Money::from_cents(10_000));
    let expected = concat!(
        r#"{"payment_id":"pay_7371e9cd6cfbd55fd04602bc","amount_charged":100.00,"currency":"USD","payment_method_type":"visa","#,
        r#""transaction_id":"txn_dce2ae385369fe2d447b9f1e","processed_at":"2023-11-14T22:13:20.123Z","#,
        r#""simulated":true}"#
    );
    assert_eq!(serde_json::to_string(&payment).unwrap(), expected);
    let charges = shop.charges();
    assert_eq!(charges.keys().collect::<Vec<_>>(), ["018f4e4e-7c1a-7000-8000-0123456789ab:process_payment"]);
    assert_eq!(charges.into_values().map(Payment::from).collect::<Vec<_>>(), [payment]);
}

#[test_case("{}", "MISSING_PAYMENT_TOKEN")]
#[test_case("7", "MISSING_PAYMENT_TOKEN"; "no object")]
#[test_case(r#"{"token": "", "amount": 100.00}"#, "MISSING_PAYMENT_TOKEN"; "an empty token")]
#[test_case(r#"{"token": 5, "amount": 100.00}"#, "MISSING_PAYMENT_TOKEN"; "a number for a token")]
#[test_case(r#"{"token": "test_success_visa"}"#, "PAYMENT_AMOUNT_MISMATCH"; "no amount")]
#[test_case(r#"{"token": "test_success_visa", "amount": 99.99}"#, "PAYMENT_AMOUNT_MISMATCH"; "a cent less")]
#[test_case(r#"{"token": "test_success_visa", "amount": 100.001}"#, "PAYMENT_AMOUNT_MISMATCH"; "less than a cent more")]
#[test_case(r#"{"token": "test_success_visa", "amount": "100.00"}"#, "PAYMENT_AMOUNT_MISMATCH"; "an amount in words")]
#[test_case(r#"{"token": "test_success_visa", "amount": 100.00, "currency": "JPY"}"#, "PAYMENT_AMOUNT_MISMATCH"; "another currency")]
#[test_case(r#"{"token": "test_success_visa", "amount": 100.00, "currency": 5}"#, "PAYMENT_AMOUNT_MISMATCH"; "no currency at all")]
#[tokio::test]
async fn invalid_payment_never_reaches_the_gateway(payment_info: &str, code: &str) {
    let shop = MemoryShop::default();
    let error = run(&shop, payment_info).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), (code, false), "{error}");
    assert!(!error.message.contains("visa"), "{error}");
    assert!(shop.charges().is_empty());
}

const PERMANENT: ErrorKind = ErrorKind::Permanent;
const SOON: ErrorKind = ErrorKind::Retryable { retry_after: None };
const LATER: ErrorKind = ErrorKind::Throttled { retry_after: Some(Duration::from_secs(30)) };

#[test_case(GatewayError::SuspectedFraud, "PAYMENT_SUSPECTED_FRAUD", PERMANENT)]
#[test_case(GatewayError::Declined("card declined"), "PAYMENT_DECLINED", PERMANENT)]
#[test_case(GatewayError::Voided, "PAYMENT_VOID", PERMANENT)]
#[test_case(GatewayError::RateLimited, "GATEWAY_RATE_LIMITED", LATER)]
#[test_case(GatewayError::Timeout, "GATEWAY_TIMEOUT", SOON)]
#[test_case(GatewayError::TemporaryFailure, "GATEWAY_TEMPORARY_FAILURE", SOON)]
#[test_case(GatewayError::UnknownStatus("?".to_owned()), "GATEWAY_UNKNOWN_STATUS", SOON)]
#[tokio::test]
async fn gateway_error_has_its_code_and_kind(error: GatewayError, code: &str, kind: ErrorKind) {
    let shop = MemoryShop::default();
    shop.set_outage(Outage { gateway: Some(error), ..Outage::default() });
    let error = run(&shop, r#"{"token": "tok_secret", "amount": 100.00}"#).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.kind), (code, kind));
    assert!(!error.message.contains("secret"), "{error}");
}
