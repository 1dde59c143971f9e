//! The validation of requests: an answer names every violation, and a rejected request leaves nothing behind. Tests
//! next to the code cover the rules and their texts: those of values in `shared/checkout/src/workflow.rs`, those of
//! bodies in `shared/http_api/src/tests.rs`.

use crate::backend::Backend;
use serde_json::{Value, json};
use stepwell_tests::shop::Product;

on_both_backends! {
    every_violation_is_reported_with_its_path,
    request_in_another_encoding_is_validated_too,
}

/// Asserts that no task was started for this product's customers, and that none of its units is gone.
async fn assert_nothing_started(shop: &impl Backend, product: &Product) {
    assert_eq!(shop.tasks_with(&product.email()).await, 0, "a task was started all the same");
    assert_eq!(shop.stock(product.id).await, 5);
}

fn paths(answer: &Value) -> Vec<&str> {
    let details = answer["details"].as_array().unwrap_or_else(|| panic!("details in {answer}"));
    let mut paths = Vec::new();
    for violation in details {
        assert!(violation["message"].as_str().is_some_and(|message| !message.is_empty()), "{violation}");
        paths.push(violation["path"].as_str().unwrap_or_else(|| panic!("a path in {violation}")));
    }
    paths.sort_unstable();
    paths.dedup();
    paths
}

async fn every_violation_is_reported_with_its_path<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 5)]).await;
    let request = json!({"checkout": {
        "cart_items": [{"product_id": product.id, "quantity": 0}, {"quantity": -3}, 7],
        "payment_info": {"token": "", "amount": "100.00"},
        "customer_info": {"email": format!("no address {}", product.email())},
        "priority": "yesterday",
    }});
    let answer = shop.api().checkout(&request).await.expect(422);
    assert_eq!((&answer["success"], &answer["error"]), (&json!(false), &json!("Invalid checkout data")));
    assert_eq!(
        paths(&answer),
        [
            "/checkout/cart_items/0/quantity",
            "/checkout/cart_items/1",
            "/checkout/cart_items/1/quantity",
            "/checkout/cart_items/2",
            "/checkout/customer_info",
            "/checkout/customer_info/email",
            "/checkout/payment_info/amount",
            "/checkout/payment_info/token",
            "/checkout/priority",
        ]
    );
    assert_nothing_started(&shop, &product).await;
}

async fn request_in_another_encoding_is_validated_too<B: Backend>() {
    let (shop, []) = B::open([]).await;
    let no_text = shop.api().request("POST", "/checkout").body(vec![0xff, 0xfe, 0x00, 0x01]);
    assert!(shop.api().answer(no_text).await.expect(400)["error"].is_string());
    shop.api().post("/checkout", "x".repeat(1_000_000)).await.expect(413);
}
