//! The store as one process sees it: a table behind a faulty transport. In a whole run it also holds the messages.

use super::{
    process::{Kind, SimulatedProcess},
    queue::MemoryQueues,
    table::MemoryTable,
};
use crate::faulty_store::{FaultyStore, operation};
use std::collections::BTreeSet;
use stepwell::{
    CallError, Runtime, TaskId,
    core::{
        index::{IndexEntry, Page},
        item::{Item, Key},
        message::Outgoing,
        settlement::{Delivery, Settled, Settlement, Transaction},
        snapshot::Loaded,
        transition::{Applied, Transition},
    },
    ports::{Store, TableError},
};

/// The store of one process.
#[derive(Clone, Debug)]
pub(super) struct SimulatedStore<T> {
    process: SimulatedProcess,
    table: T,
    /// The reach of one transaction; `None` where settlements are split.
    transaction: Option<OneTransaction>,
}

/// The table and the messages in one transaction. It never waits in between, so nobody sees it half done.
#[derive(Clone, Debug)]
struct OneTransaction {
    table: MemoryTable,
    queues: MemoryQueues,
}

impl SimulatedStore<FaultyStore<SimulatedProcess>> {
    /// The store of this process. The run's odds decide whether it holds the messages.
    pub(super) fn new(process: &SimulatedProcess, table: MemoryTable, queues: MemoryQueues) -> Self {
        let transaction =
            process.scheduler().odds().is_whole().then(|| OneTransaction { table: table.clone(), queues });
        Self { process: process.clone(), table: FaultyStore::new(process.clone(), table), transaction }
    }
}

impl Transaction for OneTransaction {
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

impl<T: Store> Store for SimulatedStore<T> {
    async fn apply(&self, transition: &Transition) -> Result<Applied, TableError> {
        self.table.apply(transition).await
    }

    async fn settle(&self, task: TaskId, settlement: Settlement) -> Result<Settled, TableError> {
        let Some(transaction) = &self.transaction else { return self.table.settle(task, settlement).await };
        let what = || {
            let name = settlement.transition.as_ref().map_or("what follows", |transition| transition.name);
            format!("settle {name}")
        };
        // The client repeats the call when no answer comes, unless the transition cannot recognise itself: those are
        // the ones that need a token on AWS.
        let kind = settlement.transition.as_ref().map_or(Kind::Write, |transition| operation(transition).into());
        let failed = |kind, cause: &'static str| TableError::from(CallError::new("settle", kind, cause));
        let call = || async { settlement.clone().carry_out(task, &mut transaction.clone(), self.process.now()) };
        self.process.make(kind, what, failed, call).await
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        self.table.load(task, steps).await
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        self.table.load_all(task).await
    }

    async fn read(&self, key: &Key) -> Result<Item, TableError> {
        self.table.read(key).await
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<IndexEntry>, TableError> {
        self.table.list(page).await
    }

    async fn range(&self, from: &Key, limit: u16) -> Result<Vec<Item>, TableError> {
        self.table.range(from, limit).await
    }
}
