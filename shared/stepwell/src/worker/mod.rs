//! The worker: a batch of SQS messages in, the list of those to keep out.
//!
//! `deliver` plays the protocol for one message, `attempt` runs the handler.

mod attempt;
mod deliver;

use crate::core::settlement::Disposition;
use crate::{Ambient, Step, Timestamp, backoff::Backoff, engine::Engine, queue::Queue, step::step_name, table::Store};
use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use deliver::Delivery;
use futures::future::join_all;
use std::{collections::HashSet, time::Duration};

/// How long an invocation is taken to last where its deadline makes no sense: `cargo lambda watch` hands out one in
/// 1970.
const ASSUMED_INVOCATION: Duration = Duration::from_secs(60);

/// The attribute in which SQS counts how often it has handed out a message.
const RECEIVE_COUNT: &str = "ApproximateReceiveCount";

/// One of the attributes that SQS gives a message.
pub(crate) fn attribute<'a>(message: &'a SqsMessage, name: &str) -> Option<&'a str> {
    message.attributes.get(name).map(String::as_str)
}

/// How often SQS has handed out this message.
fn received(message: &SqsMessage) -> Option<u32> {
    attribute(message, RECEIVE_COUNT)?.parse().ok()
}

/// The answer that makes SQS keep the messages of these ids.
pub(crate) fn answer(kept: impl Iterator<Item = String>) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    response.batch_item_failures = kept
        .map(|id| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = id;
            failure
        })
        .collect();
    response
}

/// Hides a message that SQS has to keep, and answers with its id. Without a wait, because something went wrong, it waits
/// the longer the more often it has come: an outage must not use up the receive count.
pub(crate) async fn keep_hidden<S: Store, Q: Queue, A: Ambient>(
    engine: &Engine<S, Q, A>,
    name: &str,
    message: &SqsMessage,
    wait: Option<Duration>,
) -> Option<String> {
    let by_count = || Backoff::default().delay(received(message).unwrap_or(1), None, engine.ambient.draw());
    let wait = wait.unwrap_or_else(by_count);
    if let Some(receipt_handle) = &message.receipt_handle {
        // Where this fails the message comes back at the end of its visibility timeout all the same, only later.
        if let Err(error) = engine.queue.hide(name, receipt_handle, wait).await {
            tracing::warn!(message_id = message.message_id, %error, "could not set the time of the next delivery");
        }
    }
    Some(message.message_id.clone().unwrap_or_default())
}

/// One step's worker.
#[derive(Debug)]
pub struct Worker<S, T, Q, A> {
    step: S,
    engine: Engine<T, Q, A>,
}

/// The facts about one invocation of the function.
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

    /// How long until Lambda ends it.
    pub(crate) fn time_left(&self, ambient: &impl Ambient) -> Duration {
        self.deadline.since(ambient.now())
    }
}

impl<S: Step, T: Store, Q: Queue, A: Ambient> Worker<S, T, Q, A> {
    /// The worker of this step.
    pub fn new(step: S, table: T, queue: Q, ambient: A) -> Self {
        Self { step, engine: Engine { store: table, queue, ambient } }
    }

    /// Works all messages of a batch at the same time, and names those that SQS has to keep. It never fails as a whole:
    /// that would bring every message back and make Lambda's poller slow down.
    pub async fn handle(&self, event: SqsEvent, invocation: &Invocation) -> SqsBatchResponse {
        // SQS may put a message into a batch twice. The second would take the first one's claim for its own.
        let mut seen = HashSet::new();
        let messages =
            event.records.iter().filter(|message| message.message_id.is_none() || seen.insert(&message.message_id));
        let kept = join_all(messages.map(|message| {
            let handled = self.handle_one(message, invocation);
            #[cfg(feature = "crash-points")]
            let handled = crate::crash::delivery(step_name::<S>(), message.body.as_deref(), handled);
            handled
        }));
        answer(kept.await.into_iter().flatten())
    }

    async fn handle_one(&self, message: &SqsMessage, invocation: &Invocation) -> Option<String> {
        let delivery = Delivery::new(self, message, invocation);
        let wait = match delivery.run().await {
            Ok(Disposition::Acknowledge) => return None,
            Ok(Disposition::GiveBack { until }) => Some(until.since(self.engine.now())),
            Err(error) => {
                tracing::error!(message_id = message.message_id, %error, "delivery failed");
                None
            }
        };
        keep_hidden(&self.engine, step_name::<S>(), message, wait).await
    }
}
