use crate::step;
use checkout::{
    LineItem, Money, Product, ProductId, Release, Stock, StoreError,
    testing::{MemoryShop, Outage},
};
use stepwell::{Input, Step, StepContext, StepError, TaskData, Timestamp};

const TASK: &str = "018f4e4e-7c1a-7000-8000-0123456789ab";
const KEY: &str = "018f4e4e-7c1a-7000-8000-0123456789ab:update_inventory";
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

/// Two of seven lamps are reserved.
async fn two_reserved() -> MemoryShop {
    let (product_id, name, price) = (ProductId(1), "Lamp".to_owned(), Money::from_cents(4398));
    let shop = MemoryShop::selling([Product { id: product_id, name: name.clone(), price, stock: 7, active: true }]);
    let line = LineItem { product_id, name, price, quantity: 2, line_total: Money::from_cents(8796) };
    shop.reserve(KEY, &[line], NOW).await.unwrap();
    shop
}

fn break_tables(shop: &MemoryShop) {
    let busy = StoreError::Busy("TransactionConflict".to_owned());
    shop.set_outage(Outage { tables: Some(busy), ..Outage::default() });
}

const RESERVATION: &str = r#"{
    "updated_products":[{"product_id":1,"name":"Lamp","previous_stock":7,"new_stock":5,"quantity_reserved":2}],
    "total_items_reserved":2,"inventory_changes":[{"product_id":1,"change_type":"reservation","quantity":-2}]}"#;

async fn run(shop: &MemoryShop, reservation: Option<&str>) -> Result<Release, StepError> {
    let results = reservation.map(|result| ("update_inventory".to_owned(), result.to_owned())).into_iter().collect();
    let data = TaskData { context: "{}".to_owned(), results };
    let ctx = StepContext::for_test("release_stock", TASK.parse().unwrap(), NOW);
    step(shop).unwrap().run(Input::from_data(&data)?, &ctx).await
}

#[tokio::test]
async fn units_are_released_with_or_without_the_result() {
    let expected = concat!(
        r#"{"released_products":[{"product_id":1,"name":"Lamp","previous_stock":5,"new_stock":7,"quantity_released":2}],"#,
        r#""total_items_released":2,"inventory_changes":[{"product_id":1,"change_type":"release","quantity":2}],"#,
        r#""released_at":"2023-11-14T22:13:20.123Z"}"#
    );
    for reservation in [Some(RESERVATION), None] {
        let shop = two_reserved().await;
        let release = run(&shop, reservation).await.unwrap();
        assert_eq!(serde_json::to_string(&release).unwrap(), expected);
        assert_eq!((shop.stock_of(ProductId(1)), shop.reservations().len()), (7, 0));
    }
}

#[tokio::test]
async fn missing_reservation_is_voided() {
    assert_eq!(run(&MemoryShop::default(), None).await.unwrap().total_items_released, 0);
}

#[tokio::test]
async fn units_taken_by_hand_are_refused_with_instructions() {
    let error = run(&MemoryShop::default(), Some(RESERVATION)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("NOTHING_TO_RELEASE", false));
    assert!(error.message.starts_with("2 units"), "{error}");
}

#[tokio::test]
async fn busy_table_is_retryable() {
    let shop = two_reserved().await;
    break_tables(&shop);
    let error = run(&shop, Some(RESERVATION)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("TABLE_BUSY", true));
}

#[tokio::test]
async fn unreadable_result_is_reported_after_the_release() {
    let shop = two_reserved().await;
    let code = async || run(&shop, Some(r#"{"by":"hand"}"#)).await.unwrap_err().code;
    assert_eq!(code().await, "INVALID_RESULT");
    assert_eq!(shop.stock_of(ProductId(1)), 7, "the stock is released before the error");
    break_tables(&shop);
    assert_eq!(code().await, "TABLE_BUSY");
}
