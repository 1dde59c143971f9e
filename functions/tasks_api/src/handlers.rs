//! Rendered from the workflow files. Do not edit; run: cargo stepwell render
//!
//! The handlers of all steps and compensations, sorted.

use stepwell::ResultTypes;

/// The names of the search keys of all workflows, by which tasks are found.
#[rustfmt::skip]
pub(crate) const SEARCH_KEYS: &[&str] = &["email", "order_number"];

/// The types of the results of all steps and compensations, by which the API checks what operators give as a result.
pub fn result_types<CheckoutShop: checkout::Shop>() -> ResultTypes {
    ResultTypes::default()
        .with("checkout", "cancel_order", checkout_cancel_order::step::<CheckoutShop>)
        .with("checkout", "create_order", checkout_create_order::step::<CheckoutShop>)
        .with("checkout", "process_payment", checkout_process_payment::step::<CheckoutShop>)
        .with("checkout", "refund_payment", checkout_refund_payment::step::<CheckoutShop>)
        .with("checkout", "release_stock", checkout_release_stock::step::<CheckoutShop>)
        .with("checkout", "send_cancellation", checkout_send_cancellation::step::<CheckoutShop>)
        .with("checkout", "send_confirmation", checkout_send_confirmation::step::<CheckoutShop>)
        .with("checkout", "update_inventory", checkout_update_inventory::step::<CheckoutShop>)
        .with("checkout", "validate_cart", checkout_validate_cart::step::<CheckoutShop>)
}

/// The libraries of the handlers of `checkout`, by the names of their steps.
pub mod checkout_steps {
    pub use checkout_cancel_order as cancel_order;
    pub use checkout_create_order as create_order;
    pub use checkout_process_payment as process_payment;
    pub use checkout_refund_payment as refund_payment;
    pub use checkout_release_stock as release_stock;
    pub use checkout_send_cancellation as send_cancellation;
    pub use checkout_send_confirmation as send_confirmation;
    pub use checkout_update_inventory as update_inventory;
    pub use checkout_validate_cart as validate_cart;
}

/// Calls a macro with the name and the library of each step and of each compensation of `checkout`.
#[macro_export]
macro_rules! each_checkout_step {
    ($each:ident) => {
        $each!("cancel_order", $crate::handlers::checkout_steps::cancel_order);
        $each!("create_order", $crate::handlers::checkout_steps::create_order);
        $each!("process_payment", $crate::handlers::checkout_steps::process_payment);
        $each!("refund_payment", $crate::handlers::checkout_steps::refund_payment);
        $each!("release_stock", $crate::handlers::checkout_steps::release_stock);
        $each!("send_cancellation", $crate::handlers::checkout_steps::send_cancellation);
        $each!("send_confirmation", $crate::handlers::checkout_steps::send_confirmation);
        $each!("update_inventory", $crate::handlers::checkout_steps::update_inventory);
        $each!("validate_cart", $crate::handlers::checkout_steps::validate_cart);
    };
}
