use crate::step;
use checkout::{
    LineItem, Money, Product, ProductId, Reservation, Stock, StoreError,
    testing::{MemoryShop, Outage},
};
use stepwell::{Step, StepContext, StepError, Timestamp};

const TASK: &str = "018f4e4e-7c1a-7000-8000-0123456789ab";
const KEY: &str = "018f4e4e-7c1a-7000-8000-0123456789ab:validate_cart";
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

/// Two of seven lamps are held.
async fn two_held() -> MemoryShop {
    let (product_id, name, price) = (ProductId(1), "Lamp".to_owned(), Money::from_cents(4398));
    let shop = MemoryShop::selling([Product { id: product_id, name: name.clone(), price, stock: 7, active: true }]);
    let line = LineItem { product_id, name, price, quantity: 2, line_total: Money::from_cents(8796) };
    shop.hold(KEY, &Reservation::of(&[line], &[(product_id, 7)].into()), NOW).await.unwrap();
    shop
}

async fn run(shop: &MemoryShop) -> Result<Reservation, StepError> {
    let ctx = StepContext::for_test("update_inventory", TASK.parse().unwrap(), NOW);
    step(shop).unwrap().run((), &ctx).await
}

#[tokio::test]
async fn held_units_are_taken_once() {
    let shop = two_held().await;
    let expected = concat!(
        r#"{"updated_products":[{"product_id":1,"name":"Lamp","previous_stock":7,"new_stock":5,"quantity_reserved":2}],"#,
        r#""total_items_reserved":2,"#,
        r#""inventory_changes":[{"product_id":1,"change_type":"reservation","quantity":-2}]}"#
    );
    for _ in 0..3 {
        let reservation = run(&shop).await.unwrap();
        assert_eq!(serde_json::to_string(&reservation).unwrap(), expected);
        assert_eq!((shop.stock_of(ProductId(1)), shop.holds().len()), (5, 0));
        assert_eq!(shop.reservations(), [(KEY.to_owned(), reservation)].into());
    }
}

#[tokio::test]
async fn cart_without_a_hold_is_refused() {
    let error = run(&MemoryShop::default()).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("STOCK_NOT_HELD", false));
}

#[tokio::test]
async fn busy_table_is_retryable() {
    let shop = two_held().await;
    let busy = StoreError::Busy("TransactionConflict".to_owned());
    shop.set_outage(Outage { tables: Some(busy), ..Outage::default() });
    let error = run(&shop).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("TABLE_BUSY", true));
}

#[tokio::test]
async fn released_units_are_not_taken() {
    let shop = two_held().await;
    shop.release(KEY, NOW).await.unwrap();
    let error = run(&shop).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("RESERVATION_VOID", false));
    assert_eq!(shop.stock_of(ProductId(1)), 7);
}
