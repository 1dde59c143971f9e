//! The port [`Stock`] on the `reservations` and `products` tables.

use crate::{
    Tables,
    catalogue::{PRODUCTS, StockRow, read},
    items::{self, AttributeItem, unreadable},
    tables::{Transacted, store_error},
};
use aws_sdk_dynamodb::{
    error::BuildError,
    operation::update_item::UpdateItemError,
    types::{Put, ReturnValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update},
};
use checkout::{HoldError, InsufficientStock, Release, Reservation, Stock, StoreError, TakeError, UpdatedProduct};
use serde::{Deserialize, Serialize};
use stepwell::Timestamp;

pub(crate) const RESERVATIONS: &str = "reservations";

/// The state of a reservation that was not released. An item without it is of an older version, which took units without
/// holding them first: it counts as taken.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum ReservationState {
    Held,
    Taken,
}

/// A new item of the `reservations` table.
#[derive(Serialize)]
struct NewReservation<'a> {
    id: &'a str,
    state: ReservationState,
    reserved_at: Timestamp,
    reservation: &'a Reservation,
}

/// An item of the `reservations` table, as read.
pub(crate) enum StoredReservation {
    /// The units are out of stock, held or taken.
    Reserved(Reservation),
    /// The units were put back or never held: the key is void.
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

    /// The reservation, if it is the one that an earlier call of this hold has made.
    fn made_by(self, wanted: &Reservation) -> Result<Reservation, HoldError> {
        match self {
            Self::Reserved(earlier) if earlier.is_for_the_lines_of(wanted) => Ok(earlier),
            Self::Reserved(_) => Err(unreadable("a reservation of another cart under the same key").into()),
            Self::Released(_) => Err(HoldError::Void),
        }
    }
}

impl Stock for Tables {
    /// Refuses what the caller's figures show as sold out. Otherwise it writes the reservation and each product's stock in
    /// one transaction, on the conditions that the key is new and every stock is sufficient.
    async fn hold(&self, key: &str, wanted: &Reservation, at: Timestamp) -> Result<Reservation, HoldError> {
        if let Some(lack) = wanted.lack() {
            return self.held_before(key, wanted, lack).await;
        }
        let lines = in_lock_order(wanted);
        let refused = match self.transact(self.hold_writes(key, wanted, &lines, at)?).await? {
            Transacted::Done => return Ok(wanted.clone()),
            Transacted::Refused(refused) => refused,
        };
        let mut refused = refused.into_iter();
        if let Some(earlier) = refused.next().flatten() {
            return StoredReservation::read(earlier)?.made_by(wanted);
        }
        let lacking = lines.into_iter().zip(refused).find_map(|(line, product)| Some((line, product?)));
        let Some((line, product)) = lacking else {
            return Err(unreadable("a transaction was refused without a reason").into());
        };
        self.held_before(key, wanted, line.lack(stock_of(product)?)).await
    }

    /// One write, on the condition that there is a reservation that was not released.
    async fn take(&self, key: &str, at: Timestamp) -> Result<Reservation, TakeError> {
        let taken = self
            .client
            .update_item()
            .table_name(self.name(RESERVATIONS))
            .key("id", items::text(key))
            .update_expression("SET #state = :taken, taken_at = if_not_exists(taken_at, :at)")
            .condition_expression("attribute_exists(reservation) AND attribute_not_exists(#release)")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#release", "release")
            .expression_attribute_values(":taken", items::to_attribute(&ReservationState::Taken)?)
            .expression_attribute_values(":at", items::to_attribute(&at)?)
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        let error = match taken {
            Ok(taken) => {
                return match StoredReservation::read(taken.attributes.unwrap_or_default())? {
                    StoredReservation::Reserved(reservation) => Ok(reservation),
                    StoredReservation::Released(_) => Err(TakeError::Void),
                };
            }
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                Err(if refused.item().is_none_or(AttributeItem::is_empty) {
                    TakeError::NothingHeld
                } else {
                    TakeError::Void
                })
            }
            _ => Err(store_error(&error).into()),
        }
    }

    async fn release(&self, key: &str, at: Timestamp) -> Result<Release, StoreError> {
        self.give_back(key, at).await
    }
}

/// The lines in the order of their products. All transactions write in this order, so two carts that list the same
/// products in opposite order do not each hold what the other waits for.
fn in_lock_order(reservation: &Reservation) -> Vec<&UpdatedProduct> {
    let mut lines: Vec<&UpdatedProduct> = reservation.updated_products.iter().collect();
    lines.sort_unstable_by_key(|line| line.product_id);
    lines
}

impl Tables {
    /// Refuses a hold for lack of stock, unless an earlier call has made it: its answer may have been lost, and its own
    /// units may be what the stock lacks.
    async fn held_before(
        &self,
        key: &str,
        wanted: &Reservation,
        lack: InsufficientStock,
    ) -> Result<Reservation, HoldError> {
        match self.get_consistent(RESERVATIONS, key).await? {
            Some(item) => StoredReservation::read(item)?.made_by(wanted),
            None => Err(lack.into()),
        }
    }

    fn hold_writes(
        &self,
        key: &str,
        wanted: &Reservation,
        lines: &[&UpdatedProduct],
        at: Timestamp,
    ) -> Result<Vec<TransactWriteItem>, StoreError> {
        let record = NewReservation { id: key, state: ReservationState::Held, reserved_at: at, reservation: wanted };
        let put = Put::builder()
            .table_name(self.name(RESERVATIONS))
            .set_item(Some(items::to_item(&record)?))
            .condition_expression("attribute_not_exists(id)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let put = TransactWriteItem::builder().put(put.build().map_err(unreadable)?).build();
        let moves = lines.iter().map(|line| self.move_out(line).map_err(unreadable));
        std::iter::once(Ok(put)).chain(moves).collect()
    }

    fn move_out(&self, line: &UpdatedProduct) -> Result<TransactWriteItem, BuildError> {
        let update = Update::builder()
            .table_name(self.name(PRODUCTS))
            .key("id", items::number(line.product_id))
            .update_expression("SET stock = stock - :quantity")
            .condition_expression("stock >= :quantity")
            .expression_attribute_values(":quantity", items::number(line.quantity_reserved))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        Ok(TransactWriteItem::builder().update(update.build()?).build())
    }
}

/// Reads the stock of a product's item; 0 where the product does not exist.
fn stock_of(product: AttributeItem) -> Result<u32, StoreError> {
    if product.is_empty() { Ok(0) } else { read::<StockRow>(product).map(|row| row.stock) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkout::ProductId;

    #[test]
    fn carts_in_opposite_order_lock_their_products_in_the_same_order() {
        let line = |id: u32| UpdatedProduct {
            product_id: ProductId(id),
            name: "Lamp".to_owned(),
            previous_stock: 7,
            new_stock: 6,
            quantity_reserved: 1,
        };
        for cart in [[1, 2, 3], [3, 2, 1], [2, 3, 1]] {
            let reservation = Reservation { updated_products: cart.map(line).into(), ..Reservation::default() };
            let order: Vec<u32> = in_lock_order(&reservation).iter().map(|line| line.product_id.0).collect();
            assert_eq!(order, [1, 2, 3]);
        }
    }
}
