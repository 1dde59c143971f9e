//! A table in memory that is far away: each call of it takes a way on which something may happen.

use crate::sim::MemoryTable;
use std::{collections::BTreeSet, fmt};
use stepwell::{
    TaskId,
    core::{
        index::{IndexEntry, Page},
        settlement::{Settled, Settlement},
        snapshot::Loaded,
        transition::{Applied, Effect, Transition},
    },
    ports::{Store, TableError, settle_first},
};

/// What DynamoDB calls a call.
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
    /// DynamoDB's word.
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

/// The way from a process to the table.
pub trait Transport: Send + Sync {
    /// Whether a part of the index is not asked for where nothing is in it. Most are empty, and where nothing can be
    /// learnt from how that is found out, it only takes time.
    const SKIPS_EMPTY_PARTS: bool;

    /// Makes a call. `what` says it in words, `effect` is what the table does when it gets through.
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

/// A table, and the way to it.
#[derive(Clone, Debug)]
pub struct FaultyStore<W> {
    way: W,
    table: MemoryTable,
}

impl<W> FaultyStore<W> {
    /// This table, at the end of this way.
    pub fn new(way: W, table: MemoryTable) -> Self {
        Self { way, table }
    }
}

/// The call that a transition is.
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

/// A transition, in words.
fn words(transition: &Transition) -> String {
    let keys = transition.writes.iter().map(|write| write.key.sort());
    format!("{} {}", transition.name, keys.collect::<Vec<_>>().join(" "))
}

impl<W: Transport> Store for FaultyStore<W> {
    async fn apply(&self, transition: &Transition) -> Result<Applied, TableError> {
        let call = || self.table.apply(transition);
        self.way.call(operation(transition), || words(transition), call).await
    }

    async fn settle(&self, _task: TaskId, settlement: Settlement) -> Result<Settled, TableError> {
        settle_first(self, settlement).await
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        self.way.read(Operation::BatchGet, || "load".to_owned(), || self.table.load(task, steps)).await
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        self.way.read(Operation::Query, || "load_all".to_owned(), || self.table.load_all(task)).await
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<IndexEntry>, TableError> {
        if W::SKIPS_EMPTY_PARTS && !self.table.lists_any(page.listing, page.shard) {
            return Ok(Vec::new());
        }
        let what = || format!("list {} {}", page.listing.as_str(), page.shard);
        self.way.call(Operation::Query, what, || self.table.list(page)).await
    }
}
