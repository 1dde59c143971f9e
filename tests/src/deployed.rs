//! The steps and their compensations: the very source of the functions that are deployed.

#[path = "../../functions/cancel_order/src/step.rs"]
pub(crate) mod cancel_order;
#[path = "../../functions/create_order/src/step.rs"]
pub(crate) mod create_order;
#[path = "../../functions/process_payment/src/step.rs"]
pub(crate) mod process_payment;
#[path = "../../functions/refund_payment/src/step.rs"]
pub(crate) mod refund_payment;
#[path = "../../functions/release_stock/src/step.rs"]
pub(crate) mod release_stock;
#[path = "../../functions/send_confirmation/src/step.rs"]
pub(crate) mod send_confirmation;
#[path = "../../functions/update_inventory/src/step.rs"]
pub(crate) mod update_inventory;
#[path = "../../functions/validate_cart/src/step.rs"]
pub(crate) mod validate_cart;
