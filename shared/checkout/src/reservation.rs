//! Taking units out of stock: all of a cart or none of it, once.

use crate::{LineItem, ProductId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stepwell::StepResult;

/// The result of `update_inventory`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// One entry for each product.
    pub updated_products: Vec<UpdatedProduct>,
    /// How many units were taken in all.
    pub total_items_reserved: u32,
    /// The same as movements of stock, for the books.
    pub inventory_changes: Vec<InventoryChange>,
}

/// What became of one product's stock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdatedProduct {
    /// The product.
    pub product_id: ProductId,
    /// Its name.
    pub name: String,
    /// Its stock as read right before. Where other checkouts took some in between, they are not in this figure.
    pub previous_stock: u32,
    /// The stock that was left of it.
    pub new_stock: u32,
    /// How many units were taken.
    pub quantity_reserved: u32,
}

/// One movement of stock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryChange {
    /// The product.
    pub product_id: ProductId,
    /// What moved it: `reservation` or `release`.
    pub change_type: String,
    /// By how many units: negative where they leave the stock, positive where they come back.
    pub quantity: i64,
}

impl Reservation {
    /// What takes these lines out of this stock, in which a product that is gone is missing.
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
