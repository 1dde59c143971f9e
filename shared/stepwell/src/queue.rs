//! The queues: one for each step, one for what SQS gave up on, one for what no step can use.

pub use crate::core::message::Message;
use crate::{CallError, Timestamp};
use std::time::Duration;

/// The name of the queue of messages that SQS gave up on, next to the steps' names.
pub const DEAD_LETTERS: &str = "dead_letters";

/// The name of the queue that keeps messages which belong to no step of any task.
pub const UNDELIVERABLE: &str = "undeliverable";

/// The longest reason that goes with a rejected message, in characters.
const MAX_REASON_LENGTH: usize = 250;

/// A reason as it can be logged and sent: it may quote a message that nobody vouches for, SQS takes neither control
/// characters nor attributes without end, and a message that cannot even be rejected would go round for days.
pub(crate) fn printable(reason: &str) -> String {
    let fits = |c: &char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    reason.chars().filter(fits).take(MAX_REASON_LENGTH).collect()
}

/// A queue that did not take what it was given.
#[derive(Debug, thiserror::Error)]
#[error("the queue of `{queue}`: {source}")]
pub struct QueueError {
    /// The queue: a step's name, or one of the engine's own.
    pub queue: String,
    /// What went wrong.
    pub source: CallError,
}

impl QueueError {
    /// A failure of a call to this queue.
    pub fn new(queue: impl Into<String>, source: CallError) -> Self {
        Self { queue: queue.into(), source }
    }
}

/// A message as its queue hands it out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The queue's name for the message, the same each time that it is handed out. Empty where it has none.
    pub id: String,
    /// The message's text.
    pub body: String,
    /// Stands for this one time: by it the message is hidden or deleted.
    pub receipt: Option<String>,
    /// How often it has been handed out, this time included; `None` where the queue does not say.
    pub receives: Option<u32>,
    /// When it was sent, where the queue says so.
    pub sent_at: Option<Timestamp>,
    /// The queue that gave it up, where it is a dead letter.
    pub given_up_by: Option<String>,
}

/// What a worker and a client need of the queues.
pub trait Queue: Send + Sync {
    /// Sends a message to the queue of its step.
    fn send(&self, message: &Message) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Hides a message that was received, for this long from now, in whole seconds.
    fn hide(
        &self,
        step: &str,
        receipt_handle: &str,
        wait: Duration,
    ) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Keeps a message that belongs to no step of any task in the queue [`UNDELIVERABLE`], with the reason.
    fn reject(&self, body: &str, reason: &str) -> impl Future<Output = Result<(), QueueError>> + Send;
}
