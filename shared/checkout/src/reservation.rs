//! Reserving the units of a cart: all of its lines or none, once.

use crate::{LineItem, ProductId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stepwell::StepResult;

/// The result of `update_inventory`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// One entry for each product.
    pub updated_products: Vec<UpdatedProduct>,
    /// The number of units that were taken, of all products.
    pub total_items_reserved: u32,
    /// The same as stock movements, for inventory accounting.
    pub inventory_changes: Vec<InventoryChange>,
}

/// The change of one product's stock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdatedProduct {
    /// The product's number in the catalogue.
    pub product_id: ProductId,
    /// The product's name, as in the cart.
    pub name: String,
    /// The stock as read right before. Concurrent changes by other checkouts are not in this figure.
    pub previous_stock: u32,
    /// `previous_stock` without the reserved units.
    pub new_stock: u32,
    /// The number of units that were taken.
    pub quantity_reserved: u32,
}

/// One stock movement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryChange {
    /// The product's number in the catalogue.
    pub product_id: ProductId,
    /// `reservation` or `release`.
    pub change_type: String,
    /// The number of units: negative for a reservation, positive for a release.
    pub quantity: i64,
}

impl Reservation {
    /// Computes the reservation of these lines. A product that is missing in `stock` counts as 0.
    pub fn of(lines: &[LineItem], stock: &BTreeMap<ProductId, u32>) -> Self {
        let updated = lines.iter().map(|line| {
            let previous_stock = stock.get(&line.product_id).copied().unwrap_or_default();
            UpdatedProduct {
                product_id: line.product_id,
                name: line.name.clone(),
                previous_stock,
                new_stock: previous_stock.saturating_sub(line.quantity),
                quantity_reserved: line.quantity,
            }
        });
        let changes = lines.iter().map(|line| InventoryChange {
            product_id: line.product_id,
            change_type: "reservation".to_owned(),
            quantity: -i64::from(line.quantity),
        });
        Self {
            updated_products: updated.collect(),
            total_items_reserved: lines.iter().map(|line| line.quantity).sum(),
            inventory_changes: changes.collect(),
        }
    }
}

impl StepResult for Reservation {
    const STEP: &'static str = "update_inventory";
}
