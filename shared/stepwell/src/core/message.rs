//! Messages, which wake the workers of steps, and the names of queues.

use crate::core::{
    id::TaskId,
    names::step_resource,
    timestamp::{Timestamp, millis},
};
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// The name of the queue of dead letters: messages that SQS gave up on.
pub const DEAD_LETTERS: &str = "dead_letters";

/// The name of the queue that keeps messages which belong to no step of any task.
pub const UNDELIVERABLE: &str = "undeliverable";

/// The queue of a step. It is identified by workflow and step, because two workflows may have a step of the same name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StepQueue {
    /// The workflow's name, without its namespace and its version.
    pub workflow: String,
    /// The step's name.
    pub step: String,
}

impl StepQueue {
    /// The queue of this step of this workflow.
    pub fn new(workflow: impl Into<String>, step: impl Into<String>) -> Self {
        Self { workflow: workflow.into(), step: step.into() }
    }
}

/// A queue of the engine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QueueName {
    /// The queue of a step.
    Step(StepQueue),
    /// [`DEAD_LETTERS`].
    DeadLetters,
    /// [`UNDELIVERABLE`].
    Undeliverable,
}

impl From<StepQueue> for QueueName {
    fn from(queue: StepQueue) -> Self {
        Self::Step(queue)
    }
}

/// The name in SQS, after the stack's prefix.
impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(StepQueue { workflow, step }) => f.write_str(&step_resource(workflow, step)),
            Self::DeadLetters => f.write_str(DEAD_LETTERS),
            Self::Undeliverable => f.write_str(UNDELIVERABLE),
        }
    }
}

/// A message that wakes a step's worker. It is only a hint: the worker reads from the store whether the step may run.
///
/// Unknown fields are ignored, because during a deployment an older worker may get a newer worker's message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The task.
    pub task_id: TaskId,
    /// The step.
    pub step: String,
    /// The steps to read together with the claim: the step's dependencies, which the sender knows from the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub load: Vec<String>,
    /// Whether it may be a duplicate, because it comes from a replayed dispatch.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeat: bool,
    /// Whether its queue holds it back before the first delivery, so that its age does not say how long the queue is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delayed: bool,
    /// How many messages before this one were replaced by their successors since [`hops_since`](Self::hops_since).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hops: u32,
    /// The time of the first of these hops.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "millis::option")]
    pub hops_since: Option<Timestamp>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// More hops within a minute than any message makes: a successor is delayed by minutes.
pub const MAX_HOPS: u32 = 50;

/// The time within which [`MAX_HOPS`] may not be exceeded.
const HOPS_WITHIN: Duration = Duration::from_secs(60);

/// A message was replaced by its successor too often within a minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message was replaced more than {MAX_HOPS} times within a minute")]
pub struct LoopDetected;

impl Message {
    /// A message to this step, which loads nothing.
    pub fn new(task_id: TaskId, step: impl Into<String>) -> Self {
        Self { task_id, step: step.into(), load: Vec::new(), repeat: false, delayed: false, hops: 0, hops_since: None }
    }

    /// The message that is sent in the place of this one. Lambda's own detection of loops is switched off, because a long wait
    /// looks like a loop to it. So the engine counts.
    ///
    /// # Errors
    /// [`LoopDetected`], if this is one of too many.
    pub fn successor(self, now: Timestamp) -> Result<Self, LoopDetected> {
        let (hops, since) = match self.hops_since.filter(|since| now.since(*since) < HOPS_WITHIN) {
            Some(since) => (self.hops + 1, since),
            None => (1, now),
        };
        let successor = Self { hops, hops_since: Some(since), ..self };
        if hops > MAX_HOPS { Err(LoopDetected) } else { Ok(successor) }
    }
}

/// A message to be sent. The message itself does not name the workflow of its task; its queue belongs to that workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The name of the task's workflow, without its namespace and its version.
    pub workflow: String,
    /// The message to send.
    pub message: Message,
    /// How long the queue holds it back; at most [`LONGEST_DELAY`](crate::core::timer::LONGEST_DELAY).
    pub delay: Duration,
}

impl Outgoing {
    /// The same message, held back for this long.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        let message = Message { delayed: !delay.is_zero(), ..self.message };
        Self { message, delay, ..self }
    }

    /// The queue of its step.
    pub fn queue(&self) -> QueueName {
        StepQueue::new(&self.workflow, &self.message.step).into()
    }
}

/// The longest reason of a rejected message, in characters.
const MAX_REASON_LENGTH: usize = 250;

/// Makes a reason safe to log and to send. A reason may quote an untrusted message, and SQS refuses control characters and
/// long attributes. A message that could not even be rejected would be delivered again for days.
pub(crate) fn printable(reason: &str) -> String {
    let fits = |c: &char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    reason.chars().filter(fits).take(MAX_REASON_LENGTH).collect()
}
