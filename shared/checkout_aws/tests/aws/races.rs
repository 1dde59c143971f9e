//! Effects and their undoing, all at the same time: whichever comes first, nothing may be left that was not undone.

use crate::{
    orders::order,
    payments::{charge, refund},
    shop::{Shop, TestShop, line, now},
};
use checkout::{
    CancelledOrder, CreateOrderError, GatewayError, OrderStatus, Orders, Release, ReserveError, Reversal, Stock,
    StoreError, Storefront,
};
use futures::future::{join, join_all};
use std::future::Future;
use stepwell::TaskId;

/// How many pairs of an effect and its undoing meet.
const RACES: u32 = 60;

/// How often each side asks: a message that came twice, a worker that was thought dead.
const TIMES: usize = 3;

/// Both sides of a race at once, either one ahead by a number of idle turns that differs from race to race. The first
/// two races are walked, so that each side is sure to win one.
async fn race<A, B>(number: u32, effect: impl Future<Output = A>, undoing: impl Future<Output = B>) -> (A, B) {
    match number {
        0 => {
            let effect = effect.await;
            (effect, undoing.await)
        }
        1 => {
            let undoing = undoing.await;
            (effect.await, undoing)
        }
        _ if number.is_multiple_of(2) => join(effect, after(number / 2, undoing)).await,
        _ => join(after(number / 2, effect), undoing).await,
    }
}

async fn after<T>(turns: u32, then: impl Future<Output = T>) -> T {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
    then.await
}

/// As the engine does it: asks again while the table is busy.
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
async fn no_charge_is_left_that_was_not_refunded() {
    let shop = &Shop::with(&[]).await;
    let races = (0..RACES).map(|number| async move {
        let key = &format!("key {number}");
        let token = ["test_success_visa", "test_temp_fail_visa", "test_success_visa_refundfail_2"][number as usize % 3];
        let busy = |error: &GatewayError| *error == GatewayError::TemporaryFailure;
        let charges = join_all((0..TIMES).map(|_| persistently(|| charge(shop, key, token), busy)));
        let refunds = join_all((0..TIMES).map(|_| persistently(|| refund(shop, key, token, now()), busy)));
        let (charges, refunds) = race(number, charges, refunds).await;

        let reversal = refunds[0].clone().unwrap();
        assert!(refunds.iter().all(|refund| refund.as_ref() == Ok(&reversal)), "{key}: {refunds:?}");
        for charge in &charges {
            match (&reversal, charge) {
                (Reversal::Refunded { charge: refunded, .. }, Ok(charge)) => assert_eq!(refunded, charge),
                (_, charge) => assert_eq!(*charge, Err(GatewayError::Voided), "{key}: {reversal:?}"),
            }
        }
        matches!(reversal, Reversal::Refunded { .. })
    });
    let refunded = join_all(races).await.into_iter().filter(|refunded| *refunded).count();

    let payments = shop.items("payments").await;
    assert_eq!(payments.len(), RACES as usize);
    let unrefunded: Vec<_> = payments.iter().filter(|item| !item.contains_key("voided_at")).collect();
    assert!(unrefunded.is_empty(), "{unrefunded:?}");
    let charged = payments.iter().filter(|item| item.contains_key("charge")).count();
    assert_eq!(charged, refunded, "a charge that nobody was told of is refunded too");
    assert!((1..RACES as usize).contains(&refunded), "both sides have won: {refunded}");
}

#[tokio::test]
async fn stock_is_exact_whoever_comes_first() {
    // A product that is there for all, and one that is not.
    let shop = &Shop::with(&[(1, "Lamp", 4398, 1000, true), (2, "Chair", 1000, 3, true)]).await;
    let lines = &[line(1, "Lamp", 2), line(2, "Chair", 1)];
    let races = (0..RACES).map(|number| async move {
        let key = &format!("key {number}");
        // Half of them want no chair, the two that are walked among them.
        let lines = if number % 4 < 2 { &lines[..1] } else { lines };
        let busy = |error: &ReserveError| matches!(error, ReserveError::Store(error) if is_busy(error));
        let reserve = || persistently(|| shop.tables().reserve(key, lines, now()), busy);
        let release = || persistently(|| shop.tables().release(key, now()), is_busy);
        let reserves = join_all((0..TIMES).map(|_| reserve()));
        let releases = join_all((0..TIMES).map(|_| release()));
        let (reserves, releases) = race(number, reserves, releases).await;

        let first: Release = releases[0].clone().unwrap();
        assert!(releases.iter().all(|release| release.as_ref() == Ok(&first)), "{key}: {releases:?}");
        for reservation in reserves {
            match reservation {
                Ok(reservation) => assert_eq!(reservation.total_items_reserved, first.total_items_released, "{key}"),
                Err(ReserveError::Void | ReserveError::InsufficientStock(_)) => {}
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
async fn no_order_is_left_that_was_not_cancelled() {
    let shop = &Shop::with(&[]).await;
    let races = (0..RACES).map(|number| async move {
        let order = &order();
        let id: TaskId = order.order_id;
        let busy = |error: &CreateOrderError| matches!(error, CreateOrderError::Store(error) if is_busy(error));
        let create = || persistently(|| shop.tables().create(order.clone()), busy);
        let cancel = || persistently(|| shop.tables().cancel(id, now()), is_busy);
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
