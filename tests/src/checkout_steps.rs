//! Rendered from the workflow file of `checkout`. Do not edit; run: cargo stepwell render
//!
//! It lists the handlers of all steps and compensations with their libraries, sorted.

/// Calls a macro with the name and the library of each step and of each compensation of `checkout`.
#[macro_export]
macro_rules! each_checkout_step {
    ($each:ident) => {
        $each!("cancel_order", checkout_cancel_order);
        $each!("create_order", checkout_create_order);
        $each!("process_payment", checkout_process_payment);
        $each!("refund_payment", checkout_refund_payment);
        $each!("release_stock", checkout_release_stock);
        $each!("send_cancellation", checkout_send_cancellation);
        $each!("send_confirmation", checkout_send_confirmation);
        $each!("update_inventory", checkout_update_inventory);
        $each!("validate_cart", checkout_validate_cart);
    };
}
