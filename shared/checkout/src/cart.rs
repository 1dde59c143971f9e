//! A cart that has been checked: what `validate_cart` leaves for the steps after it.

use crate::{Money, ProductId};
use serde::{Deserialize, Serialize};
use stepwell::{StepResult, Timestamp};

/// The result of `validate_cart`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatedCart {
    /// One line for each product, in the order of the cart.
    pub validated_items: Vec<LineItem>,
    /// The sum of the lines.
    pub subtotal: Money,
    /// Sales tax.
    pub tax: Money,
    /// Shipping.
    pub shipping: Money,
    /// What is to be charged.
    pub total: Money,
    /// How many units there are in all.
    pub item_count: u32,
    /// When the cart was checked.
    pub validated_at: Timestamp,
}

/// So many units of one product, at the catalogue's price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineItem {
    /// The product.
    pub product_id: ProductId,
    /// Its name.
    pub name: String,
    /// The price of one unit.
    pub price: Money,
    /// How many units.
    pub quantity: u32,
    /// The price of all of them.
    pub line_total: Money,
}

impl StepResult for ValidatedCart {
    const STEP: &'static str = "validate_cart";
}
