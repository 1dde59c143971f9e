//! The engine's table with DynamoDB's quotas, as a function's client sees it: a throttled call is repeated, and then fails.

use super::{
    cloud::Out,
    meters::{Meters, measured},
};
use crate::{lock, queues::Clock};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};
use stepwell::{
    CallError, FailureKind, Runtime, TaskId, Timestamp,
    core::{
        breaker::{self, Breaker},
        index::{IndexEntry, IndexPosition, Page},
        item::{Item, Key},
        message::{Outgoing, QueueName},
        settlement::{Settled, Settlement},
        snapshot::Loaded,
        transition::{Applied, Transition},
    },
    ports::{Queue, QueueError, Store, TableError, settle_first},
    testing::{MemoryStore, read_units, stored_bytes},
};
use stepwell_aws::{FIRST_BACKOFF, MAX_ATTEMPTS};
use tokio::task::spawn_local;

/// What each call meets: the quotas, and how long it takes.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    pub(super) meters: Arc<Mutex<Meters>>,
    pub(super) clock: Clock,
    pub(super) call: Duration,
}

/// The table. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct LimitedTable {
    pub(super) store: MemoryStore,
    pub(super) calls: Calls,
    /// When the payment gateway is out, and how long it takes to answer otherwise.
    pub(super) outage: Option<Out>,
    pub(super) service: Duration,
}

impl LimitedTable {
    /// Makes a call, again after the SDK's pauses while it is throttled.
    async fn call(
        &self,
        operation: &'static str,
        mut admits: impl FnMut(&mut Meters, Timestamp) -> bool,
    ) -> Result<(), TableError> {
        let Calls { meters, clock, call } = &self.calls;
        for attempt in 0..MAX_ATTEMPTS {
            clock.sleep(*call).await;
            {
                let mut meters = lock(meters);
                if admits(&mut meters, clock.now()) {
                    return Ok(());
                }
                meters.used.throttled += meters.scale;
            }
            if attempt + 1 < MAX_ATTEMPTS {
                clock.sleep((FIRST_BACKOFF * 2_u32.pow(attempt)).mul_f64(clock.random())).await;
            }
        }
        let mut meters = lock(meters);
        meters.used.given_up += meters.scale;
        Err(CallError::new(operation, FailureKind::Throttled, "the table is at its limit").into())
    }

    /// One of the messages that a message stands for probes the service; the others are parked. What one message takes is too little to count.
    pub(super) fn probe(&self, claim: &Transition) -> Result<Applied, TableError> {
        let applied = self.store.apply_observed(claim, |_| ())?;
        let item = claim.writes.first().map(|write| (write.key.clone(), self.store.item(&write.key)));
        let Some((key, item)) = item else { return Ok(applied) };
        if let (true, Key::Breaker(service), Breaker::Open(open)) = (applied.is_written(), key, Breaker::of(&item)) {
            let (table, clock) = (self.clone(), self.calls.clock.clone());
            spawn_local(async move {
                let is_out = table.outage.is_some_and(|out| out.is_out(clock.now()).is_some());
                if !is_out {
                    clock.sleep(table.service).await;
                    let close = breaker::close(&service, &open, clock.now());
                    table.store.apply_observed(&close, |_| ()).expect("a breaker can be read");
                }
            });
        }
        Ok(Applied::Refused(item))
    }

    async fn read_call(&self, operation: &'static str) -> Result<(), TableError> {
        self.call(operation, Meters::admits_read).await
    }

    fn bytes(&self, key: &Key) -> usize {
        stored_bytes(key, &self.store.item(key))
    }

    /// Counts a consistent read of items that are rounded up one by one.
    fn read(&self, items: impl IntoIterator<Item = usize>) {
        let half_units = items.into_iter().map(|bytes| 2 * read_units(bytes)).sum();
        self.count_read(half_units);
    }

    /// Counts an eventually consistent read.
    fn read_eventually(&self, bytes: usize) {
        self.count_read(read_units(bytes));
    }

    fn count_read(&self, half_units: usize) {
        lock(&self.calls.meters).read(half_units, self.calls.clock.now());
    }
}

impl Store for LimitedTable {
    async fn apply(&self, transition: &Transition) -> Result<Applied, TableError> {
        if transition.name == "claim_probe" {
            return self.probe(transition);
        }
        let places = transition.writes.iter().map(|write| IndexPosition::of(&write.key, &self.store.item(&write.key)));
        let shards: Vec<String> = places.flatten().map(|place| place.partition()).collect();
        self.call("UpdateItem", |meters, now| meters.admits_write(&shards, now)).await?;
        let mut written = Vec::new();
        let applied = self.store.apply_observed(transition, |write| written.push(measured(&write)))?;
        let Calls { meters, clock, .. } = &self.calls;
        lock(meters).wrote(transition.writes.len(), &written, clock.now());
        Ok(applied)
    }

    async fn settle(&self, _task: TaskId, settlement: Settlement) -> Result<Settled, TableError> {
        settle_first(self, settlement).await
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        self.read_call("BatchGetItem").await?;
        let keys = steps.iter().map(|step| Key::Step(task, (*step).to_owned())).chain([Key::Task(task)]);
        self.read(keys.map(|key| self.bytes(&key)));
        self.store.load(task, steps).await
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        self.read_call("Query").await?;
        let loaded = self.store.load_all(task).await?;
        let keys = loaded.steps.keys().map(|step| Key::Step(task, step.clone())).chain([Key::Task(task)]);
        self.read([keys.map(|key| self.bytes(&key)).sum()]);
        Ok(loaded)
    }

    async fn read(&self, key: &Key) -> Result<Item, TableError> {
        self.read_call("Query").await?;
        self.read_eventually(self.bytes(key));
        self.store.read(key).await
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<IndexEntry>, TableError> {
        self.read_call("Query").await?;
        let entries = self.store.list(page).await?;
        self.read_eventually(entries.iter().map(|entry| self.bytes(&entry.place.key())).sum());
        Ok(entries)
    }

    async fn range(&self, from: &Key, limit: u16) -> Result<Vec<Item>, TableError> {
        self.read_call("Query").await?;
        let items = self.store.range(from, limit).await?;
        self.read([items.iter().map(stepwell::testing::item_bytes).sum()]);
        Ok(items)
    }

    async fn newest(&self, before: TaskId, limit: u16) -> Result<Vec<TaskId>, TableError> {
        self.read_call("Query").await?;
        self.store.newest(before, limit).await
    }

    async fn read_all(&self, keys: &[Key], attributes: &[&'static str]) -> Result<Vec<(Key, Item)>, TableError> {
        self.read_call("BatchGetItem").await?;
        self.read(keys.iter().map(|key| self.bytes(key)));
        self.store.read_all(keys, attributes).await
    }
}

/// The queues, each of whose calls takes its time and is counted.
#[derive(Clone, Debug)]
pub(super) struct MeteredQueues<Q> {
    pub(super) queues: Q,
    pub(super) calls: Calls,
}

impl<Q> MeteredQueues<Q> {
    async fn call(&self) {
        self.calls.clock.sleep(self.calls.call).await;
        let mut meters = lock(&self.calls.meters);
        meters.used.sqs_requests += meters.scale;
    }
}

impl<Q: Queue> Queue for MeteredQueues<Q> {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), QueueError> {
        self.call().await;
        self.queues.send(outgoing).await
    }

    async fn hide(&self, queue: &QueueName, receipt: &str, wait: Duration) -> Result<(), QueueError> {
        self.call().await;
        self.queues.hide(queue, receipt, wait).await
    }

    async fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        self.call().await;
        self.queues.reject(body, reason).await
    }
}
