use crate::step;
use checkout::{
    Money, Product, ProductId, Stock, StoreError, ValidatedCart,
    testing::{MemoryShop, Outage},
};
use serde_json::{Value, json};
use stepwell::{Input, Step, StepContext, StepError, TaskData, Timestamp};
use test_case::test_case;

const TASK: &str = "018f4e4e-7c1a-7000-8000-0123456789ab";
const KEY: &str = "018f4e4e-7c1a-7000-8000-0123456789ab:validate_cart";
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_123);

/// A shop with 7 lamps at 43.98, a chair that is no longer sold, a yacht, and an unreadable product 4.
fn shop() -> MemoryShop {
    let product = |id, name: &str, cents, active| Product {
        id: ProductId(id),
        name: name.to_owned(),
        price: Money::from_cents(cents),
        stock: 7,
        active,
    };
    let shop = MemoryShop::selling([
        product(1, "Lamp", 4398, true),
        product(2, "Chair", 1000, false),
        product(3, "Yacht", i64::MAX, true),
    ]);
    shop.spoil(ProductId(4));
    shop
}

/// Runs the step under a plan that compensates it, or under one of an older version, which does not.
async fn run(shop: &MemoryShop, context: Value, compensated: bool) -> Result<ValidatedCart, StepError> {
    let data = TaskData { context: context.to_string(), ..TaskData::default() };
    let mut ctx = StepContext::for_test("validate_cart", TASK.parse().unwrap(), NOW);
    ctx.compensation = compensated.then(|| "release_stock".to_owned());
    step(shop).unwrap().run(Input::from_data(&data)?, &ctx).await
}

async fn cart(items: &str) -> Result<ValidatedCart, StepError> {
    cart_at(&shop(), items).await
}

async fn cart_at(shop: &MemoryShop, items: &str) -> Result<ValidatedCart, StepError> {
    run(shop, json!({ "cart_items": serde_json::from_str::<Value>(items).unwrap() }), true).await
}

#[tokio::test]
async fn two_lamps_cost_one_hundred() {
    let validated = cart(r#"[{"product_id": 1, "quantity": 2, "price": 43.98}]"#).await.unwrap();
    let expected = concat!(
        r#"{"validated_items":[{"product_id":1,"name":"Lamp","price":43.98,"quantity":2,"line_total":87.96}],"#,
        r#""subtotal":87.96,"tax":7.04,"shipping":5.00,"total":100.00,"item_count":2,"#,
        r#""validated_at":"2023-11-14T22:13:20.123Z"}"#
    );
    let text = serde_json::to_string(&validated).unwrap();
    assert_eq!(text, expected);
    assert!(text.len() < 500, "DynamoDB bills an item by its size");
    assert_eq!(serde_json::from_str::<ValidatedCart>(&text).unwrap(), validated);
}

#[tokio::test]
async fn two_lines_of_one_product_become_one() {
    let validated = cart(r#"[{"product_id": 1, "quantity": 3}, {"product_id": 1, "quantity": 4.0}]"#).await.unwrap();
    assert_eq!(validated.validated_items.len(), 1);
    assert_eq!(validated.item_count, 7);
    let error = cart(r#"[{"product_id": 1, "quantity": 3}, {"product_id": 1, "quantity": 5}]"#).await.unwrap_err();
    assert_eq!(error.message, "Insufficient stock for Lamp. Available: 7, Requested: 8");
}

/// Nothing is charged yet, and a corrected row makes a redrive succeed.
#[tokio::test]
async fn unreadable_product_fails_its_own_carts_only() {
    let error = cart(r#"[{"product_id": 1, "quantity": 1}, {"product_id": 4, "quantity": 1}]"#).await.unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(error.to_string(), "TABLE_UNREADABLE: an item cannot be read: product 4");
    assert!(cart(r#"[{"product_id": 1, "quantity": 1}]"#).await.is_ok());
}

#[tokio::test]
async fn cart_is_held_once_and_not_taken() {
    let shop = shop();
    for _ in 0..3 {
        cart_at(&shop, r#"[{"product_id": 1, "quantity": 7}]"#).await.unwrap();
        assert_eq!(shop.stock_of(ProductId(1)), 0, "the hold of the same key is no lack of stock");
    }
    assert_eq!(shop.holds(), [KEY.to_owned()].into());
    assert_eq!(shop.reservations()[KEY].total_items_reserved, 7);
}

#[tokio::test]
async fn insufficient_stock_is_final_and_holds_nothing() {
    let shop = shop();
    let error = cart_at(&shop, r#"[{"product_id": 1, "quantity": 999}]"#).await.unwrap_err();
    assert!(!error.is_retryable());
    assert_eq!(error.to_string(), "INSUFFICIENT_STOCK: Insufficient stock for Lamp. Available: 7, Requested: 999");
    assert!(shop.holds().is_empty());
}

#[tokio::test]
async fn plan_that_would_not_release_the_units_ends_before_the_charge_and_holds_none() {
    let shop = shop();
    let cart = json!({ "cart_items": [{ "product_id": 1, "quantity": 7 }] });
    let error = run(&shop, cart, false).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("STOCK_NOT_HELD", false));
    assert_eq!((shop.stock_of(ProductId(1)), shop.holds().len()), (7, 0));
}

#[tokio::test]
async fn released_key_holds_nothing() {
    let shop = shop();
    shop.release(KEY, NOW).await.unwrap();
    let error = cart_at(&shop, r#"[{"product_id": 1, "quantity": 1}]"#).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("RESERVATION_VOID", false));
}

#[tokio::test]
async fn busy_table_is_retryable() {
    let shop = shop();
    let busy = StoreError::Busy("TransactionConflict".to_owned());
    shop.set_outage(Outage { tables: Some(busy), ..Outage::default() });
    let error = cart_at(&shop, r#"[{"product_id": 1, "quantity": 1}]"#).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), ("TABLE_BUSY", true));
}

#[test_case("[]", "MISSING_CART_ITEMS")]
#[test_case("null", "MISSING_CART_ITEMS"; "null")]
#[test_case("{}", "MISSING_CART_ITEMS"; "an object")]
#[test_case("[7]", "MISSING_PRODUCT_ID"; "a number")]
#[test_case(r#"[{"quantity": 1}]"#, "MISSING_PRODUCT_ID"; "none")]
#[test_case(r#"[{"product_id": "1", "quantity": 1}]"#, "MISSING_PRODUCT_ID"; "a string")]
#[test_case(r#"[{"product_id": -1, "quantity": 1}]"#, "MISSING_PRODUCT_ID"; "a negative number")]
#[test_case(r#"[{"product_id": 1}]"#, "INVALID_QUANTITY"; "no quantity")]
#[test_case(r#"[{"product_id": 1, "quantity": 0}]"#, "INVALID_QUANTITY"; "quantity 0")]
#[test_case(r#"[{"product_id": 1, "quantity": -2}]"#, "INVALID_QUANTITY"; "quantity below 0")]
#[test_case(r#"[{"product_id": 1, "quantity": 1.5}]"#, "INVALID_QUANTITY"; "one and a half")]
#[test_case(r#"[{"product_id": 1, "quantity": "2"}]"#, "INVALID_QUANTITY"; "a quantity in words")]
#[test_case(r#"[{"product_id": 1, "quantity": 1001}]"#, "INVALID_QUANTITY"; "too many")]
#[test_case(r#"[{"product_id": 1, "quantity": 1e30}]"#, "INVALID_QUANTITY"; "far too many")]
#[test_case(r#"[{"product_id": 3, "quantity": 2}]"#, "INVALID_QUANTITY"; "a sum beyond counting")]
#[test_case(r#"[{"product_id": 9, "quantity": 1}]"#, "PRODUCT_NOT_FOUND")]
#[test_case(r#"[{"product_id": 2, "quantity": 1}]"#, "PRODUCT_INACTIVE")]
#[test_case(r#"[{"product_id": 1, "quantity": 1, "price": 43.97}]"#, "PRICE_MISMATCH"; "another price")]
#[test_case(r#"[{"product_id": 1, "quantity": 1, "price": 43.980000000000000000000000000001}]"#, "PRICE_MISMATCH"; "a hair")]
#[test_case(r#"[{"product_id": 1, "quantity": 1, "price": "43.98"}]"#, "PRICE_MISMATCH"; "a price in words")]
#[test_case(r#"[{"product_id": 1, "quantity": 1, "price": 43.98}, {"product_id": 1, "quantity": 1, "price": 1}]"#, "PRICE_MISMATCH"; "in the second line")]
#[tokio::test]
async fn invalid_cart_is_a_permanent_error(items: &str, code: &str) {
    let shop = shop();
    let error = cart_at(&shop, items).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), (code, false), "{error}");
    assert!(shop.holds().is_empty(), "an invalid cart holds nothing");
}

#[tokio::test]
async fn cart_with_more_than_fifty_lines_is_refused() {
    let line = json!({"product_id": 1, "quantity": 1});
    let error = run(&shop(), json!({ "cart_items": vec![line; 51] }), true).await.unwrap_err();
    assert_eq!(error.code, "INVALID_QUANTITY");
    assert_eq!(run(&shop(), json!({}), true).await.unwrap_err().code, "MISSING_CART_ITEMS");
}
