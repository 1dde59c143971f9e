//! Races of effects and their compensations. In either order, no effect may be left that was not compensated.

use crate::shop::{DynamoShop, TestShop, line, now};
use checkout::{
    CancelOrderError, CancelledOrder, CreateOrderError, GatewayError, HoldError, OrderStatus, Orders, PaymentError,
    Release, ResendError, Reversal, ShipError, Stock, StoreError, Storefront, TakeError,
    testing::rules::{
        orders::{order, resend, shipping},
        payments::{charge, refund},
    },
};
use futures::future::{join, join_all};
use std::future::Future;
use stepwell::TaskId;

/// The number of races.
const RACES: u32 = 60;

/// The number of concurrent calls on each side, as after a duplicate message or a take-over.
const TIMES: usize = 3;

/// Runs both sides of a race, one of them delayed by a number of idle turns that differs from race to race. The first
/// two races run one side after the other, so that each side wins at least one.
async fn race<A, B>(number: u32, effect: impl Future<Output = A>, compensation: impl Future<Output = B>) -> (A, B) {
    match number {
        0 => {
            let effect = effect.await;
            (effect, compensation.await)
        }
        1 => {
            let compensation = compensation.await;
            (effect.await, compensation)
        }
        _ if number.is_multiple_of(2) => join(effect, after(number / 2, compensation)).await,
        _ => join(after(number / 2, effect), compensation).await,
    }
}

async fn after<T>(turns: u32, then: impl Future<Output = T>) -> T {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
    then.await
}

/// Retries while the table is busy, as the engine does.
async fn persistently<T, E>(ask: impl AsyncFn() -> Result<T, E>, busy: impl Fn(&E) -> bool) -> Result<T, E> {
    loop {
        match ask().await {
            Err(error) if busy(&error) => {}
            answer => return answer,
        }
    }
}

const fn is_busy(error: &StoreError) -> bool {
    matches!(error, StoreError::Busy(_))
}

#[tokio::test]
async fn no_charge_remains_that_was_not_refunded() {
    let shop = &DynamoShop::with(&[]).await;
    let races = (0..RACES).map(|number| async move {
        let key = &format!("key {number}");
        let token = ["test_success_visa", "test_temp_fail_visa", "test_success_visa_refundfail_2"][number as usize % 3];
        let busy = |error: &PaymentError| match error {
            PaymentError::Gateway(error) => *error == GatewayError::TemporaryFailure,
            PaymentError::Records(error) => is_busy(error),
        };
        let charges = join_all((0..TIMES).map(|_| persistently(|| charge(shop, key, token), busy)));
        let refunds = join_all((0..TIMES).map(|_| persistently(|| refund(shop, key, now()), busy)));
        let (charges, refunds) = race(number, charges, refunds).await;

        let reversal = refunds[0].clone().unwrap();
        assert!(refunds.iter().all(|refund| refund.as_ref() == Ok(&reversal)), "{key}: {refunds:?}");
        for charge in &charges {
            match (&reversal, charge) {
                (Reversal::Refunded { charge: refunded, .. }, Ok(charge)) => assert_eq!(refunded, charge),
                (_, charge) => assert_eq!(*charge, Err(GatewayError::Voided.into()), "{key}: {reversal:?}"),
            }
        }
        matches!(reversal, Reversal::Refunded { .. })
    });
    let refunded = join_all(races).await.into_iter().filter(|refunded| *refunded).count();

    let payments = shop.items("payments").await;
    assert_eq!(payments.iter().filter(|item| item.contains_key("voided_at")).count(), RACES as usize);
    let charged: Vec<_> = payments.iter().filter(|item| item.contains_key("charge")).collect();
    assert!(charged.iter().all(|item| item.contains_key("reversed_at")), "{charged:?}");
    let charged = charged.len();
    assert_eq!(charged, refunded, "a charge whose answer was lost is refunded, too");
    assert!((1..RACES as usize).contains(&refunded), "both sides have won: {refunded}");
}

#[tokio::test]
async fn stock_is_exact_in_either_order() {
    // One product has enough units for all carts, the other has not.
    let shop = &DynamoShop::with(&[(1, "Lamp", 4398, 1000, true), (2, "Chair", 1000, 3, true)]).await;
    let lines = &[line(1, "Lamp", 2), line(2, "Chair", 1)];
    let races = (0..RACES).map(|number| async move {
        let key = &format!("key {number}");
        // Half of the carts have no chair, among them those of the first two races.
        let lines = if number % 4 < 2 { &lines[..1] } else { lines };
        let busy = |error: &HoldError| matches!(error, HoldError::Store(error) if is_busy(error));
        let busy_take = |error: &TakeError| matches!(error, TakeError::Store(error) if is_busy(error));
        // A hold is taken at once, unless it was refused.
        let reserve = async || {
            let held = persistently(|| shop.hold(key, lines), busy).await?;
            let taken = persistently(|| shop.tables().take(key, now()), busy_take).await;
            assert!(matches!(&taken, Ok(taken) if *taken == held) || taken == Err(TakeError::Void), "{key}: {taken:?}");
            Ok(held)
        };
        let release = || persistently(|| shop.tables().release(key, now()), is_busy);
        let reserves = join_all((0..TIMES).map(|_| reserve()));
        let releases = join_all((0..TIMES).map(|_| release()));
        let (reserves, releases) = race(number, reserves, releases).await;

        let first: Release = releases[0].clone().unwrap();
        assert!(releases.iter().all(|release| release.as_ref() == Ok(&first)), "{key}: {releases:?}");
        for reservation in reserves {
            match reservation {
                Ok(reservation) => assert_eq!(reservation.total_items_reserved, first.total_items_released, "{key}"),
                Err(HoldError::Void | HoldError::InsufficientStock(_)) => {}
                Err(error) => panic!("{key}: {error}"),
            }
        }
        first.total_items_released > 0
    });
    let released = join_all(races).await.into_iter().filter(|released| *released).count();
    assert_eq!((shop.stock(1).await, shop.stock(2).await), (1000, 3));
    assert_eq!(shop.count("reservations").await, i32::try_from(RACES).unwrap());
    assert!((1..RACES as usize).contains(&released), "both sides have won: {released}");
}

#[tokio::test]
async fn no_order_remains_that_was_not_cancelled() {
    let shop = &DynamoShop::with(&[]).await;
    let races = (0..RACES).map(|number| async move {
        let order = &order();
        let id: TaskId = order.order_id;
        let busy = |error: &CreateOrderError| matches!(error, CreateOrderError::Store(error) if is_busy(error));
        let create = || persistently(|| shop.tables().create(order.clone()), busy);
        let busy_cancel = |error: &CancelOrderError| matches!(error, CancelOrderError::Store(error) if is_busy(error));
        let cancel = || persistently(|| shop.tables().cancel(id, now()), busy_cancel);
        let creates = join_all((0..TIMES).map(|_| create()));
        let cancels = join_all((0..TIMES).map(|_| cancel()));
        let (creates, cancels) = race(number, creates, cancels).await;

        let first: CancelledOrder = cancels[0].clone().unwrap();
        assert!(cancels.iter().all(|cancelled| cancelled.as_ref() == Ok(&first)), "{id}: {cancels:?}");
        for made in creates {
            match made {
                Ok(order) => assert_eq!(first.order_number, Some(order.order_number)),
                Err(error) => assert_eq!(error, CreateOrderError::Void, "{id}"),
            }
        }
        let found = shop.tables().find_order(&id.to_string()).await.unwrap();
        assert_eq!(found.as_ref().map(|order| order.order_id), first.order_id);
        assert!(found.is_none_or(|order| order.status == OrderStatus::Cancelled));
        first.order_id.is_some()
    });
    let made = join_all(races).await.into_iter().filter(|made| *made).count();
    assert!((1..RACES as usize).contains(&made), "both sides have won: {made}");
}

#[tokio::test]
async fn resend_of_a_confirmation_is_recorded_before_the_cancellation_or_refused() {
    let shop = &DynamoShop::with(&[]).await;
    let corrected = "ann@example.org";
    let races = (0..RACES).map(|number| async move {
        let id = shop.tables().create(order()).await.unwrap().order_id;
        let resend = &resend(OrderStatus::Confirmed, Some(corrected));
        let busy_resend = |error: &ResendError| matches!(error, ResendError::Store(error) if is_busy(error));
        let busy_cancel = |error: &CancelOrderError| matches!(error, CancelOrderError::Store(error) if is_busy(error));
        let resends = persistently(|| shop.tables().record_resend(id, resend), busy_resend);
        let cancels = persistently(|| shop.tables().cancel(id, now()), busy_cancel);
        let (resent, cancelled) = race(number, resends, cancels).await;

        let address = cancelled.unwrap().customer_email;
        let recorded = address.as_deref() == Some(corrected);
        match resent {
            Ok(order) => assert_eq!(order.status, OrderStatus::Confirmed, "{id}"),
            Err(refused) => assert_eq!(refused, ResendError::Status(OrderStatus::Cancelled), "{id}"),
        }
        let found = shop.tables().find_order(&id.to_string()).await.unwrap().unwrap();
        assert_eq!(found.customer_email, address, "{id}: the cancellation has the order's last address");
        recorded
    });
    let recorded = join_all(races).await.into_iter().filter(|recorded| *recorded).count();
    assert!((1..RACES as usize).contains(&recorded), "both sides have won: {recorded}");
}

#[tokio::test]
async fn order_is_either_shipped_or_cancelled() {
    let shop = &DynamoShop::with(&[]).await;
    let races = (0..RACES).map(|number| async move {
        let id = shop.tables().create(order()).await.unwrap().order_id;
        let shipping = &shipping();
        let busy_ship = |error: &ShipError| matches!(error, ShipError::Store(error) if is_busy(error));
        let busy_cancel = |error: &CancelOrderError| matches!(error, CancelOrderError::Store(error) if is_busy(error));
        let ships = join_all((0..TIMES).map(|_| persistently(|| shop.tables().ship(id, shipping), busy_ship)));
        let cancels = join_all((0..TIMES).map(|_| persistently(|| shop.tables().cancel(id, now()), busy_cancel)));
        let (ships, cancels) = race(number, ships, cancels).await;

        let shipped = ships[0].is_ok();
        let expected = if shipped { Ok(now()) } else { Err(ShipError::Cancelled(now())) };
        assert!(ships.iter().all(|ship| *ship == expected), "{id}: {ships:?}");
        let refused = Err(CancelOrderError::Shipped(now()));
        assert!(cancels.iter().all(|cancel| (*cancel == refused) == shipped), "{id}: {cancels:?}");
        let found = shop.tables().find_order(&id.to_string()).await.unwrap().unwrap();
        assert_eq!((found.shipped_at.is_some(), found.cancelled_at.is_some()), (shipped, !shipped), "{id}");
        shipped
    });
    let shipped = join_all(races).await.into_iter().filter(|shipped| *shipped).count();
    assert!((1..RACES as usize).contains(&shipped), "both sides have won: {shipped}");
}
