//! The error of the engine's operations.

use crate::{
    core::{
        codec::Unreadable,
        format::{NEWER_FORMAT, NewerFormat},
    },
    ports::{QueueError, TableError},
};

/// An error of the store or of a queue, or an item of a newer format. The next delivery of the message, or the watchdog,
/// repeats what was not done.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store failed.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The task needs a newer reader. Only a newer version may act on it.
    #[error(transparent)]
    Newer(NewerFormat),
}

impl EngineError {
    /// The error code in the log, if there is one.
    pub(crate) const fn code(&self) -> Option<&'static str> {
        match self {
            Self::Newer(_) => Some(NEWER_FORMAT),
            Self::Table(_) | Self::Queue(_) => None,
        }
    }
}

impl From<Unreadable> for EngineError {
    fn from(error: Unreadable) -> Self {
        Self::Table(error.into())
    }
}
