//! The stock: concurrent checkouts never sell more than there is.

use futures::future::join_all;
use stepwell_tests::{shop::request, stack::Stack};

#[tokio::test]
async fn concurrent_checkouts_sell_exactly_the_stock() {
    const CROWD: i64 = 12;
    const LEFT: i64 = 5;
    let stack = Stack::from_env().await;
    // Every customer wants both products, of which one is plentiful. Nobody may get one without the other.
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
