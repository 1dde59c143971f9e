//! The port [`Ledger`] on the tables `payments`, `reservations` and `orders`.
//!
//! What somebody has settled is an item `acknowledged:ID:KIND` of the table `payments`.

use crate::{
    Tables,
    items::{self, AttributeItem},
    orders::{self, ORDERS},
    payment_records::{self, PAYMENTS},
    stock::{RESERVATIONS, StoredReservation},
    tables::store_error,
};
use checkout::{
    OrderStatus, StoreError,
    reconciliation::{Acknowledgement, Ledger, LedgerCursor, LedgerEntry, LedgerPage, LedgerPart},
};
use stepwell::TaskId;

const ACKNOWLEDGED: &str = "acknowledged:";

/// The table of a part.
const fn table(part: LedgerPart) -> &'static str {
    match part {
        LedgerPart::Payments => PAYMENTS,
        LedgerPart::Reservations => RESERVATIONS,
        LedgerPart::Orders => ORDERS,
    }
}

impl Ledger for Tables {
    /// Scans a page of one table, eventually consistent.
    async fn page(&self, from: Option<&LedgerCursor>) -> Result<LedgerPage, StoreError> {
        let LedgerCursor { part, after } = from.cloned().unwrap_or_default();
        let after = after.map(|id| AttributeItem::from([("id".to_owned(), items::text(id))]));
        let request = self.client.scan().table_name(self.name(table(part))).set_exclusive_start_key(after);
        let page = request.send().await.map_err(|error| store_error(&error))?;
        let last = page.last_evaluated_key.and_then(|mut key| key.remove("id")?.as_s().ok().cloned());
        let next = match last {
            Some(id) => Some(LedgerCursor { part, after: Some(id) }),
            None => part.next().map(|part| LedgerCursor { part, after: None }),
        };
        let entries = page.items.into_iter().flatten().filter_map(|item| entry(part, item)).collect();
        Ok(LedgerPage { entries, next })
    }

    async fn acknowledge(&self, settled: &Acknowledgement) -> Result<(), StoreError> {
        let mut item = items::to_item(settled)?;
        item.insert("id".to_owned(), items::text(format!("{ACKNOWLEDGED}{}:{}", settled.of, settled.kind)));
        let put = self.client.put_item().table_name(self.name(PAYMENTS)).set_item(Some(item));
        match put.condition_expression("attribute_not_exists(id)").send().await {
            Err(error) if error.as_service_error().is_some_and(|e| e.is_conditional_check_failed_exception()) => Ok(()),
            put => put.map(drop).map_err(|error| store_error(&error)),
        }
    }
}

/// Reads a record; `None` for an item that is no record of a checkout: the gateway's own items, and those that reserve the
/// orders' numbers.
fn entry(part: LedgerPart, item: AttributeItem) -> Option<LedgerEntry> {
    let id = item.get("id")?.as_s().ok()?.clone();
    let read = match part {
        LedgerPart::Payments if id.starts_with(ACKNOWLEDGED) => items::from_item(item).map(LedgerEntry::Acknowledged),
        LedgerPart::Payments | LedgerPart::Reservations if !id.contains(':') => return None,
        LedgerPart::Payments => payment_records::read(&id, item),
        LedgerPart::Reservations => StoredReservation::read(item).map(|stored| LedgerEntry::Reservation {
            key: id.clone(),
            stands: matches!(stored, StoredReservation::Reserved(_)),
        }),
        LedgerPart::Orders => {
            let task = id.parse::<TaskId>().ok()?;
            let stands = |status| status == Some(OrderStatus::Confirmed);
            orders::read(item).map(|order| LedgerEntry::Order { task, stands: stands(order.map(|order| order.status)) })
        }
    };
    Some(read.unwrap_or_else(|problem| {
        tracing::error!(table = table(part), id, %problem, "unreadable record");
        LedgerEntry::Unreadable { id }
    }))
}
