//! The engine's table, as a process calls it: through a client that tries again, over a network that fails.

use super::{
    faults::{Service, Trouble},
    process::Process,
};
use std::{collections::BTreeSet, rc::Rc};
use stepwell::{
    TaskId, Timestamp,
    state::{End, TaskStatus},
    table::{
        Action, AsRead, AttemptRecord, Claim, ClaimRequest, Creation, Diversion, Failure, Fenced, KeyRecord, Lease,
        Listed, ListedAt, Listing, Loaded, NewTask, Page, StepRecord, Table, TableError, TaskRecord,
    },
};

/// A table in the hands of one process.
#[derive(Debug)]
pub struct Remote<T> {
    table: Rc<T>,
    process: Rc<Process>,
}

impl<T> Remote<T> {
    /// This table, called by this process.
    pub fn new(table: &Rc<T>, process: &Rc<Process>) -> Self {
        Self { table: Rc::clone(table), process: Rc::clone(process) }
    }

    async fn call<R>(
        &self,
        operation: &'static str,
        effect: impl AsyncFn() -> Result<R, TableError>,
    ) -> Result<R, TableError> {
        let called = self.process.call(Service::EngineTable, effect).await;
        called.map_err(|trouble: Trouble| TableError::Call { operation, cause: format!("{trouble:?}") })?
    }
}

impl<T: Table> Table for Remote<T> {
    async fn create(&self, task: &NewTask<'_>) -> Result<Creation, TableError> {
        self.call("PutItem", async || self.table.create(task).await).await
    }

    async fn reserve_key(&self, key: KeyRecord) -> Result<KeyRecord, TableError> {
        // The engine makes up an id that the seed does not know. Here somebody else is always a moment quicker, with the
        // same request and an id of the seed's.
        let key = KeyRecord { task: self.process.task_id(), ..key };
        self.call("PutItem", async || self.table.reserve_key(key.clone()).await).await
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        self.call("BatchGetItem", async || self.table.load(task, steps).await).await
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        self.call("Query", async || self.table.load_all(task).await).await
    }

    async fn claim(&self, request: &ClaimRequest<'_>) -> Result<Claim, TableError> {
        self.call("UpdateItem", async || self.table.claim(request).await).await
    }

    async fn take_over(&self, request: &ClaimRequest<'_>, lost: &StepRecord) -> Result<Claim, TableError> {
        self.call("UpdateItem", async || self.table.take_over(request, lost).await).await
    }

    async fn release(&self, lease: &Lease) -> Result<Fenced, TableError> {
        self.call("UpdateItem", async || self.table.release(lease).await).await
    }

    async fn withdraw(&self, lease: &Lease) -> Result<Fenced, TableError> {
        self.call("DeleteItem", async || self.table.withdraw(lease).await).await
    }

    async fn complete(&self, lease: &Lease, attempt: &AttemptRecord, result: &str) -> Result<Fenced, TableError> {
        self.call("UpdateItem", async || self.table.complete(lease, attempt, result).await).await
    }

    async fn retry_later(&self, lease: &Lease, attempt: &AttemptRecord) -> Result<Fenced, TableError> {
        self.call("UpdateItem", async || self.table.retry_later(lease, attempt).await).await
    }

    async fn fail(&self, task: &TaskRecord, lease: &Lease, attempt: &AttemptRecord) -> Result<Fenced, TableError> {
        self.call("TransactWriteItems", async || self.table.fail(task, lease, attempt).await).await
    }

    async fn arrive_at_step(
        &self,
        task: TaskId,
        step: &str,
        done: &str,
        now: Timestamp,
    ) -> Result<BTreeSet<String>, TableError> {
        self.call("UpdateItem", async || self.table.arrive_at_step(task, step, done, now).await).await
    }

    async fn arrive_at_task(&self, task: TaskId, done: &str) -> Result<BTreeSet<String>, TableError> {
        self.call("UpdateItem", async || self.table.arrive_at_task(task, done).await).await
    }

    async fn finish(&self, task: TaskId, now: Timestamp) -> Result<TaskStatus, TableError> {
        self.call("UpdateItem", async || self.table.finish(task, now).await).await
    }

    async fn restart(&self, task: &TaskRecord, failed: &[&StepRecord], action: &Action) -> Result<AsRead, TableError> {
        self.call("TransactWriteItems", async || self.table.restart(task, failed, action).await).await
    }

    async fn resolve_step(
        &self,
        task: &TaskRecord,
        step: &StepRecord,
        result: &str,
        action: &Action,
    ) -> Result<AsRead, TableError> {
        self.call("TransactWriteItems", async || self.table.resolve_step(task, step, result, action).await).await
    }

    async fn give_up(
        &self,
        task: &TaskRecord,
        step: &StepRecord,
        failure: &Failure,
        action: &Action,
    ) -> Result<AsRead, TableError> {
        self.call("TransactWriteItems", async || self.table.give_up(task, step, failure, action).await).await
    }

    async fn cancel_step(&self, task: TaskId, step: &StepRecord, now: Timestamp) -> Result<AsRead, TableError> {
        self.call("UpdateItem", async || self.table.cancel_step(task, step, now).await).await
    }

    async fn divert(&self, task: TaskId, to: Diversion, action: &Action) -> Result<AsRead, TableError> {
        self.call("UpdateItem", async || self.table.divert(task, to, action).await).await
    }

    async fn order_compensations(&self, task: TaskId, order: &[String], now: Timestamp) -> Result<AsRead, TableError> {
        self.call("UpdateItem", async || self.table.order_compensations(task, order, now).await).await
    }

    async fn finish_compensation(&self, task: TaskId, end: End, now: Timestamp) -> Result<AsRead, TableError> {
        self.call("UpdateItem", async || self.table.finish_compensation(task, end, now).await).await
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<Listed>, TableError> {
        self.call("Query", async || self.table.list(page).await).await
    }

    async fn relist(&self, place: &ListedAt, to: Listing, at: Timestamp) -> Result<AsRead, TableError> {
        self.call("UpdateItem", async || self.table.relist(place, to, at).await).await
    }
}
