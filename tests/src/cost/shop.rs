//! The deployed steps of the checkout, over a shop in memory, which costs nothing. So the inputs that they load and the results that they
//! leave have the size that they have in earnest.

use crate::poller::Poller;
use checkout::{Product, testing::MemoryShop};
use serde_json::Value;

/// With the five steps of the checkout.
pub(super) fn with_checkout(poller: Poller<'_>) -> Poller<'_> {
    const READY: &str = "a shop in memory has all ports";
    let shop = MemoryShop::selling(products());
    poller
        .with(checkout_validate_cart::step(&shop).expect(READY))
        .with(checkout_process_payment::step(&shop).expect(READY))
        .with(checkout_update_inventory::step(&shop).expect(READY))
        .with(checkout_create_order::step(&shop).expect(READY))
        .with(checkout_send_confirmation::step(&shop).expect(READY))
}

/// The products of `infra/products.json`, as many of each as anybody wants.
fn products() -> Vec<Product> {
    let products: Vec<Product> = serde_json::from_str(&repository_file("infra/products.json")).expect("products");
    products.into_iter().map(|product| Product { stock: 100_000, ..product }).collect()
}

fn repository_file(path: &str) -> String {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A request as the demo has it, without the wrapping that the API takes off.
///
/// # Panics
/// Where there is no such file in `events/requests`.
pub(super) fn request(name: &str) -> Value {
    let text = repository_file(&format!("events/requests/{name}.json"));
    let mut event: Value = serde_json::from_str(&text).expect("a request is JSON");
    event["checkout"].take()
}
