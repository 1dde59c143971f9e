//! The views of one process on the waits in the queues: a worker's, which notes them, and a client's, which reads them.
//! [`core::backlog`](crate::core::backlog) has the rules.

use crate::{
    core::{
        backlog::{self, Backlog, CACHED_FOR, NOTED_EVERY, NOTED_FROM, Note, Overload, Pauses, Taken},
        message::{Message, StepQueue},
        timestamp::Timestamp,
        workflow::Workflow,
    },
    ports::{Queue, Received, Runtime, Store},
    runtime::{cached::Cached, engine::Engine},
};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The log message of a client that begins to refuse starts, and each minute while it does, so that the alarm on the metric
/// of it stays on.
pub const OVERLOADED: &str = "overloaded";

/// How often it is told.
const TOLD_EVERY: Duration = Duration::from_secs(60);

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long the messages of one queue have waited, as its worker sees it. It outlives the process's invocations.
#[derive(Debug, Default)]
pub(crate) struct SeenWaits {
    /// A message of some seconds ago, with which the next one is compared.
    last: Mutex<Option<Taken>>,
}

impl SeenWaits {
    /// Takes note of a message's wait if it was long, unless that was done just before. A note that cannot be written is left out: it
    /// never stops a worker.
    pub(crate) async fn received<S: Store, Q: Queue, A: Runtime>(
        &self,
        engine: &Engine<S, Q, A>,
        queue: &StepQueue,
        received: &Received,
    ) {
        let Some(note) = taken(received, engine.now()).and_then(|taken| self.compare(taken)) else { return };
        let (StepQueue { workflow, step }, seconds) = (queue, note.last.waited().as_secs());
        match engine.apply(&backlog::note(queue, &note)).await {
            Ok(_) => tracing::warn!(workflow, step, seconds, "messages wait for long in their queue"),
            Err(error) => tracing::warn!(workflow, step, seconds, %error, "the wait in the queue cannot be noted"),
        }
    }

    /// Compares a message with one before. Returns what has to be noted.
    fn compare(&self, taken: Taken) -> Option<Note> {
        let is_long = |taken: &Taken| taken.waited() >= NOTED_FROM;
        let mut last = lock(&self.last);
        if let Some(last) = *last {
            // A queue is not quite in order. One that was overtaken has waited for longer than the others.
            if taken.sent_at < last.sent_at {
                return None;
            }
            let is_recent = last.at <= taken.at && taken.at < last.at + NOTED_EVERY;
            // The first long wait is noted at once.
            if is_recent && (is_long(&last) || !is_long(&taken)) {
                return None;
            }
        }
        let earlier = last.replace(taken)?;
        is_long(&taken).then_some(Note { earlier, last: taken })
    }
}

/// How long a message waited in its queue until an attempt began at this time; `None` if its age does not say that.
pub(crate) fn waited(received: &Received, began: Timestamp) -> Option<Duration> {
    taken(received, began).map(|taken| taken.waited())
}

/// The message as it was taken from its queue; `None` if its age says nothing about the queue. Versions that do not mark a message
/// as delayed delay only successors.
fn taken(received: &Received, now: Timestamp) -> Option<Taken> {
    let sent_at = received.sent_at.filter(|_| received.receives == Some(1))?;
    let message: Message = serde_json::from_str(&received.body).ok()?;
    (!message.delayed && message.hops == 0).then_some(Taken { sent_at, at: now })
}

/// The waits in the queues of a workflow, as a process that starts its tasks sees them.
#[derive(Debug)]
pub struct BacklogView {
    read: Cached<Backlog>,
    refused: Mutex<Refused>,
}

#[derive(Debug, Default)]
struct Refused {
    pauses: Pauses,
    told_at: Option<Timestamp>,
}

impl Default for BacklogView {
    fn default() -> Self {
        Self { read: Cached::new(CACHED_FOR), refused: Mutex::default() }
    }
}

impl BacklogView {
    /// Decides whether a new task of this workflow may be started, or would not be completed in time. Where that cannot be read, it may.
    pub(crate) async fn overload<S: Store, Q: Queue, A: Runtime>(
        &self,
        engine: &Engine<S, Q, A>,
        workflow: &Workflow,
    ) -> Option<Overload> {
        // Without a deadline nothing has to be read.
        workflow.plan().deadline()?;
        let name = &workflow.id().name;
        let read = async {
            match engine.range(&backlog::first_key(name), backlog::MOST_NOTES).await {
                Ok(items) => Backlog::of(&items),
                Err(error) => {
                    tracing::warn!(workflow = name, %error, "the waits in the queues cannot be read, and count as short");
                    Backlog::default()
                }
            }
        };
        let read = self.read.get(engine.now(), read).await;
        let (now, mut refused) = (engine.now(), lock(&self.refused));
        let overload = read.overload(workflow.plan(), &refused.pauses, now);
        refused.pauses.decided(overload.is_some(), now);
        let is_told = refused.told_at.is_some_and(|at| at <= now && now < at + TOLD_EVERY);
        if let Some(Overload { wait, time }) = overload.filter(|_| !is_told) {
            refused.told_at = Some(now);
            tracing::error!(workflow = name, wait = wait.as_secs(), time = time.as_secs(), "{OVERLOADED}");
        }
        overload
    }
}
