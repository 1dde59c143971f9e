use crate::shop::{DynamoShop, TestShop, line, now};
use aws_sdk_dynamodb::types::AttributeValue;
use checkout::Stock;

#[tokio::test]
async fn deleted_product_is_named_and_does_not_block_the_release_of_the_others() {
    let shop = DynamoShop::with(&[(1, "Lamp", 4398, 7, true), (2, "Chair", 1000, 3, true)]).await;
    shop.hold("key", &[line(1, "Lamp", 5), line(2, "Chair", 3)]).await.unwrap();
    let delete = shop.client.delete_item().table_name(shop.name("products"));
    delete.key("id", AttributeValue::N("2".to_owned())).send().await.unwrap();
    let release = shop.tables().release("key", now()).await.unwrap();
    assert_eq!(release.total_items_released, 5);
    let unreleased = release.unreleased_products.iter().map(|line| (line.product_id.0, line.quantity));
    assert_eq!(unreleased.collect::<Vec<_>>(), [(2, 3)]);
    assert_eq!(shop.tables().release("key", now()).await, Ok(release), "a repeated release names it, too");
    assert_eq!(shop.stock(1).await, 7);
    assert_eq!(shop.count("products").await, 1, "the deleted product was not recreated");
}

/// Older versions wrote a reservation without a state, when they took its units.
#[tokio::test]
async fn reservation_without_a_state_is_taken_and_can_be_released() {
    let shop = DynamoShop::with(&[(1, "Lamp", 4398, 7, true)]).await;
    shop.hold("key", &[line(1, "Lamp", 5)]).await.unwrap();
    let remove = shop.client.update_item().table_name(shop.name("reservations"));
    let remove = remove.key("id", AttributeValue::S("key".to_owned())).update_expression("REMOVE #state");
    remove.expression_attribute_names("#state", "state").send().await.unwrap();
    assert_eq!(shop.tables().take("key", now()).await.unwrap().total_items_reserved, 5);
    assert_eq!(shop.tables().release("key", now()).await.unwrap().total_items_released, 5);
    assert_eq!(shop.stock(1).await, 7);
}

#[tokio::test]
async fn item_says_whether_its_units_are_held_or_taken() {
    let shop = DynamoShop::with(&[(1, "Lamp", 4398, 7, true)]).await;
    shop.hold("key", &[line(1, "Lamp", 5)]).await.unwrap();
    let state = async || shop.items("reservations").await[0]["state"].as_s().unwrap().clone();
    assert_eq!(state().await, "held");
    shop.tables().take("key", now()).await.unwrap();
    assert_eq!(state().await, "taken");
}
