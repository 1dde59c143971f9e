//! The validated cart: the result of `validate_cart`, which later steps read.

use crate::{Money, ProductId};
use serde::{Deserialize, Serialize};
use stepwell::{StepResult, Timestamp};

/// The result of `validate_cart`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValidatedCart {
    /// One line for each product, in the order of the cart.
    pub validated_items: Vec<LineItem>,
    /// The sum of the lines, before tax and shipping.
    pub subtotal: Money,
    /// The sales tax on the subtotal.
    pub tax: Money,
    /// The price of shipping, by the cart's weight.
    pub shipping: Money,
    /// The amount to charge: subtotal, tax and shipping.
    pub total: Money,
    /// The number of units in all lines.
    pub item_count: u32,
    /// When the cart was validated.
    pub validated_at: Timestamp,
}

/// A number of units of one product, at the catalogue's price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct LineItem {
    /// The product's number in the catalogue.
    pub product_id: ProductId,
    /// The product's name in the catalogue.
    pub name: String,
    /// The price of one unit.
    pub price: Money,
    /// The number of units, at least 1.
    pub quantity: u32,
    /// The price of all units of the line.
    pub line_total: Money,
}

impl StepResult for ValidatedCart {
    const STEP: &'static str = "validate_cart";
}
