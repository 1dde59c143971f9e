//! The watchdog: inspects waiting tasks, whose messages may be lost, and sends what is overdue.
//!
//! The index lists every open task at the time of its next inspection. A run takes the tasks that are due, oldest first,
//! sends the messages that [`inspection::inspect`] finds overdue, and lists each task at the time of its next inspection. So
//! a run goes on where the last one stopped, for whatever reason. The longer a task waits, the longer the interval.
//!
//! It is only the net for what was lost: what is planned for a time is begun by its own message ([`timer`](crate::core::timer)).

use crate::{
    core::{
        format::NEWER_FORMAT,
        index::{IndexEntry, IndexPartition, Page, move_in_index},
        inspection::{self, Inspection},
        names::workflow_name,
        pause::PausedSteps,
        record::StepRecord,
        recovery::{self, DELIVERY_EXHAUSTED, NextAction},
        state::StepState,
        timestamp::Timestamp,
    },
    ports::{Queue, Runtime, Store},
    runtime::{engine::Engine, error::EngineError, pages::Pages, recovery::code, spans},
};
use futures::{StreamExt, stream};
use serde::Serialize;
use std::time::Duration;
use tracing::Instrument;

pub use crate::runtime::pages::RunBudget;

/// How many tasks of one shard are read at a time to count them.
const COUNTED_PAGE: u16 = 1_000;

/// The log line with the report of a run. Alarms watch its fields `unfinished` and `steps_paused`.
pub const RUN_REPORT: &str = "watchdog";

/// The log line with the number of tasks that need a person, in the field `needs_person`. An alarm watches it.
pub const NEEDS_PERSON: &str = "tasks that need a person";

/// The log message for a task that failed because SQS gave up on its messages and whose redrives are used up: when it is left
/// to a person, and each day until somebody has helped. Its code is what an alarm watches.
pub const LEFT_TO_A_PERSON: &str = "the redrives are used up, and the task waits for a person";

/// How many tasks are inspected concurrently.
pub const CONCURRENCY: usize = 10;

/// The time to the next inspection of a task whose inspection failed.
const ERROR_RETRY_AFTER: Duration = Duration::from_secs(5 * 60);

/// The watchdog of a store and its queues.
#[derive(Clone, Debug)]
pub struct Watchdog<T, Q, A> {
    engine: Engine<T, Q, A>,
    /// `None` if nobody has looked.
    paused: Option<PausedSteps>,
}

/// The results of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WatchdogReport {
    /// The number of inspected tasks.
    pub inspected: usize,
    /// The number of messages that were overdue.
    pub sent: usize,
    /// The number of tasks whose recovery was advanced.
    pub advanced: usize,
    /// The number of tasks whose inspection failed; the log has the errors.
    pub failed: usize,
    /// The number of tasks of a newer format, which only a newer version inspects. They do not count towards the budget of
    /// tasks, so that they do not keep the run from the tasks after them.
    pub newer: usize,
    /// Whether the run stopped at its budget, with tasks left for the next run.
    pub unfinished: bool,
}

impl<T: Store, Q: Queue, A: Runtime> Watchdog<T, Q, A> {
    /// A watchdog with this store, these queues and this clock.
    pub fn new(table: T, queue: Q, runtime: A) -> Self {
        Self { engine: Engine::new(table, queue, runtime), paused: None }
    }

    /// The watchdog that knows that these steps are paused, and sends them nothing.
    #[must_use]
    pub fn sparing(self, paused: PausedSteps) -> Self {
        Self { paused: Some(paused), ..self }
    }

    /// Inspects the tasks that are due, as far as the budget allows, and logs the report.
    ///
    /// # Errors
    /// The index cannot be read. A failed inspection of a single task is logged and repeated later.
    pub async fn run(&self, budget: RunBudget) -> Result<WatchdogReport, EngineError> {
        let mut report = WatchdogReport::default();
        let mut pages = Pages::of(&self.engine, &IndexPartition::WATCHED);
        while !pages.are_read() {
            if self.engine.now() >= budget.until || report.inspected >= budget.tasks {
                report.unfinished = true;
                break;
            }
            let due = pages.next().await?;
            self.inspect_all(&due, &mut report).await;
        }
        let WatchdogReport { inspected, sent, advanced, failed, newer, unfinished } = report;
        let steps_paused = self.paused.as_ref().map(PausedSteps::count);
        tracing::info!(inspected, sent, advanced, failed, newer, unfinished, steps_paused, "{RUN_REPORT}");
        Ok(report)
    }

    /// Counts the tasks that need a person, and logs the count, of which an alarm is made. `None` if that is not done in
    /// time, or the index cannot be read: a part of the count would look as if somebody had helped.
    pub async fn count_needs_person(&self, until: Timestamp) -> Option<usize> {
        let shards = IndexPartition::shards_of(IndexPartition::WAITING_FOR_A_PERSON)
            .map(|(partition, shard)| self.count_in_shard(partition, shard, until));
        let mut counts = stream::iter(shards).buffer_unordered(CONCURRENCY);
        let mut needs_person = 0;
        while let Some(count) = counts.next().await {
            needs_person += count?;
        }
        tracing::info!(needs_person, "{NEEDS_PERSON}");
        Some(needs_person)
    }

    async fn count_in_shard(&self, partition: IndexPartition, shard: u8, until: Timestamp) -> Option<usize> {
        let limit = COUNTED_PAGE;
        let (mut after, mut count) = (None, 0);
        while self.engine.now() < until {
            let page = Page { partition, shard, until: None, after: after.as_ref(), limit };
            let listed = match self.engine.list(&page).await {
                Ok(listed) => listed,
                Err(error) => {
                    tracing::error!(shard, %error, "the tasks that need a person could not be counted");
                    return None;
                }
            };
            let needy = listed.iter().filter(|listed| listed.needs_person);
            let at_rest = needy.clone().filter(|listed| listed.place.partition == IndexPartition::NeedsPerson);
            at_rest.for_each(|listed| self.remind(listed));
            count += needy.count();
            if listed.len() < usize::from(limit) {
                return Some(count);
            }
            after = listed.last().map(|last| last.place.clone());
        }
        tracing::error!(shard, "no time was left to count the tasks that need a person");
        None
    }

    /// Logs a task that waits for a person and is not inspected any more, once a day at the time at which it came to rest. A
    /// failed compensation is logged by the inspections of its task.
    fn remind(&self, listed: &IndexEntry) {
        const MINUTE: u64 = 60;
        const DAY: u64 = 24 * 60 * MINUTE;
        let waits = self.engine.now().since(listed.place.at).as_secs();
        if waits >= DAY && waits % DAY < MINUTE {
            let (workflow, task_id, days) = (workflow_name(&listed.workflow), listed.place.task, waits / DAY);
            tracing::error!(workflow, %task_id, code = DELIVERY_EXHAUSTED, days, "{LEFT_TO_A_PERSON}");
        }
    }

    async fn inspect_all(&self, due: &[IndexEntry], report: &mut WatchdogReport) {
        // In a list, because the compiler cannot tell that a stream which still has this closure is `Send`.
        let inspections: Vec<_> = due
            .iter()
            .map(|listed| async move {
                let span = spans::of_task(listed.place.task);
                let inspected = self.inspect(listed).instrument(span.clone()).await;
                (listed, span, inspected)
            })
            .collect();
        let mut inspections = stream::iter(inspections).buffer_unordered(CONCURRENCY);
        while let Some((listed, span, inspected)) = inspections.next().await {
            if let Err(EngineError::Newer(newer)) = &inspected {
                // One line for each run keeps the alarm on.
                if report.newer == 0 {
                    span.in_scope(|| tracing::error!(code = NEWER_FORMAT, error = %newer, "not inspected"));
                }
                report.newer += 1;
                continue;
            }
            report.inspected += 1;
            match inspected {
                Ok(inspection) => {
                    report.sent += inspection.send.len();
                    report.advanced += usize::from(inspection.recover);
                }
                Err(error) => {
                    report.failed += 1;
                    self.postpone(listed, &error).instrument(span).await;
                }
            }
        }
    }

    /// Lists a task whose inspection failed for later. Otherwise it would be the first of every run and use up the budget.
    async fn postpone(&self, listed: &IndexEntry, error: &EngineError) {
        tracing::error!(code = error.code(), %error, "the inspection of the task failed");
        let later = self.engine.now() + ERROR_RETRY_AFTER;
        let moved = self.engine.apply(&move_in_index(&listed.place, listed.place.partition, later)).await;
        if let Err(error) = moved {
            tracing::error!(%error, "the task could not be listed for later");
        }
    }

    /// Inspects a task. It writes the time of the next inspection last, so that the next run repeats whatever failed before.
    async fn inspect(&self, listed: &IndexEntry) -> Result<Inspection, EngineError> {
        let id = listed.place.task;
        let now = self.engine.now();
        let Some(snapshot) = self.engine.snapshot(id).await? else {
            return Ok(Inspection { send: Vec::new(), paused: Vec::new(), recover: false, next: None });
        };
        spans::note(&snapshot.task);
        let inspection = match &self.paused {
            Some(paused) => inspection::inspect_paused(&snapshot, paused, now),
            None => inspection::inspect(&snapshot, now),
        };
        let paused_since = |step: &str| self.paused.as_ref()?.since(snapshot.task.workflow_name(), step);
        // What is paused cannot succeed, which is meant. A pause that goes on is perhaps forgotten, and money may be owed behind it.
        let is_late = |step: &StepRecord| match paused_since(&step.name) {
            Some(since) => since + recovery::COMPENSATION_LATE_AFTER <= now,
            None => recovery::is_late(step, now),
        };
        // Log it with each inspection, so at least hourly, until somebody has helped.
        if let NextAction::Run(open) = recovery::next_action(&snapshot, now) {
            for step in open {
                match step.state {
                    StepState::Error => {
                        tracing::error!(step = step.name, code = code(step), "{}", recovery::COMPENSATION_WAITS);
                    }
                    _ if is_late(step) => {
                        tracing::error!(step = step.name, code = code(step), "{}", recovery::COMPENSATION_LATE);
                    }
                    _ => {}
                }
            }
        }
        for outgoing in &inspection.send {
            tracing::warn!(step = outgoing.message.step, state = %snapshot.task.state.status(), "overdue: message sent again");
        }
        self.engine.send_all(&inspection.send).await?;
        if inspection.recover {
            self.engine.recover(id).await?;
        }
        let left_to_a_person = !inspection.recover && recovery::is_left_to_a_person(&snapshot, now);
        if left_to_a_person {
            tracing::error!(code = DELIVERY_EXHAUSTED, "{LEFT_TO_A_PERSON}");
        }
        // If the engine has nothing more to do, the task is not inspected any more.
        let ended = || IndexPartition::ended(snapshot.task.state);
        let partition = || if left_to_a_person { IndexPartition::NeedsPerson } else { ended() };
        let over = || (partition(), snapshot.task.finished_at.unwrap_or(now));
        let (to, at) = inspection.next.map_or_else(over, |next| (listed.place.partition, next));
        if !self.engine.apply(&move_in_index(&listed.place, to, at)).await?.is_written() {
            tracing::debug!("moved in the index by another process meanwhile");
        }
        Ok(inspection)
    }
}

#[cfg(test)]
mod tests;
