//! Giving units back to stock: all that a reservation took, once.

use crate::{
    InventoryChange, ProductId, Reservation, StoreError, Tables, UpdatedProduct,
    catalogue::PRODUCTS,
    items::{self, Item},
    stock::{Found, RESERVATIONS},
    tables::{self, Transacted},
};
use aws_sdk_dynamodb::{
    error::BuildError,
    types::{Put, TransactWriteItem, Update},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stepwell::{StepResult, Timestamp};

/// The result of `release_stock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// One entry for each product that got units back: none where nothing had been reserved. A product that has left the
    /// catalogue has no stock to give back to.
    pub released_products: Vec<ReleasedProduct>,
    /// How many units were given back in all.
    pub total_items_released: u32,
    /// The same as movements of stock, for the books.
    pub inventory_changes: Vec<InventoryChange>,
    /// When they were given back, or since when the reservation is ruled out; a repeated step changes neither.
    pub released_at: Timestamp,
}

/// What became of one product's stock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedProduct {
    /// The product.
    pub product_id: ProductId,
    /// Its name.
    pub name: String,
    /// Its stock as read right before. What other checkouts did in between is not in this figure.
    pub previous_stock: u32,
    /// The stock that came of it.
    pub new_stock: u32,
    /// How many units were given back.
    pub quantity_released: u32,
}

impl StepResult for Release {
    const STEP: &'static str = "release_stock";
}

impl Tables {
    /// Reads what there is of the reservation and writes what follows from that, in one transaction on the condition
    /// that it is still so. Where it is not, something else has happened to it meanwhile: it is read again.
    pub(crate) async fn give_back(&self, key: &str, at: Timestamp) -> Result<Release, StoreError> {
        for _ in tables::tries() {
            let (release, writes) = match self.get_consistent(RESERVATIONS, key).await?.map(Found::read).transpose()? {
                Some(Found::Released(release)) => return Ok(release),
                Some(Found::Reserved(reservation)) => {
                    let ids: Vec<ProductId> = reservation.updated_products.iter().map(|line| line.product_id).collect();
                    let release = release(&reservation, &self.stocks(&ids).await?, at);
                    let writes = self.release_writes(key, &release)?;
                    (release, writes)
                }
                None => {
                    let release = release(&Reservation::default(), &BTreeMap::new(), at);
                    let writes = vec![self.tombstone(key, &release)?];
                    (release, writes)
                }
            };
            if matches!(self.transact(writes).await?, Transacted::Done) {
                return Ok(release);
            }
        }
        Err(StoreError::Busy("the reservation keeps changing".to_owned()))
    }

    /// A reservation that was released without having been made.
    fn tombstone(&self, key: &str, release: &Release) -> Result<TransactWriteItem, StoreError> {
        let item =
            Item::from([("id".to_owned(), items::text(key)), ("release".to_owned(), items::to_attribute(release)?)]);
        let put = Put::builder().table_name(self.name(RESERVATIONS)).set_item(Some(item));
        let put = put.condition_expression("attribute_not_exists(id)").build().map_err(StoreError::unreadable)?;
        Ok(TransactWriteItem::builder().put(put).build())
    }

    fn release_writes(&self, key: &str, release: &Release) -> Result<Vec<TransactWriteItem>, StoreError> {
        let mark = Update::builder()
            .table_name(self.name(RESERVATIONS))
            .key("id", items::text(key))
            .update_expression("SET #release = :release")
            .condition_expression("attribute_exists(id) AND attribute_not_exists(#release)")
            .expression_attribute_names("#release", "release")
            .expression_attribute_values(":release", items::to_attribute(release)?);
        let mark = mark.build().map(|mark| TransactWriteItem::builder().update(mark).build());
        let gives = release.released_products.iter().map(|line| self.give(line));
        std::iter::once(mark).chain(gives).map(|write| write.map_err(StoreError::unreadable)).collect()
    }

    /// Without the condition, a product that was deleted in this moment would come back as an item with nothing but a
    /// stock.
    fn give(&self, line: &ReleasedProduct) -> Result<TransactWriteItem, BuildError> {
        let update = Update::builder()
            .table_name(self.name(PRODUCTS))
            .key("id", items::number(line.product_id))
            .update_expression("SET stock = stock + :quantity")
            .condition_expression("attribute_exists(id)")
            .expression_attribute_values(":quantity", items::number(line.quantity_released));
        Ok(TransactWriteItem::builder().update(update.build()?).build())
    }
}

/// What gives back a reservation to the products that are still there.
fn release(reservation: &Reservation, stocks: &BTreeMap<ProductId, u32>, at: Timestamp) -> Release {
    let released = |line: &UpdatedProduct| {
        let previous_stock = *stocks.get(&line.product_id)?;
        Some(ReleasedProduct {
            product_id: line.product_id,
            name: line.name.clone(),
            previous_stock,
            new_stock: previous_stock.saturating_add(line.quantity_reserved),
            quantity_released: line.quantity_reserved,
        })
    };
    let released_products: Vec<ReleasedProduct> = reservation.updated_products.iter().filter_map(released).collect();
    let changes = released_products.iter().map(|line| InventoryChange {
        product_id: line.product_id,
        change_type: "release".to_owned(),
        quantity: i64::from(line.quantity_released),
    });
    Release {
        total_items_released: released_products.iter().map(|line| line.quantity_released).sum(),
        inventory_changes: changes.collect(),
        released_products,
        released_at: at,
    }
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
    fn every_line_comes_back_to_the_stock_of_today() {
        let release =
            release(&reservation(), &[(ProductId(1), 5), (ProductId(2), 0)].into(), Timestamp::from_millis(0));
        let stocks = release.released_products.iter().map(|line| (line.previous_stock, line.new_stock));
        assert_eq!(stocks.collect::<Vec<_>>(), [(5, 7), (0, 3)]);
        assert_eq!(release.inventory_changes.iter().map(|change| change.quantity).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(release.total_items_released, 5);
    }

    #[test]
    fn a_product_that_is_gone_gets_nothing_back() {
        let release = release(&reservation(), &[(ProductId(2), 0)].into(), Timestamp::from_millis(0));
        assert_eq!(release.inventory_changes.iter().map(|change| change.product_id.0).collect::<Vec<_>>(), [2]);
        assert_eq!(release.total_items_released, 3);
    }
}
