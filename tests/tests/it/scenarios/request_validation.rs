//! What is refused at the door: with a reason for each fault, and without leaving anything behind. What is refused, and in
//! which words, is shown next to the code: of values in `shared/checkout/src/workflow.rs`, of bodies in `shared/http_api/src/tests.rs`.

use serde_json::{Value, json};
use stepwell_tests::stack::{Product, Stack};

/// That no task was started from anything with this text in it.
async fn assert_nothing_started(stack: &Stack, product: &Product) {
    let marks = product.email();
    let tasks = stack.scan(stack.tasks_table()).await;
    let mut contexts = tasks.iter().filter_map(|item| item.get("context")?.as_s().ok());
    assert!(!contexts.any(|context| context.contains(&marks)), "a task was started all the same");
    assert_eq!(product.stock().await, 5);
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

#[tokio::test]
async fn every_fault_is_told_with_its_path() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let request = json!({"checkout": {
        "cart_items": [{"product_id": product.id, "quantity": 0}, {"quantity": -3}, 7],
        "payment_info": {"token": "", "amount": "100.00"},
        "customer_info": {"email": format!("no address {}", product.email())},
        "priority": "yesterday",
    }});
    let answer = stack.api.checkout(&request).await.expect(422);
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
    assert_nothing_started(&stack, &product).await;
}

#[tokio::test]
async fn what_the_gateway_hands_on_in_another_form_is_refused_too() {
    let stack = Stack::from_env().await;
    let no_text = stack.api.request("POST", "/checkout").body(vec![0xff, 0xfe, 0x00, 0x01]);
    assert!(stack.api.answer(no_text).await.expect(400)["error"].is_string());
    stack.api.post("/checkout", "x".repeat(1_000_000)).await.expect(413);
}
