use crate::shop::{DynamoShop, TestShop, line, now, on_every_shop};
use aws_sdk_dynamodb::types::AttributeValue;
use checkout::{InsufficientStock, MAX_LINES, ReserveError, Stock};
use futures::future::join_all;
use std::time::Duration;

fn lacks(name: &str, available: u32, requested: u32) -> ReserveError {
    InsufficientStock { name: name.to_owned(), available, requested }.into()
}

async fn repeated_reservation_changes_nothing<S: TestShop>() {
    let shop = S::with(&[(1, "Lamp", 4398, 7, true), (2, "Chair", 1000, 3, true)]).await;
    let lines = [line(1, "Lamp", 5), line(2, "Chair", 3)];
    let first = shop.tables().reserve("key", &lines, now()).await.unwrap();
    assert_eq!(first.total_items_reserved, 8);
    let stocks = first.updated_products.iter().map(|product| (product.previous_stock, product.new_stock));
    assert_eq!(stocks.collect::<Vec<_>>(), [(7, 2), (3, 0)]);
    // The stock is too small for a new reservation now, but the repeated one still succeeds.
    for _ in 0..3 {
        assert_eq!(shop.tables().reserve("key", &lines, now()).await.as_ref(), Ok(&first));
    }
    assert_eq!((shop.stock(1).await, shop.stock(2).await), (2, 0));
}

async fn all_lines_are_reserved_or_none<S: TestShop>() {
    let shop = S::with(&[(1, "Lamp", 4398, 7, true), (2, "Chair", 1000, 3, true)]).await;
    let too_many = [line(1, "Lamp", 5), line(2, "Chair", 4)];
    assert_eq!(shop.tables().reserve("key", &too_many, now()).await, Err(lacks("Chair", 3, 4)));
    assert_eq!(shop.tables().reserve("key", &[line(9, "Ghost", 1)], now()).await, Err(lacks("Ghost", 0, 1)));
    assert_eq!((shop.stock(1).await, shop.stock(2).await), (7, 3));
    shop.assert_count("reservations", 0).await;
    // The key is unused, so a later attempt, such as after a delivery, can use it.
    assert!(shop.tables().reserve("key", &[line(1, "Lamp", 5)], now()).await.is_ok());
}

async fn last_units_go_to_as_many_carts_as_there_are_units<S: TestShop>() {
    let shop = S::with(&[(1, "Lamp", 4398, 10, true), (2, "Chair", 1000, 100, true)]).await;
    let lines = [line(1, "Lamp", 1), line(2, "Chair", 2)];
    let keys: Vec<String> = (0..30).map(|buyer| format!("buyer {buyer}")).collect();
    let results = join_all(keys.iter().map(|key| shop.tables().reserve(key, &lines, now()))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 10, "{results:?}");
    let refused = results.iter().filter_map(|result| result.as_ref().err());
    assert!(refused.into_iter().all(|error| *error == lacks("Lamp", 0, 1)));
    assert_eq!((shop.stock(1).await, shop.stock(2).await), (0, 80));
    shop.assert_count("reservations", 10).await;
}

async fn twenty_concurrent_requests_of_one_key_reserve_once<S: TestShop>() {
    let shop = S::with(&[(1, "Lamp", 4398, 50, true)]).await;
    let lines = [line(1, "Lamp", 3)];
    let results = join_all((0..20).map(|_| shop.tables().reserve("key", &lines, now()))).await;
    assert!(results.iter().all(|result| result.is_ok()), "{results:?}");
    assert_eq!(shop.stock(1).await, 47);
}

async fn largest_cart_fits_into_a_transaction<S: TestShop>() {
    let count = u32::try_from(MAX_LINES).unwrap();
    let products: Vec<_> = (1..=count).map(|id| (id, "Lamp", 4398, 1000, true)).collect();
    let shop = S::with(&products).await;
    let lines: Vec<_> = (1..=count).map(|id| line(id, "Lamp", 1000)).collect();
    let reservation = shop.tables().reserve("key", &lines, now()).await.unwrap();
    assert_eq!(reservation.total_items_reserved, count * 1000);
    assert_eq!((shop.stock(1).await, shop.stock(count).await), (0, 0));
}

async fn repeated_release_puts_units_back_once<S: TestShop>() {
    let shop = S::with(&[(1, "Lamp", 4398, 7, true), (2, "Chair", 1000, 3, false)]).await;
    shop.tables().reserve("key", &[line(1, "Lamp", 5), line(2, "Chair", 3)], now()).await.unwrap();
    // Another cart takes units in between.
    shop.tables().reserve("another", &[line(1, "Lamp", 1)], now()).await.unwrap();

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
    let refused = shop.tables().reserve("key", &[line(1, "Lamp", 5), line(2, "Chair", 3)], now()).await;
    assert_eq!(refused, Err(ReserveError::Void), "a void key returns no reservation");
    assert_eq!((shop.stock(1).await, shop.stock(2).await), (6, 3));
}

async fn reservation_after_its_release_is_refused<S: TestShop>() {
    let shop = S::with(&[(1, "Lamp", 4398, 7, true)]).await;
    let releases = join_all((0..20).map(|_| shop.tables().release("key", now()))).await;
    let first = releases[0].clone().unwrap();
    assert!(releases.iter().all(|release| release.as_ref() == Ok(&first)), "{releases:?}");
    assert_eq!((first.released_products.len(), first.total_items_released, first.released_at), (0, 0, now()));
    // The answer is the same with too little stock: the key is void.
    for quantity in [5, 8] {
        let refused = shop.tables().reserve("key", &[line(1, "Lamp", quantity)], now()).await;
        assert_eq!(refused, Err(ReserveError::Void));
    }
    assert_eq!(shop.tables().release("key", now()).await, Ok(first));
    assert_eq!(shop.stock(1).await, 7);
    assert!(shop.tables().reserve("another", &[line(1, "Lamp", 5)], now()).await.is_ok());
}

async fn largest_cart_is_released_in_one_transaction<S: TestShop>() {
    let count = u32::try_from(MAX_LINES).unwrap();
    let products: Vec<_> = (1..=count).map(|id| (id, "Lamp", 4398, 1000, true)).collect();
    let shop = S::with(&products).await;
    let lines: Vec<_> = (1..=count).map(|id| line(id, "Lamp", 1000)).collect();
    shop.tables().reserve("key", &lines, now()).await.unwrap();
    assert_eq!(shop.tables().release("key", now()).await.unwrap().total_items_released, count * 1000);
    assert_eq!((shop.stock(1).await, shop.stock(count).await), (1000, 1000));
}

#[tokio::test]
async fn deleted_product_does_not_block_the_release_of_the_others() {
    let shop = DynamoShop::with(&[(1, "Lamp", 4398, 7, true), (2, "Chair", 1000, 3, true)]).await;
    shop.tables().reserve("key", &[line(1, "Lamp", 5), line(2, "Chair", 3)], now()).await.unwrap();
    let delete = shop.client.delete_item().table_name(shop.name("products"));
    delete.key("id", AttributeValue::N("2".to_owned())).send().await.unwrap();
    assert_eq!(shop.tables().release("key", now()).await.unwrap().total_items_released, 5);
    assert_eq!(shop.stock(1).await, 7);
    assert_eq!(shop.count("products").await, 1, "the deleted product was not recreated");
}

on_every_shop! {
    repeated_reservation_changes_nothing,
    all_lines_are_reserved_or_none,
    last_units_go_to_as_many_carts_as_there_are_units,
    twenty_concurrent_requests_of_one_key_reserve_once,
    largest_cart_fits_into_a_transaction,
    repeated_release_puts_units_back_once,
    reservation_after_its_release_is_refused,
    largest_cart_is_released_in_one_transaction,
}
