//! The message that wakes a step.

use crate::core::{id::TaskId, names::step_resource};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The name of the queue of messages that SQS gave up on.
pub const DEAD_LETTERS: &str = "dead_letters";

/// The name of the queue that keeps messages which belong to no step of any task.
pub const UNDELIVERABLE: &str = "undeliverable";

/// The queue of a step, by the names in the workflow's file. Two workflows may have a step of the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepQueue {
    /// The workflow's name, without its namespace and its version.
    pub workflow: String,
    /// The step's name.
    pub step: String,
}

impl StepQueue {
    /// The queue of this step of this workflow.
    pub fn new(workflow: impl Into<String>, step: impl Into<String>) -> Self {
        Self { workflow: workflow.into(), step: step.into() }
    }
}

/// A queue that the engine speaks to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QueueName {
    /// A step's.
    Step(StepQueue),
    /// [`DEAD_LETTERS`].
    DeadLetters,
    /// [`UNDELIVERABLE`].
    Undeliverable,
}

impl From<StepQueue> for QueueName {
    fn from(queue: StepQueue) -> Self {
        Self::Step(queue)
    }
}

/// What it is called in SQS, after the stack's prefix.
impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(StepQueue { workflow, step }) => f.write_str(&step_resource(workflow, step)),
            Self::DeadLetters => f.write_str(DEAD_LETTERS),
            Self::Undeliverable => f.write_str(UNDELIVERABLE),
        }
    }
}

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

/// A message that is to be sent. It does not itself say to which workflow its task belongs, but its queue is that
/// workflow's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The name of the task's workflow, without its namespace and its version.
    pub workflow: String,
    /// The message.
    pub message: Message,
}

impl Outgoing {
    /// The queue that it is sent to: that of its step.
    pub fn queue(&self) -> QueueName {
        StepQueue::new(&self.workflow, &self.message.step).into()
    }
}

/// The longest reason that goes with a rejected message, in characters.
const MAX_REASON_LENGTH: usize = 250;

/// A reason as it can be logged and sent: it may quote a message that nobody vouches for, SQS takes neither control
/// characters nor attributes without end, and a message that cannot even be rejected would go round for days.
pub(crate) fn printable(reason: &str) -> String {
    let fits = |c: &char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    reason.chars().filter(fits).take(MAX_REASON_LENGTH).collect()
}
