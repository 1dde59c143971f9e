//! The shop's record of its payments, on the table `payment_records`.

use crate::{LocalShop, rows::time};
use checkout::{PaymentRecords, PaymentRef, RecordError, StoreError, VoidedKey};
use rusqlite::{Connection, OptionalExtension};
use stepwell::Timestamp;
use stepwell_local::FileError;

/// A row of the table.
#[derive(Default)]
struct Record {
    payment: Option<PaymentRef>,
    voided_at: Option<Timestamp>,
}

impl Record {
    /// The record under this key; without a row, one of nothing.
    fn read(tx: &Connection, key: &str) -> Result<Self, FileError> {
        let mut get = tx.prepare_cached("SELECT payment, voided_at FROM payment_records WHERE key = ?")?;
        let record = get.query_row([key], |row| {
            Ok(Self { payment: row.get::<_, Option<String>>(0)?.map(PaymentRef), voided_at: time(row.get(1)?) })
        });
        Ok(record.optional()?.unwrap_or_default())
    }

    fn valid(self) -> Result<Option<PaymentRef>, RecordError> {
        if self.voided_at.is_some() { Err(RecordError::Void) } else { Ok(self.payment) }
    }
}

impl PaymentRecords for LocalShop {
    async fn recorded(&self, key: &str) -> Result<Option<PaymentRef>, RecordError> {
        self.read(|tx| Record::read(tx, key))?.valid()
    }

    async fn record(&self, key: &str, payment: &PaymentRef) -> Result<PaymentRef, RecordError> {
        let (key, payment) = (key.to_owned(), payment.clone());
        self.write(move |tx| {
            let earlier = match Record::read(tx, &key)?.valid() {
                Ok(earlier) => earlier,
                Err(void) => return Ok(Err(void)),
            };
            if let Some(earlier) = earlier {
                return Ok(Ok(earlier));
            }
            let mut put = tx.prepare_cached("INSERT INTO payment_records (key, payment) VALUES (?1, ?2)")?;
            put.execute((key, &payment.0))?;
            Ok(Ok(payment))
        })
        .await?
    }

    async fn void(&self, key: &str, at: Timestamp) -> Result<VoidedKey, StoreError> {
        let key = key.to_owned();
        self.write(move |tx| {
            let Record { payment, voided_at } = Record::read(tx, &key)?;
            let at = voided_at.unwrap_or(at);
            let mut put = tx.prepare_cached(
                "INSERT INTO payment_records (key, voided_at) VALUES (?1, ?2) ON CONFLICT DO UPDATE SET voided_at = ?2",
            )?;
            put.execute((key, at.as_millis()))?;
            Ok(VoidedKey { payment, at })
        })
        .await
    }
}
