use crate::UpdateInventory;
use checkout::{
    InsufficientStock, InventoryChange, LineItem, Release, Reservation, ReserveError, Stock, StoreError, UpdatedProduct,
};
use stepwell::{Input, Step, StepContext, StepError, TaskData, TaskId, Timestamp};

/// A stock of 7 of everything, or a table that is busy, or one where the reservation was released before it was made.
enum Fake {
    Seven,
    Busy,
    Void,
}

impl Stock for Fake {
    async fn reserve(&self, key: &str, lines: &[LineItem], _at: Timestamp) -> Result<Reservation, ReserveError> {
        assert!(key.ends_with(":update_inventory"), "the key is the step's own: {key}");
        match self {
            Self::Busy => return Err(StoreError::Busy("TransactionConflict".to_owned()).into()),
            Self::Void => return Err(ReserveError::Void),
            Self::Seven => {}
        }
        if let Some(line) = lines.iter().find(|line| line.quantity > 7) {
            return Err(InsufficientStock { name: line.name.clone(), available: 7, requested: line.quantity }.into());
        }
        let updated = lines.iter().map(|line| UpdatedProduct {
            product_id: line.product_id,
            name: line.name.clone(),
            previous_stock: 7,
            new_stock: 7 - line.quantity,
            quantity_reserved: line.quantity,
        });
        let changes = lines.iter().map(|line| InventoryChange {
            product_id: line.product_id,
            change_type: "reservation".to_owned(),
            quantity: -i64::from(line.quantity),
        });
        Ok(Reservation {
            updated_products: updated.collect(),
            total_items_reserved: lines.iter().map(|line| line.quantity).sum(),
            inventory_changes: changes.collect(),
        })
    }

    async fn release(&self, _: &str, _: Timestamp) -> Result<Release, StoreError> {
        panic!("a reservation releases nothing")
    }
}

async fn run(stock: Fake, cart: Option<String>) -> Result<Reservation, StepError> {
    let results = cart.map(|cart| ("validate_cart".to_owned(), cart)).into_iter().collect();
    let data = TaskData { context: "{}".to_owned(), results };
    let ctx = StepContext::for_test("update_inventory", TaskId::new(), Timestamp::from_millis(1_700_000_000_123));
    UpdateInventory { stock }.run(Input::from_data(&data)?, &ctx).await
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
async fn the_cart_is_taken_out_of_stock() {
    let reservation = run(Fake::Seven, lamps(2)).await.unwrap();
    let expected = concat!(
        r#"{"updated_products":[{"product_id":1,"name":"Lamp","previous_stock":7,"new_stock":5,"quantity_reserved":2}],"#,
        r#""total_items_reserved":2,"#,
        r#""inventory_changes":[{"product_id":1,"change_type":"reservation","quantity":-2}]}"#
    );
    assert_eq!(serde_json::to_string(&reservation).unwrap(), expected);
}

#[tokio::test]
async fn without_items_there_is_nothing_to_take() {
    for cart in [None, Some(cart("")), Some("null".to_owned())] {
        let error = run(Fake::Seven, cart).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.is_retryable()), ("MISSING_VALIDATED_ITEMS", false));
    }
}

#[tokio::test]
async fn a_lack_of_stock_may_pass_and_so_may_a_busy_table() {
    let error = run(Fake::Seven, lamps(8)).await.unwrap_err();
    assert_eq!(error.to_string(), "INSUFFICIENT_STOCK: Insufficient stock for Lamp. Available: 7, Requested: 8");
    assert!(error.is_retryable());
    let error = run(Fake::Busy, lamps(2)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("TABLE_BUSY", true));
}

#[tokio::test]
async fn what_was_released_is_not_reserved_any_more() {
    let error = run(Fake::Void, lamps(2)).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("RESERVATION_VOID", false));
}
