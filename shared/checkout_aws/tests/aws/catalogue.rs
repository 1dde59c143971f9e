use crate::shop::{DynamoShop, TestShop};
use aws_sdk_dynamodb::types::AttributeValue;
use checkout::{Catalogue, ProductId, Storefront};

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
