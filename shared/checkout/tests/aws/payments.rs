use crate::shop::{Shop, now};
use checkout::{Charge, ChargeRequest, Gateway, GatewayError, GatewaySimulator, Money, Token};
use futures::future::join_all;

async fn charge(shop: &Shop, key: &str, token: &str) -> Result<Charge, GatewayError> {
    let (token, amount) = (Token::from(token), Money::from_cents(10_000));
    let request = ChargeRequest { idempotency_key: key, token: &token, amount, currency: "USD", at: now() };
    GatewaySimulator::new(shop.tables.clone()).charge(&request).await
}

#[tokio::test]
async fn twenty_at_once_are_one_charge() {
    let shop = Shop::with(&[]).await;
    let charges = join_all((0..20).map(|_| charge(&shop, "key", "test_success_visa"))).await;
    let first = charges[0].clone().unwrap();
    assert_eq!(first.amount.to_string(), "100.00");
    assert!(charges.iter().all(|charge| charge.as_ref() == Ok(&first)));
    assert_eq!(shop.count("payments").await, 1);
    assert_ne!(charge(&shop, "another", "test_success_visa").await.unwrap().payment_id, first.payment_id);
}

#[tokio::test]
async fn a_repeated_charge_keeps_its_time() {
    let shop = Shop::with(&[]).await;
    let first = charge(&shop, "key", "test_success_visa").await.unwrap();
    let token = Token::from("test_success_visa");
    let later = ChargeRequest {
        idempotency_key: "key",
        token: &token,
        amount: first.amount,
        currency: "USD",
        at: now() + std::time::Duration::from_secs(60),
    };
    let gateway = GatewaySimulator::new(shop.tables.clone());
    assert_eq!(gateway.charge(&later).await, Ok(first));
    // A key belongs to one charge. Another amount under it is somebody's mistake, and nothing is charged for it.
    let other = ChargeRequest { amount: Money::from_cents(1), ..later };
    assert!(matches!(gateway.charge(&other).await, Err(GatewayError::UnknownStatus(_))));
}

#[tokio::test]
async fn failures_are_counted_in_the_table() {
    let shop = Shop::with(&[]).await;
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

#[tokio::test]
async fn a_refusal_leaves_nothing_behind() {
    let shop = Shop::with(&[]).await;
    for _ in 0..2 {
        assert_eq!(charge(&shop, "d", "test_declined_visa").await, Err(GatewayError::Declined("card declined")));
        assert_eq!(charge(&shop, "u", "4242424242424242").await, Err(GatewayError::Declined("unknown card")));
        assert_eq!(charge(&shop, "t", "test_timeout_visa").await, Err(GatewayError::Timeout));
    }
    assert_eq!(shop.count("payments").await, 0);
}
