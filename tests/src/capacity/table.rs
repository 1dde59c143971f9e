//! The engine's table with DynamoDB's quotas, as a function's client sees it: a throttled call is repeated, and then fails.

use super::meters::{Meters, measured};
use crate::{lock, queues::Clock};
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use stepwell::{
    CallError, FailureKind, Runtime, TaskId, Timestamp,
    core::{
        breaker::CLAIM_PROBE,
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

/// Who makes calls: the quotas that these meet, and how long each takes.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) meters: Arc<Mutex<Meters>>,
    pub(super) clock: Clock,
    pub(super) call: Duration,
    /// How many calls one of its calls stands for.
    pub(super) weight: Arc<AtomicU64>,
}

impl Caller {
    /// A caller with the same quotas, each of whose calls stands for so many.
    pub(super) fn standing_for(&self, weight: u64) -> Self {
        Self { weight: Arc::new(AtomicU64::new(weight)), ..self.clone() }
    }

    pub(super) fn weight(&self) -> u64 {
        self.weight.load(Relaxed)
    }
}

/// The table, as a caller sees it. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct LimitedTable {
    pub(super) store: MemoryStore,
    pub(super) caller: Caller,
}

impl LimitedTable {
    /// Makes a call, again after the SDK's pauses while it is throttled.
    async fn call(
        &self,
        operation: &'static str,
        mut admits: impl FnMut(&mut Meters, Timestamp) -> bool,
    ) -> Result<(), TableError> {
        let Caller { meters, clock, call, .. } = &self.caller;
        for attempt in 0..MAX_ATTEMPTS {
            clock.sleep(*call).await;
            {
                let mut meters = lock(meters);
                if admits(&mut meters, clock.now()) {
                    return Ok(());
                }
                meters.used.throttled += self.caller.weight();
            }
            if attempt + 1 < MAX_ATTEMPTS {
                clock.sleep((FIRST_BACKOFF * 2_u32.pow(attempt)).mul_f64(clock.random())).await;
            }
        }
        lock(meters).used.given_up += self.caller.weight();
        Err(CallError::new(operation, FailureKind::Throttled, "the table is at its limit").into())
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
        lock(&self.caller.meters).read(half_units, self.caller.weight(), self.caller.clock.now());
    }
}

impl Store for LimitedTable {
    async fn apply(&self, transition: &Transition) -> Result<Applied, TableError> {
        // One message probes a service, at any scale. Another one was first.
        if transition.name == CLAIM_PROBE && self.caller.weight() > 1 {
            let item = transition.writes.first().map(|write| self.store.item(&write.key));
            return Ok(Applied::Refused(item.unwrap_or_default()));
        }
        let places = transition.writes.iter().map(|write| IndexPosition::of(&write.key, &self.store.item(&write.key)));
        let shards: Vec<String> = places.flatten().map(|place| place.partition()).collect();
        self.call("UpdateItem", |meters, now| meters.admits_write(&shards, now)).await?;
        let mut written = Vec::new();
        let applied = self.store.apply_observed(transition, |write| written.push(measured(&write)))?;
        let Caller { meters, clock, .. } = &self.caller;
        lock(meters).wrote(transition.writes.len(), &written, self.caller.weight(), clock.now());
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
}

/// The queues, each of whose calls takes its time and is counted.
#[derive(Clone, Debug)]
pub(super) struct MeteredQueues<Q> {
    pub(super) queues: Q,
    pub(super) caller: Caller,
}

impl<Q> MeteredQueues<Q> {
    async fn call(&self) {
        self.caller.clock.sleep(self.caller.call).await;
        lock(&self.caller.meters).used.sqs_requests += self.caller.weight();
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
