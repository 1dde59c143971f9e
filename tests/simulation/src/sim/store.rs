//! The store as one process sees it: a table behind a faulty transport. In a whole run it also holds the messages, in memory or in
//! the file of a host.

use super::{
    host::Host,
    messages::Messages,
    process::{Kind, SimulatedProcess},
    queue::MemoryQueues,
    table::MemoryTable,
};
use crate::faulty_store::{FaultyStore, Table, operation};
use std::{collections::BTreeSet, sync::Arc};
use stepwell::{
    CallError, Runtime, TaskId,
    core::{
        index::{IndexEntry, IndexPartition, Page},
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
    transaction: Option<Transactions>,
}

/// How a settlement becomes one transaction.
#[derive(Clone, Debug)]
enum Transactions {
    InMemory(OneTransaction),
    OfHost(Arc<Host>),
}

/// The table as a process reaches it. In a run with a host, the one in memory is only a mirror.
#[derive(Clone, Debug)]
pub(super) enum ReachedTable {
    InMemory(MemoryTable),
    OfHost { host: Arc<Host>, process: SimulatedProcess, mirror: MemoryTable },
}

/// The table and the messages in memory, in one transaction. It never waits in between, so nobody sees it half done.
#[derive(Clone, Debug)]
struct OneTransaction {
    table: MemoryTable,
    queues: MemoryQueues,
}

impl SimulatedStore<FaultyStore<SimulatedProcess, ReachedTable>> {
    /// The store of this process. The run's odds decide whether it holds the messages; a host's file always does.
    pub(super) fn new(process: &SimulatedProcess, table: MemoryTable, messages: Messages) -> Self {
        let (transaction, table) = match messages {
            Messages::Host(host) => {
                let reached = ReachedTable::OfHost { host: host.clone(), process: process.clone(), mirror: table };
                (Some(Transactions::OfHost(host)), reached)
            }
            Messages::Queues(queues) => {
                let is_whole = process.scheduler().odds().is_whole();
                let one = is_whole.then(|| Transactions::InMemory(OneTransaction { table: table.clone(), queues }));
                (one, ReachedTable::InMemory(table))
            }
        };
        Self { process: process.clone(), table: FaultyStore::new(process.clone(), table), transaction }
    }
}

impl Table for ReachedTable {
    fn lists_any(&self, partition: IndexPartition, shard: u8) -> bool {
        match self {
            Self::InMemory(table) | Self::OfHost { mirror: table, .. } => table.lists_any(partition, shard),
        }
    }
}

impl Store for ReachedTable {
    async fn apply(&self, transition: &Transition) -> Result<Applied, TableError> {
        match self {
            Self::InMemory(table) => table.apply(transition).await,
            Self::OfHost { host, process, .. } => host.apply(process, transition).await,
        }
    }

    async fn settle(&self, task: TaskId, settlement: Settlement) -> Result<Settled, TableError> {
        match self {
            Self::InMemory(table) => table.settle(task, settlement).await,
            Self::OfHost { host, process, .. } => host.settle(process, task, settlement).await,
        }
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        match self {
            Self::InMemory(table) => table.load(task, steps).await,
            Self::OfHost { host, process, .. } => host.load(process, task, steps).await,
        }
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        match self {
            Self::InMemory(table) => table.load_all(task).await,
            Self::OfHost { host, process, .. } => host.load_all(process, task).await,
        }
    }

    async fn read(&self, key: &Key) -> Result<Item, TableError> {
        match self {
            Self::InMemory(table) => table.read(key).await,
            Self::OfHost { host, process, .. } => host.read(process, key).await,
        }
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<IndexEntry>, TableError> {
        match self {
            Self::InMemory(table) => table.list(page).await,
            Self::OfHost { host, process, .. } => host.list(process, page).await,
        }
    }

    async fn range(&self, from: &Key, limit: u16) -> Result<Vec<Item>, TableError> {
        match self {
            Self::InMemory(table) => table.range(from, limit).await,
            Self::OfHost { host, process, .. } => host.range(process, from, limit).await,
        }
    }

    async fn newest(&self, before: TaskId, limit: u16) -> Result<Vec<TaskId>, TableError> {
        match self {
            Self::InMemory(table) => table.newest(before, limit).await,
            Self::OfHost { host, process, .. } => host.newest(process, before, limit).await,
        }
    }

    async fn read_all(&self, keys: &[Key], attributes: &[&'static str]) -> Result<Vec<(Key, Item)>, TableError> {
        match self {
            Self::InMemory(table) => table.read_all(keys, attributes).await,
            Self::OfHost { host, process, .. } => host.read_all(process, keys, attributes).await,
        }
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
        let call = || async {
            match transaction {
                Transactions::InMemory(one) => settlement.clone().carry_out(task, &mut one.clone(), self.process.now()),
                Transactions::OfHost(host) => host.settle(&self.process, task, settlement.clone()).await,
            }
        };
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

    async fn newest(&self, before: TaskId, limit: u16) -> Result<Vec<TaskId>, TableError> {
        self.table.newest(before, limit).await
    }

    async fn read_all(&self, keys: &[Key], attributes: &[&'static str]) -> Result<Vec<(Key, Item)>, TableError> {
        self.table.read_all(keys, attributes).await
    }
}
