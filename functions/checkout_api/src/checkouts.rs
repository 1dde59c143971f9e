//! The checkouts: tasks of one workflow, started and followed through the engine's client.

use crate::error::ApiError;
use axum::extract::State;
use http_api::TaskKeys;
use std::sync::Arc;
use stepwell::{
    Actor, Client, Runtime, TaskId, Workflow,
    core::snapshot::TaskSnapshot,
    ports::{Queue, Store},
};

/// The engine's client, the checkout's workflow, and the actors of customers' actions.
pub(crate) struct Checkouts<T, Q, A> {
    pub(crate) workflow: Workflow,
    pub(crate) engine: Client<T, Q, A>,
    /// The keys of the checkouts.
    pub(crate) keys: TaskKeys,
    /// The actor in the audit trail for a customer's retry.
    pub(crate) retries: Actor,
    /// The actor in the audit trail for a customer's cancellation.
    pub(crate) cancellations: Actor,
}

/// The state that axum passes to a route.
pub(crate) type Shared<T, Q, A> = State<Arc<Checkouts<T, Q, A>>>;

impl<T: Store, Q: Queue, A: Runtime> Checkouts<T, Q, A> {
    /// Loads the checkout with this id.
    pub(crate) async fn find(&self, id: TaskId) -> Result<TaskSnapshot, ApiError> {
        self.engine.snapshot(id).await?.ok_or(ApiError::NotFound)
    }
}
