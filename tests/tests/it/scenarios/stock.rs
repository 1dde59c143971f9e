//! Stock: what is not there is not sold, however many want it at once.

use futures::future::join_all;
use serde_json::json;
use stepwell_tests::{shop::request, stack::Stack};

#[tokio::test]
async fn more_than_is_in_stock_is_a_conflict_that_says_so() {
    let stack = Stack::from_env().await;
    let product = stack.product(100, 5).await;
    let (task, status, details) = stack.api.run(&product.request(999, "test_success_visa")).await;
    assert_eq!((&status["status"], &status["failed_step"]), (&json!("failed"), &json!("validate_cart")), "{status}");
    let message = format!("Insufficient stock for {}. Available: 5, Requested: 999", product.name);
    assert_eq!(status["error"], json!({"code": "INSUFFICIENT_STOCK", "message": message}));
    // A delivery may end the lack, so it is tried again; none came.
    assert_eq!(details.outcomes("validate_cart"), ["retryable_error"; 3]);
    assert_eq!(stack.charges(&task).await, [0; 0]);
    assert_eq!(product.stock().await, 5);
}

#[tokio::test]
async fn a_delivery_between_two_attempts_ends_the_lack() {
    let stack = Stack::from_env().await;
    let product = stack.product(100, 0).await;
    let task = stack.api.start(&product.request(2, "test_success_visa")).await;
    stepwell_tests::until("the first attempt's end", async || {
        (!stack.api.details(&task).await.attempts("validate_cart").is_empty()).then_some(())
    })
    .await;
    stack.add_stock(product.id, 2).await;
    let status = stack.api.until_ended(&task).await;
    assert_eq!(status["status"], "completed", "{status}");
    assert_eq!(product.stock().await, 0);
}

#[tokio::test]
async fn a_racing_crowd_gets_exactly_what_is_there() {
    const CROWD: i64 = 12;
    const LEFT: i64 = 5;
    let stack = Stack::from_env().await;
    // Everybody wants both; of the one there is plenty. Nobody may get it without the other.
    let (scarce, plenty) = (stack.product(1_000, LEFT).await, stack.product(500, 100).await);
    let cart = [(scarce.id, scarce.price_cents, 1), (plenty.id, plenty.price_cents, 1)];
    let wish = request(&cart, "test_success_visa", &scarce.email());
    let ends = join_all((0..CROWD).map(|_| stack.api.run(&wish))).await;

    let (mut orders, mut refused) = (0, 0);
    for (task, status, _) in &ends {
        let made = stack.orders(task).await.len();
        if status["status"] == "completed" {
            orders += 1;
            assert_eq!(made, 1, "{status}");
        } else {
            refused += 1;
            assert_eq!(status["error"]["code"], "INSUFFICIENT_STOCK", "{status}");
            assert_eq!(made, 0, "{status}");
            assert!(stack.of_task("reservations", task).await.is_empty(), "{status}");
        }
    }
    assert_eq!((orders, refused), (LEFT, CROWD - LEFT));
    assert_eq!(scarce.stock().await, 0);
    assert_eq!(plenty.stock().await, 100 - LEFT);
}

#[tokio::test]
async fn a_price_that_has_changed_stops_the_checkout() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let mut request = product.request(1, "test_success_visa");
    request["checkout"]["cart_items"][0]["price"] = json!(24.99);
    let (task, status, details) = stack.api.run(&request).await;
    assert_eq!((&status["failed_step"], &status["error"]["code"]), (&json!("validate_cart"), &json!("PRICE_MISMATCH")));
    assert_eq!(details.outcomes("validate_cart"), ["permanent_error"]);
    assert_eq!(stack.charges(&task).await, [0; 0]);
}

#[tokio::test]
async fn a_product_that_is_not_sold_any_more_stops_the_checkout() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    stack.put_product(&product, 5, false).await;
    let (_, status, details) = stack.api.run(&product.request(1, "test_success_visa")).await;
    assert_eq!(
        (&status["failed_step"], &status["error"]["code"]),
        (&json!("validate_cart"), &json!("PRODUCT_INACTIVE"))
    );
    assert_eq!(details.outcomes("validate_cart"), ["permanent_error"]);
}

#[tokio::test]
async fn a_product_that_does_not_exist_stops_the_checkout() {
    let stack = Stack::from_env().await;
    let request = request(&[(999_999, 100, 1)], "test_success_visa", "nobody@example.com");
    let (_, status, details) = stack.api.run(&request).await;
    assert_eq!(
        (&status["failed_step"], &status["error"]["code"]),
        (&json!("validate_cart"), &json!("PRODUCT_NOT_FOUND"))
    );
    assert_eq!(details.outcomes("validate_cart"), ["permanent_error"]);
}
