//! The stock: concurrent checkouts never sell more than there is, and nobody is charged for what is gone.

use crate::backend::{Backend, Reservation};
use futures::{
    future::join_all,
    stream::{self, StreamExt},
};
use serde_json::Value;
use std::time::Duration;
use stepwell::TaskId;
use stepwell_tests::{shop::request, until_within};

on_both_backends! {
    concurrent_checkouts_sell_exactly_the_stock,
    flash_sale_charges_only_for_the_pieces_that_there_are,
}

/// The most requests at a time. The emulator starts a process for each, and more use up its time for them.
const AT_ONCE: usize = 60;

/// How long a crowd may keep the emulator busy.
const PATIENCE: Duration = Duration::from_secs(300);

/// A number from the environment, or the default.
fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

async fn concurrent_checkouts_sell_exactly_the_stock<B: Backend>() {
    const CROWD: i64 = 12;
    const LEFT: i64 = 5;
    // Every customer wants both products, of which one is plentiful. Nobody may get one without the other. Half of the
    // carts list them in the opposite order.
    let (shop, [scarce, plenty]) = B::open([(1_000, LEFT), (500, 100)]).await;
    let mut cart = [(scarce.id, scarce.price_cents, 1), (plenty.id, plenty.price_cents, 1)];
    let there = request(&cart, "test_success_visa", &scarce.email());
    cart.reverse();
    let back = request(&cart, "test_success_visa", &scarce.email());
    let wishes = [&there, &back].into_iter().cycle().take(usize::try_from(CROWD).unwrap());
    let ends = join_all(wishes.map(|wish| shop.api().run(wish))).await;

    let (mut orders, mut refused) = (0, 0);
    for (task, status, _) in &ends {
        let made = shop.orders(task).await;
        if status["status"] == "completed" {
            orders += 1;
            assert_eq!(made, 1, "{status}");
        } else {
            refused += 1;
            assert_eq!(status["error"]["code"], "INSUFFICIENT_STOCK", "{status}");
            assert_eq!(made, 0, "{status}");
            assert!(shop.reservations(task).await.iter().all(|it| *it == Reservation::Released), "{status}");
        }
    }
    assert_eq!((orders, refused), (LEFT, CROWD - LEFT));
    assert_eq!(shop.stock(scarce.id).await, 0);
    assert_eq!(shop.stock(plenty.id).await, 100 - LEFT);
}

/// `tests/long.sh flash-sale` runs it with 500 buyers for 20 pieces.
async fn flash_sale_charges_only_for_the_pieces_that_there_are<B: Backend>() {
    let (buyers, pieces) = (setting("STEPWELL_BUYERS", 60), setting("STEPWELL_PIECES", 5));
    let (shop, [product]) = B::open([(1_000, pieces.try_into().unwrap())]).await;
    let wish = product.request(1, "test_success_visa");
    let started = stream::iter(0..buyers).map(async |_| {
        let key = TaskId::new().to_string();
        // Where an emulator with too much to do refuses or drops it, it is sent again with the same key, as a page does.
        let accepted = until_within(PATIENCE, "the checkout to be accepted", async || {
            let answer = shop.api().try_answer(shop.api().checkout_request(&wish, &key)).await;
            answer.ok().filter(|answer| answer.status < 500)
        });
        accepted.await.task_id()
    });
    let started: Vec<String> = started.buffer_unordered(AT_ONCE).collect().await;
    // A few are asked for at a time, so that the questions do not keep the checkouts from running.
    let ends = stream::iter(started).map(async |task| {
        let ended = until_within(PATIENCE, "the end of a checkout", async || {
            let answer = shop.api().get(&format!("/order_status/{task}")).await;
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
        assert_eq!(shop.payments(task).await, [], "charged for nothing: {status}");
    }
    for (task, status) in sold {
        assert_eq!(shop.charges(task).await, [product.total_cents(1)], "{status}");
        assert_eq!(shop.orders(task).await, 1, "{status}");
        assert_eq!(shop.reservations(task).await, [Reservation::Taken], "{status}");
    }
    assert_eq!(shop.stock(product.id).await, 0);
}
