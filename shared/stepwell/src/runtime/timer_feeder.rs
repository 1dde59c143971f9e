//! The timer feeder: sends the messages of the steps whose timers are due in the next quarter of an hour.
//!
//! A wait that is longer than a queue can delay a message is listed in the index ([`timer`]). A run takes what is listed until
//! now, sends each step its message with a delay of exactly what is left, and takes it off the index. If it breaks off in
//! between, the next run sends the message again, and a second message does no harm.

use crate::{
    core::{
        format::NEWER_FORMAT,
        index::{IndexEntry, IndexPartition},
        timer,
    },
    ports::{Queue, Runtime, Store},
    runtime::{
        engine::Engine,
        error::EngineError,
        pages::{Pages, RunBudget},
        spans,
    },
};
use futures::{StreamExt, stream};
use serde::Serialize;
use std::collections::BTreeSet;
use tracing::Instrument;

/// The log line with the report of a run. An alarm watches its field `unfinished`.
pub const FEEDER_REPORT: &str = "timer feeder";

/// How many timers are fed concurrently.
const CONCURRENCY: usize = 25;

/// The timer feeder of a store and its queues.
#[derive(Clone, Debug)]
pub struct TimerFeeder<T, Q, A> {
    engine: Engine<T, Q, A>,
}

/// The results of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FeederReport {
    /// The number of timers whose message was sent.
    pub fed: usize,
    /// The number of timers whose message could not be sent; the log has the errors. The next run tries again.
    pub failed: usize,
    /// The number of timers of tasks of a newer format, which only a newer version feeds.
    pub newer: usize,
    /// Whether the run stopped at its budget, with timers left for the next run.
    pub unfinished: bool,
}

impl<T: Store, Q: Queue, A: Runtime> TimerFeeder<T, Q, A> {
    /// A feeder with this store, these queues and this clock.
    pub fn new(table: T, queue: Q, runtime: A) -> Self {
        Self { engine: Engine::new(table, queue, runtime) }
    }

    /// Feeds the timers that are due, as far as the budget allows, and logs the report.
    ///
    /// # Errors
    /// The index cannot be read. A timer that cannot be fed is logged and left to the next run.
    pub async fn run(&self, budget: RunBudget) -> Result<FeederReport, EngineError> {
        let mut report = FeederReport::default();
        let mut pages = Pages::of(&self.engine, &[IndexPartition::Timer]);
        while !pages.are_read() {
            if self.engine.now() >= budget.until || report.fed >= budget.tasks {
                report.unfinished = true;
                break;
            }
            let due = pages.next().await?;
            // In a list, because the compiler cannot tell that a stream which still has this closure is `Send`.
            let fed: Vec<_> = due
                .iter()
                .map(|timer| async move {
                    let span = spans::of_task(timer.place.task);
                    let fed = self.feed(timer).instrument(span.clone()).await;
                    (timer, span, fed)
                })
                .collect();
            let mut fed = stream::iter(fed).buffer_unordered(CONCURRENCY);
            while let Some((timer, span, fed)) = fed.next().await {
                span.in_scope(|| report.add(timer, fed));
            }
        }
        let FeederReport { fed, failed, newer, unfinished } = report;
        tracing::info!(fed, failed, newer, unfinished, "{FEEDER_REPORT}");
        Ok(report)
    }

    async fn feed(&self, timer: &IndexEntry) -> Result<(), EngineError> {
        let place = &timer.place;
        let loaded = self.engine.load(place.task, &BTreeSet::new()).await?;
        loaded.task.iter().for_each(spans::note);
        let step = place.step.as_deref().unwrap_or_default();
        if let Some(task) = loaded.task
            && let Some(plan) = task.plan.step(step)
        {
            let delay = place.timer_at().since(self.engine.now());
            self.engine.queue.send(&task.outgoing(plan.message(task.id)).after(delay)).await?;
        }
        self.engine.apply(&timer::take_timer(place)).await?;
        Ok(())
    }
}

impl FeederReport {
    fn add(&mut self, timer: &IndexEntry, fed: Result<(), EngineError>) {
        let step = timer.place.step.as_deref();
        match fed {
            Ok(()) => self.fed += 1,
            Err(EngineError::Newer(newer)) => {
                // One line for each run keeps the alarm on.
                if self.newer == 0 {
                    tracing::error!(step, code = NEWER_FORMAT, error = %newer, "timer not fed");
                }
                self.newer += 1;
            }
            Err(error) => {
                tracing::error!(step, code = error.code(), %error, "the timer could not be fed");
                self.failed += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
