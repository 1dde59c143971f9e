use crate::step;
use checkout::{
    CardTokens, GatewayError, Money, OpenRequest, Payment, PaymentError, PaymentRecords, PaymentRef, RecordError,
    StoreError, VoidedKey,
    testing::{MemoryShop, Outage},
};
use serde_json::{Value, json};
use std::time::Duration;
use stepwell::{ErrorKind, Input, Step, StepContext, StepError, TaskData, TaskId, Timestamp};
use test_case::test_case;

const CART: &str = r#"{"validated_items":[{"product_id":1,"name":"Lamp","price":43.98,"quantity":2,"line_total":87.96}],
    "subtotal":87.96,"tax":7.04,"shipping":5.00,"total":100.00,"item_count":2,"validated_at":"2023-11-14T22:13:20.123Z"}"#;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

fn task() -> TaskId {
    "018f4e4e-7c1a-7000-8000-0123456789ab".parse().unwrap()
}

async fn run(shop: &MemoryShop, payment_info: &str) -> Result<Payment, StepError> {
    attempt(shop, payment_info, 1, NOW).await
}

async fn attempt(shop: &MemoryShop, payment_info: &str, number: u32, at: Timestamp) -> Result<Payment, StepError> {
    let payment_info: Value = serde_json::from_str(payment_info).unwrap();
    let data = TaskData {
        context: json!({ "payment_info": payment_info }).to_string(),
        results: [("validate_cart".to_owned(), CART.to_owned())].into(),
    };
    let mut ctx = StepContext::for_test("process_payment", task(), at);
    ctx.attempt = number;
    step(shop).unwrap().run(Input::from_data(&data).unwrap(), &ctx).await
}

#[test_case(r#"{"token": "test_success_visa", "amount": 100.00}"#)]
#[test_case(r#"{"token": "test_success_visa", "amount": 100}"#; "no decimals")]
#[test_case(r#"{"token": "test_success_visa", "amount": 1e2, "currency": "USD", "method": "credit_card"}"#; "all fields")]
#[tokio::test]
async fn card_is_charged(payment_info: &str) {
    let shop = MemoryShop::default();
    let payment = run(&shop, payment_info).await.unwrap();
    assert_eq!(payment.amount_charged, Money::from_cents(10_000));
    let (id, transaction) = (&payment.payment_id, &payment.transaction_id);
    let expected = format!(
        r#"{{"payment_id":"{id}","amount_charged":100.00,"currency":"USD","payment_method_type":"visa","transaction_id":"{transaction}","processed_at":"2023-11-14T22:13:20.123Z","simulated":true}}"#
    );
    assert_eq!(serde_json::to_string(&payment).unwrap(), expected);
    let charges = shop.charges();
    assert_eq!(charges.keys().map(|payment| &payment.0).collect::<Vec<_>>(), [id]);
    assert_eq!(charges.into_values().map(Payment::from).collect::<Vec<_>>(), [payment]);
}

/// Whether the gateway still remembers the key of the first request makes no difference.
#[test_case(Duration::from_secs(1))]
#[test_case(Duration::from_secs(30 * 24 * 60 * 60); "after the gateway has forgotten the key")]
#[tokio::test]
async fn lost_answer_is_settled_by_reading_the_payment(later: Duration) {
    let shop = MemoryShop::default();
    let lost = r#"{"token": "test_answerlost_visa", "amount": 100.00}"#;
    assert_eq!(run(&shop, lost).await.unwrap_err().code, "GATEWAY_TIMEOUT");
    for number in 2..4 {
        let payment = attempt(&shop, lost, number, NOW + later).await.unwrap();
        assert_eq!((payment.processed_at, payment.amount_charged), (NOW, Money::from_cents(10_000)));
        assert_eq!(shop.charges().into_values().map(Payment::from).collect::<Vec<_>>(), [payment]);
    }
}

/// What the API leaves of a token in the request.
const FINGERPRINT: &str = r#"{"token": "kept_0123456789abcdef", "amount": 100.00}"#;

/// A shop that keeps this token for the task, for a minute.
async fn keeping(token: &str) -> MemoryShop {
    let shop = MemoryShop::default();
    keep(&shop, token).await;
    shop
}

async fn keep(shop: &MemoryShop, token: &str) {
    shop.keep(task(), &token.into(), NOW + Duration::from_secs(60)).await.unwrap();
}

#[tokio::test]
async fn kept_token_is_charged_and_deleted() {
    let shop = keeping("test_success_amex").await;
    assert_eq!(run(&shop, FINGERPRINT).await.unwrap().payment_method_type, "amex");
    assert!(shop.tasks_with_tokens().is_empty());
    let again = attempt(&shop, FINGERPRINT, 2, NOW).await;
    assert_eq!(again.unwrap().payment_method_type, "amex", "what is paid needs no token");
    assert_eq!(shop.charges().len(), 1);
}

#[test_case("", Duration::ZERO; "none was kept")]
#[test_case("test_success_visa", Duration::from_secs(60); "it has expired")]
#[tokio::test]
async fn payment_without_a_token_is_refused_for_good(token: &str, later: Duration) {
    let shop = if token.is_empty() { MemoryShop::default() } else { keeping(token).await };
    let error = attempt(&shop, FINGERPRINT, 1, NOW + later).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("MISSING_PAYMENT_TOKEN", false));
    assert!(shop.charges().is_empty());
}

#[tokio::test]
async fn other_card_is_charged_in_place_of_the_declined_one() {
    let shop = keeping("test_declined_visa").await;
    assert_eq!(run(&shop, FINGERPRINT).await.unwrap_err().code, "PAYMENT_DECLINED");
    assert_eq!(shop.tasks_with_tokens(), [task()].into(), "the card may be tried again");
    keep(&shop, "test_success_amex").await;
    assert_eq!(attempt(&shop, FINGERPRINT, 2, NOW).await.unwrap().payment_method_type, "amex");
    assert_eq!(shop.charges().len(), 1);
}

#[tokio::test]
async fn other_card_is_not_touched_if_the_first_one_was_charged() {
    let shop = keeping("test_answerlost_visa").await;
    assert_eq!(run(&shop, FINGERPRINT).await.unwrap_err().code, "GATEWAY_TIMEOUT");
    keep(&shop, "test_success_amex").await;
    assert_eq!(attempt(&shop, FINGERPRINT, 2, NOW).await.unwrap().payment_method_type, "visa");
    assert_eq!(shop.charges().len(), 1);
}

/// Real gateways answer a repeated key with the first request's failure.
#[tokio::test]
async fn failure_that_the_gateway_repeats_for_its_key_does_not_fail_the_next_attempt() {
    let (shop, visa) = (MemoryShop::default(), r#"{"token": "test_success_visa", "amount": 100.00}"#);
    shop.set_outage(Outage { gateway: Some(GatewayError::TemporaryFailure), ..Outage::default() });
    assert_eq!(run(&shop, visa).await.unwrap_err().code, "GATEWAY_TEMPORARY_FAILURE");
    shop.set_outage(Outage::default());
    assert_eq!(run(&shop, visa).await.unwrap_err().code, "GATEWAY_TEMPORARY_FAILURE", "the same key again");
    assert!(attempt(&shop, visa, 2, NOW).await.is_ok());
    assert_eq!(shop.charges().len(), 1);
}

/// A table that can be read, and cannot be written.
struct ReadOnly;

impl PaymentRecords for ReadOnly {
    async fn recorded(&self, _: &str) -> Result<Option<PaymentRef>, RecordError> {
        Ok(None)
    }

    async fn record(&self, _: &str, _: &PaymentRef) -> Result<PaymentRef, RecordError> {
        Err(StoreError::Busy("throttled".to_owned()).into())
    }

    async fn void(&self, _: &str, _: Timestamp) -> Result<VoidedKey, StoreError> {
        Err(StoreError::Busy("throttled".to_owned()))
    }
}

/// The record of the payment is written before the money moves.
#[tokio::test]
async fn nothing_is_charged_that_cannot_be_recorded() {
    let shop = MemoryShop::default();
    let request = OpenRequest { key: "a key", amount: Money::from_cents(1), currency: "USD", at: NOW };
    let charged = checkout::charge(&shop, &ReadOnly, "key", Some(&"test_success_visa".into()), &request).await;
    assert_eq!(charged, Err(PaymentError::Records(StoreError::Busy("throttled".to_owned()))));
    assert!(shop.charges().is_empty());
}

#[test_case("{}", "PAYMENT_AMOUNT_MISMATCH")]
#[test_case("7", "PAYMENT_AMOUNT_MISMATCH"; "no object")]
#[test_case(r#"{"amount": 100.00}"#, "MISSING_PAYMENT_TOKEN"; "no token")]
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
