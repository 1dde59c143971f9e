use crate::step;
use checkout::{
    CURRENCY, CardTokens, Charge, Gateway, GatewayError, Money, OpenRequest, Payment, PaymentError, PaymentRecords,
    PaymentState, Refund,
    test_card::REFUND_BOUNCES_AFTER,
    testing::{MemoryShop, Outage},
};
use std::time::Duration;
use stepwell::{ErrorKind, Input, Step, StepContext, StepError, TaskData, Timestamp};
use test_case::test_case;

const TASK: &str = "018f4e4e-7c1a-7000-8000-0123456789ab";
const KEY: &str = "018f4e4e-7c1a-7000-8000-0123456789ab:process_payment";
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

/// Charges 100.00 as `process_payment` does.
async fn charge_with(shop: &MemoryShop, token: &str) -> Result<Charge, PaymentError> {
    let request = OpenRequest { key: "a key", amount: Money::from_cents(10_000), currency: CURRENCY, at: NOW };
    let charged = checkout::charge(shop, shop, KEY, Some(&token.into()), &request).await;
    charged.map(|charge| charge.expect("there is a token"))
}

async fn charge(shop: &MemoryShop) -> Result<Charge, PaymentError> {
    charge_with(shop, "test_success_visa").await
}

const VOID: Result<Charge, PaymentError> = Err(PaymentError::Gateway(GatewayError::Voided));

/// A shop with a charge, and the result of `process_payment`.
async fn charged() -> (MemoryShop, String) {
    let shop = MemoryShop::default();
    let payment = Payment::from(charge(&shop).await.unwrap());
    (shop, serde_json::to_string(&payment).unwrap())
}

const CONTEXT: &str = r#"{"payment_info": {"token": "tok_secret", "amount": 100.00}}"#;

const BY_HAND: &str = r#"{"payment_id":"terminal_7","amount_charged":100.00,"currency":"USD","payment_method_type":"visa",
    "transaction_id":"txn_1","processed_at":"2023-11-14T22:13:20.123Z"}"#;

async fn run(shop: &MemoryShop, context: &str, payment: Option<&str>) -> Result<Refund, StepError> {
    let results = payment.map(|payment| ("process_payment".to_owned(), payment.to_owned())).into_iter().collect();
    let data = TaskData { context: context.to_owned(), results };
    let ctx = StepContext::for_test("refund_payment", TASK.parse().unwrap(), NOW);
    step(shop).unwrap().run(Input::from_data(&data).unwrap(), &ctx).await
}

#[test_case(true; "the payment is known")]
#[test_case(false; "its answer was lost")]
#[tokio::test]
async fn recorded_payment_is_refunded_once(known: bool) {
    let (shop, payment) = charged().await;
    let id = shop.charges().into_keys().next().unwrap().0;
    let refund = run(&shop, CONTEXT, known.then_some(payment.as_str())).await.unwrap();
    let refund_id = refund.refund_id.clone().unwrap();
    let expected = format!(
        r#"{{"refund_id":"{refund_id}","payment_id":"{id}","amount_refunded":100.00,"currency":"USD","refunded_at":"2023-11-14T22:13:20.123Z"}}"#
    );
    assert_eq!(serde_json::to_string(&refund).unwrap(), expected);
    assert!(shop.charges().is_empty());
    assert_eq!(run(&shop, CONTEXT, None).await, Ok(refund));
    assert_eq!(charge(&shop).await, VOID);
}

/// A worker that has recorded its payment, and comes back after the refund, holds a payment that nobody can charge any more.
#[tokio::test]
async fn payment_that_was_opened_before_the_refund_cannot_be_confirmed_after_it() {
    let shop = MemoryShop::default();
    let request = OpenRequest { key: "a key", amount: Money::from_cents(10_000), currency: CURRENCY, at: NOW };
    let opened = shop.open(&request).await.unwrap();
    shop.record(KEY, &opened).await.unwrap();
    assert_eq!(run(&shop, CONTEXT, None).await.unwrap().refund_id, None);
    assert_eq!(shop.confirm(&opened, &"test_success_visa".into(), NOW).await, Err(GatewayError::Voided));
    assert!(shop.charges().is_empty());
}

#[tokio::test]
async fn refund_that_fails_later_is_read_as_failed_and_needs_a_person() {
    let shop = MemoryShop::default();
    charge_with(&shop, "test_success_visa_refundbounce").await.unwrap();
    let payment = shop.recorded(KEY).await.unwrap().unwrap();
    run(&shop, CONTEXT, None).await.unwrap();
    assert!(matches!(shop.read(&payment, NOW).await, Ok(PaymentState::Reversed(_))));
    let later = NOW + REFUND_BOUNCES_AFTER;
    assert!(matches!(shop.read(&payment, later).await, Ok(PaymentState::RefundFailed(_))));
    let again = checkout::refund(&shop, &shop, KEY, later).await;
    assert_eq!(again, Err(PaymentError::Gateway(GatewayError::Declined("refund failed at the bank"))));
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
    assert_eq!(charge(&shop).await, VOID, "a late attempt");
}

#[test_case(false; "the gateway charged nothing")]
#[test_case(true; "the same amount was charged as well, and is refunded")]
#[tokio::test]
async fn payment_taken_by_hand_is_refused_with_instructions(too: bool) {
    let shop = if too { charged().await.0 } else { MemoryShop::default() };
    let error = run(&shop, CONTEXT, Some(BY_HAND)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("NOTHING_TO_REFUND", false));
    assert!(error.message.contains("terminal_7") && error.message.contains("100.00 USD"), "{error}");
    assert_eq!(charge(&shop).await, VOID);
}

#[tokio::test]
async fn step_resolved_without_a_payment_needs_no_refund() {
    let free = BY_HAND.replace("terminal_7", "none").replace("100.00", "0.00");
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
    let (shop, payment) = charged().await;
    shop.set_outage(Outage { gateway: Some(error), ..Outage::default() });
    let error = run(&shop, CONTEXT, Some(&payment)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.kind), (code, kind));
    assert!(!error.message.contains("secret"), "{error}");
}

#[tokio::test]
async fn unreadable_result_is_reported_after_the_refund() {
    let (shop, _) = charged().await;
    let error = run(&shop, CONTEXT, Some(r#"{"by":"hand"}"#)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("INVALID_RESULT", false));
    assert!(shop.charges().is_empty());
}

#[tokio::test]
async fn token_of_the_card_is_deleted_once_nothing_can_be_charged_any_more() {
    let (shop, _) = charged().await;
    shop.keep(TASK.parse().unwrap(), &"test_success_visa".into(), NOW + Duration::from_secs(60)).await.unwrap();
    shop.set_outage(Outage { gateway: Some(GatewayError::Timeout), ..Outage::default() });
    run(&shop, CONTEXT, None).await.unwrap_err();
    assert_eq!(shop.tasks_with_tokens().len(), 1);
    shop.set_outage(Outage::default());
    run(&shop, CONTEXT, None).await.unwrap();
    assert!(shop.tasks_with_tokens().is_empty());
}

#[tokio::test]
async fn declined_refund_needs_a_person() {
    let shop = MemoryShop::default();
    charge_with(&shop, "test_success_visa_norefund").await.unwrap();
    let error = run(&shop, CONTEXT, None).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("REFUND_DECLINED", false));
    assert_eq!(shop.charges().len(), 1);
}
