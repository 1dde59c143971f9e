//! What a backend has to offer to be simulated in the place of the table and queues in memory. Nothing of it waits: the simulation has
//! one thread and a clock of its own.

use super::process::SimulatedProcess;
use futures::future::BoxFuture;
use std::{any::Any, collections::BTreeSet, time::Duration};
use stepwell::{
    TaskId, Timestamp,
    core::{
        index::{IndexEntry, Page},
        item::{Item, Key},
        message::{Outgoing, QueueName, StepQueue},
        settlement::{Settled, Settlement},
        snapshot::Loaded,
        transition::{Applied, Transition},
    },
    ports::{QueueError, Received, TableError},
};

/// Called at each commit. If it returns true, the commit must fail, and the process is dead.
pub type Dies = Box<dyn FnMut() -> bool + Send>;

/// What outlives a process, such as a file. One process at a time runs on it.
pub trait Machine: Send + Sync {
    /// Starts a process with this clock. What an earlier process held is given back, and the claims of its workers are abandoned.
    ///
    /// # Errors
    /// The process could not start. An error is a violation, unless `dies` has returned true.
    fn start(&self, clock: SimulatedProcess, dies: Dies) -> Result<Started, String>;
}

/// A started process.
pub struct Started {
    /// Its store and its messages.
    pub backend: Box<dyn Backend>,
    /// The bodies of the messages that an earlier process held.
    pub taken_back: Vec<String>,
}

/// How a queue is served.
#[derive(Clone, Debug)]
pub struct Serving {
    /// The queue.
    pub queue: QueueName,
    /// The most deliveries in flight.
    pub slots: usize,
    /// The time of a delivery, after which the message is delivered again.
    pub time: Duration,
    /// Whether the step is claimed in the transaction that delivers its message.
    pub claims: bool,
}

/// A delivered message.
pub struct Delivered {
    /// Its queue.
    pub queue: QueueName,
    /// The message, with the receipt handle of this delivery.
    pub message: Received,
    /// The end of the delivery.
    pub until: Timestamp,
    /// Takes one of the queue's slots until it is dropped.
    pub slot: Box<dyn Any + Send>,
}

/// A message that was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undeliverable {
    /// The message's body.
    pub body: String,
    /// The reason for the rejection.
    pub reason: String,
}

/// The store and the messages of a running process. A settlement is one transaction, which also delivers the messages that it sends, as
/// far as their queues have free slots.
#[allow(
    missing_docs,
    clippy::missing_errors_doc,
    reason = "the ports of the engine say what most of these do, and how they fail"
)]
pub trait Backend: Send {
    fn apply(&self, transition: &Transition) -> Result<Applied, TableError>;
    fn settle(&self, task: TaskId, settlement: Settlement) -> Result<Settled, TableError>;
    fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError>;
    fn load_all(&self, task: TaskId) -> Result<Loaded, TableError>;
    fn read(&self, key: &Key) -> Result<Item, TableError>;
    fn list(&self, page: &Page<'_>) -> Result<Vec<IndexEntry>, TableError>;
    fn range(&self, from: &Key, limit: u16) -> Result<Vec<Item>, TableError>;
    fn newest(&self, before: TaskId, limit: u16) -> Result<Vec<TaskId>, TableError>;
    fn read_all(&self, keys: &[Key], attributes: &[&'static str]) -> Result<Vec<(Key, Item)>, TableError>;

    fn send(&self, outgoing: &Outgoing) -> Result<(), QueueError>;
    fn hide(&self, queue: &QueueName, receipt: &str, wait: Duration) -> Result<(), QueueError>;
    fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError>;
    fn deliver(&self, queue: &StepQueue, on: bool) -> Result<(), QueueError>;

    /// Serves a queue from now on.
    fn serve(&self, serving: &Serving);
    /// The next delivery: of those that are held, or of a message that is due.
    fn receive(&self) -> Result<Option<Delivered>, String>;
    /// The next delivery that is held. A settlement or the last call of [`receive`](Self::receive) has made it.
    fn take_held(&self) -> Option<Delivered>;
    fn acknowledge(&self, message: &Received) -> Result<(), String>;
    /// When there may be something to receive.
    fn next_due(&self) -> Option<Timestamp>;
    /// Is done when there may be something to receive that there was not before.
    fn changed(&self) -> BoxFuture<'static, ()>;

    /// Puts any text into the queue of a step, as somebody else's program may.
    fn put(&self, queue: &StepQueue, body: &str) -> Result<(), String>;
    /// The number of items.
    fn items(&self) -> Result<u32, String>;
    /// The number of messages, but for the rejected ones.
    fn messages(&self) -> Result<u32, String>;
    /// The rejected messages.
    fn undeliverable(&self) -> Result<Vec<Undeliverable>, String>;
}
