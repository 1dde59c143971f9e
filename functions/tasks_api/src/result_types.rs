//! Rendered from the workflow files. Do not edit; run: cargo stepwell render

use stepwell::ResultTypes;

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
