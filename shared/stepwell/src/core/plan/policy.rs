//! When a task is undone by itself.

use serde::{Deserialize, Serialize};

/// When the compensations of a task start by themselves. An operator may start them at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compensate {
    /// When it has failed, and when it is cancelled.
    #[default]
    OnError,
    /// When it is cancelled only.
    OnCancel,
    /// Never.
    Manual,
}
