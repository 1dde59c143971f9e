//! The backend `memory`: a store and its queues in memory.

use super::{
    MemoryQueue, MemoryStore,
    meter::{self, Meter, WriteSize},
};
use crate::{
    core::{
        id::TaskId,
        index::{IndexEntry, Page},
        item::{Item, Key},
        message::{Outgoing, QueueName, StepQueue},
        settlement::{Delivery, Settled, Settlement, Transaction},
        snapshot::Loaded,
        transition::{Applied, Transition},
    },
    ports::{Deliveries, Queue, QueueError, Runtime, Store, TableError, settle_first},
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
    /// Counts the calls, each of which then takes some virtual time. Only settlements that are carried out call by call are counted.
    pub meter: Option<Meter>,
}

impl<A: Runtime + Clone> Memory<A> {
    /// An empty store whose queues follow this clock. A settlement is one transaction.
    pub fn new(runtime: A) -> Self {
        Self {
            store: MemoryStore::default(),
            queue: MemoryQueue::new(runtime.clone()),
            runtime,
            whole: true,
            meter: None,
        }
    }

    /// Waits as long as a metered call takes. Returns the meter, if there is one.
    async fn call(&self) -> Option<&Meter> {
        let meter = self.meter.as_ref()?;
        self.runtime.sleep(meter::CALL).await;
        Some(meter)
    }

    fn bytes(&self, key: &Key) -> usize {
        meter::bytes_in(&self.store, key)
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

impl<A: Runtime + Clone> Store for Memory<A> {
    async fn apply(&self, transition: &Transition) -> Result<Applied, TableError> {
        let meter = self.call().await;
        let mut writes = Vec::new();
        let applied = self.store.apply_observed(transition, |written| {
            if meter.is_some() {
                writes.push(WriteSize::of(written.key, written.before, written.after));
            }
        })?;
        if let Some(meter) = meter {
            meter.wrote(transition.writes.len(), &writes);
        }
        Ok(applied)
    }

    async fn settle(&self, task: TaskId, settlement: Settlement) -> Result<Settled, TableError> {
        match self.whole {
            true => settlement.carry_out(task, &mut MemoryTransaction(self), self.runtime.now()),
            false => settle_first(self, settlement).await,
        }
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        if let Some(meter) = self.call().await {
            let keys = steps.iter().map(|step| Key::Step(task, (*step).to_owned())).chain([Key::Task(task)]);
            meter.read_each(keys.map(|key| self.bytes(&key)));
        }
        self.store.load(task, steps).await
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        let meter = self.call().await;
        let loaded = self.store.load_all(task).await?;
        if let Some(meter) = meter {
            let keys = loaded.steps.keys().map(|step| Key::Step(task, step.clone())).chain([Key::Task(task)]);
            meter.read_each([keys.map(|key| self.bytes(&key)).sum()]);
        }
        Ok(loaded)
    }

    async fn read(&self, key: &Key) -> Result<Item, TableError> {
        if let Some(meter) = self.call().await {
            meter.read_eventually(self.bytes(key));
        }
        self.store.read(key).await
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<IndexEntry>, TableError> {
        let meter = self.call().await;
        let entries = self.store.list(page).await?;
        if let Some(meter) = meter {
            // An entry of the index is a part of its item.
            meter.read_eventually(entries.iter().map(|entry| self.bytes(&entry.place.key())).sum());
        }
        Ok(entries)
    }

    async fn range(&self, from: &Key, limit: u16) -> Result<Vec<Item>, TableError> {
        let meter = self.call().await;
        let items = self.store.range(from, limit).await?;
        if let Some(meter) = meter {
            meter.read_each([items.iter().map(meter::item_bytes).sum()]);
        }
        Ok(items)
    }

    async fn newest(&self, before: TaskId, limit: u16) -> Result<Vec<TaskId>, TableError> {
        let meter = self.call().await;
        let tasks = self.store.newest(before, limit).await?;
        if let Some(meter) = meter {
            meter.read_eventually(tasks.len() * meter::START_ENTRY);
        }
        Ok(tasks)
    }

    async fn read_all(&self, keys: &[Key], attributes: &[&'static str]) -> Result<Vec<(Key, Item)>, TableError> {
        if let Some(meter) = self.call().await {
            meter.read_each(keys.iter().map(|key| self.bytes(key)));
        }
        self.store.read_all(keys, attributes).await
    }
}

impl<A: Runtime + Clone> Deliveries for Memory<A> {
    async fn deliver(&self, queue: &StepQueue, on: bool) -> Result<(), QueueError> {
        self.queue.deliver(queue, on).await
    }
}

impl<A: Runtime + Clone> Queue for Memory<A> {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), QueueError> {
        if let Some(meter) = self.call().await {
            meter.asked_sqs();
        }
        self.queue.send(outgoing).await
    }

    async fn hide(&self, queue: &QueueName, receipt: &str, wait: Duration) -> Result<(), QueueError> {
        if let Some(meter) = self.call().await {
            meter.asked_sqs();
        }
        self.queue.hide(queue, receipt, wait).await
    }

    async fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        if let Some(meter) = self.call().await {
            meter.asked_sqs();
        }
        self.queue.reject(body, reason).await
    }
}
