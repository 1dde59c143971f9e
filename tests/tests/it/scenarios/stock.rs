//! The stock: concurrent checkouts never sell more than there is, and nobody is charged for what is gone.

use futures::{
    future::join_all,
    stream::{self, StreamExt},
};
use serde_json::Value;
use std::time::Duration;
use stepwell::TaskId;
use stepwell_tests::{
    shop::request,
    stack::{Item, Stack, is_standing_reservation},
    until_within,
};

/// The most requests at a time. The emulator starts a process for each, and more use up its time for them.
const AT_ONCE: usize = 60;

/// How long a crowd may keep the emulator busy.
const PATIENCE: Duration = Duration::from_secs(300);

/// A number from the environment, or the default.
fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[tokio::test]
async fn concurrent_checkouts_sell_exactly_the_stock() {
    const CROWD: i64 = 12;
    const LEFT: i64 = 5;
    let stack = Stack::from_env().await;
    // Every customer wants both products, of which one is plentiful. Nobody may get one without the other. Half of the
    // carts list them in the opposite order.
    let (scarce, plenty) = (stack.product(1_000, LEFT).await, stack.product(500, 100).await);
    let mut cart = [(scarce.id, scarce.price_cents, 1), (plenty.id, plenty.price_cents, 1)];
    let there = request(&cart, "test_success_visa", &scarce.email());
    cart.reverse();
    let back = request(&cart, "test_success_visa", &scarce.email());
    let wishes = [&there, &back].into_iter().cycle().take(usize::try_from(CROWD).unwrap());
    let ends = join_all(wishes.map(|wish| stack.api.run(wish))).await;

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
            assert!(!stack.of_task("reservations", task).await.iter().any(is_standing_reservation), "{status}");
        }
    }
    assert_eq!((orders, refused), (LEFT, CROWD - LEFT));
    assert_eq!(scarce.stock().await, 0);
    assert_eq!(plenty.stock().await, 100 - LEFT);
}

/// `tests/long.sh flash-sale` runs it with 500 buyers for 20 pieces.
#[tokio::test]
async fn flash_sale_charges_only_for_the_pieces_that_there_are() {
    let (buyers, pieces) = (setting("STEPWELL_BUYERS", 60), setting("STEPWELL_PIECES", 5));
    let stack = Stack::from_env().await;
    let product = stack.product(1_000, pieces.try_into().unwrap()).await;
    let wish = product.request(1, "test_success_visa");
    let started = stream::iter(0..buyers).map(async |_| {
        let key = TaskId::new().to_string();
        // Where an emulator with too much to do refuses or drops it, it is sent again with the same key, as a page does.
        let accepted = until_within(PATIENCE, "the checkout to be accepted", async || {
            let answer = stack.api.try_answer(stack.api.checkout_request(&wish, &key)).await;
            answer.ok().filter(|answer| answer.status < 500)
        });
        accepted.await.task_id()
    });
    let started: Vec<String> = started.buffer_unordered(AT_ONCE).collect().await;
    // A few are asked for at a time, so that the questions do not keep the checkouts from running.
    let ends = stream::iter(started).map(async |task| {
        let ended = until_within(PATIENCE, "the end of a checkout", async || {
            let answer = stack.api.get(&format!("/order_status/{task}")).await;
            (answer.status < 500).then(|| answer.expect(200)).filter(|status| status["status"] != "processing")
        });
        let status = ended.await;
        (task, status)
    });
    let ends: Vec<(String, Value)> = ends.buffer_unordered(8).collect().await;

    let is_sold = |status: &Value| status["status"] == "completed";
    let (sold, refused): (Vec<_>, Vec<_>) = ends.iter().partition(|(_, status)| is_sold(status));
    assert_eq!((sold.len(), refused.len()), (pieces, buyers - pieces));
    for (task, status) in refused {
        assert_eq!(status["error"]["code"], "INSUFFICIENT_STOCK", "{status}");
        assert_eq!(status["failed_step"], "validate_cart", "{status}");
        // A charge that was refunded would still be there.
        assert_eq!(stack.of_task("payments", task).await, [], "charged for nothing: {status}");
    }
    for (task, status) in sold {
        assert_eq!(stack.charges(task).await, [product.total_cents(1)], "{status}");
        assert_eq!(stack.orders(task).await.len(), 1, "{status}");
        let reservations = stack.of_task("reservations", task).await;
        let taken = |item: &Item| is_standing_reservation(item) && item["state"].as_s().is_ok_and(|it| it == "taken");
        assert!(reservations.len() == 1 && taken(&reservations[0]), "{reservations:?}");
    }
    assert_eq!(product.stock().await, 0);
}
