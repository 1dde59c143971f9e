//! The release of a reservation, on the `reservations` and `products` tables.

use crate::{
    Tables,
    catalogue::PRODUCTS,
    items::{self, AttributeItem, unreadable},
    stock::{RESERVATIONS, StoredReservation},
    tables::{self, Transacted},
};
use aws_sdk_dynamodb::{
    error::BuildError,
    types::{Put, TransactWriteItem, Update},
};
use checkout::{ProductId, Release, ReleasedProduct, Reservation, StoreError};
use std::collections::BTreeMap;
use stepwell::Timestamp;

impl Tables {
    /// Reads the reservation and writes the release in one transaction, on the condition that the reservation is
    /// unchanged. After a conflict it reads again.
    pub(crate) async fn give_back(&self, key: &str, at: Timestamp) -> Result<Release, StoreError> {
        for _ in tables::tries() {
            let (release, writes) =
                match self.get_consistent(RESERVATIONS, key).await?.map(StoredReservation::read).transpose()? {
                    Some(StoredReservation::Released(release)) => return Ok(release),
                    Some(StoredReservation::Reserved(reservation)) => {
                        let ids: Vec<ProductId> =
                            reservation.updated_products.iter().map(|line| line.product_id).collect();
                        let release = Release::of(&reservation, &self.stocks(&ids).await?, at);
                        let writes = self.release_writes(key, &release)?;
                        (release, writes)
                    }
                    None => {
                        let release = Release::of(&Reservation::default(), &BTreeMap::new(), at);
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

    /// Voids the key of a reservation that was never made, so that nothing can be held under it later.
    fn tombstone(&self, key: &str, release: &Release) -> Result<TransactWriteItem, StoreError> {
        let item = AttributeItem::from([
            ("id".to_owned(), items::text(key)),
            ("release".to_owned(), items::to_attribute(release)?),
        ]);
        let put = Put::builder().table_name(self.name(RESERVATIONS)).set_item(Some(item));
        let put = put.condition_expression("attribute_not_exists(id)").build().map_err(unreadable)?;
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
        // In the order of the products, as in a hold.
        let mut lines: Vec<&ReleasedProduct> = release.released_products.iter().collect();
        lines.sort_unstable_by_key(|line| line.product_id);
        let gives = lines.into_iter().map(|line| self.give(line));
        std::iter::once(mark).chain(gives).map(|write| write.map_err(unreadable)).collect()
    }

    /// The condition keeps the write from recreating a deleted product as an item with a stock only.
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
