//! The table: one small function a transition, each one conditional write.
//!
//! [`Table`] says what the protocol needs of a store; [`DynamoTable`] does it with DynamoDB. A refused condition is an
//! answer, not an error: it comes back as a value that says what stood there instead.
//!
//! | `pk` | `sk` | holds |
//! |---|---|---|
//! | `TASK#<id>` | `TASK` | [`TaskRecord`], and the keys of the `by_status` index |
//! | `TASK#<id>` | `STEP#<name>` | [`StepRecord`]; not there until something happens to the step |
//! | `KEY#<namespace>#<idempotency key>` | `KEY` | [`KeyRecord`] |
//!
//! The index `by_status` has the hash key `status_shard` (`<listing>#<0..16>`, the shard taken from the id, so that no
//! [`Listing`] is one hot key) and the range key `listed_at` (RFC 3339): for a task that is over the moment it ended, for
//! one that is not the moment at which the watchdog has to look at it next. It is written with the task: once at the
//! start, twice (a delete and a put) at the end, and twice when the watchdog has looked.

mod dynamo;
mod record;

pub use dynamo::DynamoTable;
pub(crate) use dynamo::transaction_conflicts;
pub use record::{Action, ActionKind, AttemptRecord, Failure, Lease, Outcome, StepRecord, TaskRecord};

use crate::{
    TaskId, Timestamp,
    plan::Plan,
    state::{End, TaskEvent, TaskStatus},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long a task stays after its start, and each step's item after its first claim or arrival, by DynamoDB's TTL.
pub const RETENTION: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How long an idempotency key stays.
pub const KEY_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long after its start, or after something was done to it, the watchdog first looks at a task.
pub const FIRST_LOOK: Duration = Duration::from_secs(60);

/// The largest context, in bytes of JSON. DynamoDB's limit for the item around it is 400 KiB.
pub const MAX_CONTEXT_BYTES: usize = 256 * 1024;

/// The largest result of a step, in bytes of JSON. The rest of the item's 400 KiB is the audit trail's.
pub const MAX_RESULT_BYTES: usize = 256 * 1024;

/// A store that did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The call failed, after the SDK's own retries. It may have taken effect all the same.
    #[error("DynamoDB {operation} failed: {cause}")]
    Call {
        /// The call.
        operation: &'static str,
        /// What the SDK says of it.
        cause: String,
    },
    /// An item that cannot be read: not written by this engine, or by a newer one.
    #[error("the item {key} cannot be read: {cause}")]
    Unreadable {
        /// Its keys.
        key: String,
        /// What is wrong with it.
        cause: String,
    },
}

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
}

/// A wish to run a step.
#[derive(Clone, Copy, Debug)]
pub struct ClaimRequest<'a> {
    /// The task.
    pub task: TaskId,
    /// The step.
    pub step: &'a str,
    /// Which delivery asks: `request id/message id`.
    pub owner: &'a str,
    /// The moment of asking.
    pub now: Timestamp,
    /// The end of the lease: the invocation's own deadline, past which Lambda has killed the worker.
    pub lease_until: Timestamp,
}

/// The answer to a claim.
#[derive(Clone, Debug)]
pub enum Claim {
    /// The step is ours until the lease ends.
    Granted(Lease),
    /// It is not; this is what stands there.
    Refused(Box<StepRecord>),
}

/// The answer to a write that only the holder of an attempt may make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fenced {
    /// It is written: now, or by an earlier try of ours whose answer was lost.
    Written,
    /// The step is no longer ours: a newer attempt owns it.
    Superseded,
}

/// The answer to a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// The task is new.
    Created,
    /// It was there already.
    AlreadyThere,
}

/// The answer to a write that holds only for what was read before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsRead {
    /// It is written.
    Written,
    /// Something changed in between, and nothing is written; look again.
    Changed,
}

/// How a task is brought out of its course.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Diversion {
    /// It is cancelled, and nothing is undone.
    Cancel,
    /// It is declared done.
    Resolve,
    /// What it has done is to be undone, and then it ends so.
    Compensate(End),
}

impl Diversion {
    /// What this is to the task.
    pub const fn event(self) -> TaskEvent {
        match self {
            Self::Cancel => TaskEvent::Cancel,
            Self::Resolve => TaskEvent::Resolve,
            Self::Compensate(end) => TaskEvent::Compensate(end),
        }
    }
}

/// Under what the index lists a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Listing {
    /// Its steps are at work.
    Pending,
    /// It is being compensated; or it has failed, but something more may happen by itself.
    Compensating,
    /// It is complete.
    Complete,
    /// It has failed, and nothing more happens by itself.
    Error,
    /// It was cancelled.
    Cancelled,
    /// It was declared done.
    ResolvedManually,
}

impl Listing {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Compensating, Self::Complete, Self::Error, Self::Cancelled, Self::ResolvedManually];

    /// Those whose tasks the watchdog looks after.
    pub const WATCHED: [Self; 2] = [Self::Pending, Self::Compensating];

    /// How many parts each listing has.
    pub const SHARDS: u8 = 16;

    /// The word in the index.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Compensating => "compensating",
            Self::Complete => "complete",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::ResolvedManually => "resolved_manually",
        }
    }

    /// Those under which a task of this status can be.
    pub const fn of(status: TaskStatus) -> &'static [Self] {
        match status {
            TaskStatus::Pending | TaskStatus::InProgress => &[Self::Pending],
            TaskStatus::Complete => &[Self::Complete],
            TaskStatus::Error => &[Self::Error, Self::Compensating],
            TaskStatus::Compensating => &[Self::Compensating],
            TaskStatus::Cancelled => &[Self::Cancelled],
            TaskStatus::ResolvedManually => &[Self::ResolvedManually],
        }
    }

    /// That of a task that is over, and of one that no part of the engine looks after.
    pub(crate) const fn ended(status: TaskStatus) -> Self {
        match status {
            TaskStatus::Pending | TaskStatus::InProgress => Self::Pending,
            TaskStatus::Complete => Self::Complete,
            TaskStatus::Error => Self::Error,
            TaskStatus::Compensating => Self::Compensating,
            TaskStatus::Cancelled => Self::Cancelled,
            TaskStatus::ResolvedManually => Self::ResolvedManually,
        }
    }

    /// The part of a listing that this task is in.
    pub const fn shard(task: TaskId) -> u8 {
        let [.., last] = *task.as_bytes();
        last % Self::SHARDS
    }
}

/// A part of the index, and where in it to begin.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// The listing.
    pub listing: Listing,
    /// Which part of it, below [`Listing::SHARDS`].
    pub shard: u8,
    /// Only tasks that are listed at this moment or before it.
    pub until: Option<Timestamp>,
    /// Only what comes after this one.
    pub after: Option<&'a ListedAt>,
    /// How many at most.
    pub limit: u16,
}

/// A place in the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedAt {
    /// The task.
    pub task: TaskId,
    /// Its listing.
    pub listing: Listing,
    /// The moment it is listed at.
    pub at: Timestamp,
}

/// What the index says of a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Where it stands in the index.
    pub place: ListedAt,
    /// The workflow it runs, as `namespace/name@version`.
    pub workflow: String,
    /// Its stored status.
    pub status: TaskStatus,
    /// When it was started.
    pub created_at: Timestamp,
    /// The steps that failed for good.
    pub failed_steps: BTreeSet<String>,
    /// Whether all that it has done has been undone.
    pub compensated: bool,
}

/// What one delivery reads.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The task, where it exists.
    pub task: Option<TaskRecord>,
    /// The steps asked for; an untouched record for a step without an item.
    pub steps: BTreeMap<String, StepRecord>,
}

/// What a worker and a client need of the store. See the module's page for the items.
#[allow(async_fn_in_trait, reason = "callers are generic, so the futures of DynamoTable stay Send where they are")]
pub trait Table {
    /// Writes a task, unless it is there.
    async fn create(&self, task: &NewTask<'_>) -> Result<Creation, TableError>;

    /// Writes an idempotency key, unless it is there; answers with what stands there then.
    async fn reserve_key(&self, key: KeyRecord) -> Result<KeyRecord, TableError>;

    /// Reads the task and some of its steps, consistently.
    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError>;

    /// Reads the task and every step that has an item, consistently.
    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError>;

    /// Claims a step that is pending, or retrying and due.
    async fn claim(&self, request: &ClaimRequest<'_>) -> Result<Claim, TableError>;

    /// Claims a step whose lease has ended, and enters the lost attempt into the audit trail with the same write.
    async fn take_over(&self, request: &ClaimRequest<'_>, lost: &StepRecord) -> Result<Claim, TableError>;

    /// Puts a step back; the attempt does not count against the retry limit.
    async fn release(&self, lease: &Lease) -> Result<Fenced, TableError>;

    /// Takes away the item of a step whose task does not exist.
    async fn withdraw(&self, lease: &Lease) -> Result<Fenced, TableError>;

    /// The attempt succeeded.
    async fn complete(&self, lease: &Lease, attempt: &AttemptRecord, result: &str) -> Result<Fenced, TableError>;

    /// The attempt failed and another follows at `attempt.next_retry_at`.
    async fn retry_later(&self, lease: &Lease, attempt: &AttemptRecord) -> Result<Fenced, TableError>;

    /// The attempt failed for good: the step and, where its status allows, the task go to `error` in one transaction. A
    /// task whose compensation failed stays `compensating`.
    async fn fail(&self, task: &TaskRecord, lease: &Lease, attempt: &AttemptRecord) -> Result<Fenced, TableError>;

    /// Notes at a step with several dependencies that one of them is done; answers with all that are.
    async fn arrive_at_step(
        &self,
        task: TaskId,
        step: &str,
        done: &str,
        now: Timestamp,
    ) -> Result<BTreeSet<String>, TableError>;

    /// Notes at a task with several last steps that one of them is done; answers with all that are.
    async fn arrive_at_task(&self, task: TaskId, done: &str) -> Result<BTreeSet<String>, TableError>;

    /// Ends a task whose steps are all done. Answers with the status that stands after it.
    async fn finish(&self, task: TaskId, now: Timestamp) -> Result<TaskStatus, TableError>;

    /// Gives failed steps a fresh set of attempts and makes the task pending, all or nothing; where they are
    /// compensations, the task stays `compensating`. `failed` are the records as they were read.
    async fn restart(&self, task: &TaskRecord, failed: &[&StepRecord], action: &Action) -> Result<AsRead, TableError>;

    /// Puts a result of somebody's own in the place of a step's, and takes the step out of the task's failed ones, all
    /// or nothing. Both records as they were read.
    async fn resolve_step(
        &self,
        task: &TaskRecord,
        step: &StepRecord,
        result: &str,
        action: &Action,
    ) -> Result<AsRead, TableError>;

    /// Fails a step that nobody is at, and its task with it, all or nothing. Both records as they were read.
    async fn give_up(
        &self,
        task: &TaskRecord,
        step: &StepRecord,
        failure: &Failure,
        action: &Action,
    ) -> Result<AsRead, TableError>;

    /// Closes a step that is not done and that nobody is at, so that it never starts again. The record as it was read.
    async fn cancel_step(&self, task: TaskId, step: &StepRecord, now: Timestamp) -> Result<AsRead, TableError>;

    /// Brings a task out of its course, where its status allows that.
    async fn divert(&self, task: TaskId, to: Diversion, action: &Action) -> Result<AsRead, TableError>;

    /// Settles in which order the compensations of a task run.
    async fn order_compensations(&self, task: TaskId, order: &[String], now: Timestamp) -> Result<AsRead, TableError>;

    /// Ends a task whose compensations are all done.
    async fn finish_compensation(&self, task: TaskId, end: End, now: Timestamp) -> Result<AsRead, TableError>;

    /// Reads a part of the index, in the order of time. What was written a moment ago may be missing.
    async fn list(&self, page: &Page<'_>) -> Result<Vec<Listed>, TableError>;

    /// Lists a task somewhere else, where it is still listed as it was.
    async fn relist(&self, place: &ListedAt, to: Listing, at: Timestamp) -> Result<AsRead, TableError>;
}
