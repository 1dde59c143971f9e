//! All that the engine asks of the world: a store, its queues, time and chance; and how a call of these fails.
//!
//! What is written, and under which condition, is a value that the pure functions in [`core`](crate::core) make. A refused
//! condition is an answer, not an error: it comes back with the item that stood against it. A store keeps these items:
//!
//! | `pk` | `sk` | holds |
//! |---|---|---|
//! | `TASK#<id>` | `TASK` | [`TaskRecord`](crate::core::record::TaskRecord), and the keys of the `by_status` index |
//! | `TASK#<id>` | `STEP#<name>` | [`StepRecord`](crate::core::record::StepRecord); not there until something happens to the step |
//! | `KEY#<namespace>#<idempotency key>` | `KEY` | [`KeyRecord`](crate::core::record::KeyRecord) |
//!
//! The index `by_status` has the hash key `status_shard` (`<listing>#<0..16>`, the shard taken from the id, so that no
//! [`IndexPartition`](crate::core::index::IndexPartition) is one hot key) and the range key `listed_at` (RFC 3339); see [`core::index`](crate::core::index).

use crate::core::{
    codec::Unreadable,
    id::TaskId,
    index::{IndexEntry, Page},
    message::{Outgoing, QueueName},
    settlement::{Settled, Settlement},
    snapshot::Loaded,
    timestamp::Timestamp,
    transition::{Applied, Transition},
};
use std::{collections::BTreeSet, error::Error, fmt, time::Duration};

/// What the engine needs of a store. See the module's page for the items.
pub trait Store: Send + Sync {
    /// Makes a transition: all of its writes, if their conditions hold, or none. Where one does not,
    /// [`Transition::refused`] says what follows: it has ended, because it is refused or because it was made before; or
    /// the writes that are not optional are made without the others.
    ///
    /// A transition of one write may be made twice, as by a client that got no answer. One of several writes may not know
    /// itself again: the store has to know it, by a token, or must not make it twice.
    fn apply(&self, transition: &Transition) -> impl Future<Output = Result<Applied, TableError>> + Send;

    /// Carries a settlement of a task out as far as this store can at one go, and answers what is left. A store that holds
    /// its own messages does all of it in one transaction, by [`Settlement::carry_out`]; any other does what
    /// [`settle_first`] does. It may be made twice where its transition may.
    fn settle(&self, task: TaskId, settlement: Settlement) -> impl Future<Output = Result<Settled, TableError>> + Send;

    /// Reads the task and some of its steps, consistently.
    fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> impl Future<Output = Result<Loaded, TableError>> + Send;

    /// Reads the task and every step that has an item, consistently.
    fn load_all(&self, task: TaskId) -> impl Future<Output = Result<Loaded, TableError>> + Send;

    /// Reads a part of the index, in the order of time. What was written a moment ago may be missing.
    fn list(&self, page: &Page<'_>) -> impl Future<Output = Result<Vec<IndexEntry>, TableError>> + Send;
}

/// Makes the transition of a settlement, and leaves all that follows from it to the engine: [`Store::settle`] of a store
/// that does not hold the messages.
///
/// # Errors
/// As [`Store::apply`].
pub async fn settle_first(store: &impl Store, settlement: Settlement) -> Result<Settled, TableError> {
    if let Some(transition) = &settlement.transition
        && let Applied::Refused(item) = store.apply(transition).await?
    {
        return Ok(Settled::Refused(item));
    }
    Ok(Settled::Written(settlement.then))
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
    fn send(&self, outgoing: &Outgoing) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Hides a message that was received, for this long from now, in whole seconds.
    fn hide(
        &self,
        queue: &QueueName,
        receipt_handle: &str,
        wait: Duration,
    ) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Keeps a message that belongs to no step of any task in the queue [`UNDELIVERABLE`](crate::core::message::UNDELIVERABLE), with the reason.
    fn reject(&self, body: &str, reason: &str) -> impl Future<Output = Result<(), QueueError>> + Send;
}

/// Where the engine gets the time and its random numbers from.
pub trait Runtime: Send + Sync {
    /// The moment it is.
    fn now(&self) -> Timestamp;

    /// A random number in `0.0..1.0`.
    fn random(&self) -> f64;

    /// The id of a new task, which no other has.
    fn new_task_id(&self) -> TaskId;
}

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

/// A store that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// An item that cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// A queue that did not take what it was given.
#[derive(Debug, thiserror::Error)]
#[error("the queue `{queue}`: {source}")]
pub struct QueueError {
    /// The queue.
    pub queue: QueueName,
    /// What went wrong.
    pub source: CallError,
}

impl QueueError {
    /// A failure of a call to this queue.
    pub fn new(queue: impl Into<QueueName>, source: CallError) -> Self {
        Self { queue: queue.into(), source }
    }
}
