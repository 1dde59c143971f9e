//! The port [`Ledger`] on the tables `payment_records`, `acknowledged`, `reservations` and `orders`.

use crate::{
    LocalShop,
    rows::{PAGE, from_json, time, to_json},
};
use checkout::{
    PaymentRef, StoreError,
    reconciliation::{Acknowledgement, Ledger, LedgerCursor, LedgerEntry, LedgerPage, LedgerPart},
};
use rusqlite::Row;
use stepwell_local::FileError;

/// The rows of a part after an id, in the order of their ids. The first column is the id.
const fn query(part: LedgerPart) -> &'static str {
    match part {
        LedgerPart::Payments => {
            "SELECT key AS id, payment, voided_at, NULL FROM payment_records WHERE key > ?1
             UNION ALL SELECT id, NULL, NULL, value FROM acknowledged WHERE id > ?1 ORDER BY id"
        }
        LedgerPart::Reservations => "SELECT key, release IS NULL FROM reservations WHERE key > ?1 ORDER BY key",
        LedgerPart::Orders => "SELECT task, cancelled_at IS NULL FROM orders WHERE task > ?1 ORDER BY task",
    }
}

impl Ledger for LocalShop {
    async fn page(&self, from: Option<&LedgerCursor>) -> Result<LedgerPage, StoreError> {
        let LedgerCursor { part, after } = from.cloned().unwrap_or_default();
        self.read(|tx| {
            let mut page = tx.prepare_cached(&format!("{} LIMIT {PAGE}", query(part)))?;
            let mut rows = page.query([after.unwrap_or_default()])?;
            let (mut entries, mut last) = (Vec::new(), String::new());
            while let Some(row) = rows.next()? {
                last = row.get(0)?;
                entries.push(entry(part, &last, row)?);
            }
            let next = if entries.len() == PAGE {
                Some(LedgerCursor { part, after: Some(last) })
            } else {
                part.next().map(|part| LedgerCursor { part, after: None })
            };
            Ok(LedgerPage { entries, next })
        })
    }

    async fn acknowledge(&self, settled: &Acknowledgement) -> Result<(), StoreError> {
        let settled = settled.clone();
        self.write(move |tx| {
            let mut put = tx.prepare_cached("INSERT INTO acknowledged VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
            put.execute((format!("acknowledged:{}:{}", settled.of, settled.kind), to_json(&settled)?))?;
            Ok(())
        })
        .await
    }
}

fn entry(part: LedgerPart, id: &str, row: &Row<'_>) -> Result<LedgerEntry, FileError> {
    let key = id.to_owned();
    Ok(match part {
        LedgerPart::Payments => match row.get::<_, Option<String>>(3)? {
            None => {
                let payment = row.get::<_, Option<String>>(1)?.map(PaymentRef);
                LedgerEntry::Payment { key, payment, voided_at: time(row.get(2)?) }
            }
            Some(value) => from_json("acknowledged", id, &value)
                .map_or_else(|problem| unreadable(id, problem), LedgerEntry::Acknowledged),
        },
        LedgerPart::Reservations => LedgerEntry::Reservation { key, stands: row.get(1)? },
        LedgerPart::Orders => match id.parse() {
            Ok(task) => LedgerEntry::Order { task, stands: row.get(1)? },
            Err(problem) => unreadable(id, problem),
        },
    })
}

fn unreadable(id: &str, problem: impl std::fmt::Display) -> LedgerEntry {
    tracing::error!(id, %problem, "unreadable record");
    LedgerEntry::Unreadable { id: id.to_owned() }
}
