//! The message that wakes a step.

use crate::core::id::TaskId;
use serde::{Deserialize, Serialize};

/// The name of the queue of messages that SQS gave up on, next to the steps' names.
pub const DEAD_LETTERS: &str = "dead_letters";

/// The name of the queue that keeps messages which belong to no step of any task.
pub const UNDELIVERABLE: &str = "undeliverable";

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

/// The longest reason that goes with a rejected message, in characters.
const MAX_REASON_LENGTH: usize = 250;

/// A reason as it can be logged and sent: it may quote a message that nobody vouches for, SQS takes neither control
/// characters nor attributes without end, and a message that cannot even be rejected would go round for days.
pub(crate) fn printable(reason: &str) -> String {
    let fits = |c: &char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    reason.chars().filter(fits).take(MAX_REASON_LENGTH).collect()
}
