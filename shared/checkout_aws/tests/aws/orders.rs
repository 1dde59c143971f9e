use crate::shop::{DynamoShop, TestShop, now};
use aws_sdk_dynamodb::types::AttributeValue;
use checkout::{
    OrderStatus, Orders,
    testing::rules::orders::{order, resend},
};
use stepwell::TaskId;

#[tokio::test]
async fn taken_order_number_is_skipped() {
    let shop = DynamoShop::with(&[]).await;
    let order = order();
    let first_choice = shop.tables().create(order.clone()).await.unwrap().order_number;
    // Another order gets the number first: this order is deleted, and the number's item remains for the other one.
    let table = shop.name("orders");
    let id = AttributeValue::S(order.order_id.to_string());
    shop.client.delete_item().table_name(&table).key("id", id).send().await.unwrap();
    let other = AttributeValue::S(TaskId::new().to_string());
    let number = AttributeValue::S(format!("number:{first_choice}"));
    shop.client.put_item().table_name(&table).item("id", number).item("order_id", other).send().await.unwrap();

    let made = shop.tables().create(order.clone()).await.unwrap();
    assert_ne!(made.order_number, first_choice);
    assert!(made.order_number.starts_with("ORD-20231114-"));
    assert_eq!(shop.tables().create(order).await, Ok(made));
}

/// What operators look up: only they may read the table.
#[tokio::test]
async fn order_keeps_who_sent_its_email_again_and_why() {
    let shop = DynamoShop::with(&[]).await;
    let id = shop.tables().create(order()).await.unwrap().order_id;
    for corrected in [None, Some("ann@example.org")] {
        shop.tables().record_resend(id, &resend(OrderStatus::Confirmed, corrected)).await.unwrap();
    }
    let key = AttributeValue::S(id.to_string());
    let found = shop.client.get_item().table_name(shop.name("orders")).key("id", key).send().await.unwrap();
    let entries = found.item.unwrap()["resent"].as_l().unwrap().clone();
    let texts = |entry: &AttributeValue| {
        let entry = entry.as_m().unwrap();
        ["at", "who", "why", "corrected"].map(|name| entry.get(name).map(|value| value.as_s().unwrap().clone()))
    };
    let expected = |corrected: Option<&str>| {
        [Some(now().to_string().as_str()), Some("ann"), Some("she called"), corrected]
            .map(|text| text.map(str::to_owned))
    };
    let entries: Vec<_> = entries.iter().map(texts).collect();
    assert_eq!(entries, [expected(None), expected(Some("ann@example.org"))]);
}
