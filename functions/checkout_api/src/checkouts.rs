//! The checkouts: tasks of one workflow, started and followed through the engine's client.

use crate::error::{ApiError, task_id};
use axum::extract::State;
use http_api::Segment;
use std::sync::Arc;
use stepwell::{
    Actor, Client, Runtime, Workflow,
    core::snapshot::TaskSnapshot,
    ports::{Queue, Store},
};

/// The engine's client, and what it is asked to do on behalf of customers.
pub(crate) struct Checkouts<T, Q, A> {
    pub(crate) workflow: Workflow,
    pub(crate) engine: Client<T, Q, A>,
    /// Whom the audit trail names for a retry that a customer asks for.
    pub(crate) customer: Actor,
}

/// What a route gets of them.
pub(crate) type Shared<T, Q, A> = State<Arc<Checkouts<T, Q, A>>>;

impl<T: Store, Q: Queue, A: Runtime> Checkouts<T, Q, A> {
    /// The checkout that a path names, with all that has happened to it.
    pub(crate) async fn find(&self, segment: Segment) -> Result<TaskSnapshot, ApiError> {
        self.engine.snapshot(task_id(segment)?).await?.ok_or(ApiError::NotFound)
    }
}
