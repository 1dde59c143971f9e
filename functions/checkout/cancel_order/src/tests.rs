use crate::CancelOrder;
use checkout::{CancelledOrder, CreateOrderError, Order, Orders, StoreError};
use stepwell::{Input, Step, StepContext, StepError, TaskData, TaskId, Timestamp};

/// The task's order is there, or none is, or the table is busy.
enum Fake {
    One,
    None,
    Busy,
}

impl Orders for Fake {
    async fn create(&self, _: Order) -> Result<Order, CreateOrderError> {
        panic!("a cancellation makes no order")
    }

    async fn cancel(&self, task: TaskId, at: Timestamp) -> Result<CancelledOrder, StoreError> {
        let (order_id, order_number) = match self {
            Self::One => (Some(task), Some("ORD-20231114-0123ABCD".to_owned())),
            Self::None => (None, None),
            Self::Busy => return Err(StoreError::Busy("TransactionConflictException".to_owned())),
        };
        Ok(CancelledOrder { order_id, order_number, cancelled_at: at })
    }
}

const TASK: &str = "018f4e4e-7c1a-7000-8000-0123456789ab";

fn created(order_id: &str) -> String {
    format!(
        r#"{{"order_id":"{order_id}","order_number":"ORD-20231114-0123ABCD","status":"confirmed","total_amount":100.00,
            "customer_email":null,"created_at":"2023-11-14T22:13:20.123Z",
            "estimated_delivery":"2023-11-19T22:13:20.123Z"}}"#
    )
}

async fn run(orders: Fake, created: Option<String>) -> Result<CancelledOrder, StepError> {
    let results = created.map(|result| ("create_order".to_owned(), result)).into_iter().collect();
    let data = TaskData { context: "{}".to_owned(), results };
    let ctx = StepContext::for_test("cancel_order", TASK.parse().unwrap(), Timestamp::from_millis(1_700_000_000_123));
    CancelOrder { orders }.run(Input::from_data(&data)?, &ctx).await
}

#[tokio::test]
async fn the_order_is_cancelled_whether_or_not_it_is_known() {
    let expected = concat!(
        r#"{"order_id":"018f4e4e-7c1a-7000-8000-0123456789ab","order_number":"ORD-20231114-0123ABCD","#,
        r#""cancelled_at":"2023-11-14T22:13:20.123Z"}"#
    );
    for order in [Some(created(TASK)), None] {
        let cancelled = run(Fake::One, order).await.unwrap();
        assert_eq!(serde_json::to_string(&cancelled).unwrap(), expected);
    }
}

#[tokio::test]
async fn where_no_order_was_made_none_is_cancelled() {
    let cancelled = run(Fake::None, None).await.unwrap();
    let expected = r#"{"order_id":null,"order_number":null,"cancelled_at":"2023-11-14T22:13:20.123Z"}"#;
    assert_eq!(serde_json::to_string(&cancelled).unwrap(), expected);
}

#[tokio::test]
async fn an_order_that_was_made_by_hand_is_cancelled_by_hand() {
    let elsewhere = "018f4e4e-7c1a-7000-8000-ffffffffffff";
    for (orders, order) in [(Fake::None, TASK), (Fake::One, elsewhere)] {
        let error = run(orders, Some(created(order))).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.is_retryable()), ("NOTHING_TO_CANCEL", false));
        assert!(error.message.contains(order), "{error}");
    }
}

#[tokio::test]
async fn a_busy_table_may_pass() {
    let error = run(Fake::Busy, None).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("TABLE_BUSY", true));
}

#[tokio::test]
async fn a_result_that_cannot_be_read_keeps_no_order_and_is_told() {
    let code = async |orders| run(orders, Some(r#"{"by":"hand"}"#.to_owned())).await.unwrap_err().code;
    assert_eq!(code(Fake::Busy).await, "TABLE_BUSY", "the order is seen to first");
    assert_eq!(code(Fake::One).await, "INVALID_RESULT");
}
