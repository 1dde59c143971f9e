//! The engine's store in memory, with observers of its writes.

use super::{
    conformance::{Conformance, Made},
    oracle::{ItemWrite, Recorder},
};
use crate::locked::Locked;
use std::{collections::BTreeSet, fmt, ops::Deref, sync::Arc};
use stepwell::{
    TaskId, Timestamp,
    core::{
        index::{IndexEntry, IndexPartition, Page},
        item::{Item, Key},
        record::TaskRecord,
        settlement::{Settled, Settlement},
        snapshot::Loaded,
        transition::{Applied, Transition},
    },
    ports::{Store, TableError, settle_first},
    testing::{MemoryStore, Written},
};

type Observer = Arc<dyn Fn(Written<'_>) + Send + Sync>;

/// The engine's store in memory. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryTable {
    store: MemoryStore,
    observer: Option<Observer>,
    recorder: Arc<Locked<Option<Arc<Recorder>>>>,
    conformance: Option<Arc<Conformance>>,
}

impl fmt::Debug for MemoryTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTable").finish_non_exhaustive()
    }
}

impl Deref for MemoryTable {
    type Target = MemoryStore;

    fn deref(&self) -> &MemoryStore {
        &self.store
    }
}

impl MemoryTable {
    /// A table that reports every write to an observer.
    pub(super) fn observed_by(observer: impl Fn(Written<'_>) + Send + Sync + 'static) -> Self {
        Self { observer: Some(Arc::new(observer)), ..Self::default() }
    }

    /// The same table, reporting the writes of this clone to a second observer as well.
    pub(super) fn also_observed_by(&self, also: impl Fn(&Written<'_>) + Send + Sync + 'static) -> Self {
        let first = self.observer.clone();
        let both = move |written: Written<'_>| {
            also(&written);
            first.iter().for_each(|first| first(written));
        };
        Self { observer: Some(Arc::new(both)), ..self.clone() }
    }

    /// Records every write from now on.
    pub(super) fn record(&self, recorder: Arc<Recorder>) {
        *self.recorder.lock() = Some(recorder);
    }

    /// Checks every write against the model.
    pub(super) fn held_to(self, conformance: Arc<Conformance>) -> Self {
        Self { conformance: Some(conformance), ..self }
    }

    /// Makes a transition: its writes are observed, recorded, and checked against the model.
    pub(super) fn make(&self, transition: &Transition) -> Result<Applied, TableError> {
        let recorder = self.recorder.lock().clone();
        let (mut writes, mut made) = (Vec::new(), Made::default());
        let applied = self.store.apply_observed(transition, |written| {
            if let Some(observer) = &self.observer {
                observer(written);
            }
            if let Some(conformance) = &self.conformance {
                conformance.see(&mut made, &written);
            }
            if recorder.is_some() {
                writes.push(ItemWrite::new(written.key, written.before, written.after));
            }
        });
        if let Some(conformance) = &self.conformance {
            conformance.judge(transition.name, made);
        }
        if let Some(recorder) = recorder {
            recorder.written(writes);
        }
        applied
    }

    /// Reads a task.
    ///
    /// # Panics
    /// The task does not exist.
    pub(super) fn task<R>(&self, task: TaskId, look: impl FnOnce(&TaskRecord) -> R) -> R {
        self.with_task(task, look).expect("the task is there")
    }

    /// The earliest time at which the watchdog has to inspect a task.
    pub(super) fn next_inspection(&self) -> Option<Timestamp> {
        self.first_listed(|place| IndexPartition::WATCHED.contains(&place.partition)).map(|place| place.at)
    }

    /// The time of the first timer that the feeder has to feed.
    pub(super) fn next_timer(&self) -> Option<Timestamp> {
        self.first_listed(|place| place.partition == IndexPartition::Timer).map(|place| place.at)
    }

    /// Whether a step of the task has a timer.
    pub(super) fn has_timer(&self, task: TaskId) -> bool {
        self.first_listed(|place| place.partition == IndexPartition::Timer && place.task == task).is_some()
    }

    /// Whether the index has a task for the watchdog, now or later.
    pub fn is_watched(&self) -> bool {
        self.next_inspection().is_some()
    }
}

impl Store for MemoryTable {
    async fn apply(&self, transition: &Transition) -> Result<Applied, TableError> {
        self.make(transition)
    }

    async fn settle(&self, _task: TaskId, settlement: Settlement) -> Result<Settled, TableError> {
        settle_first(self, settlement).await
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

    async fn newest(&self, before: TaskId, limit: u16) -> Result<Vec<TaskId>, TableError> {
        self.store.newest(before, limit).await
    }

    async fn read_all(&self, keys: &[Key], attributes: &[&'static str]) -> Result<Vec<(Key, Item)>, TableError> {
        self.store.read_all(keys, attributes).await
    }
}
