use crate::ProcessPayment;
use checkout::{Charge, ChargeRequest, Gateway, GatewayError, Money, Payment, RefundRequest, Reversal};
use serde_json::{Value, json};
use std::{sync::Mutex, time::Duration};
use stepwell::{ErrorKind, Input, Step, StepContext, StepError, TaskData, TaskId, Timestamp};
use test_case::test_case;

/// A gateway that answers what it is told to, and remembers the keys it was asked with.
#[derive(Default)]
struct Fake {
    error: Option<GatewayError>,
    keys: Mutex<Vec<String>>,
}

impl Gateway for Fake {
    async fn charge(&self, request: &ChargeRequest<'_>) -> Result<Charge, GatewayError> {
        self.keys.lock().unwrap().push(request.idempotency_key.to_owned());
        match &self.error {
            Some(error) => Err(error.clone()),
            None => Ok(Charge {
                payment_id: "pay_1".to_owned(),
                transaction_id: "txn_1".to_owned(),
                amount: request.amount,
                currency: request.currency.to_owned(),
                card: "visa".to_owned(),
                charged_at: request.at,
            }),
        }
    }

    async fn refund(&self, _: &RefundRequest<'_>) -> Result<Reversal, GatewayError> {
        panic!("a payment refunds nothing")
    }
}

const CART: &str = r#"{"validated_items":[{"product_id":1,"name":"Lamp","price":43.98,"quantity":2,"line_total":87.96}],
    "subtotal":87.96,"tax":7.04,"shipping":5.00,"total":100.00,"item_count":2,"validated_at":"2023-11-14T22:13:20.123Z"}"#;

async fn run(gateway: Fake, payment_info: &str) -> (Result<Payment, StepError>, Fake) {
    let payment_info: Value = serde_json::from_str(payment_info).unwrap();
    let data = TaskData {
        context: json!({ "payment_info": payment_info }).to_string(),
        results: [("validate_cart".to_owned(), CART.to_owned())].into(),
    };
    let task = "018f4e4e-7c1a-7000-8000-0123456789ab".parse::<TaskId>().unwrap();
    let ctx = StepContext::for_test("process_payment", task, Timestamp::from_millis(1_700_000_000_123));
    let step = ProcessPayment { gateway };
    let result = step.run(Input::from_data(&data).unwrap(), &ctx).await;
    (result, step.gateway)
}

#[test_case(r#"{"token": "tok", "amount": 100.00}"#)]
#[test_case(r#"{"token": "tok", "amount": 100}"#; "no decimals")]
#[test_case(r#"{"token": "tok", "amount": 1e2, "currency": "USD", "method": "credit_card"}"#; "all fields")]
#[tokio::test]
async fn the_card_is_charged_with_the_attempts_key(payment_info: &str) {
    let (payment, gateway) = run(Fake::default(), payment_info).await;
    let payment = payment.unwrap();
    assert_eq!(payment.amount_charged, Money::from_cents(10_000));
    let expected = concat!(
        r#"{"payment_id":"pay_1","amount_charged":100.00,"currency":"USD","payment_method_type":"visa","#,
        r#""transaction_id":"txn_1","processed_at":"2023-11-14T22:13:20.123Z"}"#
    );
    assert_eq!(serde_json::to_string(&payment).unwrap(), expected);
    assert_eq!(gateway.keys.into_inner().unwrap(), ["018f4e4e-7c1a-7000-8000-0123456789ab:process_payment"]);
}

#[test_case("{}", "MISSING_PAYMENT_TOKEN")]
#[test_case("7", "MISSING_PAYMENT_TOKEN"; "no object")]
#[test_case(r#"{"token": "", "amount": 100.00}"#, "MISSING_PAYMENT_TOKEN"; "an empty token")]
#[test_case(r#"{"token": 5, "amount": 100.00}"#, "MISSING_PAYMENT_TOKEN"; "a number for a token")]
#[test_case(r#"{"token": "tok"}"#, "PAYMENT_AMOUNT_MISMATCH"; "no amount")]
#[test_case(r#"{"token": "tok", "amount": 99.99}"#, "PAYMENT_AMOUNT_MISMATCH"; "a cent less")]
#[test_case(r#"{"token": "tok", "amount": 100.001}"#, "PAYMENT_AMOUNT_MISMATCH"; "less than a cent more")]
#[test_case(r#"{"token": "tok", "amount": "100.00"}"#, "PAYMENT_AMOUNT_MISMATCH"; "an amount in words")]
#[test_case(r#"{"token": "tok", "amount": 100.00, "currency": "JPY"}"#, "PAYMENT_AMOUNT_MISMATCH"; "another currency")]
#[test_case(r#"{"token": "tok", "amount": 100.00, "currency": 5}"#, "PAYMENT_AMOUNT_MISMATCH"; "no currency at all")]
#[tokio::test]
async fn what_is_wrong_never_reaches_the_gateway(payment_info: &str, code: &str) {
    let (result, gateway) = run(Fake::default(), payment_info).await;
    let error = result.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), (code, false), "{error}");
    assert!(!error.message.contains("tok\""), "{error}");
    assert!(gateway.keys.into_inner().unwrap().is_empty());
}

const PERMANENT: ErrorKind = ErrorKind::Permanent;
const SOON: ErrorKind = ErrorKind::Retryable { retry_after: None };
const LATER: ErrorKind = ErrorKind::Retryable { retry_after: Some(Duration::from_secs(30)) };

#[test_case(GatewayError::Declined("card declined"), "PAYMENT_DECLINED", PERMANENT)]
#[test_case(GatewayError::Voided, "PAYMENT_VOID", PERMANENT)]
#[test_case(GatewayError::RateLimited, "GATEWAY_RATE_LIMITED", LATER)]
#[test_case(GatewayError::Timeout, "GATEWAY_TIMEOUT", SOON)]
#[test_case(GatewayError::TemporaryFailure, "GATEWAY_TEMPORARY_FAILURE", SOON)]
#[test_case(GatewayError::UnknownStatus("?".to_owned()), "GATEWAY_UNKNOWN_STATUS", SOON)]
#[tokio::test]
async fn what_the_gateway_says(error: GatewayError, code: &str, kind: ErrorKind) {
    let gateway = Fake { error: Some(error), ..Fake::default() };
    let (result, _) = run(gateway, r#"{"token": "tok_secret", "amount": 100.00}"#).await;
    let error = result.unwrap_err();
    assert_eq!((error.code.as_str(), error.kind), (code, kind));
    assert!(!error.message.contains("secret"), "{error}");
}
