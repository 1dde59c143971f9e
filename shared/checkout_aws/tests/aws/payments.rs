use crate::shop::{TestShop, now, on_every_shop};
use checkout::{Charge, ChargeRequest, Gateway, GatewayError, Money, Refund, RefundRequest, Reversal, Token};
use futures::future::join_all;
use std::time::Duration;
use stepwell::Timestamp;

pub(crate) async fn charge(shop: &impl TestShop, key: &str, token: &str) -> Result<Charge, GatewayError> {
    let (token, amount) = (Token::from(token), Money::from_cents(10_000));
    let request = ChargeRequest { idempotency_key: key, token: &token, amount, currency: "USD", at: now() };
    shop.gateway().charge(&request).await
}

pub(crate) async fn refund(
    shop: &impl TestShop,
    key: &str,
    token: &str,
    at: Timestamp,
) -> Result<Reversal, GatewayError> {
    let request = RefundRequest { idempotency_key: key, token: Some(&Token::from(token)), at };
    shop.gateway().refund(&request).await
}

fn later() -> Timestamp {
    now() + Duration::from_secs(60)
}

async fn twenty_concurrent_requests_make_one_charge<S: TestShop>() {
    let shop = S::with(&[]).await;
    let charges = join_all((0..20).map(|_| charge(&shop, "key", "test_success_visa"))).await;
    let first = charges[0].clone().unwrap();
    assert_eq!(first.amount.to_string(), "100.00");
    assert!(charges.iter().all(|charge| charge.as_ref() == Ok(&first)));
    shop.assert_count("payments", 1).await;
    assert_ne!(charge(&shop, "another", "test_success_visa").await.unwrap().payment_id, first.payment_id);
}

async fn repeated_charge_keeps_its_time<S: TestShop>() {
    let shop = S::with(&[]).await;
    let first = charge(&shop, "key", "test_success_visa").await.unwrap();
    let token = Token::from("test_success_visa");
    let later = ChargeRequest {
        idempotency_key: "key",
        token: &token,
        amount: first.amount,
        currency: "USD",
        at: self::later(),
    };
    let gateway = shop.gateway();
    assert_eq!(gateway.charge(&later).await, Ok(first));
    // A key belongs to one charge. Another amount under it is a mistake of the caller, and nothing is charged.
    let other = ChargeRequest { amount: Money::from_cents(1), ..later };
    assert!(matches!(gateway.charge(&other).await, Err(GatewayError::UnknownStatus(_))));
}

async fn scripted_failures_are_counted_in_the_table<S: TestShop>() {
    let shop = S::with(&[]).await;
    for (key, token, failures, error) in [
        ("once", "test_temp_fail_visa", 1, GatewayError::TemporaryFailure),
        ("thrice", "test_temp_fail_3_visa", 3, GatewayError::TemporaryFailure),
        ("limited", "test_rate_limit_visa", 1, GatewayError::RateLimited),
    ] {
        for _ in 0..failures {
            assert_eq!(charge(&shop, key, token).await, Err(error.clone()), "{token}");
        }
        let charged = charge(&shop, key, token).await.unwrap();
        assert_eq!(charge(&shop, key, token).await, Ok(charged), "{token}");
    }
}

async fn declined_charge_writes_nothing<S: TestShop>() {
    let shop = S::with(&[]).await;
    for _ in 0..2 {
        assert_eq!(charge(&shop, "d", "test_declined_visa").await, Err(GatewayError::Declined("card declined")));
        assert_eq!(charge(&shop, "u", "4242424242424242").await, Err(GatewayError::Declined("unknown card")));
        assert_eq!(charge(&shop, "t", "test_timeout_visa").await, Err(GatewayError::Timeout));
    }
    shop.assert_count("payments", 0).await;
}

async fn twenty_concurrent_refunds_make_one_refund<S: TestShop>() {
    let shop = S::with(&[]).await;
    let token = "test_success_visa";
    let charged = charge(&shop, "key", token).await.unwrap();
    let refunds = join_all((0..20).map(|_| refund(&shop, "key", token, later()))).await;
    let first = refunds[0].clone().unwrap();
    let Reversal::Refunded { charge: returned, at, .. } = &first else { panic!("{first:?}") };
    assert_eq!((returned, *at), (&charged, later()), "all of it");
    assert!(refunds.iter().all(|refund| refund.as_ref() == Ok(&first)), "{refunds:?}");
    let again = refund(&shop, "key", token, later() + Duration::from_secs(60)).await;
    assert_eq!(again, Ok(first), "a repeated refund keeps its time");
    shop.assert_count("payments", 1).await;
    assert_eq!(charge(&shop, "key", token).await, Err(GatewayError::Voided), "a void key returns no charge");
}

async fn charge_after_its_refund_is_refused<S: TestShop>() {
    let shop = S::with(&[]).await;
    for token in ["test_success_visa", "test_temp_fail_3_visa", "test_rate_limit_visa"] {
        let voided = refund(&shop, token, token, now()).await.unwrap();
        assert_eq!(voided, Reversal::Voided { at: now() });
        for _ in 0..2 {
            assert_eq!(charge(&shop, token, token).await, Err(GatewayError::Voided));
            assert_eq!(refund(&shop, token, token, later()).await.as_ref(), Ok(&voided));
        }
        assert_eq!(Refund::from(voided).amount_refunded, Money::ZERO);
    }
    assert!(charge(&shop, "another", "test_success_visa").await.is_ok());
}

async fn failures_of_charges_do_not_affect_refunds<S: TestShop>() {
    let shop = S::with(&[]).await;
    for (token, failures) in [("test_timeout_visa", 1), ("test_declined_visa", 1), ("test_temp_fail_3_visa", 2)] {
        for _ in 0..failures {
            assert!(charge(&shop, token, token).await.is_err());
        }
        assert_eq!(refund(&shop, token, token, now()).await, Ok(Reversal::Voided { at: now() }), "{token}");
    }
}

async fn refund_fails_as_scripted_by_the_token<S: TestShop>() {
    let shop = S::with(&[]).await;
    let (never, twice) = ("test_success_visa_norefund", "test_success_visa_refundfail_2");
    assert!(matches!(refund(&shop, "void", never, now()).await, Ok(Reversal::Voided { .. })), "there is no charge");
    let charges = join_all([never, twice].map(|token| charge(&shop, token, token))).await;
    for _ in 0..2 {
        assert_eq!(refund(&shop, never, never, now()).await, Err(GatewayError::Declined("refund declined")));
        assert_eq!(refund(&shop, twice, twice, now()).await, Err(GatewayError::TemporaryFailure));
    }
    assert!(refund(&shop, never, never, now()).await.is_err());
    assert_eq!(charge(&shop, never, never).await, charges[0], "a charge without a refund stays charged");
    let refunded = refund(&shop, twice, twice, now()).await;
    assert!(matches!(refunded, Ok(Reversal::Refunded { .. })), "{refunded:?}");
    assert_eq!(refund(&shop, twice, twice, later()).await, refunded);
}

on_every_shop! {
    twenty_concurrent_requests_make_one_charge,
    repeated_charge_keeps_its_time,
    scripted_failures_are_counted_in_the_table,
    declined_charge_writes_nothing,
    twenty_concurrent_refunds_make_one_refund,
    charge_after_its_refund_is_refused,
    failures_of_charges_do_not_affect_refunds,
    refund_fails_as_scripted_by_the_token,
}
