//! The worker: a batch of SQS messages in, the list of those to keep out.
//!
//! `deliver` plays the protocol for one message, `attempt` runs the handler, `hand_over` wakes what comes next.

mod attempt;
mod deliver;
mod hand_over;

use crate::{
    Ambient, Step, Timestamp,
    backoff::Backoff,
    queue::Queue,
    step::step_name,
    table::{Table, TableError},
};
use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use deliver::{Delivery, Disposition};
use futures::future::join_all;
use std::{collections::HashSet, time::Duration};

/// How long an invocation is taken to last where its deadline makes no sense: `cargo lambda watch` hands out one in
/// 1970.
const ASSUMED_INVOCATION: Duration = Duration::from_secs(60);

/// The attribute in which SQS counts how often it has handed out a message.
const RECEIVE_COUNT: &str = "ApproximateReceiveCount";

/// How often SQS has handed out this message.
fn received(message: &SqsMessage) -> Option<u32> {
    message.attributes.get(RECEIVE_COUNT)?.parse().ok()
}

/// One step's worker.
#[derive(Debug)]
pub struct Worker<S, T, Q, A> {
    step: S,
    table: T,
    queue: Q,
    ambient: A,
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
}

/// Why the engine could not bring a delivery to its end. The message is kept, and its next delivery goes on from what
/// the table says.
#[derive(Debug, thiserror::Error)]
enum EngineError {
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Queue(#[from] crate::queue::QueueError),
}

impl<S: Step, T: Table, Q: Queue, A: Ambient> Worker<S, T, Q, A> {
    /// The worker of this step.
    pub fn new(step: S, table: T, queue: Q, ambient: A) -> Self {
        Self { step, table, queue, ambient }
    }

    /// Works all messages of a batch at the same time, and names those that SQS has to keep. It never fails as a whole:
    /// that would bring every message back and make Lambda's poller slow down.
    pub async fn handle(&self, event: SqsEvent, invocation: &Invocation) -> SqsBatchResponse {
        // SQS may put a message into a batch twice. The second would take the first one's claim for its own.
        let mut seen = HashSet::new();
        let messages =
            event.records.iter().filter(|message| message.message_id.is_none() || seen.insert(&message.message_id));
        let kept = join_all(messages.map(|message| self.handle_one(message, invocation))).await;
        let mut response = SqsBatchResponse::default();
        response.batch_item_failures = kept.into_iter().flatten().collect();
        response
    }

    async fn handle_one(&self, message: &SqsMessage, invocation: &Invocation) -> Option<BatchItemFailure> {
        let delivery = Delivery::new(self, message, invocation);
        let wait = match delivery.run().await {
            Ok(Disposition::Acknowledge) => return None,
            Ok(Disposition::GiveBack { wait }) => wait,
            Err(error) => {
                // The more often it has come, the longer it waits: an outage must not use up the receive count.
                let wait = Backoff::default().delay(received(message).unwrap_or(1), None, self.ambient.draw());
                tracing::error!(message_id = message.message_id, %error, wait_seconds = wait.as_secs(), "delivery failed");
                wait
            }
        };
        if let Some(receipt_handle) = &message.receipt_handle {
            // Where this fails the message comes back at the end of its visibility timeout all the same, only later.
            if let Err(error) = self.queue.hide(step_name::<S>(), receipt_handle, wait).await {
                tracing::warn!(message_id = message.message_id, %error, "could not set the time of the next delivery");
            }
        }
        let mut failure = BatchItemFailure::default();
        failure.item_identifier = message.message_id.clone().unwrap_or_default();
        Some(failure)
    }
}
