//! The worker of a step: takes a batch of messages and returns the ids of those to keep.
//!
//! `deliver` runs the protocol for one message, `breaker` holds it back while a service is out, and `attempt` runs the handler.

mod attempt;
mod breaker;
mod deliver;

#[cfg(any(test, feature = "testing"))]
pub(crate) use attempt::run as run_handler;

use crate::core::settlement::Disposition;
use crate::{
    core::{
        backoff::Backoff,
        codes::EngineCode,
        limits::ANSWER_RESERVE,
        message::{Message, Outgoing, QueueName, StepQueue},
        timer::{LONGEST_HIDDEN, Wait},
        timestamp::Timestamp,
    },
    ports::{Queue, Received, Runtime, Store},
    runtime::{backlog::SeenWaits, breaker::ServiceBreaker, engine::Engine, step::Step},
};
use deliver::Delivery;
use futures::future::{Either, join_all, select};
use std::{collections::HashSet, pin::pin, sync::Arc, time::Duration};
use tracing::{Instrument, Span, field::Empty};

/// The assumed length of an invocation whose deadline is in the past: `cargo lambda watch` gives one in 1970.
const ASSUMED_INVOCATION: Duration = Duration::from_secs(60);

/// Hides a message that its queue has to keep, and returns its id. `wait` is `None` after an error. Then the message is hidden
/// for longer with each delivery, so that an outage does not use up the receive count.
pub(crate) async fn keep_hidden<S: Store, Q: Queue, A: Runtime>(
    engine: &Engine<S, Q, A>,
    queue: &QueueName,
    message: &Received,
    wait: Option<Duration>,
) -> Option<String> {
    let by_count = || Backoff::default().delay(message.receives.unwrap_or(1), None, engine.runtime.random());
    let wait = wait.unwrap_or_else(by_count);
    if let Some(receipt) = &message.receipt {
        // If this fails, the message comes back at the end of its visibility timeout all the same, only later.
        if let Err(error) = engine.queue.hide(queue, receipt, wait).await {
            tracing::warn!(message_id = message.id, %error, "could not set the time of the next delivery");
        }
    }
    Some(message.id.clone())
}

/// The worker of one step.
#[derive(Debug)]
pub struct Worker<S, T, Q, A> {
    serves: StepQueue,
    step: S,
    engine: Engine<T, Q, A>,
    breaker: Option<Arc<ServiceBreaker>>,
    waits: SeenWaits,
}

/// One invocation of the step's function.
#[derive(Clone, Debug)]
pub struct Invocation {
    request_id: String,
    deadline: Timestamp,
}

impl Invocation {
    /// An invocation that Lambda ends at `deadline`. A deadline in the past is replaced by one a minute from `now`.
    pub fn new(request_id: impl Into<String>, deadline: Timestamp, now: Timestamp) -> Self {
        let deadline = if deadline > now { deadline } else { now + ASSUMED_INVOCATION };
        Self { request_id: request_id.into(), deadline }
    }

    /// The time until Lambda ends it.
    pub fn time_left(&self, runtime: &impl Runtime) -> Duration {
        self.deadline.since(runtime.now())
    }
}

impl<S: Step, T: Store, Q: Queue, A: Runtime> Worker<S, T, Q, A> {
    /// A worker that serves this queue with `step`. Several queues, of one workflow or of several, may share a step.
    pub fn new(serves: StepQueue, step: S, table: T, queue: Q, runtime: A) -> Self {
        Self { serves, step, engine: Engine::new(table, queue, runtime), breaker: None, waits: SeenWaits::default() }
    }

    /// The worker of a step that waits on a service. All workers of a process for this service should share its breaker.
    #[must_use]
    pub fn guarded_by(self, breaker: Option<Arc<ServiceBreaker>>) -> Self {
        Self { breaker, ..self }
    }

    /// Processes the messages of a batch concurrently, and returns the ids of those that their queue has to keep. It never
    /// fails as a whole, because that would bring back every message and slow down Lambda's poller.
    pub async fn handle(&self, batch: &[Received], invocation: &Invocation) -> Vec<String> {
        // SQS may put a message into a batch twice. The second copy would take the claim of the first for its own.
        let mut seen = HashSet::new();
        let messages = batch.iter().filter(|message| message.id.is_empty() || seen.insert(&message.id));
        let kept = join_all(messages.map(|message| {
            let handled = self.handle_one(message, invocation);
            #[cfg(feature = "crash-points")]
            let handled = crate::runtime::crash::delivery(&self.serves.step, &message.body, handled);
            handled
        }));
        kept.await.into_iter().flatten().collect()
    }

    /// Processes a message, as long as the invocation has time. Every call of the delivery is bounded by that: one that hangs would
    /// let Lambda end the process, with all other deliveries of the batch.
    async fn handle_one(&self, message: &Received, invocation: &Invocation) -> Option<String> {
        self.handle_in_time(message, invocation).instrument(self.span(message)).await
    }

    /// The span of a delivery: every line that is written meanwhile says of which step of which task it is, and of which attempt once one has
    /// begun. It is as important as the most important line.
    fn span(&self, message: &Received) -> Span {
        let StepQueue { workflow, step, .. } = &self.serves;
        tracing::error_span!(
            "delivery",
            workflow,
            step,
            message_id = message.id,
            task_id = Empty,
            correlation_id = Empty,
            traceparent = Empty,
            attempt = Empty
        )
    }

    async fn handle_in_time(&self, message: &Received, invocation: &Invocation) -> Option<String> {
        let time = invocation.time_left(&self.engine.runtime).saturating_sub(ANSWER_RESERVE);
        let handled = pin!(self.handle_unbounded(message, invocation));
        match select(handled, pin!(self.engine.runtime.sleep(time))).await {
            Either::Left((kept, _)) => kept,
            Either::Right(_) => {
                tracing::error!("no time is left: the delivery is broken off");
                Some(message.id.clone())
            }
        }
    }

    async fn handle_unbounded(&self, message: &Received, invocation: &Invocation) -> Option<String> {
        let delivery = Delivery::new(self, message, invocation);
        let noted = pin!(self.waits.received(&self.engine, &self.serves, message));
        // The note must not hold up the delivery, so it is broken off with it.
        let delivered = match select(pin!(delivery.run()), noted).await {
            Either::Left((delivered, _)) => delivered,
            Either::Right(((), delivery)) => delivery.await,
        };
        let wait = match delivered {
            Ok(Disposition::Acknowledge) => return None,
            Ok(Disposition::GiveBack { until }) => match self.replace(message, until).await {
                Replaced::No(wait) => wait,
                Replaced::Yes => return None,
            },
            Err(error) => {
                tracing::error!(code = error.code(), %error, "delivery failed");
                None
            }
        };
        keep_hidden(&self.engine, &self.serves.clone().into(), message, wait).await
    }

    /// Replaces a message that has to wait for long by its successor, or by a timer in the index.
    async fn replace(&self, received: &Received, until: Timestamp) -> Replaced {
        let now = self.engine.now();
        let wait = until.since(now);
        let hidden = Replaced::No(Some(wait));
        let Ok(message) = serde_json::from_str::<Message>(&received.body) else { return hidden };
        if Wait::of(wait) == Wait::Hidden {
            return hidden;
        }
        let successor = match message.successor(now) {
            Ok(message) => Outgoing { workflow: self.serves.workflow.clone(), message, delay: Duration::ZERO },
            Err(error) => {
                let code = EngineCode::LoopDetected.as_str();
                tracing::error!(code, %error, "the message is hidden instead");
                return Replaced::No(None);
            }
        };
        match self.engine.send_at(successor, until).await {
            Ok(true) => Replaced::Yes,
            // The step does not wait for this time any more. Whoever has changed it has sent a message of their own.
            Ok(false) => Replaced::No(Some(LONGEST_HIDDEN)),
            // The message itself waits, in flight.
            Err(error) => {
                tracing::warn!(%error, "no successor: the message is hidden instead");
                hidden
            }
        }
    }
}

/// Whether a message that has to wait was replaced, so that it can be deleted.
enum Replaced {
    Yes,
    /// The message is hidden for this long; `None` as after an error.
    No(Option<Duration>),
}

#[cfg(test)]
mod races;
#[cfg(test)]
mod tests;
