use crate::step;
use checkout::{Money, Product, ProductId, ValidatedCart, testing::MemoryShop};
use serde_json::{Value, json};
use stepwell::{Input, Step, StepContext, StepError, TaskData, TaskId, Timestamp};
use test_case::test_case;

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

async fn run(context: Value) -> Result<ValidatedCart, StepError> {
    let data = TaskData { context: context.to_string(), ..TaskData::default() };
    let ctx = StepContext::for_test("validate_cart", TaskId::new(), Timestamp::from_millis(1_700_000_000_123));
    step(&shop()).unwrap().run(Input::from_data(&data)?, &ctx).await
}

async fn cart(items: &str) -> Result<ValidatedCart, StepError> {
    run(json!({ "cart_items": serde_json::from_str::<Value>(items).unwrap() })).await
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
async fn insufficient_stock_is_retryable() {
    let error = cart(r#"[{"product_id": 1, "quantity": 999}]"#).await.unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(error.to_string(), "INSUFFICIENT_STOCK: Insufficient stock for Lamp. Available: 7, Requested: 999");
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
    let error = cart(items).await.unwrap_err();
    assert_eq!((error.code.as_str(), error.is_retryable()), (code, false), "{error}");
}

#[tokio::test]
async fn cart_with_more_than_fifty_lines_is_refused() {
    let line = json!({"product_id": 1, "quantity": 1});
    let error = run(json!({ "cart_items": vec![line; 51] })).await.unwrap_err();
    assert_eq!(error.code, "INVALID_QUANTITY");
    assert_eq!(run(json!({})).await.unwrap_err().code, "MISSING_CART_ITEMS");
}
