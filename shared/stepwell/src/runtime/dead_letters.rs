//! The dead-letter handler: turns a message that SQS gave up on into an error of its step, which operators can see and the
//! engine redrives. The message of a compensation that is not optional is sent again, because it has no last attempt.

use crate::{
    core::{
        index::OVERDUE_AFTER,
        message::{Message, Outgoing, QueueName, printable},
        record::{Action, ActionKind, Failure, StepRecord, TaskRecord},
        recovery::DELIVERY_EXHAUSTED,
        settlement::{Due, Settlement, after_failure, arrival_of_failed},
        snapshot::TaskSnapshot,
        state::{StepEvent, StepState, TaskStatus},
        task,
        timestamp::Timestamp,
    },
    ports::{Queue, Received, Runtime, Store},
    runtime::{
        engine::{Decision, Engine},
        error::EngineError,
        recovery::log_failed,
        spans,
        worker::keep_hidden,
    },
};
use futures::future::join_all;
use std::time::Duration;
use tracing::{Instrument, field::Empty};

/// How long a dead letter is hidden after persistent conflicts.
const CONFLICT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The reader of the queue of dead letters.
#[derive(Clone, Debug)]
pub struct DeadLetters<T, Q, A> {
    engine: Engine<T, Q, A>,
}

impl<T: Store, Q: Queue, A: Runtime> DeadLetters<T, Q, A> {
    /// A reader with this store, these queues and this clock.
    pub fn new(table: T, queue: Q, runtime: A) -> Self {
        Self { engine: Engine::new(table, queue, runtime) }
    }

    /// Processes the dead letters of a batch, and returns the ids of those that the queue has to keep.
    pub async fn handle(&self, batch: &[Received]) -> Vec<String> {
        let kept = join_all(batch.iter().map(|message| self.handle_one(message))).await;
        kept.into_iter().flatten().collect()
    }

    async fn handle_one(&self, message: &Received) -> Option<String> {
        let span = tracing::error_span!(
            "dead_letter",
            message_id = message.id,
            task_id = Empty,
            step = Empty,
            workflow = Empty,
            correlation_id = Empty,
            traceparent = Empty
        );
        self.settle(message).instrument(span).await
    }

    async fn settle(&self, message: &Received) -> Option<String> {
        let wait = match self.deliver(message).await {
            Ok(None) => return None,
            Ok(Some(wait)) => Some(wait),
            Err(error) => {
                tracing::error!(code = error.code(), %error, "a dead letter could not be processed");
                None
            }
        };
        keep_hidden(&self.engine, &QueueName::DeadLetters, message, wait).await
    }

    /// Processes one dead letter. Returns the wait before the next try, or `None` if it is done.
    async fn deliver(&self, dead_letter: &Received) -> Result<Option<Duration>, EngineError> {
        let body = dead_letter.body.as_str();
        let message: Message = match serde_json::from_str(body) {
            Ok(message) => message,
            Err(error) => return self.keep(body, &format!("not a message of this engine: {error}")).await,
        };
        let span = tracing::Span::current();
        span.record("task_id", tracing::field::display(message.task_id));
        span.record("step", &message.step);
        let known = known(dead_letter);
        let note = spans::Note::default();
        let decide = |snapshot: Option<TaskSnapshot>| {
            snapshot.iter().for_each(|snapshot| note.take(&snapshot.task));
            decide(snapshot.as_ref(), &message.step, &known, self.engine.now())
        };
        let settled = match self.engine.settle_as_read(message.task_id, decide).await {
            // Only a newer version may act on the task. The task stays listed as due, so the watchdog of that version sends what
            // is missing. To send the message from here would multiply it: each time that SQS gives up on it, it may be sent
            // twice, and no version that may act on it takes the copies together.
            Err(newer @ EngineError::Newer(_)) => {
                tracing::error!(code = newer.code(), error = %newer, known, "left to the newer version");
                return Ok(None);
            }
            settled => settled?,
        };
        let Some((outcome, followed)) = settled else { return Ok(Some(CONFLICT_RETRY_AFTER)) };
        let Message { task_id, step, .. } = &message;
        match outcome {
            DeadLetterOutcome::Kept(reason) => return self.keep(body, reason).await,
            // The step has gone on meanwhile, or was never ready. If a message is missing after that, the watchdog sends it.
            DeadLetterOutcome::Dropped { state, status } => {
                tracing::warn!(%state, %status, dead_letter = known, "a dead letter with no effect is dropped");
            }
            DeadLetterOutcome::Held(wait) => return Ok(Some(wait)),
            DeadLetterOutcome::SentAgain { message, is_timer } => {
                if is_timer {
                    tracing::info!(known, "the message was the timer of many retries: sent again");
                } else {
                    tracing::error!(code = DELIVERY_EXHAUSTED, known, "delivery exhausted: sent again");
                }
                self.engine.queue.send(&message).await?;
            }
            DeadLetterOutcome::Failed(task) => {
                tracing::error!(code = DELIVERY_EXHAUSTED, known, "delivery exhausted");
                log_failed(&task, step, DELIVERY_EXHAUSTED);
            }
        }
        if let Some(until) = followed?
            && let Some(snapshot) = self.engine.shown(*task_id).await?
        {
            // The task is recovered later, by the message of its failed step.
            self.engine.send_at(snapshot.message(step), until).await?;
        }
        Ok(None)
    }

    async fn keep(&self, body: &str, reason: &str) -> Result<Option<Duration>, EngineError> {
        let reason = printable(reason);
        tracing::error!(reason, "a dead letter of no step is kept as undeliverable");
        self.engine.queue.reject(body, &reason).await?;
        Ok(None)
    }
}

/// What to do with a dead letter.
enum DeadLetterOutcome {
    /// It belongs to no step, for this reason. It is kept in the queue of undeliverable messages.
    Kept(&'static str),
    /// It has no effect, because of the state of its step or the status of its task.
    Dropped { state: StepState, status: TaskStatus },
    /// A worker may still own its step, for this long.
    Held(Duration),
    /// Its step goes on with this message: it waits for a retry that the dead letter was only the timer of, or it is a
    /// compensation, which has no last attempt.
    SentAgain { message: Outgoing, is_timer: bool },
    /// The step of this task has failed.
    Failed(Box<TaskRecord>),
}

/// Decides what to do with the dead letter of this step. `known` is SQS's information about it.
fn decide(snapshot: Option<&TaskSnapshot>, step: &str, known: &str, now: Timestamp) -> Decision<DeadLetterOutcome> {
    let Some(snapshot) = snapshot else { return Decision::Leave(DeadLetterOutcome::Kept("the task does not exist")) };
    let Some(plan) = snapshot.task.plan.step(step) else {
        return Decision::Leave(DeadLetterOutcome::Kept("the task's plan has no such step"));
    };
    let untouched = StepRecord::untouched(step);
    let record = snapshot.step(step).unwrap_or(&untouched);
    if record.state.on(StepEvent::DeadLetter).is_none() || !snapshot.is_ready(plan) {
        let dropped = DeadLetterOutcome::Dropped { state: record.state, status: snapshot.task.state.status() };
        if record.state != StepState::Error {
            return Decision::Leave(dropped);
        }
        // It may have been the message that waited for the recovery of its task.
        let followed = Settlement::without_transition(after_failure(&snapshot.task, step));
        return Decision::Settle(followed, dropped);
    }
    // The message of a step in its backoff is received once for each attempt. The last receive was due a moment ago.
    let is_timer =
        record.state == StepState::Retrying && record.next_retry_at.is_some_and(|due| now < due + OVERDUE_AFTER);
    if is_timer {
        return Decision::Leave(DeadLetterOutcome::SentAgain { message: snapshot.message(step), is_timer });
    }
    if record.state == StepState::InProgress
        && let Some(until) = record.lease_until.filter(|until| *until >= now)
    {
        return Decision::Leave(DeadLetterOutcome::Held(until.since(now) + Duration::from_secs(1)));
    }
    if plan.has_no_last_attempt() {
        return Decision::Leave(DeadLetterOutcome::SentAgain { message: snapshot.message(step), is_timer });
    }
    let message = format!("SQS gave up on the step's message: {known}");
    let failure = Failure { code: DELIVERY_EXHAUSTED.to_owned(), message };
    let action = Action {
        at: now,
        what: ActionKind::DeadLetter,
        step: Some(record.name.clone()),
        who: "dead_letters".to_owned(),
        why: failure.message.clone(),
        bulk: None,
        rerun_as: None,
    };
    let failed = task::dead_letter_step(&snapshot.task, record, &failure, &action);
    let settlement =
        Settlement::of(failed).then(arrival_of_failed(&snapshot.task, step)).then([Due::AdvanceCompensation]);
    Decision::Settle(settlement, DeadLetterOutcome::Failed(snapshot.task.clone().into()))
}

/// SQS's information about a message, as a part of a sentence.
fn known(dead_letter: &Received) -> String {
    format!(
        "received {} times from {}, first sent {}",
        dead_letter.receives.map_or_else(|| "an unknown number of".to_owned(), |receives| receives.to_string()),
        dead_letter.dead_letter_source.as_deref().unwrap_or("an unknown queue"),
        dead_letter.sent_at.map_or_else(|| "at an unknown time".to_owned(), |sent| format!("at {sent}")),
    )
}

#[cfg(test)]
mod tests;
