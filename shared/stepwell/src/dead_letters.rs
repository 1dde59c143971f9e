//! What SQS gave up on: a message becomes an error of its step, where everybody can see it.

use crate::{
    Ambient, EngineError, ServeError, System, Timestamp, aws,
    core::task,
    history::History,
    queue::{Message, Queue, SqsQueue, printable},
    state::{StepEvent, StepState},
    table::{Action, ActionKind, DynamoTable, Failure, StepRecord, Store},
    unwind::unwind,
    worker::{answer, attribute, keep_hidden},
};
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use futures::future::join_all;
use std::time::Duration;

/// The error code of a step whose message SQS gave up on.
pub const DELIVERY_EXHAUSTED: &str = "DELIVERY_EXHAUSTED";

/// More looks than there can be changes in between.
const MANY_LOOKS: usize = 5;

/// Works the queue of messages that SQS gave up on.
#[derive(Clone, Debug)]
pub struct DeadLetters<T = DynamoTable, Q = SqsQueue, A = System> {
    table: T,
    queue: Q,
    ambient: A,
}

impl DeadLetters {
    /// For the table and the queues that the environment names: `STEPWELL_TABLE`, `STEPWELL_QUEUE_URL_PREFIX`.
    ///
    /// # Errors
    /// A variable that is missing.
    pub fn from_env(config: &aws::SdkConfig) -> Result<Self, ServeError> {
        Ok(Self::new(aws::table_from_env(config)?, aws::queue_from_env(config)?, System))
    }
}

impl<T: Store, Q: Queue, A: Ambient> DeadLetters<T, Q, A> {
    /// Over this table, these queues, this clock.
    pub fn new(table: T, queue: Q, ambient: A) -> Self {
        Self { table, queue, ambient }
    }

    /// Works all messages of a batch, and names those that SQS has to keep.
    pub async fn handle(&self, event: SqsEvent) -> SqsBatchResponse {
        let kept = join_all(event.records.iter().map(|message| self.handle_one(message))).await;
        answer(kept.into_iter().flatten())
    }

    async fn handle_one(&self, message: &SqsMessage) -> Option<String> {
        let wait = match self.deliver(message).await {
            Ok(None) => return None,
            Ok(Some(wait)) => Some(wait),
            Err(error) => {
                tracing::error!(message_id = message.message_id, %error, "a dead letter could not be worked");
                None
            }
        };
        keep_hidden(&self.queue, &self.ambient, crate::queue::DEAD_LETTERS, message, wait).await
    }

    /// `None` where it is done with, else how long to wait for the next try.
    async fn deliver(&self, letter: &SqsMessage) -> Result<Option<Duration>, EngineError> {
        let body = letter.body.as_deref().unwrap_or_default();
        let message: Message = match serde_json::from_str(body) {
            Ok(message) => message,
            Err(error) => return self.keep(body, &format!("not a message of this engine: {error}")).await,
        };
        for _ in 0..MANY_LOOKS {
            let history = History::new(self.table.load_all(message.task_id).await?);
            let Some(history) = history else { return self.keep(body, "the task does not exist").await };
            let Some(plan) = history.task.plan.step(&message.step) else {
                return self.keep(body, "the task's plan has no such step").await;
            };
            let now = self.ambient.now();
            let untouched = StepRecord::untouched(&message.step);
            let step = history.step(&message.step).unwrap_or(&untouched);
            if step.state.on(StepEvent::GiveUp).is_none() || !history.is_ready(plan) {
                // Somebody else brought the step on, or it never was its turn. Should anything be missing after it, the
                // watchdog sees to that.
                tracing::warn!(
                    task_id = %message.task_id,
                    step = message.step,
                    state = %step.state,
                    status = %history.task.status,
                    letter = known(letter),
                    "a dead letter that nothing hangs on"
                );
                return Ok(None);
            }
            if step.state == StepState::InProgress
                && let Some(until) = step.lease_until.filter(|until| *until >= now)
            {
                return Ok(Some(until.since(now) + Duration::from_secs(1)));
            }
            if self.give_up(&history, step, letter, now).await? {
                unwind(&self.table, &self.queue, &self.ambient, message.task_id).await?;
                return Ok(None);
            }
        }
        Ok(Some(Duration::from_secs(1)))
    }

    async fn give_up(
        &self,
        history: &History,
        step: &StepRecord,
        letter: &SqsMessage,
        now: Timestamp,
    ) -> Result<bool, EngineError> {
        let known = known(letter);
        let message = format!("SQS gave up on the step's message: {known}");
        let failure = Failure { code: DELIVERY_EXHAUSTED.to_owned(), message };
        let action = Action {
            at: now,
            what: ActionKind::GiveUp,
            step: Some(step.name.clone()),
            who: "dead_letters".to_owned(),
            why: failure.message.clone(),
        };
        let given_up = task::dead_letter_step(&history.task, step, &failure, &action);
        let written = self.table.apply(&given_up).await?.is_written();
        if written {
            tracing::error!(task_id = %history.task.id, step = step.name, code = failure.code, known, "given up");
        }
        Ok(written)
    }

    async fn keep(&self, body: &str, reason: &str) -> Result<Option<Duration>, EngineError> {
        let reason = printable(reason);
        tracing::error!(reason, "a dead letter that belongs to nothing is kept");
        self.queue.reject(body, &reason).await?;
        Ok(None)
    }
}

/// What SQS says of a message, in a sentence.
fn known(letter: &SqsMessage) -> String {
    let queue = attribute(letter, "DeadLetterQueueSourceArn").and_then(|arn| arn.rsplit(':').next());
    let sent = attribute(letter, "SentTimestamp").and_then(|millis| millis.parse().ok()).map(Timestamp::from_millis);
    format!(
        "received {} times from {}, first sent {}",
        attribute(letter, "ApproximateReceiveCount").unwrap_or("an unknown number of"),
        queue.unwrap_or("an unknown queue"),
        sent.map_or_else(|| "at an unknown time".to_owned(), |sent| format!("at {sent}")),
    )
}
