//! The interface of the engine to the outside: a store, its queues, time and randomness, and the errors of their calls.
//!
//! The pure functions in [`core`](crate::core) make each write, with its condition, as a value. A condition that does not
//! hold is an answer, not an error: the call returns the item that refused it. A store keeps these items:
//!
//! | `pk` | `sk` | holds |
//! |---|---|---|
//! | `TASK#<id>` | `TASK` | [`TaskRecord`](crate::core::record::TaskRecord), and the keys of the `by_status` index |
//! | `TASK#<id>` | `STEP#<name>` | [`StepRecord`](crate::core::record::StepRecord); missing until the first write to the step |
//! | `KEY#<namespace>#<idempotency key>` | `KEY` | [`KeyRecord`](crate::core::record::KeyRecord) |
//! | `BREAKER#<service>` | `BREAKER` | [`Breaker`](crate::core::breaker::Breaker); missing until it is opened for the first time |
//! | `BACKLOG#<workflow>` | `STEP#<name>` | a [`Note`](crate::core::backlog::Note) of the [`Backlog`](crate::core::backlog::Backlog); missing until a message has waited for long |
//! | `BULK` | `<id>` | [`BulkRecord`](crate::core::bulk::BulkRecord) |
//! | `BULK#<id>` | `<page>` | [`BulkResults`](crate::core::bulk::BulkResults) |
//! | `PAUSE` | `<workflow>#<step>` | [`StepPauses`](crate::core::pause::StepPauses); missing until the step is paused for the first time |
//! | `FIND#<name>#<hash>` | the bits of the task's id, each turned round | the task's id: see [`core::search`](crate::core::search) |
//!
//! The index `by_status` has the hash key `status_shard` (`<partition>#<0..16>`) and the range key `listed_at` (RFC 3339).
//! The shard is taken from the task's id, so that no [`IndexPartition`](crate::core::index::IndexPartition) is one hot
//! key. See [`core::index`](crate::core::index). How a store lists tasks by their ids is its own matter.

use crate::core::{
    codec::Unreadable,
    id::TaskId,
    index::{IndexEntry, Page},
    item::{Item, Key},
    message::{Outgoing, QueueName, StepQueue},
    settlement::{Settled, Settlement},
    snapshot::Loaded,
    timestamp::Timestamp,
    transition::{Applied, Transition},
};
use futures::future::try_join_all;
use std::{collections::BTreeSet, error::Error, fmt, time::Duration};

/// A store of items with conditional writes. The module's documentation lists the items.
pub trait Store: Send + Sync {
    /// Applies a transition: all of its writes, if their conditions hold, or none. If a condition does not hold,
    /// [`Transition::refused`] decides: the transition is refused, or it was applied before, or it is applied without the
    /// optional writes that were refused.
    ///
    /// A transition of one write may be applied twice, as by a client that retries after a lost answer. A transition of
    /// several writes may not recognize that it was applied before. For these the store needs a token of its own, or must
    /// not repeat them.
    fn apply(&self, transition: &Transition) -> impl Future<Output = Result<Applied, TableError>> + Send;

    /// Carries out as much of a settlement as this store can do atomically, and returns the rest. A store that holds its
    /// own messages does all of it in one transaction, by [`Settlement::carry_out`]. Any other store does what
    /// [`settle_first`] does. A settlement may be carried out twice if its transition may be applied twice.
    fn settle(&self, task: TaskId, settlement: Settlement) -> impl Future<Output = Result<Settled, TableError>> + Send;

    /// Reads the task and some of its steps, consistently.
    fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> impl Future<Output = Result<Loaded, TableError>> + Send;

    /// Reads the task and every step that has an item, consistently.
    fn load_all(&self, task: TaskId) -> impl Future<Output = Result<Loaded, TableError>> + Send;

    /// Reads one item; empty if there is none. The read is eventually consistent.
    fn read(&self, key: &Key) -> impl Future<Output = Result<Item, TableError>> + Send;

    /// Reads a page of the index, in the order of time. The read is eventually consistent. A page that is shorter than its
    /// limit is the last one. An entry that cannot be read is left out.
    fn list(&self, page: &Page<'_>) -> impl Future<Output = Result<Vec<IndexEntry>, TableError>> + Send;

    /// Reads at most `limit` items of the partition of this key, from this key on in the order of their sort keys, consistently.
    /// Fewer items are the last ones.
    fn range(&self, from: &Key, limit: u16) -> impl Future<Output = Result<Vec<Item>, TableError>> + Send;

    /// Reads the ids of at most `limit` tasks that were started before this one, by the order of their ids, the newest first. The read is
    /// eventually consistent. Fewer ids are the last ones.
    fn newest(&self, before: TaskId, limit: u16) -> impl Future<Output = Result<Vec<TaskId>, TableError>> + Send;

    /// Reads items of tasks and of steps, consistently, in no particular order: these attributes of each. What does not exist is left
    /// out.
    fn read_all(
        &self,
        keys: &[Key],
        attributes: &[&'static str],
    ) -> impl Future<Output = Result<Vec<(Key, Item)>, TableError>> + Send;

    /// Returns when the task's own item is written after this call, as at the end of the task. It counts from the call on, not from
    /// the first poll. It never returns if the store does not see every write, as if others write to its tables, too.
    fn changed(&self, task: TaskId) -> impl Future<Output = ()> + Send {
        let _ = task;
        std::future::pending()
    }
}

/// Writes the search keys of a settlement, applies its transition, and leaves its consequences to the engine. This is
/// [`Store::settle`] for a store that does not hold the messages.
///
/// # Errors
/// As [`Store::apply`], and [`TableError::SearchKey`].
pub async fn settle_first(store: &impl Store, settlement: Settlement) -> Result<Settled, TableError> {
    let keys = settlement.search_keys.iter().map(|key| store.apply(key));
    try_join_all(keys).await.map_err(TableError::of_search_key)?;
    if let Some(transition) = &settlement.transition
        && let Applied::Refused(item) = store.apply(transition).await?
    {
        return Ok(Settled::Refused(item));
    }
    Ok(Settled::Written { left: settlement.then, completed: false })
}

/// A message as received from a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// The queue's id of the message, the same for every delivery. Empty if the queue gives none.
    pub id: String,
    /// The message's text.
    pub body: String,
    /// The receipt handle of this delivery, which hides or deletes the message.
    pub receipt: Option<String>,
    /// The number of deliveries so far, this one included; `None` if the queue does not say.
    pub receives: Option<u32>,
    /// When it was sent; `None` if the queue does not say.
    pub sent_at: Option<Timestamp>,
    /// For a dead letter: the queue that gave up on it.
    pub dead_letter_source: Option<String>,
}

/// The queues of the steps, and the queue of undeliverable messages.
pub trait Queue: Send + Sync {
    /// Sends a message to the queue of its step.
    fn send(&self, outgoing: &Outgoing) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Sets the visibility timeout of a received message, from now, in whole seconds.
    fn hide(
        &self,
        queue: &QueueName,
        receipt_handle: &str,
        wait: Duration,
    ) -> impl Future<Output = Result<(), QueueError>> + Send;

    /// Puts a message that belongs to no step of any task into the queue
    /// [`UNDELIVERABLE`](crate::core::message::UNDELIVERABLE), with the reason.
    fn reject(&self, body: &str, reason: &str) -> impl Future<Output = Result<(), QueueError>> + Send;
}

/// The deliveries of the steps' queues, which [a pause](crate::core::pause) stops.
pub trait Deliveries: Send + Sync {
    /// Stops the deliveries of a step's queue, or lets them go on; safe to repeat. What was delivered before stays with its worker. It may
    /// take a while until no delivery begins any more.
    fn deliver(&self, queue: &StepQueue, on: bool) -> impl Future<Output = Result<(), QueueError>> + Send;
}

/// The source of time, random numbers and task ids.
pub trait Runtime: Send + Sync {
    /// The current time.
    fn now(&self) -> Timestamp;

    /// Waits for this long.
    fn sleep(&self, time: Duration) -> impl Future<Output = ()> + Send {
        tokio::time::sleep(time)
    }

    /// A random number in `0.0..1.0`.
    fn random(&self) -> f64;

    /// A unique id for a new task.
    fn new_task_id(&self) -> TaskId;
}

/// A call that failed after all retries of its client. Its kind says whether it may have taken effect all the same.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {kind}: {source}")]
pub struct CallError {
    /// The name of the service's operation.
    pub operation: &'static str,
    /// Whether a later call may succeed.
    pub kind: FailureKind,
    /// The client's error.
    pub source: Box<dyn Error + Send + Sync>,
}

/// Whether the same call may succeed later, and whether it may have taken effect already. An adapter whose client repeats
/// calls looks at every attempt: one attempt without an answer makes the call [`Self::Unavailable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The service throttled the call, which had no effect: it may succeed later.
    Throttled,
    /// No answer came, or the service failed: the call may succeed later, and it may have taken effect.
    Unavailable,
    /// The service refused the call, for lack of permissions or because it is invalid. It had no effect, and it will not
    /// succeed.
    Refused,
}

impl FailureKind {
    /// Whether the failed call may have taken effect all the same.
    pub const fn may_have_taken_effect(self) -> bool {
        match self {
            Self::Unavailable => true,
            Self::Throttled | Self::Refused => false,
        }
    }
}

impl CallError {
    /// A failure of this operation.
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

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The call that writes a search key failed, so what it leads to was not written.
    #[error("a search key was not written: {0}")]
    SearchKey(CallError),
    /// An item in the store cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl TableError {
    /// Whether a write that ended in this error may have taken effect all the same.
    pub const fn may_have_taken_effect(&self) -> bool {
        match self {
            Self::Call(call) => call.kind.may_have_taken_effect(),
            Self::SearchKey(_) => false,
            // The answer to the write cannot be read.
            Self::Unreadable(_) => true,
        }
    }

    /// The error of a write before which this call was to write a search key.
    fn of_search_key(self) -> Self {
        match self {
            Self::Call(call) => Self::SearchKey(call),
            other => other,
        }
    }
}

/// An error of a queue.
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
