use crate::RefundPayment;
use checkout::{Charge, ChargeRequest, Gateway, GatewayError, Money, Refund, RefundRequest, Reversal};
use std::{sync::Mutex, time::Duration};
use stepwell::{ErrorKind, Input, Step, StepContext, StepError, TaskData, TaskId, Timestamp};
use test_case::test_case;

/// A gateway that has charged a card or not, answers what it is told to, and remembers what it was asked with.
#[derive(Default)]
struct Fake {
    charged: bool,
    error: Option<GatewayError>,
    asked: Mutex<Vec<(String, Option<String>)>>,
}

impl Gateway for Fake {
    async fn charge(&self, _: &ChargeRequest<'_>) -> Result<Charge, GatewayError> {
        panic!("a refund charges nothing")
    }

    async fn refund(&self, request: &RefundRequest<'_>) -> Result<Reversal, GatewayError> {
        let token = request.token.map(|token| token.reveal().to_owned());
        self.asked.lock().unwrap().push((request.idempotency_key.to_owned(), token));
        match &self.error {
            Some(error) => Err(error.clone()),
            None if !self.charged => Ok(Reversal::Voided { at: request.at }),
            None => Ok(Reversal::Refunded {
                refund_id: "ref_1".to_owned(),
                charge: Charge {
                    payment_id: "pay_1".to_owned(),
                    transaction_id: "txn_1".to_owned(),
                    amount: Money::from_cents(10_000),
                    currency: "USD".to_owned(),
                    card: "visa".to_owned(),
                    charged_at: Timestamp::from_millis(0),
                },
                at: request.at,
            }),
        }
    }
}

fn charged() -> Fake {
    Fake { charged: true, ..Fake::default() }
}

const CONTEXT: &str = r#"{"payment_info": {"token": "tok_secret", "amount": 100.00}}"#;
const PAYMENT: &str = r#"{"payment_id":"pay_1","amount_charged":100.00,"currency":"USD","payment_method_type":"visa",
    "transaction_id":"txn_1","processed_at":"2023-11-14T22:13:20.123Z"}"#;

async fn run(gateway: Fake, context: &str, payment: Option<&str>) -> (Result<Refund, StepError>, Fake) {
    let results = payment.map(|payment| ("process_payment".to_owned(), payment.to_owned())).into_iter().collect();
    let data = TaskData { context: context.to_owned(), results };
    let task = "018f4e4e-7c1a-7000-8000-0123456789ab".parse::<TaskId>().unwrap();
    let ctx = StepContext::for_test("refund_payment", task, Timestamp::from_millis(1_700_000_000_123));
    let step = RefundPayment { gateway };
    let result = step.run(Input::from_data(&data).unwrap(), &ctx).await;
    (result, step.gateway)
}

#[test_case(Some(PAYMENT); "the payment is known")]
#[test_case(None; "its answer was lost")]
#[tokio::test]
async fn the_charge_is_given_back_by_its_own_key(payment: Option<&str>) {
    let (refund, gateway) = run(charged(), CONTEXT, payment).await;
    let expected = concat!(
        r#"{"refund_id":"ref_1","payment_id":"pay_1","amount_refunded":100.00,"currency":"USD","#,
        r#""refunded_at":"2023-11-14T22:13:20.123Z"}"#
    );
    assert_eq!(serde_json::to_string(&refund.unwrap()).unwrap(), expected);
    let key = "018f4e4e-7c1a-7000-8000-0123456789ab:process_payment".to_owned();
    assert_eq!(gateway.asked.into_inner().unwrap(), [(key, Some("tok_secret".to_owned()))]);
}

#[test_case(CONTEXT)]
#[test_case("{}"; "a request without a payment")]
#[tokio::test]
async fn where_nothing_was_charged_nothing_is_given_back(context: &str) {
    let (refund, gateway) = run(Fake::default(), context, None).await;
    let expected = concat!(
        r#"{"refund_id":null,"payment_id":null,"amount_refunded":0.00,"currency":"USD","#,
        r#""refunded_at":"2023-11-14T22:13:20.123Z"}"#
    );
    assert_eq!(serde_json::to_string(&refund.unwrap()).unwrap(), expected);
    assert_eq!(gateway.asked.into_inner().unwrap().len(), 1, "the key has to be voided all the same");
}

#[test_case(Fake::default(); "nothing was charged beside it")]
#[test_case(charged(); "as much was charged beside it, and is given back")]
#[tokio::test]
async fn money_that_was_taken_by_hand_is_returned_by_hand(gateway: Fake) {
    let by_hand = PAYMENT.replace("pay_1", "terminal_7");
    let (refund, gateway) = run(gateway, CONTEXT, Some(&by_hand)).await;
    let error = refund.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("NOTHING_TO_REFUND", false));
    assert!(error.message.contains("terminal_7") && error.message.contains("100.00 USD"), "{error}");
    assert_eq!(gateway.asked.into_inner().unwrap().len(), 1);
}

#[tokio::test]
async fn a_step_that_was_resolved_without_taking_money_leaves_none_to_return() {
    let free = PAYMENT.replace("pay_1", "none").replace("100.00", "0.00");
    assert_eq!(run(Fake::default(), CONTEXT, Some(&free)).await.0.unwrap().amount_refunded, Money::ZERO);
}

const PERMANENT: ErrorKind = ErrorKind::Permanent;
const SOON: ErrorKind = ErrorKind::Retryable { retry_after: None };
const LATER: ErrorKind = ErrorKind::Retryable { retry_after: Some(Duration::from_secs(30)) };

#[test_case(GatewayError::Declined("refund declined"), "REFUND_DECLINED", PERMANENT)]
#[test_case(GatewayError::RateLimited, "GATEWAY_RATE_LIMITED", LATER)]
#[test_case(GatewayError::Timeout, "GATEWAY_TIMEOUT", SOON)]
#[test_case(GatewayError::TemporaryFailure, "GATEWAY_TEMPORARY_FAILURE", SOON)]
#[test_case(GatewayError::UnknownStatus("?".to_owned()), "GATEWAY_UNKNOWN_STATUS", SOON)]
#[test_case(GatewayError::Voided, "GATEWAY_UNKNOWN_STATUS", SOON)]
#[tokio::test]
async fn what_may_pass_is_tried_again(error: GatewayError, code: &str, kind: ErrorKind) {
    let gateway = Fake { error: Some(error), ..charged() };
    let error = run(gateway, CONTEXT, Some(PAYMENT)).await.0.unwrap_err();
    assert_eq!((error.code.as_str(), error.kind), (code, kind));
    assert!(!error.message.contains("secret"), "{error}");
}

#[tokio::test]
async fn a_result_that_cannot_be_read_keeps_no_money_back_and_is_told() {
    let (refund, gateway) = run(charged(), CONTEXT, Some(r#"{"by":"hand"}"#)).await;
    let error = refund.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("INVALID_RESULT", false));
    assert_eq!(gateway.asked.into_inner().unwrap().len(), 1);
}
