//! The checkout's sample products and requests.

use checkout::Product;
use serde_json::Value;

/// The products of `infra/products.json`.
///
/// # Panics
/// Where the file does not hold any.
pub fn products() -> Vec<Product> {
    serde_json::from_str(&repository_file("infra/products.json")).expect("products")
}

/// A request as the demo has it, without the wrapping that the API takes off: the context of a checkout.
///
/// # Panics
/// Where there is no such file in `events/requests`.
pub fn request(name: &str) -> Value {
    let mut event: Value =
        serde_json::from_str(&repository_file(&format!("events/requests/{name}.json"))).expect("a request is JSON");
    event["checkout"].take()
}

fn repository_file(path: &str) -> String {
    let path = format!("{}/../{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}
