//! The watchdog: looks after tasks that wait for something which may never come.
//!
//! The index lists every open task at the moment at which it has to be looked at next. A run takes what is due, oldest
//! first, sends what [`inspection::inspect`] finds missing, and lists the task at its next moment. So it carries on where the
//! last one stopped, whatever ended that, and tasks that wait for long are looked at ever more seldom.

use crate::{
    core::{
        format::NEWER_FORMAT,
        index::{IndexEntry, IndexPartition, IndexPosition, Page, move_in_index},
        inspection::{self, Inspection},
        recovery::{self, NextAction},
        timestamp::Timestamp,
    },
    ports::{Queue, Runtime, Store},
    runtime::{engine::Engine, error::EngineError, recovery::alert_if_failed},
};
use futures::{StreamExt, stream};
use serde::Serialize;
use std::time::Duration;

/// How many tasks of one part of a listing are read at a time.
const PAGE: u16 = 25;

/// How many tasks are looked at at the same time.
const CONCURRENCY: usize = 10;

/// When to try again a task that could not be looked at.
const ERROR_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// The watchdog over a table and its queues.
#[derive(Clone, Debug)]
pub struct Watchdog<T, Q, A> {
    engine: Engine<T, Q, A>,
}

/// How much one run may do.
#[derive(Clone, Copy, Debug)]
pub struct RunBudget {
    /// No task is looked at after this moment.
    pub until: Timestamp,
    /// No more tasks than this are looked at, but for the rest of a page.
    pub tasks: usize,
}

/// What one run has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WatchdogReport {
    /// Tasks that were due.
    pub looked_at: usize,
    /// Messages that were missing, or may have been.
    pub sent: usize,
    /// Tasks whose compensation was brought on.
    pub recovered: usize,
    /// Tasks that could not be looked at; the log says why.
    pub failed: usize,
    /// Tasks of a newer version's format, which only its own watchdog looks after. They do not count towards the bound of tasks,
    /// so that only the run's time keeps it from what is behind them.
    pub newer: usize,
    /// Whether it stopped at its budget, with tasks left for the next run.
    pub unfinished: bool,
}

impl<T: Store, Q: Queue, A: Runtime> Watchdog<T, Q, A> {
    /// A watchdog over this table, these queues, this clock.
    pub fn new(table: T, queue: Q, runtime: A) -> Self {
        Self { engine: Engine::new(table, queue, runtime) }
    }

    /// Looks at the tasks that are due, as far as the budget allow.
    ///
    /// # Errors
    /// The index cannot be read. A single task that cannot be looked at is logged and tried again later.
    pub async fn run(&self, budget: RunBudget) -> Result<WatchdogReport, EngineError> {
        let mut report = WatchdogReport::default();
        let mut parts: Vec<(IndexPartition, u8, Option<IndexPosition>)> = IndexPartition::WATCHED
            .iter()
            .flat_map(|&listing| (0..IndexPartition::SHARDS).map(move |shard| (listing, shard, None)))
            .collect();
        // Another part first each minute, so that none is always the one that the budget leave out.
        let minutes = usize::try_from(self.engine.now().as_seconds() / 60).unwrap_or_default();
        let first = minutes % parts.len().max(1);
        parts.rotate_left(first);
        while !parts.is_empty() {
            let mut more = Vec::new();
            for (listing, shard, after) in parts {
                if self.engine.now() >= budget.until || report.looked_at >= budget.tasks {
                    report.unfinished = true;
                    return Ok(report);
                }
                let until = Some(self.engine.now());
                let page = Page { listing, shard, until, after: after.as_ref(), limit: PAGE };
                let due = self.engine.list(&page).await?;
                // After these and not from the start: a task of a newer format stays where it is.
                if due.len() == usize::from(PAGE)
                    && let Some(last) = due.last()
                {
                    more.push((listing, shard, Some(last.place.clone())));
                }
                self.inspect_all(&due, &mut report).await;
            }
            parts = more;
        }
        Ok(report)
    }

    async fn inspect_all(&self, due: &[IndexEntry], report: &mut WatchdogReport) {
        let looks = stream::iter(due).map(|listed| async move { (listed, self.inspect(listed).await) });
        let mut looks = looks.buffer_unordered(CONCURRENCY);
        while let Some((listed, looked)) = looks.next().await {
            if let Err(EngineError::Newer(newer)) = &looked {
                // One a run keeps the alarm on.
                if report.newer == 0 {
                    tracing::error!(task_id = %listed.place.task, code = NEWER_FORMAT, error = %newer, "not looked at");
                }
                report.newer += 1;
                continue;
            }
            report.looked_at += 1;
            match looked {
                Ok(inspection) => {
                    report.sent += inspection.send.len();
                    report.recovered += usize::from(inspection.recover);
                }
                Err(error) => {
                    tracing::error!(task_id = %listed.place.task, code = error.code(), %error, "the task could not be looked at");
                    report.failed += 1;
                    self.postpone(listed).await;
                }
            }
        }
    }

    /// Lists a task for later that could not be looked at. Else it would be the first of every run, and stand in the way of
    /// the others.
    async fn postpone(&self, listed: &IndexEntry) {
        let later = self.engine.now() + ERROR_RETRY_AFTER;
        let moved = self.engine.apply(&move_in_index(&listed.place, listed.place.listing, later)).await;
        if let Err(error) = moved {
            tracing::error!(task_id = %listed.place.task, %error, "nor could it be listed for later");
        }
    }

    /// The next look is listed last: whatever goes wrong before it is tried again by the next run.
    async fn inspect(&self, listed: &IndexEntry) -> Result<Inspection, EngineError> {
        let id = listed.place.task;
        let now = self.engine.now();
        let Some(snapshot) = self.engine.snapshot(id).await? else {
            return Ok(Inspection { send: Vec::new(), recover: false, next: None });
        };
        let inspection = inspection::inspect(&snapshot, now);
        // Again with each look, so that the alarm stays on until somebody has helped.
        if let NextAction::Run(compensation) = recovery::next_action(&snapshot, now) {
            alert_if_failed(id, compensation);
        }
        for outgoing in &inspection.send {
            tracing::warn!(task_id = %id, step = outgoing.message.step, state = %snapshot.task.state.status(), "overdue: woken again");
        }
        self.engine.send_all(&inspection.send).await?;
        if inspection.recover {
            self.engine.recover(id).await?;
        }
        // Where nothing more happens by itself, it is not looked at any more.
        let over = || (IndexPartition::ended(snapshot.task.state), snapshot.task.finished_at.unwrap_or(now));
        let (to, at) = inspection.next.map_or_else(over, |next| (listed.place.listing, next));
        if !self.engine.apply(&move_in_index(&listed.place, to, at)).await?.is_written() {
            tracing::debug!(task_id = %id, "listed anew by somebody else meanwhile");
        }
        Ok(inspection)
    }
}

#[cfg(test)]
mod tests;
