use crate::step;
use checkout::{
    CancelledOrder, OrderStatus, Orders, Shipping, StoreError,
    testing::{MemoryShop, Outage, order},
};
use stepwell::{ErrorKind, Input, Step, StepContext, StepError, TaskData, Timestamp};

const TASK: &str = "018f4e4e-7c1a-7000-8000-0123456789ab";
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

/// A shop that has the task's order.
async fn ordered() -> MemoryShop {
    let shop = MemoryShop::default();
    let order = order(TASK.parse().unwrap(), NOW);
    shop.create(order).await.unwrap();
    shop
}

fn break_tables(shop: &MemoryShop) {
    let busy = StoreError::Busy("TransactionConflictException".to_owned());
    shop.set_outage(Outage { tables: Some(busy), ..Outage::default() });
}

fn created(order_id: &str) -> String {
    format!(
        r#"{{"order_id":"{order_id}","order_number":"ORD-20231114-779DF9F7","status":"confirmed","total_amount":100.00,
            "customer_email":null,"created_at":"2023-11-14T22:13:20.123Z",
            "estimated_delivery":"2023-11-19T22:13:20.123Z"}}"#
    )
}

async fn run(shop: &MemoryShop, created: Option<String>) -> Result<CancelledOrder, StepError> {
    let results = created.map(|result| ("create_order".to_owned(), result)).into_iter().collect();
    let data = TaskData { context: "{}".to_owned(), results };
    let ctx = StepContext::for_test("cancel_order", TASK.parse().unwrap(), NOW);
    step(shop).unwrap().run(Input::from_data(&data)?, &ctx).await
}

#[tokio::test]
async fn order_is_cancelled_with_or_without_its_result() {
    let expected = concat!(
        r#"{"order_id":"018f4e4e-7c1a-7000-8000-0123456789ab","order_number":"ORD-20231114-779DF9F7","#,
        r#""cancelled_at":"2023-11-14T22:13:20.123Z"}"#
    );
    for order in [Some(created(TASK)), None] {
        let shop = ordered().await;
        let cancelled = run(&shop, order).await.unwrap();
        assert_eq!(serde_json::to_string(&cancelled).unwrap(), expected);
        assert_eq!(shop.all_orders()[0].status, OrderStatus::Cancelled);
    }
}

#[tokio::test]
async fn missing_order_is_ruled_out() {
    let cancelled = run(&MemoryShop::default(), None).await.unwrap();
    let expected = r#"{"order_id":null,"order_number":null,"cancelled_at":"2023-11-14T22:13:20.123Z"}"#;
    assert_eq!(serde_json::to_string(&cancelled).unwrap(), expected);
}

#[tokio::test]
async fn order_made_by_hand_is_refused_with_instructions() {
    let elsewhere = "018f4e4e-7c1a-7000-8000-ffffffffffff";
    for (shop, order) in [(MemoryShop::default(), TASK), (ordered().await, elsewhere)] {
        let error = run(&shop, Some(created(order))).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.is_retryable()), ("NOTHING_TO_CANCEL", false));
        assert!(error.message.contains(order), "{error}");
    }
}

#[tokio::test]
async fn shipped_order_is_not_cancelled_and_says_so() {
    let shop = ordered().await;
    let shipping = Shipping { at: NOW, who: "ann".to_owned(), why: "parcel 17".to_owned() };
    shop.ship(TASK.parse().unwrap(), &shipping).await.unwrap();
    let error = run(&shop, Some(created(TASK))).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.kind), ("ORDER_SHIPPED", ErrorKind::Refused));
    assert_eq!(shop.all_orders()[0].status, OrderStatus::Confirmed);
}

#[tokio::test]
async fn busy_table_is_retryable() {
    let shop = ordered().await;
    break_tables(&shop);
    let error = run(&shop, None).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("TABLE_BUSY", true));
}

#[tokio::test]
async fn unreadable_result_is_reported_after_the_cancellation() {
    let shop = ordered().await;
    let code = async || run(&shop, Some(r#"{"by":"hand"}"#.to_owned())).await.unwrap_err().code;
    assert_eq!(code().await, "INVALID_RESULT");
    assert_eq!(shop.all_orders()[0].status, OrderStatus::Cancelled, "the order is cancelled before the error");
    break_tables(&shop);
    assert_eq!(code().await, "TABLE_BUSY");
}
