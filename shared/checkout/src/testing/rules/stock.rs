use super::{TestShop, line, now, wanted};
use crate::{HoldError, InsufficientStock, MAX_LINES, Stock, TakeError};
use futures::future::join_all;
use std::time::Duration;

fn lacks(name: &str, available: u32, requested: u32) -> HoldError {
    InsufficientStock { name: name.to_owned(), available, requested }.into()
}

pub async fn repeated_hold_changes_nothing<S: TestShop>() {
    let shop = S::with(&[(1, "Lamp", 4398, 7, true), (2, "Chair", 1000, 3, true)]).await;
    let lines = [line(1, "Lamp", 5), line(2, "Chair", 3)];
    let first = shop.hold("key", &lines).await.unwrap();
    assert_eq!(first.total_items_reserved, 8);
    let stocks = first.updated_products.iter().map(|product| (product.previous_stock, product.new_stock));
    assert_eq!(stocks.collect::<Vec<_>>(), [(7, 2), (3, 0)]);
    // The stock is too small for a new hold now, but the repeated one still succeeds, also after it was taken, and
    // whatever figures its caller has read.
    for _ in 0..3 {
        assert_eq!(shop.hold("key", &lines).await.as_ref(), Ok(&first));
        assert_eq!(shop.tables().hold("key", &wanted(&lines, 7), now()).await.as_ref(), Ok(&first));
        assert_eq!(shop.tables().take("key", now()).await.as_ref(), Ok(&first));
    }
    assert_eq!((shop.stock(1).await, shop.stock(2).await), (2, 0));
}

pub async fn all_lines_are_held_or_none<S: TestShop>() {
    let shop = S::with(&[(1, "Lamp", 4398, 7, true), (2, "Chair", 1000, 3, true)]).await;
    let too_many = [line(1, "Lamp", 5), line(2, "Chair", 4)];
    assert_eq!(shop.hold("key", &too_many).await, Err(lacks("Chair", 3, 4)));
    // The same where the figures that the caller has read are out of date.
    assert_eq!(shop.tables().hold("key", &wanted(&too_many, 9), now()).await, Err(lacks("Chair", 3, 4)));
    for stock in [0, 1] {
        let ghost = wanted(&[line(9, "Ghost", 1)], stock);
        assert_eq!(shop.tables().hold("key", &ghost, now()).await, Err(lacks("Ghost", 0, 1)));
    }
    assert_eq!((shop.stock(1).await, shop.stock(2).await), (7, 3));
    shop.assert_count("reservations", 0).await;
    // The key is unused, so a redrive after a delivery can use it.
    assert!(shop.hold("key", &[line(1, "Lamp", 5)]).await.is_ok());
}

pub async fn last_units_go_to_as_many_carts_as_there_are_units<S: TestShop>() {
    let shop = S::with(&[(1, "Lamp", 4398, 10, true), (2, "Chair", 1000, 100, true)]).await;
    let lines = [line(1, "Lamp", 1), line(2, "Chair", 2)];
    let keys: Vec<String> = (0..30).map(|buyer| format!("buyer {buyer}")).collect();
    // They all see the full stock, so only the transactions decide.
    let wanted = &wanted(&lines, 100);
    let results = join_all(keys.iter().map(|key| shop.tables().hold(key, wanted, now()))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 10, "{results:?}");
    let refused = results.iter().filter_map(|result| result.as_ref().err());
    assert!(refused.into_iter().all(|error| *error == lacks("Lamp", 0, 1)));
    assert_eq!((shop.stock(1).await, shop.stock(2).await), (0, 80));
    shop.assert_count("reservations", 10).await;
}

pub async fn twenty_concurrent_requests_of_one_key_hold_once<S: TestShop>() {
    let shop = S::with(&[(1, "Lamp", 4398, 50, true)]).await;
    let lines = [line(1, "Lamp", 3)];
    let results = join_all((0..20).map(|_| shop.hold("key", &lines))).await;
    assert!(results.iter().all(|result| result.is_ok()), "{results:?}");
    assert_eq!(shop.stock(1).await, 47);
}

pub async fn carts_with_lines_in_opposite_order_are_all_held<S: TestShop>() {
    let shop = S::with(&[(1, "Lamp", 4398, 100, true), (2, "Chair", 1000, 100, true)]).await;
    let (there, back) = ([line(1, "Lamp", 1), line(2, "Chair", 1)], [line(2, "Chair", 1), line(1, "Lamp", 1)]);
    let keys: Vec<String> = (0..40).map(|buyer| format!("buyer {buyer}")).collect();
    let carts = keys.iter().zip([&there, &back].into_iter().cycle());
    let results = join_all(carts.clone().map(|(key, cart)| shop.hold(key, cart))).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let names = results.into_iter().flatten().map(|held| held.updated_products[0].name.clone());
    assert!(names.eq(carts.map(|(_, cart)| cart[0].name.clone())), "the answer keeps the order of the cart");
    assert_eq!((shop.stock(1).await, shop.stock(2).await), (60, 60));
}

pub async fn only_what_is_held_can_be_taken<S: TestShop>() {
    let shop = S::with(&[(1, "Lamp", 4398, 7, true)]).await;
    assert_eq!(shop.tables().take("key", now()).await, Err(TakeError::NothingHeld));
    shop.assert_count("reservations", 0).await;
    let held = shop.hold("key", &[line(1, "Lamp", 5)]).await.unwrap();
    let takes = join_all((0..20).map(|_| shop.tables().take("key", now()))).await;
    assert!(takes.iter().all(|taken| taken.as_ref() == Ok(&held)), "{takes:?}");
    assert_eq!(shop.tables().release("key", now()).await.unwrap().total_items_released, 5);
    assert_eq!(shop.tables().take("key", now()).await, Err(TakeError::Void));
    assert_eq!(shop.stock(1).await, 7);
}

pub async fn largest_cart_fits_into_a_transaction<S: TestShop>() {
    let count = u32::try_from(MAX_LINES).unwrap();
    let products: Vec<_> = (1..=count).map(|id| (id, "Lamp", 4398, 1000, true)).collect();
    let shop = S::with(&products).await;
    let lines: Vec<_> = (1..=count).map(|id| line(id, "Lamp", 1000)).collect();
    let reservation = shop.hold("key", &lines).await.unwrap();
    assert_eq!(reservation.total_items_reserved, count * 1000);
    assert_eq!((shop.stock(1).await, shop.stock(count).await), (0, 0));
}

pub async fn repeated_release_puts_units_back_once<S: TestShop>() {
    let shop = S::with(&[(1, "Lamp", 4398, 7, true), (2, "Chair", 1000, 3, false)]).await;
    shop.hold("key", &[line(1, "Lamp", 5), line(2, "Chair", 3)]).await.unwrap();
    // Another cart takes units in between.
    shop.hold("another", &[line(1, "Lamp", 1)]).await.unwrap();

    let releases = join_all((0..20).map(|_| shop.tables().release("key", now()))).await;
    let first = releases[0].clone().unwrap();
    assert!(releases.iter().all(|release| release.as_ref() == Ok(&first)), "{releases:?}");
    let lines = first.released_products.iter();
    let lines = lines.map(|line| (line.product_id.0, line.previous_stock, line.new_stock, line.quantity_released));
    assert_eq!(lines.collect::<Vec<_>>(), [(1, 1, 6, 5), (2, 0, 3, 3)]);
    let changes = first.inventory_changes.iter().map(|change| (change.change_type.as_str(), change.quantity));
    assert_eq!(changes.collect::<Vec<_>>(), [("release", 5), ("release", 3)]);
    assert_eq!(first.total_items_released, 8);
    assert_eq!((shop.stock(1).await, shop.stock(2).await), (6, 3));

    let again = shop.tables().release("key", now() + Duration::from_secs(60)).await;
    assert_eq!(again, Ok(first), "a repeated release keeps its time");
    let refused = shop.hold("key", &[line(1, "Lamp", 5), line(2, "Chair", 3)]).await;
    assert_eq!(refused, Err(HoldError::Void), "a void key returns no reservation");
    assert_eq!(shop.tables().take("key", now()).await, Err(TakeError::Void));
    assert_eq!((shop.stock(1).await, shop.stock(2).await), (6, 3));
}

pub async fn hold_after_its_release_is_refused<S: TestShop>() {
    let shop = S::with(&[(1, "Lamp", 4398, 7, true)]).await;
    let releases = join_all((0..20).map(|_| shop.tables().release("key", now()))).await;
    let first = releases[0].clone().unwrap();
    assert!(releases.iter().all(|release| release.as_ref() == Ok(&first)), "{releases:?}");
    assert_eq!((first.released_products.len(), first.total_items_released, first.released_at), (0, 0, now()));
    // The answer is the same with too little stock: the key is void.
    for quantity in [5, 8] {
        let refused = shop.hold("key", &[line(1, "Lamp", quantity)]).await;
        assert_eq!(refused, Err(HoldError::Void));
    }
    assert_eq!(shop.tables().release("key", now()).await, Ok(first));
    assert_eq!(shop.stock(1).await, 7);
    assert!(shop.hold("another", &[line(1, "Lamp", 5)]).await.is_ok());
}

pub async fn largest_cart_is_released_in_one_transaction<S: TestShop>() {
    let count = u32::try_from(MAX_LINES).unwrap();
    let products: Vec<_> = (1..=count).map(|id| (id, "Lamp", 4398, 1000, true)).collect();
    let shop = S::with(&products).await;
    let lines: Vec<_> = (1..=count).map(|id| line(id, "Lamp", 1000)).collect();
    shop.hold("key", &lines).await.unwrap();
    assert_eq!(shop.tables().release("key", now()).await.unwrap().total_items_released, count * 1000);
    assert_eq!((shop.stock(1).await, shop.stock(count).await), (1000, 1000));
}
