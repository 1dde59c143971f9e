//! The backend `memory`: a store and its queues in memory.

use super::{MemoryQueue, MemoryStore};
use crate::{
    core::{
        id::TaskId,
        index::{IndexEntry, Page},
        item::{Item, Key},
        message::{Outgoing, QueueName},
        settlement::{Delivery, Settled, Settlement, Transaction},
        snapshot::Loaded,
        transition::{Applied, Transition},
    },
    ports::{Queue, QueueError, Runtime, Store, TableError},
};
use std::{collections::BTreeSet, time::Duration};

/// The backend `memory`: a store in memory that holds its own messages. Clones share it.
///
/// It is for tests, which run on one thread. A settlement does not await anything in between, so no other task sees a part
/// of it. On several threads another thread could, and after an unreadable item nothing is rolled back.
#[derive(Clone, Debug)]
pub struct Memory<A> {
    /// The items.
    pub store: MemoryStore,
    /// The messages.
    pub queue: MemoryQueue<A>,
    /// The source of time.
    pub runtime: A,
    /// Whether a settlement is one transaction, as with SQLite. Otherwise it is carried out call by call, as on AWS.
    pub whole: bool,
}

impl<A: Runtime + Clone> Memory<A> {
    /// An empty store whose queues follow this clock. A settlement is one transaction.
    pub fn new(runtime: A) -> Self {
        Self { store: MemoryStore::default(), queue: MemoryQueue::new(runtime.clone()), runtime, whole: true }
    }
}

/// The transaction of a settlement.
struct MemoryTransaction<'a, A>(&'a Memory<A>);

impl<A: Runtime> Transaction for MemoryTransaction<'_, A> {
    type Error = TableError;

    fn apply(&mut self, transition: &Transition) -> Result<Applied, TableError> {
        self.0.store.apply_observed(transition, |_| ())
    }

    fn send(&mut self, outgoing: &Outgoing) -> Result<(), TableError> {
        self.0.queue.put_message(outgoing).map_err(|error| error.source.into())
    }

    fn end(&mut self, delivery: &Delivery) -> Result<(), TableError> {
        self.0.queue.end(delivery);
        Ok(())
    }
}

impl<A: Runtime> Store for Memory<A> {
    async fn apply(&self, transition: &Transition) -> Result<Applied, TableError> {
        self.store.apply(transition).await
    }

    async fn settle(&self, task: TaskId, settlement: Settlement) -> Result<Settled, TableError> {
        match self.whole {
            true => settlement.carry_out(task, &mut MemoryTransaction(self), self.runtime.now()),
            false => self.store.settle(task, settlement).await,
        }
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        self.store.load(task, steps).await
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        self.store.load_all(task).await
    }

    async fn read(&self, key: &Key) -> Result<Item, TableError> {
        self.store.read(key).await
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<IndexEntry>, TableError> {
        self.store.list(page).await
    }

    async fn range(&self, from: &Key, limit: u16) -> Result<Vec<Item>, TableError> {
        self.store.range(from, limit).await
    }
}

impl<A: Runtime> Queue for Memory<A> {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), QueueError> {
        self.queue.send(outgoing).await
    }

    async fn hide(&self, queue: &QueueName, receipt: &str, wait: Duration) -> Result<(), QueueError> {
        self.queue.hide(queue, receipt, wait).await
    }

    async fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        self.queue.reject(body, reason).await
    }
}
