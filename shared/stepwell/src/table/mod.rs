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
//! The index `by_status` has the hash key `status_shard` (`<status>#<0..16>`, the shard taken from the id, so that no
//! status is one hot key) and the range key `listed_at` (RFC 3339). It is written with the task: once at the start,
//! twice (a delete and a put) at the end.

mod dynamo;
mod record;

pub use dynamo::DynamoTable;
pub(crate) use dynamo::transaction_conflicts;
pub use record::{AttemptRecord, Failure, Lease, Outcome, StepRecord, TaskRecord};

use crate::{TaskId, Timestamp, plan::Plan, state::TaskStatus};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long a task and all that belongs to it stay after their start, by DynamoDB's TTL.
pub const RETENTION: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How long an idempotency key stays.
pub const KEY_RETENTION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

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

/// The answer to a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// The failed steps and the task are pending again.
    Restarted,
    /// Something changed in between; look again.
    Changed,
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

    /// The attempt failed for good: the step and, where its status allows, the task go to `error` in one transaction.
    async fn fail(&self, lease: &Lease, attempt: &AttemptRecord) -> Result<Fenced, TableError>;

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

    /// Gives the failed steps of a task a fresh set of attempts and makes the task pending, all or nothing. `failed`
    /// are the records as they were read.
    async fn restart(&self, task: &TaskRecord, failed: &[&StepRecord], now: Timestamp) -> Result<Restart, TableError>;
}
