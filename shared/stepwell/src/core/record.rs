//! Records: the contents of the items, as types.

use super::item::Key;
use crate::core::{
    format::{NewerFormat, v1},
    id::{BulkPage, CorrelationId, TaskId},
    message::{Message, Outgoing},
    names::workflow_name,
    plan::{Plan, StepPlan},
    state::{StepState, TaskState},
    timestamp::{Timestamp, millis},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long DynamoDB's TTL keeps a task after its start.
pub const RETENTION: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How long DynamoDB's TTL keeps a step's item after its first claim or arrival. TTL deletes expired items in no order,
/// within days. A week more than the task's makes sure that a task never looks as if its steps had not run.
pub const STEP_RETENTION: Duration = Duration::from_secs((90 + 7) * 24 * 60 * 60);

/// How long DynamoDB's TTL keeps an idempotency key.
pub const KEY_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The actor in the audit trail for the engine's own actions.
pub(crate) const ENGINE_ACTOR: &str = "stepwell";

/// A task to be created.
#[derive(Clone, Debug)]
pub struct NewTask<'a> {
    /// The new task's id.
    pub id: TaskId,
    /// The workflow's name, as `namespace/name@version`.
    pub workflow: String,
    /// The context, as JSON text.
    pub context: &'a str,
    /// The plan, which is copied into the task.
    pub plan: &'a Plan,
    /// The time of the start.
    pub created_at: Timestamp,
    /// The caller's name for what it does.
    pub correlation_id: Option<CorrelationId>,
}

/// The result of a step of a task, which its rerun keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptResult {
    /// The step.
    pub step: String,
    /// Its result, as JSON text.
    pub result: String,
}

/// An idempotency key, and the task that was started with it.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyRecord {
    /// The workflow's namespace.
    pub namespace: String,
    /// The client's key.
    pub key: String,
    /// The task that was started.
    pub task: TaskId,
    /// SHA-256 of the request, as hex.
    pub request_hash: String,
    /// The time of the start.
    pub created_at: Timestamp,
    /// The format of the item, if it needs a newer reader. The task's id is valid all the same.
    pub newer: Option<NewerFormat>,
}

impl KeyRecord {
    /// The key of its item.
    pub fn key_of_item(&self) -> Key {
        Key::IdempotencyKey { namespace: self.namespace.clone(), key: self.key.clone() }
    }
}

/// A task's own item.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskRecord {
    /// The task's id.
    pub id: TaskId,
    /// The workflow, as `namespace/name@version`.
    pub workflow: String,
    /// The state of the task.
    pub state: TaskState,
    /// The JSON that the task was started with, as text.
    pub context: String,
    /// The plan, as it was at the start.
    pub plan: Plan,
    /// The time of the start.
    pub created_at: Timestamp,
    /// The name that the caller of its start had for what it did.
    pub correlation_id: Option<CorrelationId>,
    /// The time at which the task last ended or failed.
    pub finished_at: Option<Timestamp>,
    /// The steps and compensations that failed for good and have been neither redriven nor resolved, optional steps included. An
    /// optional compensation is among them only after the task has ended.
    pub failed_steps: BTreeSet<String>,
    /// The leaves that are done, or optional and failed. It is kept only for plans with several leaves.
    pub done_deps: BTreeSet<String>,
    /// The graph of the compensations to run, each after those that it depends on. It is written when nothing is in flight any more.
    pub compensations: Option<Vec<StepPlan>>,
    /// The time at which an operator last redrove the task or resolved one of its steps, if it has a deadline: the deadline
    /// counts from then on.
    pub deadline_from: Option<Timestamp>,
    /// The audit trail of actions from outside, oldest first.
    pub actions: Vec<Action>,
    /// The refusals of cancellations, oldest first. After each, the task was complete again.
    pub refusals: Vec<Refusal>,
    /// The task that this one was [rerun](super::task::reserve_rerun) as, and the request for it. It is there, or is about to be started, or
    /// its start broke off.
    pub rerun_as: Option<RerunAs>,
    /// The task that this one is a rerun of.
    pub rerun_of: Option<TaskId>,
    /// The format of the item, if it needs a newer reader. Then this version may not act on the task. Fields that it cannot
    /// read have the values of a task that has just begun; an unreadable plan has no steps.
    pub newer: Option<NewerFormat>,
}

/// What a task is rerun as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RerunAs {
    /// The new task.
    pub task: TaskId,
    /// SHA-256 of the request, as hex.
    pub request_hash: String,
}

impl TaskRecord {
    /// Whether the task takes the place of one that never starts, because its start was [ruled
    /// out](super::task::rule_out).
    pub fn never_starts(&self) -> bool {
        self.plan.steps().is_empty() && self.newer.is_none()
    }
}

impl From<&NewTask<'_>> for TaskRecord {
    /// The task right after its start.
    fn from(task: &NewTask<'_>) -> Self {
        Self {
            id: task.id,
            workflow: task.workflow.clone(),
            state: TaskState::Running,
            context: task.context.to_owned(),
            plan: task.plan.clone(),
            created_at: task.created_at,
            correlation_id: task.correlation_id.clone(),
            finished_at: None,
            failed_steps: BTreeSet::new(),
            done_deps: BTreeSet::new(),
            compensations: None,
            deadline_from: None,
            actions: Vec::new(),
            refusals: Vec::new(),
            rerun_as: None,
            rerun_of: None,
            newer: None,
        }
    }
}

impl TaskRecord {
    /// The reserved id of the rerun that takes the place of this task, which was undone before; `None` if it has none. The rerun of a complete
    /// task stands beside it, also if that is cancelled later.
    pub fn goes_on_as(&self) -> Option<TaskId> {
        let rerun = self.rerun_as.as_ref().filter(|_| self.state.is_closed())?.task;
        let reserved = self.actions.iter().rposition(|action| action.rerun_as == Some(rerun));
        let undone =
            self.actions.iter().rposition(|action| matches!(action.what, ActionKind::Cancel | ActionKind::Compensate));
        (reserved > undone).then_some(rerun)
    }

    /// The name of its workflow, without namespace and version, from which the names of its queues are derived.
    pub fn workflow_name(&self) -> &str {
        workflow_name(&self.workflow)
    }

    /// The time of its start or, if it was redriven, of its last redrive.
    pub fn last_begun_at(&self) -> Timestamp {
        let redrives = self.actions.iter().filter(|action| action.what.redrives());
        redrives.map(|action| action.at).fold(self.created_at, Timestamp::max)
    }

    /// The time from which on this step starts no attempt; `None` if no deadline holds for it. A completed task has met its
    /// deadline.
    pub fn deadline_of(&self, step: &str) -> Option<Timestamp> {
        let time = self.plan.time_to_start(step).filter(|_| self.state != TaskState::Completed)?;
        Some(self.deadline_counts_from() + time)
    }

    /// The time from which its deadline counts: its start, or the last act of an operator.
    pub(crate) fn deadline_counts_from(&self) -> Timestamp {
        self.deadline_from.unwrap_or(self.created_at)
    }

    /// Addresses a message to one of its steps.
    pub(crate) fn outgoing(&self, message: Message) -> Outgoing {
        Outgoing { workflow: self.workflow_name().to_owned(), message, delay: Duration::ZERO }
    }

    /// Whether the audit trail has room for another redrive, or for another cancellation that may be refused. What was run now does not
    /// use it up.
    pub fn has_room_for_redrive(&self) -> bool {
        let actions = self.actions.iter().filter(|action| action.what != ActionKind::RunNow).map(Action::bytes);
        actions.chain(self.refusals.iter().map(Refusal::bytes)).sum::<usize>() <= MAX_ACTIONS_BYTES
    }

    /// Whether the audit trail has room for another entry about waiting steps that were run now.
    pub(crate) fn has_room_for_run_now(&self) -> bool {
        let run_now = self.actions.iter().filter(|action| action.what == ActionKind::RunNow);
        run_now.map(Action::bytes).sum::<usize>() <= MAX_RUN_NOW_BYTES
    }

    /// The failed steps that are not optional. As long as there is one, the task has failed.
    pub(crate) fn failed_required_steps(&self) -> impl Iterator<Item = &String> {
        self.failed_steps.iter().filter(|step| !self.plan.is_optional(step))
    }

    /// The steps that have to be done before this step or compensation may run; `None` if the task's state does not let it
    /// run at all. An optional step may also run in a completed task: it is only waiting there after a redrive.
    pub fn waits_for<'a>(&'a self, step: &'a StepPlan) -> Option<Vec<&'a str>> {
        if step.compensates.is_none() {
            let open = self.state.lets_steps_run() || (step.optional && self.state == TaskState::Completed);
            return open.then(|| step.depends_on.iter().map(String::as_str).collect());
        }
        let mut to_run = self.compensations.iter().flatten().filter(|_| self.state.is_compensating());
        let compensation = to_run.find(|compensation| compensation.name == step.name)?;
        Some(compensation.depends_on.iter().map(String::as_str).collect())
    }

    /// The graph that this step or compensation belongs to: the plan's steps, or the compensations to run.
    pub(crate) fn graph_of(&self, step: &str) -> &[StepPlan] {
        if self.plan.is_compensation(step) {
            self.compensations.as_deref().unwrap_or_default()
        } else {
            self.plan.steps()
        }
    }
}

/// An action on a task from outside its steps: by an operator, a customer, or another part of the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// The time of the action.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// The kind of action.
    pub what: ActionKind,
    /// The step, for an action on a single step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The actor's name.
    pub who: String,
    /// The reason.
    pub why: String,
    /// The page of the bulk action that it was a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulk: Option<BulkPage>,
    /// The new task, for a rerun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rerun_as: Option<TaskId>,
}

/// The refusal of a cancellation: a compensation refused to undo its step, and nothing was undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The time at which the task was complete again.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// The compensation that refused.
    pub step: String,
    /// Its error.
    pub error: Failure,
}

/// The kinds of actions from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// The failed steps got a fresh set of attempts.
    #[serde(rename = "retry")]
    Redrive,
    /// The task was cancelled.
    Cancel,
    /// The task was declared done.
    Resolve,
    /// A step was done by hand.
    ResolveStep,
    /// Compensation was begun.
    Compensate,
    /// SQS gave up on the message of a step.
    #[serde(rename = "give_up")]
    DeadLetter,
    /// The steps that waited for their next attempt were attempted at once.
    RunNow,
    /// The redrive that the engine had planned for later was made at once.
    RedriveNow,
    /// The task was started once more, as a new task.
    Rerun,
}

impl Action {
    /// The bytes that an action takes in the task's item besides its texts: field names and a number.
    const FRAME_BYTES: usize = 60;

    /// The bytes that the page of a bulk action takes.
    const BULK_BYTES: usize = 60;

    /// The bytes that the new task of a rerun takes.
    const RERUN_BYTES: usize = 50;

    /// Whether it is one of the redrives that the plan allows the engine: made by the engine, or at once by somebody in its place.
    pub fn is_planned_redrive(&self) -> bool {
        match self.what {
            ActionKind::Redrive => self.who == ENGINE_ACTOR,
            what => what == ActionKind::RedriveNow,
        }
    }

    fn bytes(&self) -> usize {
        let bulk = self.bulk.map_or(0, |_| Self::BULK_BYTES);
        let rerun = self.rerun_as.map_or(0, |_| Self::RERUN_BYTES);
        Self::FRAME_BYTES + bulk + rerun + self.step.as_ref().map_or(0, String::len) + self.who.len() + self.why.len()
    }
}

impl Refusal {
    fn bytes(&self) -> usize {
        Action::FRAME_BYTES + self.step.len() + self.error.code.len() + self.error.message.len()
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
            Self::RunNow => "run_now",
            Self::RedriveNow => "redrive_now",
            Self::Rerun => "rerun",
        }
    }

    /// Whether the failed steps got a fresh set of attempts.
    pub const fn redrives(self) -> bool {
        matches!(self, Self::Redrive | Self::RedriveNow)
    }
}

/// A step's item; untouched if there is none.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub struct StepRecord {
    /// The step's name.
    #[serde(skip)]
    pub name: String,
    /// The state of the step.
    pub state: StepState,
    /// The number of the last attempt; 0 before the first claim. It is the fencing token.
    pub attempt: u32,
    /// How many attempts do not count against `max_attempts`: those before a redrive, throttled ones, and released claims.
    #[serde(rename = "exempt")]
    pub uncounted_attempts: u32,
    /// The delivery that holds the lease, as `request id/message id`.
    pub owner: Option<String>,
    /// The time of the last claim.
    #[serde(with = "millis::option")]
    pub started_at: Option<Timestamp>,
    /// The end of the lease.
    #[serde(with = "millis::option")]
    pub lease_until: Option<Timestamp>,
    /// The time before which no claim is granted.
    #[serde(with = "millis::option")]
    pub next_retry_at: Option<Timestamp>,
    /// The time at which the step ended.
    #[serde(with = "millis::option")]
    pub finished_at: Option<Timestamp>,
    /// The dependencies that are done. It is kept only for joins.
    pub done_deps: BTreeSet<String>,
    /// The output of the handler, as JSON text.
    pub result: Option<String>,
    /// The task whose result this step of a rerun has kept; `None` of a step that runs.
    pub kept_from: Option<TaskId>,
    /// The last error. A completion, a resolution and a redrive remove it.
    pub error: Option<Failure>,
    /// The audit trail: the attempts that have ended. Of many, the first and the last ones.
    pub attempts: Vec<AttemptRecord>,
    /// How many attempts between those in `attempts` are left out of the audit trail, by error code.
    #[serde(rename = "omitted")]
    pub omitted_attempts: BTreeMap<String, u32>,
    /// The format of the item, if it needs a newer reader. Then this version may not act on the step. Fields that it cannot
    /// read have the values of an untouched step.
    #[serde(skip)]
    pub newer: Option<NewerFormat>,
}

impl Default for StepRecord {
    /// The defaults of missing attributes.
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
            kept_from: None,
            error: None,
            attempts: Vec::new(),
            omitted_attempts: BTreeMap::new(),
            newer: None,
        }
    }
}

/// An error as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Failure {
    /// The code, for programs.
    pub code: String,
    /// A sentence for people, cut at [`Failure::MAX_MESSAGE_BYTES`].
    pub message: String,
}

impl Failure {
    /// The longest stored message, in bytes. The step's item keeps the messages of 50 attempts.
    pub const MAX_MESSAGE_BYTES: usize = 1_000;
    pub(crate) const MAX_CODE_BYTES: usize = 100;

    /// Makes a failure, and cuts code and message to their maximum lengths.
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

/// The size of a task's audit trail above which the task is not redriven any more. The rest of the item has room for the
/// actions by which operators end such a task.
const MAX_ACTIONS_BYTES: usize = 64 * 1024;

/// The size of the entries about waiting steps that were run now above which none is run now any more. Besides [`MAX_ACTIONS_BYTES`].
const MAX_RUN_NOW_BYTES: usize = 16 * 1024;

/// The outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The attempt has not ended yet.
    InProgress,
    /// The handler returned its output.
    Complete,
    /// The handler failed with a retryable error.
    RetryableError,
    /// The handler failed with a permanent error.
    PermanentError,
    /// The worker was dead when its lease ended: it crashed, was killed, or ran out of time.
    Lost,
}

/// One attempt in the audit trail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// The number of the attempt, from 1.
    pub number: u32,
    /// The time of the claim.
    #[serde(with = "millis")]
    pub started_at: Timestamp,
    /// The time at which the attempt ended. For a lost attempt, the end of its lease.
    #[serde(with = "millis::option", default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
    /// The outcome.
    pub outcome: Outcome,
    /// The error, if the handler failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
    /// The time of the retry, if there is to be one.
    #[serde(with = "millis::option", default, skip_serializing_if = "Option::is_none")]
    pub next_retry_at: Option<Timestamp>,
    /// The id of the Lambda request, to find its log lines.
    pub request_id: String,
    /// Whether the called service turned the attempt away without doing anything, so that it does not count against
    /// `max_attempts`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub throttled: bool,
    /// Whether this attempt of a compensation refused to undo its step, so that nothing of it was undone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
}

/// The audit trail of a step, as read. [`trail`](super::trail) says how it grows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trail {
    /// The attempts that are kept in full, oldest first.
    pub attempts: Vec<AttemptRecord>,
    /// How many attempts between the first and the last are not kept, by error code.
    pub omitted: BTreeMap<String, u32>,
}

impl Trail {
    /// How many of the last attempts were throttled, one after another.
    pub fn throttled_in_a_row(&self) -> u32 {
        let row = self.attempts.iter().rev().take_while(|attempt| attempt.throttled).count();
        u32::try_from(row).unwrap_or(u32::MAX)
    }
}

impl StepRecord {
    /// The record of a step without an item.
    pub fn untouched(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Whether the step may have had an effect, so that its compensation has to run: it was attempted, or done by hand.
    pub fn may_have_had_an_effect(&self) -> bool {
        self.attempt > 0 || self.state.is_done()
    }

    /// Whether this compensation has undone nothing: it has not been attempted, or its last attempt refused. One that was never
    /// attempted may be parked, or may have failed all the same, if it is optional and SQS gave up on its message.
    pub(crate) fn has_undone_nothing(&self) -> bool {
        let last_refused = self.attempts.last().is_none_or(|attempt| attempt.refused);
        matches!(self.state, StepState::Error | StepState::Pending | StepState::Retrying) && last_refused
    }

    /// All attempts that the audit trail keeps in full, and the running one.
    pub fn all_attempts(&self) -> Vec<AttemptRecord> {
        let running = (self.state == StepState::InProgress).then(|| self.open_attempt()).flatten();
        self.attempts.iter().cloned().chain(running).collect()
    }

    /// The audit trail of the attempts that have ended.
    pub fn trail(&self) -> Trail {
        Trail { attempts: self.attempts.clone(), omitted: self.omitted_attempts.clone() }
    }

    /// The attempt that holds the lease, or held it last.
    pub(crate) fn open_attempt(&self) -> Option<AttemptRecord> {
        Some(AttemptRecord {
            number: self.attempt,
            started_at: self.started_at?,
            finished_at: None,
            outcome: Outcome::InProgress,
            error: None,
            next_retry_at: None,
            request_id: request_id(self.owner.as_deref()?).to_owned(),
            throttled: false,
            refused: false,
        })
    }
}

/// The request id in an owner.
pub(crate) fn request_id(owner: &str) -> &str {
    owner.split_once('/').map_or(owner, |(request_id, _)| request_id)
}

/// A lease: the right to run one attempt until `until`, granted by a claim.
#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    /// The task.
    pub task: TaskId,
    /// The step.
    pub step: String,
    /// The attempt's number: the fencing token.
    pub attempt: u32,
    /// How many attempts of the step do not count against `max_attempts`.
    pub uncounted_attempts: u32,
    /// The audit trail as it was at the claim.
    pub trail: Trail,
    /// The delivery that holds the lease, as `request id/message id`.
    pub owner: String,
    /// The time of the claim.
    pub started_at: Timestamp,
    /// The end of the lease.
    pub until: Timestamp,
}

impl Lease {
    /// The number of this attempt among those that count against `max_attempts`, from 1.
    pub fn counted_attempt(&self) -> u32 {
        self.attempt.saturating_sub(self.uncounted_attempts)
    }

    /// The number of failures after which the backoff of this attempt is, should it fail: with each throttled attempt the
    /// wait grows, although none of them counts.
    pub fn failures_in_a_row(&self) -> u32 {
        self.counted_attempt().saturating_add(self.trail.throttled_in_a_row())
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
            throttled: false,
            refused: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fixtures::{at, snapshot};

    #[test]
    fn long_error_is_cut_at_a_character_boundary() {
        let failure = |message: &str| Failure::new("CODE", message);
        assert_eq!(failure("short"), Failure { code: "CODE".to_owned(), message: "short".to_owned() });
        let long = "é".repeat(Failure::MAX_MESSAGE_BYTES);
        assert_eq!(failure(&format!("a{long}")).message.len(), Failure::MAX_MESSAGE_BYTES - 1);
        let code = Failure::new(&"C".repeat(1_000), "").code;
        assert_eq!(code.len(), Failure::MAX_CODE_BYTES);
    }

    #[test]
    fn running_attempt_is_the_last_of_all_attempts() {
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
    fn task_has_room_for_redrives_up_to_the_limit_of_its_audit_trail() {
        let mut task = snapshot(&[&[]], &[]).task;
        let (who, why) = ("customer".to_owned(), "w".repeat(500));
        let step = Some("s".repeat(48));
        let action = Action { at: at(0), what: ActionKind::Redrive, step, who, why, bulk: None, rerun_as: None };
        while task.has_room_for_redrive() {
            task.actions.push(action.clone());
        }
        let texts = "customer".len() + 500 + 48;
        assert_eq!(task.actions.len(), MAX_ACTIONS_BYTES / (Action::FRAME_BYTES + texts) + 1);
        // What was run now has room of its own.
        assert!(task.has_room_for_run_now());
        task.actions = vec![Action { what: ActionKind::RunNow, ..action }; task.actions.len()];
        assert_eq!((task.has_room_for_redrive(), task.has_room_for_run_now()), (true, false));
    }

    #[test]
    fn uncounted_attempts_do_not_count() {
        let task = snapshot(&[&[]], &[]).task.id;
        let (step, owner) = ("s0".to_owned(), "request/message".to_owned());
        let mut lease = Lease {
            task,
            step,
            attempt: 5,
            uncounted_attempts: 2,
            trail: Trail::default(),
            owner,
            started_at: at(0),
            until: at(30),
        };
        let ended = lease.ended(at(7), Outcome::Complete, None);
        let throttled = AttemptRecord { throttled: true, ..ended.clone() };
        lease.trail.attempts = vec![throttled.clone(), ended.clone(), throttled];
        assert_eq!((lease.counted_attempt(), lease.failures_in_a_row()), (3, 4));
        assert_eq!((ended.number, ended.finished_at, ended.request_id.as_str()), (5, Some(at(7)), "request"));
    }
}
