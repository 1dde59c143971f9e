//! What SQS gave up on: a message becomes an error of its step, where everybody can see it.

use crate::{
    core::{
        codes::EngineCode,
        message::{Message, QueueName, printable},
        record::{Action, ActionKind, Failure, StepRecord},
        settlement::{Due, Settlement},
        snapshot::TaskSnapshot,
        state::{StepEvent, StepState, TaskStatus},
        task,
        timestamp::Timestamp,
    },
    ports::{Queue, Received, Runtime, Store},
    runtime::{
        engine::{Decision, Engine},
        error::EngineError,
        worker::keep_hidden,
    },
};
use futures::future::join_all;
use std::time::Duration;

/// The error code of a step whose message SQS gave up on.
const DELIVERY_EXHAUSTED: &str = EngineCode::DeliveryExhausted.as_str();

/// How long a letter waits whose task was changing.
const CONFLICT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Works the queue of messages that SQS gave up on.
#[derive(Clone, Debug)]
pub struct DeadLetters<T, Q, A> {
    engine: Engine<T, Q, A>,
}

impl<T: Store, Q: Queue, A: Runtime> DeadLetters<T, Q, A> {
    /// Over this table, these queues, this clock.
    pub fn new(table: T, queue: Q, runtime: A) -> Self {
        Self { engine: Engine::new(table, queue, runtime) }
    }

    /// Works all messages of a batch, and answers with the ids of those that their queue has to keep.
    pub async fn handle(&self, batch: &[Received]) -> Vec<String> {
        let kept = join_all(batch.iter().map(|message| self.handle_one(message))).await;
        kept.into_iter().flatten().collect()
    }

    async fn handle_one(&self, message: &Received) -> Option<String> {
        let wait = match self.deliver(message).await {
            Ok(None) => return None,
            Ok(Some(wait)) => Some(wait),
            Err(error) => {
                tracing::error!(message_id = message.id, code = error.code(), %error, "a dead letter could not be worked");
                None
            }
        };
        keep_hidden(&self.engine, &QueueName::DeadLetters, message, wait).await
    }

    /// `None` where it is done with, else how long to wait for the next try.
    async fn deliver(&self, letter: &Received) -> Result<Option<Duration>, EngineError> {
        let body = letter.body.as_str();
        let message: Message = match serde_json::from_str(body) {
            Ok(message) => message,
            Err(error) => return self.keep(body, &format!("not a message of this engine: {error}")).await,
        };
        let known = known(letter);
        let decide =
            |snapshot: Option<TaskSnapshot>| decide(snapshot.as_ref(), &message.step, &known, self.engine.now());
        let settled = match self.engine.settle_as_read(message.task_id, decide).await {
            // Only a newer version can say what hangs on it. For that one it is in its queue again, and not given up. A message is
            // a hint, so what this version does not know of it may be lost.
            Err(newer @ EngineError::Newer(_)) => {
                let Some(snapshot) = self.engine.shown(message.task_id).await? else {
                    return Ok(Some(CONFLICT_RETRY_AFTER));
                };
                tracing::error!(task_id = %message.task_id, step = message.step, code = newer.code(), error = %newer, "sent anew");
                self.engine.queue.send(&snapshot.task.outgoing(message)).await?;
                return Ok(None);
            }
            settled => settled?,
        };
        let Some((outcome, followed)) = settled else { return Ok(Some(CONFLICT_RETRY_AFTER)) };
        let Message { task_id, step, .. } = &message;
        match outcome {
            DeadLetterOutcome::Kept(reason) => return self.keep(body, reason).await,
            // Somebody else brought the step on, or it never was its turn. Should anything be missing after it, the
            // watchdog sees to that.
            DeadLetterOutcome::Dropped { state, status } => {
                tracing::warn!(%task_id, step, %state, %status, letter = known, "a dead letter that nothing hangs on");
            }
            DeadLetterOutcome::Held(wait) => return Ok(Some(wait)),
            DeadLetterOutcome::Failed => tracing::error!(%task_id, step, code = DELIVERY_EXHAUSTED, known, "given up"),
        }
        followed?;
        Ok(None)
    }

    async fn keep(&self, body: &str, reason: &str) -> Result<Option<Duration>, EngineError> {
        let reason = printable(reason);
        tracing::error!(reason, "a dead letter that belongs to nothing is kept");
        self.engine.queue.reject(body, &reason).await?;
        Ok(None)
    }
}

/// What becomes of a dead letter.
enum DeadLetterOutcome {
    /// It belongs to nothing, for this reason.
    Kept(&'static str),
    /// Nothing hangs on it: its step and its task stand so.
    Dropped { state: StepState, status: TaskStatus },
    /// Its step may still be at work, for so long.
    Held(Duration),
    /// Its step has failed by it.
    Failed,
}

/// Decides what becomes of the dead letter of this step. `known` is what SQS says of it.
fn decide(snapshot: Option<&TaskSnapshot>, step: &str, known: &str, now: Timestamp) -> Decision<DeadLetterOutcome> {
    let Some(snapshot) = snapshot else { return Decision::Leave(DeadLetterOutcome::Kept("the task does not exist")) };
    let Some(plan) = snapshot.task.plan.step(step) else {
        return Decision::Leave(DeadLetterOutcome::Kept("the task's plan has no such step"));
    };
    let untouched = StepRecord::untouched(step);
    let record = snapshot.step(step).unwrap_or(&untouched);
    if record.state.on(StepEvent::DeadLetter).is_none() || !snapshot.is_ready(plan) {
        return Decision::Leave(DeadLetterOutcome::Dropped {
            state: record.state,
            status: snapshot.task.state.status(),
        });
    }
    if record.state == StepState::InProgress
        && let Some(until) = record.lease_until.filter(|until| *until >= now)
    {
        return Decision::Leave(DeadLetterOutcome::Held(until.since(now) + Duration::from_secs(1)));
    }
    let message = format!("SQS gave up on the step's message: {known}");
    let failure = Failure { code: DELIVERY_EXHAUSTED.to_owned(), message };
    let action = Action {
        at: now,
        what: ActionKind::DeadLetter,
        step: Some(record.name.clone()),
        who: "dead_letters".to_owned(),
        why: failure.message.clone(),
    };
    let failed = task::dead_letter_step(&snapshot.task, record, &failure, &action);
    Decision::Settle(Settlement::of(failed).then([Due::AdvanceCompensation]), DeadLetterOutcome::Failed)
}

/// What SQS says of a message, in a sentence.
fn known(letter: &Received) -> String {
    format!(
        "received {} times from {}, first sent {}",
        letter.receives.map_or_else(|| "an unknown number of".to_owned(), |receives| receives.to_string()),
        letter.dead_letter_source.as_deref().unwrap_or("an unknown queue"),
        letter.sent_at.map_or_else(|| "at an unknown time".to_owned(), |sent| format!("at {sent}")),
    )
}

#[cfg(test)]
mod tests;
