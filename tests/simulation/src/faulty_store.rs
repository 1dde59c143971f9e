//! A table in memory whose calls go through a transport that may fail.

use crate::sim::MemoryTable;
use std::{collections::BTreeSet, fmt};
use stepwell::{
    TaskId,
    core::{
        index::{IndexEntry, IndexPartition, Page},
        item::{Item, Key},
        settlement::{Settled, Settlement},
        snapshot::Loaded,
        transition::{Applied, Effect, Transition},
    },
    ports::{Store, TableError, settle_first},
};

/// The DynamoDB operation of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `PutItem`.
    Put,
    /// `BatchGetItem`.
    BatchGet,
    /// `Query`.
    Query,
    /// `UpdateItem`.
    Update,
    /// `DeleteItem`.
    Delete,
    /// `TransactWriteItems`.
    Transact,
}

impl Operation {
    /// The operation's name in AWS's API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "PutItem",
            Self::BatchGet => "BatchGetItem",
            Self::Query => "Query",
            Self::Update => "UpdateItem",
            Self::Delete => "DeleteItem",
            Self::Transact => "TransactWriteItems",
        }
    }
}

/// The transport from a process to the table.
pub trait Transport: Send + Sync {
    /// Whether queries of empty index partitions are left out. Most partitions are empty, and where their queries can
    /// show nothing new they only take time.
    const SKIPS_EMPTY_PARTS: bool;

    /// Makes a call. `what` describes it, and `effect` runs when the call reaches the table.
    fn call<R: fmt::Debug + Send, F: Future<Output = Result<R, TableError>> + Send>(
        &self,
        operation: Operation,
        what: impl Fn() -> String + Send + Sync,
        effect: impl Fn() -> F + Send + Sync,
    ) -> impl Future<Output = Result<R, TableError>> + Send;

    /// Reads several items.
    fn read<F: Future<Output = Result<Loaded, TableError>> + Send>(
        &self,
        operation: Operation,
        what: impl Fn() -> String + Send + Sync,
        effect: impl Fn() -> F + Send + Sync,
    ) -> impl Future<Output = Result<Loaded, TableError>> + Send {
        self.call(operation, what, effect)
    }
}

/// A table that knows which index partitions are empty.
pub trait Table: Store {
    /// Whether this index partition has a task in this shard.
    fn lists_any(&self, partition: IndexPartition, shard: u8) -> bool;
}

impl Table for MemoryTable {
    fn lists_any(&self, partition: IndexPartition, shard: u8) -> bool {
        self.first_listed(|place| place.partition == partition && IndexPartition::shard(place.task) == shard).is_some()
    }
}

/// A table behind a transport.
#[derive(Clone, Debug)]
pub struct FaultyStore<T, S = MemoryTable> {
    transport: T,
    table: S,
}

impl<T, S> FaultyStore<T, S> {
    /// This table behind this transport.
    pub fn new(transport: T, table: S) -> Self {
        Self { transport, table }
    }
}

/// The operation that makes a transition.
pub fn operation(transition: &Transition) -> Operation {
    match transition.writes.as_slice() {
        [write] => match write.effect {
            Effect::Create(_) => Operation::Put,
            Effect::Change(_) => Operation::Update,
            Effect::Delete => Operation::Delete,
        },
        _ => Operation::Transact,
    }
}

/// A transition for the trace.
fn words(transition: &Transition) -> String {
    let keys = transition.writes.iter().map(|write| write.key.sort());
    format!("{} {}", transition.name, keys.collect::<Vec<_>>().join(" "))
}

impl<T: Transport, S: Table> Store for FaultyStore<T, S> {
    async fn apply(&self, transition: &Transition) -> Result<Applied, TableError> {
        let call = || self.table.apply(transition);
        self.transport.call(operation(transition), || words(transition), call).await
    }

    async fn settle(&self, _task: TaskId, settlement: Settlement) -> Result<Settled, TableError> {
        settle_first(self, settlement).await
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        self.transport.read(Operation::BatchGet, || "load".to_owned(), || self.table.load(task, steps)).await
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        self.transport.read(Operation::Query, || "load_all".to_owned(), || self.table.load_all(task)).await
    }

    async fn read(&self, key: &Key) -> Result<Item, TableError> {
        let what = || format!("read {key}");
        self.transport.call(Operation::Query, what, || self.table.read(key)).await
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<IndexEntry>, TableError> {
        if T::SKIPS_EMPTY_PARTS && !self.table.lists_any(page.partition, page.shard) {
            return Ok(Vec::new());
        }
        let what = || format!("list {} {}", page.partition.as_str(), page.shard);
        self.transport.call(Operation::Query, what, || self.table.list(page)).await
    }

    async fn range(&self, from: &Key, limit: u16) -> Result<Vec<Item>, TableError> {
        self.transport.call(Operation::Query, || format!("range {from}"), || self.table.range(from, limit)).await
    }

    async fn newest(&self, before: TaskId, limit: u16) -> Result<Vec<TaskId>, TableError> {
        self.transport.call(Operation::Query, || "newest".to_owned(), || self.table.newest(before, limit)).await
    }

    async fn read_all(&self, keys: &[Key], attributes: &[&'static str]) -> Result<Vec<(Key, Item)>, TableError> {
        let told = || "read_all".to_owned();
        self.transport.call(Operation::BatchGet, told, || self.table.read_all(keys, attributes)).await
    }
}
