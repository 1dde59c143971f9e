//! What the routes need of the engine and of the shop.

use checkout::{Order, Product, StoreError, Storefront};
use serde_json::Value;
use std::future::Future;
use stepwell::{
    ActionError, Ambient, By, Client, IdempotencyKey, StartError, Started, TaskId, Workflow,
    core::history::History,
    ports::{Queue, Store, TableError},
};

/// Checkouts, orders and products, wherever they are kept.
pub(crate) trait Backend: Send + Sync + 'static {
    /// Starts a checkout.
    fn start(
        &self,
        request: &Value,
        key: Option<&IdempotencyKey>,
    ) -> impl Future<Output = Result<Started, StartError>> + Send;

    /// A checkout with all that has happened to it.
    fn history(&self, id: TaskId) -> impl Future<Output = Result<Option<History>, TableError>> + Send;

    /// Gives a failed checkout another chance.
    fn retry(&self, id: TaskId) -> impl Future<Output = Result<History, ActionError>> + Send;

    /// The order with this id, which may be any text.
    fn order(&self, id: &str) -> impl Future<Output = Result<Option<Order>, StoreError>> + Send;

    /// The catalogue.
    fn products(&self) -> impl Future<Output = Result<Vec<Product>, StoreError>> + Send;
}

/// The engine's client, and a shop.
pub(crate) struct Deployed<T, Q, A, S> {
    pub(crate) workflow: Workflow,
    pub(crate) engine: Client<T, Q, A>,
    pub(crate) shop: S,
    /// Whom the audit trail names for a retry that a customer asks for.
    pub(crate) customer: By,
}

impl<T, Q, A, S> Backend for Deployed<T, Q, A, S>
where
    T: Store + 'static,
    Q: Queue + 'static,
    A: Ambient + 'static,
    S: Storefront + 'static,
{
    async fn start(&self, request: &Value, key: Option<&IdempotencyKey>) -> Result<Started, StartError> {
        self.engine.start(&self.workflow, request, key).await
    }

    async fn history(&self, id: TaskId) -> Result<Option<History>, TableError> {
        self.engine.history(id).await
    }

    async fn retry(&self, id: TaskId) -> Result<History, ActionError> {
        self.engine.retry(id, &self.customer).await
    }

    async fn order(&self, id: &str) -> Result<Option<Order>, StoreError> {
        self.shop.find_order(id).await
    }

    async fn products(&self) -> Result<Vec<Product>, StoreError> {
        self.shop.all_products().await
    }
}
