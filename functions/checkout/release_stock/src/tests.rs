use crate::ReleaseStock;
use checkout::{
    InventoryChange, LineItem, ProductId, Release, ReleasedProduct, Reservation, ReserveError, Stock, StoreError,
};
use stepwell::{Input, Step, StepContext, StepError, TaskData, TaskId, Timestamp};

/// Two units of a lamp are reserved, or nothing is, or the table is busy.
enum Fake {
    Two,
    Nothing,
    Busy,
}

impl Stock for Fake {
    async fn reserve(&self, _: &str, _: &[LineItem], _: Timestamp) -> Result<Reservation, ReserveError> {
        panic!("a release reserves nothing")
    }

    async fn release(&self, key: &str, at: Timestamp) -> Result<Release, StoreError> {
        assert!(key.ends_with(":update_inventory"), "the key is that of the reservation: {key}");
        let product_id = ProductId(1);
        let lamp = ReleasedProduct {
            product_id,
            name: "Lamp".to_owned(),
            previous_stock: 5,
            new_stock: 7,
            quantity_released: 2,
        };
        let change = InventoryChange { product_id, change_type: "release".to_owned(), quantity: 2 };
        let (released_products, inventory_changes) = match self {
            Self::Two => (vec![lamp], vec![change]),
            Self::Nothing => (vec![], vec![]),
            Self::Busy => return Err(StoreError::Busy("TransactionConflict".to_owned())),
        };
        let total_items_released = released_products.iter().map(|line| line.quantity_released).sum();
        Ok(Release { released_products, total_items_released, inventory_changes, released_at: at })
    }
}

const RESERVATION: &str = r#"{
    "updated_products":[{"product_id":1,"name":"Lamp","previous_stock":7,"new_stock":5,"quantity_reserved":2}],
    "total_items_reserved":2,"inventory_changes":[{"product_id":1,"change_type":"reservation","quantity":-2}]}"#;

async fn run(stock: Fake, reservation: Option<&str>) -> Result<Release, StepError> {
    let results = reservation.map(|result| ("update_inventory".to_owned(), result.to_owned())).into_iter().collect();
    let data = TaskData { context: "{}".to_owned(), results };
    let ctx = StepContext::for_test("release_stock", TaskId::new(), Timestamp::from_millis(1_700_000_000_123));
    ReleaseStock { stock }.run(Input::from_data(&data)?, &ctx).await
}

#[tokio::test]
async fn the_units_come_back_whether_or_not_the_reservation_is_known() {
    let expected = concat!(
        r#"{"released_products":[{"product_id":1,"name":"Lamp","previous_stock":5,"new_stock":7,"quantity_released":2}],"#,
        r#""total_items_released":2,"inventory_changes":[{"product_id":1,"change_type":"release","quantity":2}],"#,
        r#""released_at":"2023-11-14T22:13:20.123Z"}"#
    );
    for reservation in [Some(RESERVATION), None] {
        let release = run(Fake::Two, reservation).await.unwrap();
        assert_eq!(serde_json::to_string(&release).unwrap(), expected);
    }
}

#[tokio::test]
async fn where_nothing_was_reserved_nothing_comes_back() {
    assert_eq!(run(Fake::Nothing, None).await.unwrap().total_items_released, 0);
}

#[tokio::test]
async fn units_that_were_taken_by_hand_are_put_back_by_hand() {
    let error = run(Fake::Nothing, Some(RESERVATION)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("NOTHING_TO_RELEASE", false));
    assert!(error.message.starts_with("2 units"), "{error}");
}

#[tokio::test]
async fn a_busy_table_may_pass() {
    let error = run(Fake::Busy, Some(RESERVATION)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("TABLE_BUSY", true));
}

#[tokio::test]
async fn a_result_that_cannot_be_read_keeps_nothing_out_of_stock_and_is_told() {
    let code = async |stock| run(stock, Some(r#"{"by":"hand"}"#)).await.unwrap_err().code;
    assert_eq!(code(Fake::Busy).await, "TABLE_BUSY", "the stock is seen to first");
    assert_eq!(code(Fake::Two).await, "INVALID_RESULT");
}
