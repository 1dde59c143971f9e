//! What the engine cannot do by itself.

use crate::{
    core::codec::Unreadable,
    ports::{QueueError, TableError},
};

/// The table or a queue did not do what it was asked. What was to be done is done by the next delivery of the message,
/// or by the watchdog, from what the table says.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A queue.
    #[error(transparent)]
    Queue(#[from] QueueError),
}

impl From<Unreadable> for EngineError {
    fn from(error: Unreadable) -> Self {
        Self::Table(error.into())
    }
}
