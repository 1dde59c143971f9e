//! Taking units out of stock: all of a cart or none of it, once.

use crate::{
    InsufficientStock, LineItem, ProductId, Release, StoreError, Tables,
    catalogue::{PRODUCTS, StockRow, read},
    items::{self, Item},
    tables::Transacted,
};
use aws_sdk_dynamodb::{
    error::BuildError,
    types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use stepwell::{StepResult, Timestamp};

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

impl StepResult for Reservation {
    const STEP: &'static str = "update_inventory";
}

/// Why nothing was reserved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// A product has too few units.
    #[error(transparent)]
    InsufficientStock(#[from] InsufficientStock),
    /// The reservation was released, maybe before it was made. Its key takes nothing any more.
    #[error("the reservation was released, or its idempotency key was voided before anything was reserved")]
    Void,
    /// The table gave no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where stock is taken from and given back to.
pub trait Stock: Send + Sync {
    /// Takes every line out of stock, or none. The same idempotency key again takes nothing more and answers as the
    /// first time. The lines name each product once.
    ///
    /// # Errors
    /// A product has too few units, the key is void, or the table gave no answer.
    fn reserve(
        &self,
        key: &str,
        lines: &[LineItem],
        at: Timestamp,
    ) -> impl Future<Output = Result<Reservation, ReserveError>> + Send;

    /// Makes a reservation's idempotency key void: what was taken with it is given back, and where nothing was, nothing
    /// ever will be, however late a request for it comes. The same key again gives back nothing more and answers as the
    /// first time.
    ///
    /// # Errors
    /// The table gave no answer.
    fn release(&self, key: &str, at: Timestamp) -> impl Future<Output = Result<Release, StoreError>> + Send;
}

pub(crate) const RESERVATIONS: &str = "reservations";

/// What remains of a reservation: an item of the `reservations` table, as it is first written.
#[derive(Serialize)]
struct Record {
    id: String,
    reserved_at: Timestamp,
    reservation: Reservation,
}

/// How such an item may be found.
pub(crate) enum Found {
    /// The units are out of stock.
    Reserved(Reservation),
    /// They are back, or were never taken: the key is void.
    Released(Release),
}

impl Found {
    pub(crate) fn read(item: Item) -> Result<Self, StoreError> {
        #[derive(Deserialize)]
        struct Fields {
            reservation: Option<Reservation>,
            release: Option<Release>,
        }
        match items::from_item(item)? {
            Fields { release: Some(release), .. } => Ok(Self::Released(release)),
            Fields { reservation: Some(reservation), .. } => Ok(Self::Reserved(reservation)),
            Fields { .. } => Err(StoreError::unreadable("a reservation that is neither made nor released")),
        }
    }
}

impl Stock for Tables {
    /// One read for the figures, then one transaction: the record by its key, and each product's stock on the condition
    /// that there is enough. The conditions alone decide; they also say what stood in the way.
    async fn reserve(&self, key: &str, lines: &[LineItem], at: Timestamp) -> Result<Reservation, ReserveError> {
        let ids: Vec<ProductId> = lines.iter().map(|line| line.product_id).collect();
        let reservation = reservation(lines, &self.stocks(&ids).await?);
        let record = Record { id: key.to_owned(), reserved_at: at, reservation };

        let refused = match self.transact(self.writes(&record, lines)?).await? {
            Transacted::Done => return Ok(record.reservation),
            Transacted::Refused(refused) => refused,
        };
        let mut refused = refused.into_iter();
        if let Some(earlier) = refused.next().flatten() {
            return match Found::read(earlier)? {
                Found::Reserved(reservation) => Ok(reservation),
                Found::Released(_) => Err(ReserveError::Void),
            };
        }
        let lacking = lines.iter().zip(refused).find_map(|(line, product)| Some((line, product?)));
        let Some((line, product)) = lacking else {
            return Err(StoreError::unreadable("a transaction was refused without a reason").into());
        };
        Err(InsufficientStock { name: line.name.clone(), available: stock_of(product)?, requested: line.quantity }
            .into())
    }

    async fn release(&self, key: &str, at: Timestamp) -> Result<Release, StoreError> {
        self.give_back(key, at).await
    }
}

impl Tables {
    fn writes(&self, record: &Record, lines: &[LineItem]) -> Result<Vec<TransactWriteItem>, StoreError> {
        let put = Put::builder()
            .table_name(self.name(RESERVATIONS))
            .set_item(Some(items::to_item(record)?))
            .condition_expression("attribute_not_exists(id)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let put = TransactWriteItem::builder().put(put.build().map_err(StoreError::unreadable)?).build();
        let takes = lines.iter().map(|line| self.take(line).map_err(StoreError::unreadable));
        std::iter::once(Ok(put)).chain(takes).collect()
    }

    fn take(&self, line: &LineItem) -> Result<TransactWriteItem, BuildError> {
        let update = Update::builder()
            .table_name(self.name(PRODUCTS))
            .key("id", items::number(line.product_id))
            .update_expression("SET stock = stock - :quantity")
            .condition_expression("stock >= :quantity")
            .expression_attribute_values(":quantity", items::number(line.quantity))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        Ok(TransactWriteItem::builder().update(update.build()?).build())
    }
}

/// The stock of a product's item; 0 where the product is gone.
fn stock_of(product: Item) -> Result<u32, StoreError> {
    if product.is_empty() { Ok(0) } else { read::<StockRow>(product).map(|row| row.stock) }
}

fn reservation(lines: &[LineItem], stock: &BTreeMap<ProductId, u32>) -> Reservation {
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
    Reservation {
        updated_products: updated.collect(),
        total_items_reserved: lines.iter().map(|line| line.quantity).sum(),
        inventory_changes: changes.collect(),
    }
}
