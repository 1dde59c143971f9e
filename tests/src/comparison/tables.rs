//! The way to the engine's table: through a client that tries again, over a network that fails.

use super::{
    faults::{Service, Trouble},
    process::Process,
};
use std::{fmt, sync::Arc};
use stepwell::{CallError, FailureKind, ports::TableError};
use stepwell_simulation::far::{Operation, Transport};

/// How this process reaches the table.
#[derive(Clone, Debug)]
pub(super) struct ProcessWay(pub(super) Arc<Process>);

impl Transport for ProcessWay {
    const SKIPS_EMPTY_PARTS: bool = false;

    async fn call<R: fmt::Debug + Send, F: Future<Output = Result<R, TableError>> + Send>(
        &self,
        operation: Operation,
        _: impl Fn() -> String + Send + Sync,
        effect: impl Fn() -> F + Send + Sync,
    ) -> Result<R, TableError> {
        let operation = operation.as_str();
        let called = self.0.call(Service::EngineTable, effect).await;
        called
            .map_err(|trouble: Trouble| CallError::new(operation, FailureKind::Unavailable, format!("{trouble:?}")))?
    }
}
