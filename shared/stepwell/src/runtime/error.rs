//! What the engine cannot do by itself.

use crate::{
    core::{
        codec::Unreadable,
        format::{NEWER_FORMAT, NewerFormat},
    },
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
    /// The task was written by a newer version, and needs it. It goes on there.
    #[error(transparent)]
    Newer(NewerFormat),
}

impl EngineError {
    /// The code that goes with it into the log, where it has one.
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
