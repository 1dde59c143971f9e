//! A table in memory that is far away: each call of it takes a way on which something may happen.

use crate::sim::MemoryTable;
use std::{collections::BTreeSet, fmt};
use stepwell::{
    TaskId, Timestamp,
    state::{End, TaskStatus},
    table::{
        Action, AsRead, AttemptRecord, Claim, ClaimRequest, Creation, Diversion, Failure, Fenced, KeyRecord, Lease,
        Listed, ListedAt, Listing, Loaded, NewTask, Page, StepRecord, Table, TableError, TaskRecord,
    },
};

/// What DynamoDB calls a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
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
    pub(crate) const fn as_str(self) -> &'static str {
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
pub(crate) trait Way {
    /// Whether a part of the index is not asked for where nothing is in it. Most are empty, and where nothing can be
    /// learnt from how that is found out, it only takes time.
    const SKIPS_EMPTY_PARTS: bool;

    /// Makes a call. `what` says it in words, `effect` is what the table does when it gets through.
    async fn call<R: fmt::Debug>(
        &self,
        operation: Operation,
        what: impl Fn() -> String,
        effect: impl AsyncFn() -> Result<R, TableError>,
    ) -> Result<R, TableError>;

    /// Reads several items.
    async fn read(
        &self,
        operation: Operation,
        what: impl Fn() -> String,
        effect: impl AsyncFn() -> Result<Loaded, TableError>,
    ) -> Result<Loaded, TableError> {
        self.call(operation, what, effect).await
    }

    /// The id of a task that is started, by the seed.
    fn task_id(&self) -> TaskId;
}

/// A table, and the way to it.
#[derive(Clone, Debug)]
pub(crate) struct Far<W> {
    way: W,
    table: MemoryTable,
}

impl<W> Far<W> {
    /// This table, at the end of this way.
    pub(crate) fn new(way: W, table: MemoryTable) -> Self {
        Self { way, table }
    }
}

fn of(verb: &str, lease: &Lease) -> String {
    format!("{verb} {} attempt {}", lease.step, lease.attempt)
}

impl<W: Way> Table for Far<W> {
    async fn create(&self, task: &NewTask<'_>) -> Result<Creation, TableError> {
        self.way.call(Operation::Put, || "create".to_owned(), async || self.table.create(task).await).await
    }

    async fn reserve_key(&self, key: KeyRecord) -> Result<KeyRecord, TableError> {
        // The engine makes up an id that the seed does not know. Here somebody else is always a moment quicker, with the
        // same request and an id of the seed's.
        let key = KeyRecord { task: self.way.task_id(), ..key };
        self.way
            .call(Operation::Put, || "reserve_key".to_owned(), async || self.table.reserve_key(key.clone()).await)
            .await
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        self.way.read(Operation::BatchGet, || "load".to_owned(), async || self.table.load(task, steps).await).await
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        self.way.read(Operation::Query, || "load_all".to_owned(), async || self.table.load_all(task).await).await
    }

    async fn claim(&self, request: &ClaimRequest<'_>) -> Result<Claim, TableError> {
        self.way
            .call(Operation::Update, || format!("claim {}", request.step), async || self.table.claim(request).await)
            .await
    }

    async fn take_over(&self, request: &ClaimRequest<'_>, lost: &StepRecord) -> Result<Claim, TableError> {
        let what = || format!("take_over {} from attempt {}", request.step, lost.attempt);
        self.way.call(Operation::Update, what, async || self.table.take_over(request, lost).await).await
    }

    async fn release(&self, lease: &Lease) -> Result<Fenced, TableError> {
        self.way.call(Operation::Update, || of("release", lease), async || self.table.release(lease).await).await
    }

    async fn withdraw(&self, lease: &Lease) -> Result<Fenced, TableError> {
        self.way.call(Operation::Delete, || of("withdraw", lease), async || self.table.withdraw(lease).await).await
    }

    async fn complete(&self, lease: &Lease, attempt: &AttemptRecord, result: &str) -> Result<Fenced, TableError> {
        let call = async || self.table.complete(lease, attempt, result).await;
        self.way.call(Operation::Update, || of("complete", lease), call).await
    }

    async fn retry_later(&self, lease: &Lease, attempt: &AttemptRecord) -> Result<Fenced, TableError> {
        let call = async || self.table.retry_later(lease, attempt).await;
        self.way.call(Operation::Update, || of("retry_later", lease), call).await
    }

    async fn fail(&self, task: &TaskRecord, lease: &Lease, attempt: &AttemptRecord) -> Result<Fenced, TableError> {
        let call = async || self.table.fail(task, lease, attempt).await;
        self.way.call(Operation::Transact, || of("fail", lease), call).await
    }

    async fn arrive_at_step(
        &self,
        task: TaskId,
        step: &str,
        done: &str,
        now: Timestamp,
    ) -> Result<BTreeSet<String>, TableError> {
        let call = async || self.table.arrive_at_step(task, step, done, now).await;
        self.way.call(Operation::Update, || format!("arrive_at_step {step} from {done}"), call).await
    }

    async fn arrive_at_task(&self, task: TaskId, done: &str) -> Result<BTreeSet<String>, TableError> {
        let call = async || self.table.arrive_at_task(task, done).await;
        self.way.call(Operation::Update, || format!("arrive_at_task from {done}"), call).await
    }

    async fn finish(&self, task: TaskId, now: Timestamp) -> Result<TaskStatus, TableError> {
        self.way.call(Operation::Update, || "finish".to_owned(), async || self.table.finish(task, now).await).await
    }

    async fn restart(&self, task: &TaskRecord, failed: &[&StepRecord], action: &Action) -> Result<AsRead, TableError> {
        let call = async || self.table.restart(task, failed, action).await;
        self.way.call(Operation::Transact, || "restart".to_owned(), call).await
    }

    async fn resolve_step(
        &self,
        task: &TaskRecord,
        step: &StepRecord,
        result: &str,
        action: &Action,
    ) -> Result<AsRead, TableError> {
        let call = async || self.table.resolve_step(task, step, result, action).await;
        self.way.call(Operation::Transact, || format!("resolve_step {}", step.name), call).await
    }

    async fn give_up(
        &self,
        task: &TaskRecord,
        step: &StepRecord,
        failure: &Failure,
        action: &Action,
    ) -> Result<AsRead, TableError> {
        let call = async || self.table.give_up(task, step, failure, action).await;
        self.way.call(Operation::Transact, || format!("give_up {}", step.name), call).await
    }

    async fn cancel_step(&self, task: TaskId, step: &StepRecord, now: Timestamp) -> Result<AsRead, TableError> {
        let call = async || self.table.cancel_step(task, step, now).await;
        self.way.call(Operation::Update, || format!("cancel_step {}", step.name), call).await
    }

    async fn divert(&self, task: TaskId, to: Diversion, action: &Action) -> Result<AsRead, TableError> {
        let call = async || self.table.divert(task, to, action).await;
        self.way.call(Operation::Update, || format!("divert to {to:?}"), call).await
    }

    async fn order_compensations(&self, task: TaskId, order: &[String], now: Timestamp) -> Result<AsRead, TableError> {
        let call = async || self.table.order_compensations(task, order, now).await;
        self.way.call(Operation::Update, || format!("order_compensations {order:?}"), call).await
    }

    async fn finish_compensation(&self, task: TaskId, end: End, now: Timestamp) -> Result<AsRead, TableError> {
        let call = async || self.table.finish_compensation(task, end, now).await;
        self.way.call(Operation::Update, || format!("finish_compensation {end:?}"), call).await
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<Listed>, TableError> {
        if W::SKIPS_EMPTY_PARTS && !self.table.lists_any(page.listing, page.shard) {
            return Ok(Vec::new());
        }
        let what = || format!("list {} {}", page.listing.as_str(), page.shard);
        self.way.call(Operation::Query, what, async || self.table.list(page).await).await
    }

    async fn relist(&self, place: &ListedAt, to: Listing, at: Timestamp) -> Result<AsRead, TableError> {
        let call = async || self.table.relist(place, to, at).await;
        self.way.call(Operation::Update, || format!("relist from {} to {} at {at}", place.at, to.as_str()), call).await
    }
}
