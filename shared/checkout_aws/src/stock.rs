//! The port [`Stock`] on the `reservations` and `products` tables.

use crate::{
    Tables,
    catalogue::{PRODUCTS, StockRow, read},
    items::{self, AttributeItem, unreadable},
    tables::Transacted,
};
use aws_sdk_dynamodb::{
    error::BuildError,
    types::{Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update},
};
use checkout::{InsufficientStock, LineItem, ProductId, Release, Reservation, ReserveError, Stock, StoreError};
use serde::{Deserialize, Serialize};
use stepwell::Timestamp;

pub(crate) const RESERVATIONS: &str = "reservations";

/// A new item of the `reservations` table.
#[derive(Serialize)]
struct NewReservation {
    id: String,
    reserved_at: Timestamp,
    reservation: Reservation,
}

/// An item of the `reservations` table, as read.
pub(crate) enum StoredReservation {
    /// The units are out of stock.
    Reserved(Reservation),
    /// The units were put back or never taken: the key is void.
    Released(Release),
}

impl StoredReservation {
    pub(crate) fn read(item: AttributeItem) -> Result<Self, StoreError> {
        #[derive(Deserialize)]
        struct Fields {
            reservation: Option<Reservation>,
            release: Option<Release>,
        }
        match items::from_item(item)? {
            Fields { release: Some(release), .. } => Ok(Self::Released(release)),
            Fields { reservation: Some(reservation), .. } => Ok(Self::Reserved(reservation)),
            Fields { .. } => Err(unreadable("a reservation that is neither made nor released")),
        }
    }
}

impl Stock for Tables {
    /// Reads the stock for the figures in the answer. Then it writes the reservation and each product's stock in one
    /// transaction, on the conditions that the key is new and every stock is sufficient. Only these conditions decide.
    async fn reserve(&self, key: &str, lines: &[LineItem], at: Timestamp) -> Result<Reservation, ReserveError> {
        let ids: Vec<ProductId> = lines.iter().map(|line| line.product_id).collect();
        let reservation = Reservation::of(lines, &self.stocks(&ids).await?);
        let record = NewReservation { id: key.to_owned(), reserved_at: at, reservation };

        let refused = match self.transact(self.writes(&record, lines)?).await? {
            Transacted::Done => return Ok(record.reservation),
            Transacted::Refused(refused) => refused,
        };
        let mut refused = refused.into_iter();
        if let Some(earlier) = refused.next().flatten() {
            return match StoredReservation::read(earlier)? {
                StoredReservation::Reserved(reservation) => Ok(reservation),
                StoredReservation::Released(_) => Err(ReserveError::Void),
            };
        }
        let lacking = lines.iter().zip(refused).find_map(|(line, product)| Some((line, product?)));
        let Some((line, product)) = lacking else {
            return Err(unreadable("a transaction was refused without a reason").into());
        };
        Err(InsufficientStock { name: line.name.clone(), available: stock_of(product)?, requested: line.quantity }
            .into())
    }

    async fn release(&self, key: &str, at: Timestamp) -> Result<Release, StoreError> {
        self.give_back(key, at).await
    }
}

impl Tables {
    fn writes(&self, record: &NewReservation, lines: &[LineItem]) -> Result<Vec<TransactWriteItem>, StoreError> {
        let put = Put::builder()
            .table_name(self.name(RESERVATIONS))
            .set_item(Some(items::to_item(record)?))
            .condition_expression("attribute_not_exists(id)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let put = TransactWriteItem::builder().put(put.build().map_err(unreadable)?).build();
        let takes = lines.iter().map(|line| self.take(line).map_err(unreadable));
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

/// Reads the stock of a product's item; 0 where the product does not exist.
fn stock_of(product: AttributeItem) -> Result<u32, StoreError> {
    if product.is_empty() { Ok(0) } else { read::<StockRow>(product).map(|row| row.stock) }
}
