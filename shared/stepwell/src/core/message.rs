//! The message that wakes a step.

use crate::{TaskId, plan::StepPlan};
use serde::{Deserialize, Serialize};

/// What makes a worker look at a step. It is a hint and nothing more: whether the step may run is read off the store.
///
/// A field that is not known is passed over: during a deployment an older worker may meet a newer one's message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The task.
    pub task_id: TaskId,
    /// The step.
    pub step: String,
    /// The steps to read together with the claim: this one's dependencies, which the sender knows from the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub load: Vec<String>,
    /// Whether it is a second copy: it comes from a dispatch that may have been made before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeat: bool,
}

impl Message {
    /// The message that wakes this step of this task.
    pub fn new(task_id: TaskId, step: &StepPlan) -> Self {
        Self { task_id, step: step.name.clone(), load: step.depends_on.clone(), repeat: false }
    }
}
