//! The store as one process sees it: a table that is far away, and with it, in a run whose settlements are whole, the
//! messages.

use super::{
    process::{Kind, Process},
    queue::MemoryQueues,
    table::MemoryTable,
};
use crate::far::{FaultyStore, operation};
use std::collections::BTreeSet;
use stepwell::{
    CallError, Runtime, TaskId,
    core::{
        index::{IndexEntry, Page},
        message::Outgoing,
        settlement::{Delivery, Settled, Settlement, Transaction},
        snapshot::Loaded,
        transition::{Applied, Transition},
    },
    ports::{Store, TableError},
};

/// The store, and the process that calls it.
#[derive(Clone, Debug)]
pub(super) struct FarStore<T> {
    process: Process,
    table: T,
    /// What one transaction reaches; `None` where each settlement is split.
    at_once: Option<AtOnce>,
}

/// The table and the messages, as one transaction reaches them. What it does to them nobody sees in parts: it waits for
/// nothing in between.
#[derive(Clone, Debug)]
struct AtOnce {
    table: MemoryTable,
    queues: MemoryQueues,
}

impl FarStore<FaultyStore<Process>> {
    /// The store as this process reaches it. Whether it holds the messages is for the run's odds to say.
    pub(super) fn new(process: &Process, table: MemoryTable, queues: MemoryQueues) -> Self {
        let at_once = process.scheduler().odds().is_whole().then(|| AtOnce { table: table.clone(), queues });
        Self { process: process.clone(), table: FaultyStore::new(process.clone(), table), at_once }
    }
}

impl Transaction for AtOnce {
    type Error = TableError;

    fn apply(&mut self, transition: &Transition) -> Result<Applied, TableError> {
        self.table.make(transition)
    }

    fn send(&mut self, outgoing: &Outgoing) -> Result<(), TableError> {
        self.queues.put_message(outgoing).map_err(|error| error.source.into())
    }

    fn end(&mut self, delivery: &Delivery) -> Result<(), TableError> {
        self.queues.end(delivery);
        Ok(())
    }
}

impl<T: Store> Store for FarStore<T> {
    async fn apply(&self, transition: &Transition) -> Result<Applied, TableError> {
        self.table.apply(transition).await
    }

    async fn settle(&self, task: TaskId, settlement: Settlement) -> Result<Settled, TableError> {
        let Some(at_once) = &self.at_once else { return self.table.settle(task, settlement).await };
        let what = || {
            let name = settlement.transition.as_ref().map_or("what follows", |transition| transition.name);
            format!("settle {name}")
        };
        // Its client makes it again when no answer comes, but for a transition that would not know itself again: the same
        // ones as on AWS need a token.
        let kind = settlement.transition.as_ref().map_or(Kind::Write, |transition| operation(transition).into());
        let failed = |kind, cause: &'static str| TableError::from(CallError::new("settle", kind, cause));
        let call = || async { settlement.clone().carry_out(task, &mut at_once.clone(), self.process.now()) };
        self.process.make(kind, what, failed, call).await
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        self.table.load(task, steps).await
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        self.table.load_all(task).await
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<IndexEntry>, TableError> {
        self.table.list(page).await
    }
}
