//! The checkout's sample products and requests, and a harness that runs it.

use checkout::{Product, testing::MemoryShop};
use serde_json::Value;
use stepwell::testing::Harness;

/// The products of `infra/products.json`.
///
/// # Panics
/// The file does not list products.
pub fn products() -> Vec<Product> {
    serde_json::from_str(&repository_file("infra/products.json")).expect("products")
}

/// The context of a checkout: a sample request without the envelope that the API removes.
///
/// # Panics
/// `events/requests` has no such file.
pub fn request(name: &str) -> Value {
    let mut event: Value =
        serde_json::from_str(&repository_file(&format!("events/requests/{name}.json"))).expect("a request is JSON");
    event["checkout"].take()
}

/// A harness that hosts all steps and compensations of the checkout, over this shop.
///
/// # Panics
/// The workflow file or the shop's configuration is invalid.
pub fn harness(shop: &MemoryShop) -> Harness {
    let mut harness = Harness::new(checkout::workflow().expect("a workflow file"));
    macro_rules! host {
        ($name:literal, $($library:tt)+) => {
            harness = harness.with($name, $($library)+::step(shop).expect("a shop in memory has all ports"));
        };
    }
    tasks_api::each_checkout_step!(host);
    harness
}

fn repository_file(path: &str) -> String {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
