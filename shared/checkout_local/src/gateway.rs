//! The simulated payment gateway on a file of its own. The card's token scripts it, see [`checkout::test_card`].

use crate::rows::{PAGE, from_json, store_error, to_json};
use checkout::{
    Charge, ChargesPage, Gateway, GatewayError, OpenRequest, PaymentRef, PaymentState, Reversal, Token,
    test_card::{self, SimulatedPayment},
};
use rusqlite::{Connection, OptionalExtension};
use stepwell::Timestamp;
use stepwell_local::{File, FileError, Schema};

/// The tables of the gateway.
pub const GATEWAY_SCHEMA: Schema = Schema {
    part: "gateway",
    version: 1,
    sql: "CREATE TABLE IF NOT EXISTS payments (id TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;",
};

/// The simulated gateway. Clones share it.
#[derive(Clone, Debug)]
pub struct GatewaySimulator {
    file: File,
}

impl GatewaySimulator {
    /// Makes a gateway on this file, which has the tables of [`GATEWAY_SCHEMA`].
    pub const fn new(file: File) -> Self {
        Self { file }
    }

    /// Acts on a payment, and stores it as it is then, also after an error: the gateway counts its failures.
    async fn act<T: Send + 'static>(
        &self,
        payment: &PaymentRef,
        act: impl FnOnce(&mut SimulatedPayment, &PaymentRef) -> Result<T, GatewayError> + Send + 'static,
    ) -> Result<T, GatewayError> {
        let payment = payment.clone();
        let acted = self.file.write(move |tx| {
            let Some(mut stored) = stored(tx, &payment)? else { return Ok(Err(test_card::no_such_payment())) };
            let result = act(&mut stored, &payment);
            store(tx, &payment, &stored)?;
            Ok(result)
        });
        acted.await.map_err(store_error)?
    }
}

fn stored(tx: &Connection, payment: &PaymentRef) -> Result<Option<SimulatedPayment>, FileError> {
    let mut get = tx.prepare_cached("SELECT value FROM payments WHERE id = ?")?;
    let value = get.query_row([&payment.0], |row| row.get::<_, String>(0)).optional()?;
    value.map(|value| from_json("payments", &payment.0, &value)).transpose()
}

fn store(tx: &Connection, payment: &PaymentRef, stored: &SimulatedPayment) -> Result<(), FileError> {
    let mut put = tx.prepare_cached("INSERT OR REPLACE INTO payments VALUES (?1, ?2)")?;
    put.execute((&payment.0, to_json(stored)?))?;
    Ok(())
}

impl Gateway for GatewaySimulator {
    async fn open(&self, request: &OpenRequest<'_>) -> Result<PaymentRef, GatewayError> {
        let (payment, new) = (test_card::payment_ref(request), SimulatedPayment::open(request));
        let id = payment.clone();
        let opened = self.file.write(move |tx| {
            if let Some(earlier) = stored(tx, &id)? {
                return Ok(earlier);
            }
            store(tx, &id, &new)?;
            Ok(new)
        });
        opened.await.map_err(store_error)?.check(request)?;
        Ok(payment)
    }

    async fn confirm(&self, payment: &PaymentRef, token: &Token, at: Timestamp) -> Result<Charge, GatewayError> {
        let token = token.clone();
        self.act(payment, move |stored, payment| stored.confirm(payment, &token, at)).await
    }

    async fn read(&self, payment: &PaymentRef, at: Timestamp) -> Result<PaymentState, GatewayError> {
        let found = self.file.read(|tx| stored(tx, payment)).map_err(store_error)?;
        Ok(found.ok_or_else(test_card::no_such_payment)?.state(payment, at))
    }

    async fn cancel_or_refund(&self, payment: &PaymentRef, at: Timestamp) -> Result<Reversal, GatewayError> {
        self.act(payment, move |stored, payment| stored.cancel_or_refund(payment, at)).await
    }

    async fn list_charges(&self, since: Timestamp, after: Option<&str>) -> Result<ChargesPage, GatewayError> {
        let page = self.file.read(|tx| {
            let sql = format!("SELECT id, value FROM payments WHERE id > ? ORDER BY id LIMIT {PAGE}");
            let mut page = tx.prepare_cached(&sql)?;
            let rows = page.query_map([after.unwrap_or_default()], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<Vec<(String, String)>, _>>()?)
        });
        let page = page.map_err(store_error)?;
        let next = page.last().filter(|_| page.len() == PAGE).map(|(id, _)| id.clone());
        let mut charges = Vec::new();
        for (id, value) in page {
            let stored: SimulatedPayment = from_json("payments", &id, &value).map_err(store_error)?;
            charges.extend(stored.listed(&PaymentRef(id), since));
        }
        Ok(ChargesPage { charges, next })
    }
}
