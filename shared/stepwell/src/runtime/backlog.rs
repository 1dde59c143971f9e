//! The views of one process on the waits in the queues: a worker's, which notes them, and a client's, which reads them.
//! [`core::backlog`](crate::core::backlog) has the rules.

use crate::{
    core::{
        backlog::{self, Backlog, CACHED_FOR, NOTED_EVERY, NOTED_FROM, Overload, Taken, expected_wait},
        message::{Message, StepQueue},
        timestamp::Timestamp,
        workflow::Workflow,
    },
    ports::{Queue, Received, Runtime, Store},
    runtime::{cached::Cached, engine::Engine},
};
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

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
        let now = engine.now();
        let Some(wait) = taken(received, now).and_then(|taken| self.reckon(taken)) else { return };
        let StepQueue { workflow, step } = queue;
        match engine.apply(&backlog::note(queue, wait, now)).await {
            Ok(_) => tracing::warn!(workflow, step, seconds = wait.as_secs(), "messages wait for long in their queue"),
            Err(error) => tracing::warn!(workflow, step, %error, "the wait in the queue cannot be noted"),
        }
    }

    /// How long the next message is going to wait, if that has to be noted.
    fn reckon(&self, taken: Taken) -> Option<Duration> {
        let is_long = |taken: &Taken| taken.waited() >= NOTED_FROM;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = last.filter(|last| last.at <= taken.at && taken.at < last.at + NOTED_EVERY);
        // The first long wait is noted at once.
        if recent.is_some_and(|last| is_long(&last) || !is_long(&taken)) {
            return None;
        }
        let earlier = last.replace(taken);
        is_long(&taken).then(|| expected_wait(earlier.as_ref(), &taken))
    }
}

/// The message as it was taken from its queue; `None` if its age says nothing about the queue.
fn taken(received: &Received, now: Timestamp) -> Option<Taken> {
    let sent_at = received.sent_at.filter(|_| received.receives == Some(1))?;
    let message: Message = serde_json::from_str(&received.body).ok()?;
    (!message.delayed).then_some(Taken { sent_at, at: now })
}

/// The waits in the queues of a workflow, as a process that starts its tasks sees them.
#[derive(Debug)]
pub struct BacklogView {
    seen: Cached<Backlog>,
}

impl Default for BacklogView {
    fn default() -> Self {
        Self { seen: Cached::new(CACHED_FOR) }
    }
}

impl BacklogView {
    /// Whether a new task of this workflow would not be completed in time. Where that cannot be read, it is not known.
    pub(crate) async fn overload<S: Store, Q: Queue, A: Runtime>(
        &self,
        engine: &Engine<S, Q, A>,
        workflow: &Workflow,
    ) -> Option<Overload> {
        // Without a deadline nothing has to be read.
        workflow.plan().deadline()?;
        let name = &workflow.id().name;
        let now = engine.now();
        let read = async {
            match engine.range(&backlog::first_key(name), backlog::MOST_NOTES).await {
                Ok(items) => Backlog::of(&items),
                Err(error) => {
                    tracing::warn!(workflow = name, %error, "the waits in the queues cannot be read, and count as short");
                    Backlog::default()
                }
            }
        };
        self.seen.get(now, read).await.overload(workflow.plan(), now)
    }
}
