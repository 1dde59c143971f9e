//! The policy that says when a task's compensation starts.

use serde::{Deserialize, Serialize};

/// When the engine starts the compensations of a task. An operator may start them at any time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compensate {
    /// When the task has failed, and when it is cancelled.
    #[default]
    OnError,
    /// Only when the task is cancelled.
    OnCancel,
    /// Never.
    Manual,
}
