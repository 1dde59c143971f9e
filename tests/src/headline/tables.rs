//! The way to the engine's table: through a client that tries again, over a network that fails.

use super::{
    faults::{Service, Trouble},
    process::Process,
};
use crate::far::{Operation, Way};
use std::{fmt, sync::Arc};
use stepwell::{CallError, FailureKind, ports::TableError};

impl Way for Arc<Process> {
    const SKIPS_EMPTY_PARTS: bool = false;

    async fn call<R: fmt::Debug + Send, F: Future<Output = Result<R, TableError>> + Send>(
        &self,
        operation: Operation,
        _: impl Fn() -> String + Send + Sync,
        effect: impl Fn() -> F + Send + Sync,
    ) -> Result<R, TableError> {
        let operation = operation.as_str();
        let called = Process::call(self, Service::EngineTable, effect).await;
        called
            .map_err(|trouble: Trouble| CallError::new(operation, FailureKind::Unavailable, format!("{trouble:?}")))?
    }
}
