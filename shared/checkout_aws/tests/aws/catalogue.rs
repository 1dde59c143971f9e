use crate::shop::{DynamoShop, TestShop, on_every_shop};
use aws_sdk_dynamodb::types::AttributeValue;
use checkout::{Catalogue, Money, Product, ProductId, Storefront};

async fn products_are_read_by_number_and_all_together<S: TestShop>() {
    let shop = S::with(&[(2, "Chair", 1000, 0, false), (1, "Lamp", 4398, 7, true), (3, "Desk", 20_000, 1, true)]).await;
    let all = shop.tables().all_products().await.unwrap();
    assert_eq!(all.iter().map(|product| product.id.0).collect::<Vec<_>>(), [1, 2, 3]);

    let some = shop.tables().products(&[ProductId(1), ProductId(2), ProductId(9)]).await.unwrap();
    let lamp =
        Product { id: ProductId(1), name: "Lamp".to_owned(), price: Money::from_cents(4398), stock: 7, active: true };
    assert_eq!(some.get(&ProductId(1)), Some(&lamp));
    assert_eq!(some.get(&ProductId(2)).map(|chair| chair.active), Some(false));
    assert_eq!(some.len(), 2, "missing products are left out");
}

#[tokio::test]
async fn unreadable_product_affects_no_other_product() {
    let shop = DynamoShop::with(&[(1, "Lamp", 4398, 7, true)]).await;
    let put = shop.client.put_item().table_name(shop.name("products")).item("id", AttributeValue::N("2".to_owned()));
    put.item("name", AttributeValue::S("Chair".to_owned())).send().await.unwrap();

    let all = shop.tables().all_products().await.unwrap();
    assert_eq!(all.iter().map(|product| product.id.0).collect::<Vec<_>>(), [1]);
    assert!(shop.tables().products(&[ProductId(1)]).await.unwrap().contains_key(&ProductId(1)));
    let error = shop.tables().products(&[ProductId(1), ProductId(2)]).await.unwrap_err();
    assert_eq!(error.to_string(), "an item cannot be read: product 2");
}

#[tokio::test]
async fn missing_table_is_retryable() {
    let tables = checkout_aws::Tables::new(&crate::shop::config().await, "no-such-shop-");
    let error = tables.products(&[ProductId(1)]).await.unwrap_err();
    assert_eq!(error.to_string(), "the table gave no answer (ResourceNotFoundException)");
    let error = stepwell::StepError::from(error);
    assert_eq!((error.code.as_str(), error.is_retryable()), ("TABLE_UNAVAILABLE", true));
}

on_every_shop! {
    products_are_read_by_number_and_all_together,
}
