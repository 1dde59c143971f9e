use crate::step;
use checkout::{
    Money, Product, ProductId, Reservation, Stock, StoreError,
    testing::{MemoryShop, Outage},
};
use stepwell::{Input, Step, StepContext, StepError, TaskData, Timestamp};

const TASK: &str = "018f4e4e-7c1a-7000-8000-0123456789ab";
const KEY: &str = "018f4e4e-7c1a-7000-8000-0123456789ab:update_inventory";
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

fn seven_lamps() -> MemoryShop {
    let (id, name, price) = (ProductId(1), "Lamp".to_owned(), Money::from_cents(4398));
    MemoryShop::selling([Product { id, name, price, stock: 7, active: true }])
}

async fn run(shop: &MemoryShop, cart: Option<String>) -> Result<Reservation, StepError> {
    let results = cart.map(|cart| ("validate_cart".to_owned(), cart)).into_iter().collect();
    let data = TaskData { context: "{}".to_owned(), results };
    let ctx = StepContext::for_test("update_inventory", TASK.parse().unwrap(), NOW);
    step(shop).unwrap().run(Input::from_data(&data)?, &ctx).await
}

fn lamps(quantity: u32) -> Option<String> {
    let line = format!(r#"{{"product_id":1,"name":"Lamp","price":43.98,"quantity":{quantity},"line_total":87.96}}"#);
    Some(cart(&line))
}

fn cart(lines: &str) -> String {
    format!(
        r#"{{"validated_items":[{lines}],"subtotal":87.96,"tax":7.04,"shipping":5.00,"total":100.00,"item_count":2,
            "validated_at":"2023-11-14T22:13:20.123Z"}}"#
    )
}

#[tokio::test]
async fn every_line_is_taken_out_of_stock() {
    let shop = seven_lamps();
    let reservation = run(&shop, lamps(2)).await.unwrap();
    let expected = concat!(
        r#"{"updated_products":[{"product_id":1,"name":"Lamp","previous_stock":7,"new_stock":5,"quantity_reserved":2}],"#,
        r#""total_items_reserved":2,"#,
        r#""inventory_changes":[{"product_id":1,"change_type":"reservation","quantity":-2}]}"#
    );
    assert_eq!(serde_json::to_string(&reservation).unwrap(), expected);
    assert_eq!((shop.stock_of(ProductId(1)), shop.reservations()), (5, [(KEY.to_owned(), reservation)].into()));
}

#[tokio::test]
async fn cart_without_items_is_refused() {
    for cart in [None, Some(cart("")), Some("null".to_owned())] {
        let error = run(&seven_lamps(), cart).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.is_retryable()), ("MISSING_VALIDATED_ITEMS", false));
    }
}

#[tokio::test]
async fn insufficient_stock_and_a_busy_table_are_retryable() {
    let shop = seven_lamps();
    let error = run(&shop, lamps(8)).await.unwrap_err();
    assert_eq!(error.to_string(), "INSUFFICIENT_STOCK: Insufficient stock for Lamp. Available: 7, Requested: 8");
    assert!(error.is_retryable());
    let busy = StoreError::Busy("TransactionConflict".to_owned());
    shop.set_outage(Outage { tables: Some(busy), ..Outage::default() });
    let error = run(&shop, lamps(2)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("TABLE_BUSY", true));
}

#[tokio::test]
async fn released_key_reserves_nothing() {
    let shop = seven_lamps();
    shop.release(KEY, NOW).await.unwrap();
    let error = run(&shop, lamps(2)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("RESERVATION_VOID", false));
}
