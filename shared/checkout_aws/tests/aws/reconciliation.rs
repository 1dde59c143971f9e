use crate::shop::{DynamoShop, TestShop};
use aws_sdk_dynamodb::types::AttributeValue;
use checkout::{
    reconciliation::{FindingKind as Kind, Subject},
    testing::rules::reconciliation::{HOUR, Planted, found},
};
use stepwell::TaskId;

#[tokio::test]
async fn checkout_with_an_unreadable_record_is_not_judged_and_stops_no_other() {
    let planted = Planted::<DynamoShop>::new().await;
    let [bad, good] = std::array::from_fn(|_| TaskId::new());
    for task in [bad, good] {
        planted.hold(task).await;
    }
    let put = planted.shop.client.put_item().table_name(planted.shop.name("payments"));
    let put = put.item("id", AttributeValue::S(format!("{bad}:process_payment")));
    put.item("voided_at", AttributeValue::S("yesterday".to_owned())).send().await.unwrap();
    planted.clock.put_forward(2 * HOUR);
    let report = planted.run(true).await;
    assert_eq!(found(&report).into_keys().collect::<Vec<_>>(), [(Subject::Checkout(good), Kind::StockWithoutTask)]);
    let not_judged: Vec<String> = report.not_judged.into_iter().map(|it| it.id).collect();
    assert_eq!(not_judged, [bad.to_string(), "the gateway's list of charges".to_owned()]);
    assert_eq!(planted.shop.stock(1).await, 5, "the units of the other one are back");
}
