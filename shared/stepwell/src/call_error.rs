//! What went wrong with a call of a store or of a queue.

use std::{error::Error, fmt};

/// A call that failed, after all that its client has tried. It may have taken effect all the same.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {kind}: {source}")]
pub struct CallError {
    /// The call, in the service's word.
    pub operation: &'static str,
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// What the client says of it.
    pub source: Box<dyn Error + Send + Sync>,
}

/// What a failure says of another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The service had too much to do: the same call may pass later.
    Throttled,
    /// No answer came, or the service failed: the same call may pass later.
    Unavailable,
    /// The service refused the call, for lack of rights or because it is wrong: the same call will not pass.
    Refused,
}

impl CallError {
    /// A failure of this call.
    pub fn new(operation: &'static str, kind: FailureKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { operation, kind, source: source.into() }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Throttled => "was throttled",
            Self::Unavailable => "got no answer",
            Self::Refused => "was refused",
        })
    }
}
