//! Carries out bulk actions, page by page ([`core::bulk`](crate::core::bulk) has the protocol).
//!
//! A run takes the bulk actions that are not over, beside each other, and goes on until its time is over. Each goes at its own pace:
//! between two pages the run waits. The next run goes on where this one has stopped, for whatever reason.
//!
//! # Cost
//!
//! A redrive of a task takes three calls: a read of the task, the transaction, and the send. The 50 tasks of a page share four or
//! five more: reads of the bulk action and of the index, and two writes. `many_tasks_are_each_redriven_once_at_the_pace` counts
//! them. At the pace of 2,000 a minute, 20,000 tasks take ten minutes. By the sum, 1,000,000 take eight hours and 20 minutes, or an
//! hour and 40 minutes at the fastest pace, with 3,100,000 calls and some 6.5 write units a task: four for the transaction of
//! two small items, two for the index, and half a unit for its share of the page. What the steps then cost comes on top.

use crate::{
    FailureKind, TaskId,
    core::{
        bulk::{
            self, BulkAction, BulkCursor, BulkId, BulkPage, BulkRecord, BulkRefusal, BulkResult, BulkState, PAGE_LEASE,
            PAGE_TASKS,
        },
        format::NEWER_FORMAT,
        timestamp::Timestamp,
    },
    ports::{Queue, QueueError, Runtime, Store, TableError},
    runtime::{
        client::{ActionError, Actor, Client},
        engine::Engine,
        error::EngineError,
    },
};
use futures::future::join_all;
use serde::Serialize;
use std::{collections::BTreeSet, time::Duration};

/// The log line with the report of a run that had a bulk action to carry on.
pub const BULK_REPORT: &str = "bulk actions";

/// How often a task is acted on until its store or its queue has failed for good.
const TRIES: u32 = 3;

/// The time between two tries.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Carries out the bulk actions of a store and its queues.
#[derive(Clone, Debug)]
pub struct BulkRunner<T, Q, A> {
    client: Client<T, Q, A>,
    engine: Engine<T, Q, A>,
}

/// The results of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BulkReport {
    /// The number of bulk actions that were not over.
    pub open: usize,
    /// The number of pages that were turned.
    pub pages: usize,
    /// The number of tasks that got a result.
    pub tasks: usize,
    /// The number of bulk actions that could not be carried on; the log has the errors. The next run tries again.
    pub failed: usize,
}

impl<T: Store + Clone, Q: Queue + Clone, A: Runtime + Clone> BulkRunner<T, Q, A> {
    /// A runner with this store, these queues and this clock.
    pub fn new(table: T, queue: Q, runtime: A) -> Self {
        let client = Client::new(table.clone(), queue.clone(), runtime.clone());
        Self { client, engine: Engine::new(table, queue, runtime) }
    }
}

impl<T: Store, Q: Queue, A: Runtime> BulkRunner<T, Q, A> {
    /// Carries on all bulk actions until this time. It returns earlier if none is left.
    ///
    /// # Errors
    /// The list of bulk actions cannot be read. A bulk action that cannot be carried on is logged, and disturbs no other.
    pub async fn run(&self, until: Timestamp) -> Result<BulkReport, EngineError> {
        let open = self.client.bulks().await?.into_iter().filter(|bulk| !bulk.state.is_over());
        let runs = join_all(open.map(|bulk| self.carry_on(bulk.id, until))).await;
        let none = BulkReport { open: runs.len(), ..BulkReport::default() };
        Ok(runs.into_iter().fold(none, |all, run| BulkReport {
            pages: all.pages + run.pages,
            tasks: all.tasks + run.tasks,
            failed: all.failed + run.failed,
            ..all
        }))
    }

    async fn carry_on(&self, id: BulkId, until: Timestamp) -> BulkReport {
        let mut report = BulkReport::default();
        loop {
            match self.next_page(id, until).await {
                Ok(Some(tasks)) => {
                    report.pages += usize::from(tasks > 0);
                    report.tasks += tasks;
                }
                Ok(None) => return report,
                Err(EngineError::Newer(newer)) => {
                    tracing::error!(bulk = %id, code = NEWER_FORMAT, error = %newer, "bulk action not carried on");
                    return report;
                }
                Err(error) => {
                    tracing::error!(bulk = %id, code = error.code(), %error, "the bulk action could not be carried on");
                    report.failed += 1;
                    return report;
                }
            }
        }
    }

    /// Takes a page, acts on its tasks, and turns it. Returns the number of its tasks with a result, which is 0 if another run was
    /// quicker; `None` if there is nothing more to do until this time.
    async fn next_page(&self, id: BulkId, until: Timestamp) -> Result<Option<usize>, EngineError> {
        let Some(bulk) = self.client.bulk(id).await?.filter(|bulk| !bulk.state.is_over()) else { return Ok(None) };
        if let Some(newer) = bulk.newer.clone() {
            return Err(EngineError::Newer(newer));
        }
        let now = self.engine.now();
        if bulk.due_at.max(now) >= until {
            return Ok(None);
        }
        if bulk.due_at > now {
            self.engine.runtime.sleep(bulk.due_at.since(now)).await;
            // Somebody may have stopped it meanwhile, or taken the page.
            return Ok(Some(0));
        }
        let taken = self.taken(&bulk).await?;
        if !self.engine.apply(&bulk::take_page(&bulk, &taken)).await?.is_written() || taken.planned.is_empty() {
            return Ok(Some(0));
        }
        let results = self.act_on_all(&taken).await?;
        let tasks = results.len();
        let turn = bulk::turn_page(&taken, results, self.engine.now(), bulk.due_at);
        let turned = self.engine.apply(&turn).await?.is_written();
        Ok(Some(if turned { tasks } else { 0 }))
    }

    /// The bulk action with its next page, or with the page that its last holder has left.
    async fn taken(&self, bulk: &BulkRecord) -> Result<BulkRecord, EngineError> {
        let now = self.engine.now();
        let leased = BulkRecord { due_at: now + PAGE_LEASE, ..bulk.clone() };
        if !bulk.planned.is_empty() {
            return Ok(leased);
        }
        if bulk.state == BulkState::Stopping {
            return Ok(BulkRecord { state: BulkState::Stopped, finished_at: Some(now), ..leased });
        }
        let from = bulk.cursor.position();
        let found = self.client.find_for(bulk.action, &bulk.filter, from, PAGE_TASKS).await?;
        let cursor = found.next.map_or(BulkCursor::End, BulkCursor::At);
        // A task that moves in the index during the search is found twice.
        let planned: BTreeSet<TaskId> = found.tasks.into_iter().map(|task| task.task_id).collect();
        if planned.is_empty() {
            // The next page is due at once.
            let free = BulkRecord { due_at: bulk.due_at.max(now), cursor, ..leased };
            let over = free.cursor == BulkCursor::End;
            return Ok(if over {
                BulkRecord { state: BulkState::Complete, finished_at: Some(now), ..free }
            } else {
                free
            });
        }
        Ok(BulkRecord { page: bulk.page.saturating_add(1), planned: planned.into_iter().collect(), cursor, ..leased })
    }

    /// Acts on the tasks of a page, side by side. Returns the results of those that were on no earlier page. It fails if it is not
    /// known of a task whether it was acted on; then the page is taken over once its lease is over.
    async fn act_on_all(&self, bulk: &BulkRecord) -> Result<Vec<BulkResult>, EngineError> {
        let acts = join_all(bulk.planned.iter().map(|task| self.act_on(bulk, *task))).await;
        acts.into_iter().filter_map(Result::transpose).collect()
    }

    /// The result of a task; `None` if it has one on an earlier page.
    async fn act_on(&self, bulk: &BulkRecord, task: TaskId) -> Result<Option<BulkResult>, EngineError> {
        Ok(match self.act(bulk, task).await? {
            Ok(page) => (page == bulk.page).then_some(BulkResult { task, refused: None }),
            Err(reason) => Some(BulkResult { task, refused: Some(reason) }),
        })
    }

    /// Makes sure that the task was acted on, as an operator acts on a single one. Returns the page on which it was.
    async fn act(&self, bulk: &BulkRecord, task: TaskId) -> Result<Result<u32, BulkRefusal>, EngineError> {
        let mut tries = 1;
        loop {
            let error = match self.try_to_act(bulk, task).await {
                Ok(page) => return Ok(page.ok_or(BulkRefusal::Stopped)),
                Err(ActionError::ActedOn(BulkPage { page, .. })) => return Ok(Ok(page)),
                Err(ActionError::Engine(error)) => error,
                Err(error) => return Ok(Err(reason(&error))),
            };
            let code = error.code();
            tracing::error!(bulk = %bulk.id, task_id = %task, code, %error, tries, "the task could not be acted on");
            if tries == TRIES {
                return if may_succeed_later(&error) { Err(error) } else { Ok(Err(BulkRefusal::Failed)) };
            }
            tries += 1;
            self.engine.runtime.sleep(RETRY_AFTER).await;
        }
    }

    /// Acts on the task and returns the page. If the bulk action was stopped, it only looks for the page on which the task was acted on.
    async fn try_to_act(&self, bulk: &BulkRecord, task: TaskId) -> Result<Option<u32>, ActionError> {
        if bulk.state == BulkState::Stopping {
            return Ok(self.acted_on(bulk, task).await?);
        }
        let actor = Actor::of_bulk(&bulk.started_by, BulkPage { id: bulk.id, page: bulk.page });
        let acted = match bulk.action {
            BulkAction::Redrive => self.client.redrive(task, &actor).await.map(drop),
            BulkAction::Cancel => self.client.cancel(task, &actor).await.map(drop),
            BulkAction::Compensate => self.client.compensate(task, &actor).await,
        };
        match acted {
            // A newer version has written it since. It may have been acted on before.
            Err(newer @ ActionError::Newer(_)) => match self.acted_on(bulk, task).await? {
                Some(page) => Ok(Some(page)),
                None => Err(newer),
            },
            acted => acted.map(|()| Some(bulk.page)),
        }
    }

    /// The page on which the task was acted on, as its audit trail says.
    async fn acted_on(&self, bulk: &BulkRecord, task: TaskId) -> Result<Option<u32>, TableError> {
        let found = self.client.snapshot(task).await?;
        Ok(found.and_then(|snapshot| snapshot.acted_on_by(bulk.id)).map(|acted_on| acted_on.page))
    }
}

/// Whether a store or a queue that is out, or too busy, has failed. The task may have been acted on. Any other error stays.
const fn may_succeed_later(error: &EngineError) -> bool {
    match error {
        EngineError::Table(TableError::Call(call) | TableError::SearchKey(call))
        | EngineError::Queue(QueueError { source: call, .. }) => !matches!(call.kind, FailureKind::Refused),
        EngineError::Table(TableError::Unreadable(_)) | EngineError::Newer(_) => false,
    }
}

/// The reason why the task was not acted on, in the results.
const fn reason(error: &ActionError) -> BulkRefusal {
    match error {
        ActionError::NotFound(_) => BulkRefusal::NotFound,
        ActionError::TrailFull => BulkRefusal::TrailFull,
        ActionError::KeepsChanging(_) => BulkRefusal::KeepsChanging,
        ActionError::Newer(_) => BulkRefusal::NewerFormat,
        ActionError::Engine(_) => BulkRefusal::Failed,
        _ => BulkRefusal::Status,
    }
}

#[cfg(test)]
mod tests;
