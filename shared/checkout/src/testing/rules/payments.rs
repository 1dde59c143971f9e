use super::{TestShop, now};
use crate::{
    Charge, Gateway, GatewayError, Money, OpenRequest, PaymentError, PaymentRecords, PaymentRef, PaymentState,
    RecordError, Refund, Reversal, Token, test_card::REFUND_BOUNCES_AFTER,
};
use futures::future::join_all;
use std::time::Duration;
use stepwell::{TaskId, Timestamp};

/// Charges 100.00 as `process_payment` does, with a key of its own for each attempt.
pub async fn charge(shop: &impl TestShop, key: &str, token: &str) -> Result<Charge, PaymentError> {
    charge_at(shop, key, token, now()).await
}

async fn charge_at(shop: &impl TestShop, key: &str, token: &str, at: Timestamp) -> Result<Charge, PaymentError> {
    let attempt = TaskId::new().to_string();
    let request = OpenRequest { key: &attempt, amount: Money::from_cents(10_000), currency: "USD", at };
    let charged = crate::charge(&shop.gateway(), shop.tables(), key, Some(&Token::from(token)), &request).await;
    charged.map(|charge| charge.expect("there is a token"))
}

/// Refunds as `refund_payment` does.
pub async fn refund(shop: &impl TestShop, key: &str, at: Timestamp) -> Result<Reversal, PaymentError> {
    crate::refund(&shop.gateway(), shop.tables(), key, at).await
}

fn declined(reason: &'static str) -> PaymentError {
    GatewayError::Declined(reason).into()
}

const VOIDED: PaymentError = PaymentError::Gateway(GatewayError::Voided);

fn later() -> Timestamp {
    now() + Duration::from_secs(60)
}

pub async fn twenty_concurrent_requests_make_one_charge<S: TestShop>() {
    let shop = S::with(&[]).await;
    let charges = join_all((0..20).map(|_| charge(&shop, "key", "test_success_visa"))).await;
    let first = charges[0].clone().unwrap();
    assert_eq!(first.amount.to_string(), "100.00");
    assert!(charges.iter().all(|charge| charge.as_ref() == Ok(&first)));
    assert_ne!(charge(&shop, "another", "test_success_visa").await.unwrap().payment_id, first.payment_id);
}

pub async fn repeated_charge_keeps_its_time<S: TestShop>() {
    let shop = S::with(&[]).await;
    let first = charge(&shop, "key", "test_success_visa").await.unwrap();
    assert_eq!(charge_at(&shop, "key", "test_success_visa", later()).await, Ok(first));
    // A key belongs to one payment. Another amount under it is a mistake of the caller, and nothing is opened.
    let (gateway, amount) = (shop.gateway(), Money::from_cents(10_000));
    let request = OpenRequest { key: "opened", amount, currency: "USD", at: now() };
    let opened = gateway.open(&request).await.unwrap();
    assert_eq!(gateway.open(&request).await.as_ref(), Ok(&opened));
    let other = OpenRequest { amount: Money::from_cents(1), ..request };
    assert!(matches!(gateway.open(&other).await, Err(GatewayError::UnknownStatus(_))));
    assert_eq!(gateway.read(&opened, now()).await, Ok(PaymentState::Open));
}

/// The answer is lost, and the gateway has forgotten the key since.
pub async fn lost_answer_is_settled_by_reading_the_payment<S: TestShop>() {
    let shop = S::with(&[]).await;
    let token = "test_answerlost_visa";
    assert_eq!(charge(&shop, "key", token).await, Err(GatewayError::Timeout.into()));
    let month = now() + Duration::from_secs(30 * 24 * 60 * 60);
    let charged = charge_at(&shop, "key", token, month).await.unwrap();
    assert_eq!(charged.charged_at, now());
    let Ok(Reversal::Refunded { charge: refunded, .. }) = refund(&shop, "key", month).await else { panic!() };
    assert_eq!(refunded, charged);
}

pub async fn second_payment_is_not_recorded_and_a_void_key_takes_none<S: TestShop>() {
    let shop = S::with(&[]).await;
    let (records, payment) = (shop.tables(), |number: u32| PaymentRef(format!("pay_{number}")));
    assert_eq!(records.recorded("key").await, Ok(None));
    assert_eq!(records.record("key", &payment(1)).await, Ok(payment(1)));
    assert_eq!(records.record("key", &payment(2)).await, Ok(payment(1)));
    assert_eq!(records.recorded("key").await, Ok(Some(payment(1))));
    let void = |key: &'static str, at| async move { shop_void(records, key, at).await };
    assert_eq!(void("key", now()).await, (Some(payment(1)), now()));
    assert_eq!(void("key", later()).await, (Some(payment(1)), now()), "a repeated call");
    assert_eq!(void("none", now()).await, (None, now()));
    for key in ["key", "none"] {
        assert_eq!(records.recorded(key).await, Err(RecordError::Void));
        assert_eq!(records.record(key, &payment(3)).await, Err(RecordError::Void));
    }
}

async fn shop_void(records: &impl PaymentRecords, key: &str, at: Timestamp) -> (Option<PaymentRef>, Timestamp) {
    let voided = records.void(key, at).await.unwrap();
    (voided.payment, voided.at)
}

pub async fn refund_fails_later_as_scripted_by_the_token<S: TestShop>() {
    let shop = S::with(&[]).await;
    let charged = charge(&shop, "key", "test_success_visa_refundbounce").await.unwrap();
    let payment = shop.tables().recorded("key").await.unwrap().unwrap();
    let refunded = refund(&shop, "key", now()).await.unwrap();
    assert_eq!(shop.gateway().read(&payment, later()).await, Ok(PaymentState::Reversed(refunded)));
    let bounced = now() + REFUND_BOUNCES_AFTER;
    assert_eq!(shop.gateway().read(&payment, bounced).await, Ok(PaymentState::RefundFailed(charged)));
    assert_eq!(refund(&shop, "key", bounced).await, Err(declined("refund failed at the bank")));
}

pub async fn scripted_failures_are_counted_in_the_table<S: TestShop>() {
    let shop = S::with(&[]).await;
    for (key, token, failures, error) in [
        ("once", "test_temp_fail_visa", 1, GatewayError::TemporaryFailure),
        ("thrice", "test_temp_fail_3_visa", 3, GatewayError::TemporaryFailure),
        ("limited", "test_rate_limit_visa", 1, GatewayError::RateLimited),
    ] {
        for _ in 0..failures {
            assert_eq!(charge(&shop, key, token).await, Err(error.clone().into()), "{token}");
        }
        let charged = charge(&shop, key, token).await.unwrap();
        assert_eq!(charge(&shop, key, token).await, Ok(charged), "{token}");
    }
}

pub async fn declined_charge_charges_nothing<S: TestShop>() {
    let shop = S::with(&[]).await;
    for _ in 0..2 {
        assert_eq!(charge(&shop, "d", "test_declined_visa").await, Err(declined("card declined")));
        assert_eq!(charge(&shop, "u", "4242424242424242").await, Err(declined("unknown card")));
        assert_eq!(charge(&shop, "t", "test_timeout_visa").await, Err(GatewayError::Timeout.into()));
    }
    for key in ["d", "u", "t"] {
        assert_eq!(refund(&shop, key, now()).await, Ok(Reversal::Voided { at: now() }));
    }
}

pub async fn twenty_concurrent_refunds_make_one_refund<S: TestShop>() {
    let shop = S::with(&[]).await;
    let token = "test_success_visa";
    let charged = charge(&shop, "key", token).await.unwrap();
    let refunds = join_all((0..20).map(|_| refund(&shop, "key", later()))).await;
    let first = refunds[0].clone().unwrap();
    let Reversal::Refunded { charge: returned, at, .. } = &first else { panic!("{first:?}") };
    assert_eq!((returned, *at), (&charged, later()), "all of it");
    assert!(refunds.iter().all(|refund| refund.as_ref() == Ok(&first)), "{refunds:?}");
    let again = refund(&shop, "key", later() + Duration::from_secs(60)).await;
    assert_eq!(again, Ok(first), "a repeated refund keeps its time");
    assert_eq!(charge(&shop, "key", token).await, Err(VOIDED), "a void key returns no charge");
}

pub async fn charge_after_its_refund_is_refused<S: TestShop>() {
    let shop = S::with(&[]).await;
    for token in ["test_success_visa", "test_temp_fail_3_visa", "test_rate_limit_visa"] {
        let voided = refund(&shop, token, now()).await.unwrap();
        assert_eq!(voided, Reversal::Voided { at: now() });
        for _ in 0..2 {
            assert_eq!(charge(&shop, token, token).await, Err(VOIDED));
            assert_eq!(refund(&shop, token, later()).await.as_ref(), Ok(&voided));
        }
        assert_eq!(Refund::from(voided).amount_refunded, Money::ZERO);
    }
    assert!(charge(&shop, "another", "test_success_visa").await.is_ok());
}

pub async fn failures_of_charges_do_not_affect_refunds<S: TestShop>() {
    let shop = S::with(&[]).await;
    for (token, failures) in [("test_timeout_visa", 1), ("test_declined_visa", 1), ("test_temp_fail_3_visa", 2)] {
        for _ in 0..failures {
            assert!(charge(&shop, token, token).await.is_err());
        }
        assert_eq!(refund(&shop, token, now()).await, Ok(Reversal::Voided { at: now() }), "{token}");
    }
}

pub async fn refund_fails_as_scripted_by_the_token<S: TestShop>() {
    let shop = S::with(&[]).await;
    let (never, twice) = ("test_success_visa_norefund", "test_success_visa_refundfail_2");
    assert!(matches!(refund(&shop, "void", now()).await, Ok(Reversal::Voided { .. })), "there is no charge");
    let charges = join_all([never, twice].map(|token| charge(&shop, token, token))).await;
    for _ in 0..2 {
        assert_eq!(refund(&shop, never, now()).await, Err(declined("refund declined")));
        assert_eq!(refund(&shop, twice, now()).await, Err(GatewayError::TemporaryFailure.into()));
    }
    assert!(refund(&shop, never, now()).await.is_err());
    let payment = shop.tables().void(never, later()).await.unwrap().payment.unwrap();
    let standing = charges[0].clone().map(PaymentState::Paid).unwrap();
    assert_eq!(shop.gateway().read(&payment, later()).await, Ok(standing), "a charge without a refund stays charged");
    let refunded = refund(&shop, twice, now()).await;
    assert!(matches!(refunded, Ok(Reversal::Refunded { .. })), "{refunded:?}");
    assert_eq!(refund(&shop, twice, later()).await, refunded);
}
