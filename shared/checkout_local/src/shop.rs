//! The shop: its file, its gateway and its mailer.

use crate::{gateway::GatewaySimulator, outbox::Outbox, rows::store_error};
use checkout::{ConfigError, Pricing, Shop, StoreError};
use rusqlite::Connection;
use stepwell::Timestamp;
use stepwell_local::{File, FileError, Schema};

/// The tables of the shop.
pub const SCHEMA: Schema = Schema { part: "shop", version: 1, sql: include_str!("schema.sql") };

/// The shop on one machine. Clones share it. Its gateway is the simulated one, which takes test cards and moves no money.
#[derive(Clone, Debug)]
pub struct LocalShop {
    file: File,
    gateway: GatewaySimulator,
    outbox: Outbox,
}

impl LocalShop {
    /// Makes the shop. Its file has the tables of [`SCHEMA`]; the gateway's file is another one, with those of
    /// [`GATEWAY_SCHEMA`](crate::GATEWAY_SCHEMA).
    pub const fn new(file: File, gateway: File, mail: Outbox) -> Self {
        Self { file, gateway: GatewaySimulator::new(gateway), outbox: mail }
    }

    /// Deletes the cards' tokens and the counters that have expired, and returns how many.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn delete_expired(&self, now: Timestamp) -> Result<usize, StoreError> {
        self.write(move |tx| {
            let expired = |table| {
                tx.prepare_cached(&format!("DELETE FROM {table} WHERE expires_at <= ?"))?.execute([now.as_millis()])
            };
            Ok(expired("card_tokens")? + expired("counters")?)
        })
        .await
    }

    /// Runs this in one transaction.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.file.write(job).await.map_err(store_error)
    }

    /// Reads what is committed.
    pub(crate) fn read<T>(&self, job: impl FnOnce(&Connection) -> Result<T, FileError>) -> Result<T, StoreError> {
        self.file.read(job).map_err(store_error)
    }
}

impl Shop for LocalShop {
    type Catalogue = Self;
    type Stock = Self;
    type Orders = Self;
    type Gateway = GatewaySimulator;
    type PaymentRecords = Self;
    type CardTokens = Self;
    type Mailer = Outbox;

    fn catalogue(&self) -> Result<Self, ConfigError> {
        Ok(self.clone())
    }

    fn stock(&self) -> Result<Self, ConfigError> {
        Ok(self.clone())
    }

    fn orders(&self) -> Result<Self, ConfigError> {
        Ok(self.clone())
    }

    fn gateway(&self) -> Result<GatewaySimulator, ConfigError> {
        Ok(self.gateway.clone())
    }

    fn payment_records(&self) -> Result<Self, ConfigError> {
        Ok(self.clone())
    }

    fn card_tokens(&self) -> Result<Self, ConfigError> {
        Ok(self.clone())
    }

    fn mailer(&self) -> Result<Outbox, ConfigError> {
        Ok(self.outbox.clone())
    }

    fn pricing(&self) -> Result<Pricing, ConfigError> {
        Pricing::from_env()
    }
}
