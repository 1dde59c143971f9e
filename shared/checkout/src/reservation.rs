//! Reserving the units of a cart: all of its lines or none, once.

use crate::{InsufficientStock, LineItem, ProductId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stepwell::StepResult;

/// The units of a cart that are out of stock for it: the result of `update_inventory`, which takes what `validate_cart`
/// has held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Reservation {
    /// One entry for each product.
    pub updated_products: Vec<UpdatedProduct>,
    /// The number of units that were reserved, of all products.
    pub total_items_reserved: u32,
    /// The same as stock movements, for inventory accounting.
    pub inventory_changes: Vec<InventoryChange>,
}

/// The change of one product's stock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct UpdatedProduct {
    /// The product's number in the catalogue.
    pub product_id: ProductId,
    /// The product's name, as in the cart.
    pub name: String,
    /// The stock as read right before. Concurrent changes by other checkouts are not in this figure.
    pub previous_stock: u32,
    /// `previous_stock` without the reserved units.
    pub new_stock: u32,
    /// The number of units that were reserved.
    pub quantity_reserved: u32,
}

/// One stock movement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
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

    /// The first line with fewer units in stock than it needs, by the figures read before.
    pub fn lack(&self) -> Option<InsufficientStock> {
        let line = self.updated_products.iter().find(|line| line.previous_stock < line.quantity_reserved)?;
        Some(line.lack(line.previous_stock))
    }

    /// Whether both are for the same units of the same products.
    pub fn is_for_the_lines_of(&self, other: &Self) -> bool {
        let lines = |reservation: &Self| -> BTreeMap<ProductId, u32> {
            let lines = reservation.updated_products.iter();
            lines.map(|line| (line.product_id, line.quantity_reserved)).collect()
        };
        lines(self) == lines(other)
    }
}

impl UpdatedProduct {
    /// The error of this line, where only so many units are available.
    pub fn lack(&self, available: u32) -> InsufficientStock {
        InsufficientStock { name: self.name.clone(), available, requested: self.quantity_reserved }
    }
}

impl StepResult for Reservation {
    const STEP: &'static str = "update_inventory";
}
