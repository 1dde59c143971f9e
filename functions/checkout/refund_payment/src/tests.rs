use crate::step;
use checkout::{
    CURRENCY, ChargeRequest, Gateway, GatewayError, Money, Refund,
    testing::{MemoryShop, Outage},
};
use std::time::Duration;
use stepwell::{ErrorKind, Input, Step, StepContext, StepError, TaskData, Timestamp};
use test_case::test_case;

const TASK: &str = "018f4e4e-7c1a-7000-8000-0123456789ab";
const KEY: &str = "018f4e4e-7c1a-7000-8000-0123456789ab:process_payment";
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

/// Charges 100.00 as `process_payment` does.
async fn charge(shop: &MemoryShop) -> Result<(), GatewayError> {
    let (token, amount) = (&"test_success_visa".into(), Money::from_cents(10_000));
    let request = ChargeRequest { idempotency_key: KEY, token, amount, currency: CURRENCY, at: NOW };
    shop.charge(&request).await.map(drop)
}

async fn charged() -> MemoryShop {
    let shop = MemoryShop::default();
    charge(&shop).await.unwrap();
    shop
}

const CONTEXT: &str = r#"{"payment_info": {"token": "tok_secret", "amount": 100.00}}"#;
const PAYMENT: &str = r#"{"payment_id":"pay_7371e9cd6cfbd55fd04602bc","amount_charged":100.00,"currency":"USD","payment_method_type":"visa",
    "transaction_id":"txn_1","processed_at":"2023-11-14T22:13:20.123Z"}"#;

async fn run(shop: &MemoryShop, context: &str, payment: Option<&str>) -> Result<Refund, StepError> {
    let results = payment.map(|payment| ("process_payment".to_owned(), payment.to_owned())).into_iter().collect();
    let data = TaskData { context: context.to_owned(), results };
    let ctx = StepContext::for_test("refund_payment", TASK.parse().unwrap(), NOW);
    step(shop).unwrap().run(Input::from_data(&data).unwrap(), &ctx).await
}

#[test_case(Some(PAYMENT); "the payment is known")]
#[test_case(None; "its answer was lost")]
#[tokio::test]
async fn charge_is_refunded_under_its_own_key(payment: Option<&str>) {
    let shop = charged().await;
    let refund = run(&shop, CONTEXT, payment).await;
    let expected = concat!(
        r#"{"refund_id":"ref_7371e9cd6cfbd55fd04602bc","payment_id":"pay_7371e9cd6cfbd55fd04602bc","amount_refunded":100.00,"currency":"USD","#,
        r#""refunded_at":"2023-11-14T22:13:20.123Z"}"#
    );
    assert_eq!(serde_json::to_string(&refund.unwrap()).unwrap(), expected);
    assert!(shop.charges().is_empty());
}

#[test_case(CONTEXT)]
#[test_case("{}"; "a request without a payment")]
#[tokio::test]
async fn missing_charge_is_voided(context: &str) {
    let shop = MemoryShop::default();
    let refund = run(&shop, context, None).await;
    let expected = concat!(
        r#"{"refund_id":null,"payment_id":null,"amount_refunded":0.00,"currency":"USD","#,
        r#""refunded_at":"2023-11-14T22:13:20.123Z"}"#
    );
    assert_eq!(serde_json::to_string(&refund.unwrap()).unwrap(), expected);
    assert_eq!(charge(&shop).await, Err(GatewayError::Voided), "a late attempt");
}

#[test_case(false; "the gateway charged nothing")]
#[test_case(true; "the same amount was charged as well, and is refunded")]
#[tokio::test]
async fn payment_taken_by_hand_is_refused_with_instructions(too: bool) {
    let by_hand = PAYMENT.replace("pay_7371e9cd6cfbd55fd04602bc", "terminal_7");
    let shop = if too { charged().await } else { MemoryShop::default() };
    let error = run(&shop, CONTEXT, Some(&by_hand)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("NOTHING_TO_REFUND", false));
    assert!(error.message.contains("terminal_7") && error.message.contains("100.00 USD"), "{error}");
    assert_eq!(charge(&shop).await, Err(GatewayError::Voided));
}

#[tokio::test]
async fn step_resolved_without_a_payment_needs_no_refund() {
    let free = PAYMENT.replace("pay_7371e9cd6cfbd55fd04602bc", "none").replace("100.00", "0.00");
    assert_eq!(run(&MemoryShop::default(), CONTEXT, Some(&free)).await.unwrap().amount_refunded, Money::ZERO);
}

const PERMANENT: ErrorKind = ErrorKind::Permanent;
const SOON: ErrorKind = ErrorKind::Retryable { retry_after: None };
const LATER: ErrorKind = ErrorKind::Throttled { retry_after: Some(Duration::from_secs(30)) };

#[test_case(GatewayError::Declined("refund declined"), "REFUND_DECLINED", PERMANENT)]
#[test_case(GatewayError::RateLimited, "GATEWAY_RATE_LIMITED", LATER)]
#[test_case(GatewayError::Timeout, "GATEWAY_TIMEOUT", SOON)]
#[test_case(GatewayError::TemporaryFailure, "GATEWAY_TEMPORARY_FAILURE", SOON)]
#[test_case(GatewayError::UnknownStatus("?".to_owned()), "GATEWAY_UNKNOWN_STATUS", SOON)]
#[test_case(GatewayError::Voided, "GATEWAY_UNKNOWN_STATUS", SOON)]
#[tokio::test]
async fn every_error_but_a_declined_refund_is_retryable(error: GatewayError, code: &str, kind: ErrorKind) {
    let shop = charged().await;
    shop.set_outage(Outage { gateway: Some(error), ..Outage::default() });
    let error = run(&shop, CONTEXT, Some(PAYMENT)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.kind), (code, kind));
    assert!(!error.message.contains("secret"), "{error}");
}

#[tokio::test]
async fn unreadable_result_is_reported_after_the_refund() {
    let shop = charged().await;
    let error = run(&shop, CONTEXT, Some(r#"{"by":"hand"}"#)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("INVALID_RESULT", false));
    assert!(shop.charges().is_empty());
}

#[tokio::test]
async fn gateway_is_told_which_card_the_money_goes_back_to() {
    let error = run(&charged().await, &CONTEXT.replace("tok_secret", "test_success_visa_norefund"), None).await;
    assert_eq!(error.unwrap_err().code, "REFUND_DECLINED");
}
