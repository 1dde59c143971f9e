//! What the items hold, as types.

use super::item::Key;
use crate::core::{
    format::{NewerFormat, v1},
    id::TaskId,
    message::{Message, Outgoing},
    names::workflow_name,
    plan::{Plan, StepPlan},
    state::{StepState, TaskState},
    timestamp::{Timestamp, millis},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};

/// How long a task stays after its start, and each step's item after its first claim or arrival, by DynamoDB's TTL.
pub const RETENTION: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How long an idempotency key stays.
pub const KEY_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A task about to be written.
#[derive(Clone, Debug)]
pub struct NewTask<'a> {
    /// Its id.
    pub id: TaskId,
    /// The workflow's name, as `namespace/name@version`.
    pub workflow: String,
    /// The context, as JSON text.
    pub context: &'a str,
    /// The plan.
    pub plan: &'a Plan,
    /// The moment of the start.
    pub created_at: Timestamp,
}

/// An idempotency key, and the task it stands for.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyRecord {
    /// The workflow's namespace.
    pub namespace: String,
    /// The client's key.
    pub key: String,
    /// The task.
    pub task: TaskId,
    /// SHA-256 of the request, as hex.
    pub request_hash: String,
    /// The moment of the start.
    pub created_at: Timestamp,
    /// What it says of itself, where it needs a newer reader. Its task can be named all the same.
    pub newer: Option<NewerFormat>,
}

impl KeyRecord {
    /// Names its item.
    pub fn key_of_item(&self) -> Key {
        Key::IdempotencyKey { namespace: self.namespace.clone(), key: self.key.clone() }
    }
}

/// A task's own item.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRecord {
    /// Its id.
    pub id: TaskId,
    /// The workflow it runs, as `namespace/name@version`.
    pub workflow: String,
    /// Where it stands.
    pub state: TaskState,
    /// The JSON it was started with, as text.
    pub context: String,
    /// Its plan.
    pub plan: Plan,
    /// When it was started.
    pub created_at: Timestamp,
    /// When it came to its end, the last time it did.
    pub finished_at: Option<Timestamp>,
    /// The steps and compensations that failed for good and have not been mended.
    pub failed_steps: BTreeSet<String>,
    /// Of the plan's last steps, those that are done. Kept only where there is more than one.
    pub done_deps: BTreeSet<String>,
    /// The compensations to run, in their order; there from the moment that nothing is in flight any more.
    pub compensations: Option<Vec<String>>,
    /// The audit trail of what was done to the task from outside, in the order in which it was done.
    pub actions: Vec<Action>,
    /// Why this version may not act on it, where it may not. Then the above is what this version understands of it: what it
    /// does not understand is as in a task that has just begun, of which the plan may have no steps.
    pub newer: Option<NewerFormat>,
}

impl From<&NewTask<'_>> for TaskRecord {
    /// The task as it stands right after its start.
    fn from(task: &NewTask<'_>) -> Self {
        Self {
            id: task.id,
            workflow: task.workflow.clone(),
            state: TaskState::Running,
            context: task.context.to_owned(),
            plan: task.plan.clone(),
            created_at: task.created_at,
            finished_at: None,
            failed_steps: BTreeSet::new(),
            done_deps: BTreeSet::new(),
            compensations: None,
            actions: Vec::new(),
            newer: None,
        }
    }
}

impl TaskRecord {
    /// The name of its workflow, without namespace and version: the queues of its steps are named by it.
    pub fn workflow_name(&self) -> &str {
        workflow_name(&self.workflow)
    }

    /// A message to one of its steps, on its way.
    pub(crate) fn outgoing(&self, message: Message) -> Outgoing {
        Outgoing { workflow: self.workflow_name().to_owned(), message }
    }

    /// Whether the audit trail has room for another redrive.
    pub fn has_room_for_redrive(&self) -> bool {
        self.actions.iter().map(Action::bytes).sum::<usize>() <= MAX_ACTIONS_BYTES
    }

    /// What has to be done before this step, or this compensation, may run; `None` where nothing of it may, as the task
    /// stands.
    pub fn waits_for<'a>(&'a self, step: &'a StepPlan) -> Option<Vec<&'a str>> {
        if step.compensates.is_none() {
            let open = self.state.lets_steps_run();
            return open.then(|| step.depends_on.iter().map(String::as_str).collect());
        }
        let order = self.compensations.as_ref().filter(|_| self.state.is_compensating())?;
        let place = order.iter().position(|name| *name == step.name)?;
        Some(place.checked_sub(1).and_then(|before| order.get(before)).map(String::as_str).into_iter().collect())
    }
}

/// Something that was done to a task from outside: by an operator, a customer, or a part of the engine that is no step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// When.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// What.
    pub what: ActionKind,
    /// Which step it was done to, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Who did it.
    pub who: String,
    /// Why.
    pub why: String,
}

/// What can be done to a task from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// What failed got a fresh set of attempts.
    #[serde(rename = "retry")]
    Redrive,
    /// It was cancelled.
    Cancel,
    /// It was declared done.
    Resolve,
    /// A step was done by hand.
    ResolveStep,
    /// Its compensation was begun.
    Compensate,
    /// SQS gave up on the message of a step.
    #[serde(rename = "give_up")]
    DeadLetter,
}

impl Action {
    /// What one takes of the task's item besides its words, in bytes: the names of its fields, a number.
    const FRAME_BYTES: usize = 60;

    fn bytes(&self) -> usize {
        Self::FRAME_BYTES + self.step.as_ref().map_or(0, String::len) + self.who.len() + self.why.len()
    }
}

impl ActionKind {
    /// The word in the API and the logs. The table keeps the word of format 1 (`retry`, `give_up`).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redrive => "redrive",
            Self::Cancel => "cancel",
            Self::Resolve => "resolve",
            Self::ResolveStep => "resolve_step",
            Self::Compensate => "compensate",
            Self::DeadLetter => "dead_letter",
        }
    }
}

/// A step's item, or what stands in for it while there is none.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct StepRecord {
    /// The step's name.
    #[serde(skip)]
    pub name: String,
    /// Where it stands.
    pub state: StepState,
    /// The number of the last claim; 0 before the first.
    pub attempt: u32,
    /// How many of those claims do not count against the maximum of attempts: those before a redrive, and those put back.
    #[serde(rename = "exempt")]
    pub uncounted_attempts: u32,
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
    /// Why this version may not act on it, where it may not. Then the above is what this version understands of it: what it
    /// does not understand is as in an untouched step.
    #[serde(skip)]
    pub newer: Option<NewerFormat>,
}

impl Default for StepRecord {
    /// What is read where nothing is written.
    fn default() -> Self {
        Self {
            name: String::new(),
            state: v1::STEP_STATE,
            attempt: v1::ATTEMPT,
            uncounted_attempts: v1::UNCOUNTED_ATTEMPTS,
            owner: None,
            started_at: None,
            lease_until: None,
            next_retry_at: None,
            finished_at: None,
            done_deps: BTreeSet::new(),
            result: None,
            error: None,
            attempts: Vec::new(),
            newer: None,
        }
    }
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

    /// A failure with this code and this message, as much of them as is stored.
    pub fn new(code: &str, message: &str) -> Self {
        Self {
            code: cut(code, Self::MAX_CODE_BYTES).to_owned(),
            message: cut(message, Self::MAX_MESSAGE_BYTES).to_owned(),
        }
    }
}

fn cut(text: &str, max_bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(max_bytes)).unwrap_or(text)
}

/// How much of a step's item, of DynamoDB's 400 KiB for an item, its audit trail may take. The result and some little
/// things take the rest.
const MAX_TRAIL_BYTES: usize = 132 * 1024;

/// How much of a task's item the audit trail may take before nothing is redriven any more. What operators do to bring such
/// a task to an end has room after that.
const MAX_ACTIONS_BYTES: usize = 64 * 1024;

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

impl AttemptRecord {
    /// What one takes of the item besides the words of its error, in bytes: the names of its fields, numbers, an id.
    const FRAME_BYTES: usize = 200;

    /// The most that one takes of the item, in bytes.
    const MAX_BYTES: usize = Self::FRAME_BYTES + Failure::MAX_CODE_BYTES + Failure::MAX_MESSAGE_BYTES;

    fn bytes(&self) -> usize {
        Self::FRAME_BYTES + self.error.as_ref().map_or(0, |error| error.code.len() + error.message.len())
    }
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

    /// Whether the audit trail has room for another set of attempts, and for the one that finds them used up.
    pub fn has_room_for(&self, max_attempts: u32) -> bool {
        let so_far: usize = self.attempts.iter().map(AttemptRecord::bytes).sum();
        let more = usize::try_from(max_attempts).unwrap_or(usize::MAX).saturating_add(1);
        so_far.saturating_add(more.saturating_mul(AttemptRecord::MAX_BYTES)) <= MAX_TRAIL_BYTES
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
    /// How many attempts do not count against the maximum of attempts.
    pub uncounted_attempts: u32,
    /// Which delivery holds it: `request id/message id`.
    pub owner: String,
    /// When it was granted.
    pub started_at: Timestamp,
    /// When it ends.
    pub until: Timestamp,
}

impl Lease {
    /// Which attempt this is of those that count against the maximum of attempts, from 1.
    pub fn counted_attempt(&self) -> u32 {
        self.attempt.saturating_sub(self.uncounted_attempts)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fixtures::{at, snapshot};

    #[test]
    fn a_long_error_is_cut_between_two_letters() {
        let failure = |message: &str| Failure::new("CODE", message);
        assert_eq!(failure("short"), Failure { code: "CODE".to_owned(), message: "short".to_owned() });
        let long = "é".repeat(Failure::MAX_MESSAGE_BYTES);
        assert_eq!(failure(&format!("a{long}")).message.len(), Failure::MAX_MESSAGE_BYTES - 1);
        let code = Failure::new(&"C".repeat(1_000), "").code;
        assert_eq!(code.len(), Failure::MAX_CODE_BYTES);
    }

    #[test]
    fn the_running_attempt_is_the_last_of_all() {
        let owner = Some("request/message".to_owned());
        let mut step = StepRecord { attempt: 1, started_at: Some(at(5)), owner, ..StepRecord::untouched("s0") };
        assert_eq!(step.all_attempts(), [], "it is not in progress");
        step.state = StepState::InProgress;
        let all = step.all_attempts();
        let seen: Vec<_> = all.iter().map(|attempt| (attempt.number, attempt.request_id.as_str())).collect();
        assert_eq!(seen, [(1, "request")]);
        let first = AttemptRecord { outcome: Outcome::Lost, ..all[0].clone() };
        step = StepRecord { attempt: 2, attempts: vec![first], ..step };
        assert_eq!(step.all_attempts().iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_trail_takes_as_many_sets_of_attempts_as_it_has_room_for() {
        let mut step = StepRecord::untouched("s0");
        let most = crate::core::plan::Plan::MAX_ATTEMPTS;
        assert!(!step.has_room_for(u32::MAX));
        let attempt = AttemptRecord {
            number: 1,
            started_at: at(0),
            finished_at: None,
            outcome: Outcome::Lost,
            error: None,
            next_retry_at: None,
            request_id: "request".to_owned(),
        };
        let longest = Failure { code: "C".repeat(100), message: "m".repeat(Failure::MAX_MESSAGE_BYTES) };
        let worst = AttemptRecord { error: Some(longest), ..attempt.clone() };
        for _ in 0..most {
            assert!(step.has_room_for(most), "as many attempts as a file may give fit twice, whatever they say");
            step.attempts.push(worst.clone());
        }
        assert!(step.has_room_for(most) && !step.has_room_for(most + 5));
        let lost = MAX_TRAIL_BYTES / attempt.bytes();
        step.attempts = vec![attempt; lost];
        assert!(!step.has_room_for(1));
        step.attempts.truncate(lost / 2);
        assert!(step.has_room_for(1));
        for attempt in &mut step.attempts {
            attempt.error = Some(Failure { code: "C".repeat(100), message: "m".repeat(200) });
        }
        assert!(!step.has_room_for(1), "their errors count");
    }

    #[test]
    fn a_task_takes_as_many_retries_as_its_trail_has_room_for() {
        let mut task = snapshot(&[&[]], &[]).task;
        let (who, why) = ("customer".to_owned(), "w".repeat(500));
        let step = Some("s".repeat(48));
        let action = Action { at: at(0), what: ActionKind::Redrive, step, who, why };
        while task.has_room_for_redrive() {
            task.actions.push(action.clone());
        }
        let words = "customer".len() + 500 + 48;
        assert_eq!(task.actions.len(), MAX_ACTIONS_BYTES / (Action::FRAME_BYTES + words) + 1);
    }

    #[test]
    fn attempts_that_are_exempt_do_not_count() {
        let task = snapshot(&[&[]], &[]).task.id;
        let (step, owner) = ("s0".to_owned(), "request/message".to_owned());
        let lease = Lease { task, step, attempt: 5, uncounted_attempts: 2, owner, started_at: at(0), until: at(30) };
        assert_eq!(lease.counted_attempt(), 3);
        let ended = lease.ended(at(7), Outcome::Complete, None);
        assert_eq!((ended.number, ended.finished_at, ended.request_id.as_str()), (5, Some(at(7)), "request"));
    }
}
