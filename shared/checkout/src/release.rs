//! Releasing a reservation: all of its units go back to stock, once.

use crate::{InventoryChange, ProductId, Reservation, UpdatedProduct};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stepwell::{StepResult, Timestamp};

/// The result of `release_stock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Release {
    /// One entry for each product that got units back; empty where nothing had been reserved.
    pub released_products: Vec<ReleasedProduct>,
    /// One entry for each product that is gone from the catalogue, so that its units could not be put back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreleased_products: Vec<UnreleasedProduct>,
    /// The number of units that were put back, of all products.
    pub total_items_released: u32,
    /// The same as stock movements, for inventory accounting.
    pub inventory_changes: Vec<InventoryChange>,
    /// When the units were put back, or the reservation's key voided. A repeated attempt does not change it.
    pub released_at: Timestamp,
}

/// The change of one product's stock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ReleasedProduct {
    /// The product's number in the catalogue.
    pub product_id: ProductId,
    /// The product's name, as in the reservation.
    pub name: String,
    /// The stock as read right before. Concurrent changes by other checkouts are not in this figure.
    pub previous_stock: u32,
    /// `previous_stock` and the released units.
    pub new_stock: u32,
    /// The number of units that were put back.
    pub quantity_released: u32,
}

/// The units of a product that is gone from the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct UnreleasedProduct {
    /// The product's number in the catalogue, as in the reservation.
    pub product_id: ProductId,
    /// The product's name, as in the reservation.
    pub name: String,
    /// The number of units that had been reserved.
    pub quantity: u32,
}

impl Release {
    /// Computes the release of a reservation: units go back to the products that are still in `stock`.
    pub fn of(reservation: &Reservation, stock: &BTreeMap<ProductId, u32>, at: Timestamp) -> Self {
        let released = |line: &UpdatedProduct| {
            let previous_stock = *stock.get(&line.product_id)?;
            Some(ReleasedProduct {
                product_id: line.product_id,
                name: line.name.clone(),
                previous_stock,
                new_stock: previous_stock.saturating_add(line.quantity_reserved),
                quantity_released: line.quantity_reserved,
            })
        };
        let released_products: Vec<ReleasedProduct> =
            reservation.updated_products.iter().filter_map(released).collect();
        let gone = reservation.updated_products.iter().filter(|line| !stock.contains_key(&line.product_id));
        let gone = gone.map(|line| UnreleasedProduct {
            product_id: line.product_id,
            name: line.name.clone(),
            quantity: line.quantity_reserved,
        });
        let changes = released_products.iter().map(|line| InventoryChange {
            product_id: line.product_id,
            change_type: "release".to_owned(),
            quantity: i64::from(line.quantity_released),
        });
        Self {
            total_items_released: released_products.iter().map(|line| line.quantity_released).sum(),
            inventory_changes: changes.collect(),
            released_products,
            unreleased_products: gone.collect(),
            released_at: at,
        }
    }
}

impl StepResult for Release {
    const STEP: &'static str = "release_stock";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reservation() -> Reservation {
        let line = |id: u32, quantity: u32| UpdatedProduct {
            product_id: ProductId(id),
            name: "Lamp".to_owned(),
            previous_stock: 7,
            new_stock: 7 - quantity,
            quantity_reserved: quantity,
        };
        Reservation { updated_products: vec![line(1, 2), line(2, 3)], ..Reservation::default() }
    }

    #[test]
    fn every_line_is_added_to_the_current_stock() {
        let release =
            Release::of(&reservation(), &[(ProductId(1), 5), (ProductId(2), 0)].into(), Timestamp::from_millis(0));
        let stocks = release.released_products.iter().map(|line| (line.previous_stock, line.new_stock));
        assert_eq!(stocks.collect::<Vec<_>>(), [(5, 7), (0, 3)]);
        assert_eq!(release.inventory_changes.iter().map(|change| change.quantity).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(release.total_items_released, 5);
    }

    #[test]
    fn removed_product_is_named_and_stops_no_other() {
        let release = Release::of(&reservation(), &[(ProductId(2), 0)].into(), Timestamp::from_millis(0));
        assert_eq!(release.inventory_changes.iter().map(|change| change.product_id.0).collect::<Vec<_>>(), [2]);
        assert_eq!(release.total_items_released, 3);
        let lamp = UnreleasedProduct { product_id: ProductId(1), name: "Lamp".to_owned(), quantity: 2 };
        assert_eq!(release.unreleased_products, [lamp]);
    }
}
