//! What the table holds, as types.

use crate::{
    TaskId, Timestamp,
    plan::Plan,
    state::{StepState, TaskStatus},
    step::StepError,
    timestamp::millis,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A task's own item.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRecord {
    /// Its id.
    pub id: TaskId,
    /// The workflow it runs, as `namespace/name@version`.
    pub workflow: String,
    /// The stored status: never `in_progress`.
    pub status: TaskStatus,
    /// The JSON it was started with, as text.
    pub context: String,
    /// Its plan.
    pub plan: Plan,
    /// When it was started.
    pub created_at: Timestamp,
    /// When it came to its end, the last time it did.
    pub finished_at: Option<Timestamp>,
    /// The steps that failed for good.
    pub failed_steps: BTreeSet<String>,
    /// Of the plan's last steps, those that are done. Kept only where there is more than one.
    pub done_deps: BTreeSet<String>,
}

/// A step's item, or what stands in for it while there is none.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct StepRecord {
    /// The step's name.
    #[serde(skip)]
    pub name: String,
    /// Where it stands.
    pub state: StepState,
    /// The number of the last claim; 0 before the first.
    pub attempt: u32,
    /// How many of those claims do not count against the retry limit: those before a restart, and those put back.
    pub exempt: u32,
    /// Which delivery holds the lease: `request id/message id`.
    pub owner: Option<String>,
    /// When the last claim was made.
    #[serde(with = "millis::option")]
    pub started_at: Option<Timestamp>,
    /// Until when the lease holds.
    #[serde(with = "millis::option")]
    pub lease_until: Option<Timestamp>,
    /// Before when no claim is granted.
    #[serde(with = "millis::option")]
    pub next_retry_at: Option<Timestamp>,
    /// When the step came to its end.
    #[serde(with = "millis::option")]
    pub finished_at: Option<Timestamp>,
    /// Which of its dependencies are done. Kept only where there is more than one.
    pub done_deps: BTreeSet<String>,
    /// What the handler returned, as JSON text.
    pub result: Option<String>,
    /// The last error, while it stands.
    pub error: Option<Failure>,
    /// The audit trail: every attempt that has come to an end.
    pub attempts: Vec<AttemptRecord>,
}

/// An error as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A word for programs.
    pub code: String,
    /// A sentence for people, cut at [`Failure::MAX_MESSAGE_BYTES`].
    pub message: String,
}

impl Failure {
    /// The longest message that is stored, in bytes: every attempt's stays in the step's item for good.
    pub const MAX_MESSAGE_BYTES: usize = 1_000;
    const MAX_CODE_BYTES: usize = 100;
}

impl From<&StepError> for Failure {
    fn from(error: &StepError) -> Self {
        Self {
            code: cut(&error.code, Self::MAX_CODE_BYTES).to_owned(),
            message: cut(&error.message, Self::MAX_MESSAGE_BYTES).to_owned(),
        }
    }
}

fn cut(text: &str, max_bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(max_bytes)).unwrap_or(text)
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It has not ended yet.
    InProgress,
    /// The handler returned its output.
    Complete,
    /// The handler failed in a way that may pass.
    RetryableError,
    /// The handler failed in a way that will not pass.
    PermanentError,
    /// The worker was gone when its lease ended: it crashed, was killed, or ran out of time.
    Lost,
}

/// One attempt in the audit trail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// Its number.
    pub number: u32,
    /// When it was claimed.
    #[serde(with = "millis")]
    pub started_at: Timestamp,
    /// When it ended; for a lost one, when its lease did.
    #[serde(with = "millis::option", default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// When the next attempt is due, where there is to be one.
    #[serde(with = "millis::option", default, skip_serializing_if = "Option::is_none")]
    pub next_retry_at: Option<Timestamp>,
    /// The Lambda request it ran in: the way to its log lines.
    pub request_id: String,
}

impl StepRecord {
    /// The record of a step nothing has happened to.
    pub fn untouched(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Every attempt there has been, the one that is running included.
    pub fn all_attempts(&self) -> Vec<AttemptRecord> {
        let running = (self.state == StepState::InProgress).then(|| self.open_attempt()).flatten();
        self.attempts.iter().cloned().chain(running).collect()
    }

    /// The attempt that holds, or held, the lease.
    pub(crate) fn open_attempt(&self) -> Option<AttemptRecord> {
        Some(AttemptRecord {
            number: self.attempt,
            started_at: self.started_at?,
            finished_at: None,
            outcome: Outcome::InProgress,
            error: None,
            next_retry_at: None,
            request_id: request_id(self.owner.as_deref()?).to_owned(),
        })
    }
}

/// The request id in an owner's name.
pub(crate) fn request_id(owner: &str) -> &str {
    owner.split_once('/').map_or(owner, |(request_id, _)| request_id)
}

/// A claim that was granted: the right to run one attempt until `until`.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// The task.
    pub task: TaskId,
    /// The step.
    pub step: String,
    /// The attempt's number: the fencing token.
    pub attempt: u32,
    /// How many attempts do not count against the retry limit.
    pub exempt: u32,
    /// Which delivery holds it: `request id/message id`.
    pub owner: String,
    /// When it was granted.
    pub started_at: Timestamp,
    /// When it ends.
    pub until: Timestamp,
}

impl Lease {
    /// Which attempt this is of those that count against the retry limit, from 1.
    pub fn counted_attempt(&self) -> u32 {
        self.attempt.saturating_sub(self.exempt)
    }

    /// This attempt's entry in the audit trail.
    pub(crate) fn ended(&self, now: Timestamp, outcome: Outcome, error: Option<Failure>) -> AttemptRecord {
        AttemptRecord {
            number: self.attempt,
            started_at: self.started_at,
            finished_at: Some(now),
            outcome,
            error,
            next_retry_at: None,
            request_id: request_id(&self.owner).to_owned(),
        }
    }
}
