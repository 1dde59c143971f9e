//! The checkout's steps and compensations, for whatever hosts them, and its sample requests.

use checkout::Product;
use serde_json::Value;

/// Calls a macro with the name of each step of the checkout, and of each compensation, and the library that it is in.
#[macro_export]
macro_rules! each_checkout_step {
    ($each:ident) => {
        $each!("validate_cart", checkout_validate_cart);
        $each!("process_payment", checkout_process_payment);
        $each!("update_inventory", checkout_update_inventory);
        $each!("create_order", checkout_create_order);
        $each!("send_confirmation", checkout_send_confirmation);
        $each!("cancel_order", checkout_cancel_order);
        $each!("release_stock", checkout_release_stock);
        $each!("refund_payment", checkout_refund_payment);
    };
}

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
