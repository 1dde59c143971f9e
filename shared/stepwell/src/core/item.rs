//! Stored items: keys, attributes, values.
//!
//! An item is a JSON object. A text is a string, a timestamp is the number of milliseconds since the Unix epoch, and a set is
//! an array in ascending order. These forms are the stored format. A store may encode them differently, but has to return
//! them in these forms.

use crate::core::{
    id::{BulkId, TaskId},
    message::StepQueue,
};
use serde::Serialize;
use serde_json::{Map, Value};
use std::{cmp::Reverse, collections::BTreeSet, fmt};

/// The attributes of one item, without its key. A missing item is empty.
pub type Item = Map<String, Value>;

/// The names of the attributes.
pub mod attribute {
    /// Of a step or a bulk action: its state.
    pub const STATE: &str = "state";
    /// Of a step: the number of its last attempt.
    pub const ATTEMPT: &str = "attempt";
    /// Of a step: how many of its attempts do not count against `max_attempts`.
    pub const UNCOUNTED_ATTEMPTS: &str = "exempt";
    /// Of a step: the delivery that holds its lease.
    pub const OWNER: &str = "owner";
    /// Of a step: the time of the last claim.
    pub const STARTED_AT: &str = "started_at";
    /// Of a step: the end of the lease.
    pub const LEASE_UNTIL: &str = "lease_until";
    /// Of a step: the time before which no claim is granted.
    pub const NEXT_RETRY_AT: &str = "next_retry_at";
    /// Of a step, a task or a bulk action: the time at which it ended.
    pub const FINISHED_AT: &str = "finished_at";
    /// Of a step or a task: the set of dependencies, or of leaves, that are done.
    pub const DONE_DEPS: &str = "done_deps";
    /// Of a step: its result, as JSON text.
    pub const RESULT: &str = "result";
    /// Of a step: its last error.
    pub const ERROR: &str = "error";
    /// Of a step: the audit trail of its attempts.
    pub const ATTEMPTS: &str = "attempts";
    /// Of a step: how many attempts its audit trail leaves out, by error code.
    pub const OMITTED_ATTEMPTS: &str = "omitted";
    /// Of a task: its status.
    pub const STATUS: &str = "status";
    /// Of a task or of the pauses of a step: the workflow.
    pub const WORKFLOW: &str = "workflow";
    /// Of a task: its context, as JSON text.
    pub const CONTEXT: &str = "context";
    /// Of a task: its plan, as JSON text.
    pub const PLAN: &str = "plan";
    /// Of a task or an idempotency key: the time of the start.
    pub const CREATED_AT: &str = "created_at";
    /// Of a task: the set of steps that failed for good.
    pub const FAILED_STEPS: &str = "failed_steps";
    /// Of a task: the status after its compensation.
    pub const ENDS_AS: &str = "ends_as";
    /// Of a task: its compensations, each after those that it waits for.
    pub const COMPENSATIONS: &str = "compensations";
    /// Of a task: for each of its compensations that waits, the names of those that it waits for. Without it each waits for the one
    /// before it.
    pub const WAITS_FOR: &str = "waits_for";
    /// Of a task: the audit trail of actions from outside.
    pub const ACTIONS: &str = "actions";
    /// Of a task: the time from which its deadline counts, if that is not its start.
    pub const DEADLINE_FROM: &str = "deadline_from";
    /// Of a task: the cancellations that its compensations refused.
    pub const REFUSALS: &str = "refusals";
    /// Of a task that was rerun: the id of the new task.
    pub const RERUN_AS: &str = "rerun_as";
    /// Of a rerun: the task that it is a rerun of.
    pub const RERUN_OF: &str = "rerun_of";
    /// Of a step of a rerun: the task whose result it has kept.
    pub const KEPT_FROM: &str = "kept_from";
    /// Of a task: its caller's name for what it does.
    pub const CORRELATION_ID: &str = "correlation_id";
    /// Of a task: the header with which its caller said to which trace it belongs.
    pub const TRACEPARENT: &str = "traceparent";
    /// Of a task, or of a step with a timer: its partition and shard in the index.
    pub const STATUS_SHARD: &str = "status_shard";
    /// Of a task, or of a step with a timer: its time in the index, as RFC 3339.
    pub const LISTED_AT: &str = "listed_at";
    /// Of an idempotency key or a search key: its task.
    pub const TASK_ID: &str = "task_id";
    /// Of an idempotency key, or of a task that was rerun: the SHA-256 of that request, as hex.
    pub const REQUEST_HASH: &str = "request_hash";
    /// Of a breaker: the time at which it was opened. A closed breaker has none.
    pub const OPENED_AT: &str = "opened_at";
    /// Of an open breaker: the earliest time of the next probe.
    pub const PROBE_AT: &str = "probe_at";
    /// Of a closed breaker: the time at which it was closed.
    pub const CLOSED_AT: &str = "closed_at";
    /// Of a closed breaker: the time from which on steps that are no compensations begin.
    pub const STEPS_FROM: &str = "steps_from";
    /// Of a bulk action: the number of its current page.
    pub const PAGE: &str = "page";
    /// Of a bulk action: the tasks of its current page.
    pub const PLANNED: &str = "planned";
    /// Of a bulk action: where its next page begins.
    pub const CURSOR: &str = "cursor";
    /// Of a bulk action: on how many tasks it has acted.
    pub const DONE: &str = "done";
    /// Of a bulk action: how many tasks have refused it, by reason.
    pub const REFUSED: &str = "refused";
    /// Of a bulk action: the time from which its current page may be taken.
    pub const DUE_AT: &str = "due_at";
    /// Of a bulk action: who has stopped it.
    pub const STOPPED_BY: &str = "stopped_by";
    /// Of a page of results: the result of each task.
    pub const RESULTS: &str = "results";
    /// Of a note of the backlog or of the pauses of a step: the step.
    pub const STEP: &str = "step";
    /// Of a note of the backlog: when the message was sent that was taken earlier.
    pub const EARLIER_SENT_AT: &str = "earlier_sent_at";
    /// Of a note of the backlog: when that one was taken.
    pub const EARLIER_TAKEN_AT: &str = "earlier_taken_at";
    /// Of a note of the backlog: when the message was sent that was taken last.
    pub const SENT_AT: &str = "sent_at";
    /// Of a note of the backlog: when that one was taken.
    pub const TAKEN_AT: &str = "taken_at";
    /// Of the pauses of a step: what was done to it, by whom and why.
    pub const TRAIL: &str = "trail";
    /// Of the pauses of a step: when its queue was told that it goes on.
    pub const TOLD_AT: &str = "told_at";
    /// Of every item: the format version of its writer.
    pub const V: &str = "v";
    /// Of every item: the oldest format version that may act on it.
    pub const NEEDS: &str = "needs";
    /// Of every item: the time after which it may be deleted, in seconds since the Unix epoch.
    pub const EXPIRES_AT: &str = "expires_at";

    /// Whether the attribute is a set of strings. DynamoDB has a type of its own for it.
    pub fn is_set(name: &str) -> bool {
        matches!(name, DONE_DEPS | FAILED_STEPS)
    }
}

/// The key of an item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A task's own item.
    Task(TaskId),
    /// The item of one of its steps or compensations.
    Step(TaskId, String),
    /// The item of an idempotency key.
    IdempotencyKey {
        /// The workflow's namespace.
        namespace: String,
        /// The client's key.
        key: String,
    },
    /// The item of the breaker of this service.
    Breaker(String),
    /// The item of the wait in the queue of this step. Those of a workflow share a partition.
    Backlog(StepQueue),
    /// The item of a bulk action. All of them share a partition, in the order of their start.
    Bulk(BulkId),
    /// The results of one page of a bulk action.
    BulkResults(BulkId, u32),
    /// The pauses of a step. All of them share a partition.
    Pause(StepQueue),
    /// The item of a search key that leads to a task. All tasks with a value share a partition, the newest first.
    Find {
        /// The name of the search key.
        name: String,
        /// The hash of the value.
        hash: String,
        /// The task.
        task: Reverse<TaskId>,
    },
}

impl Key {
    /// The sort key of a task's item.
    pub const TASK: &str = "TASK";

    /// The prefix of a step's sort key.
    pub const STEP_PREFIX: &str = "STEP#";

    /// The prefix of a task's partition key.
    const TASK_PARTITION: &str = "TASK#";

    /// The partition key that a task and its steps share.
    pub fn partition_of(task: TaskId) -> String {
        format!("{}{task}", Self::TASK_PARTITION)
    }

    /// The task of this partition key.
    pub fn task_of(partition: &str) -> Option<TaskId> {
        partition.strip_prefix(Self::TASK_PARTITION)?.parse().ok()
    }

    /// The key of an item of a task with this sort key. `None` for an item of an unknown kind.
    pub fn of_task(task: TaskId, sort: &str) -> Option<Self> {
        match sort.strip_prefix(Self::STEP_PREFIX) {
            Some(step) => Some(Self::Step(task, step.to_owned())),
            None => (sort == Self::TASK).then_some(Self::Task(task)),
        }
    }

    /// The partition key of the item.
    pub fn partition(&self) -> String {
        match self {
            Self::Task(task) | Self::Step(task, _) => Self::partition_of(*task),
            Self::IdempotencyKey { namespace, key } => format!("KEY#{namespace}#{key}"),
            Self::Breaker(service) => format!("BREAKER#{service}"),
            Self::Backlog(queue) => format!("BACKLOG#{}", queue.workflow),
            Self::Bulk(_) => "BULK".to_owned(),
            Self::BulkResults(bulk, _) => format!("BULK#{bulk}"),
            Self::Pause(_) => super::pause::PARTITION.to_owned(),
            Self::Find { name, hash, .. } => format!("FIND#{name}#{hash}"),
        }
    }

    /// The sort key of the item, within its partition.
    pub fn sort(&self) -> String {
        match self {
            Self::Task(_) => Self::TASK.to_owned(),
            Self::Step(_, step) | Self::Backlog(StepQueue { step, .. }) => format!("{}{step}", Self::STEP_PREFIX),
            Self::IdempotencyKey { .. } => "KEY".to_owned(),
            Self::Breaker(_) => "BREAKER".to_owned(),
            Self::Bulk(bulk) => bulk.to_string(),
            // With leading zeros the order of the texts is that of the numbers.
            Self::BulkResults(_, page) => format!("{page:010}"),
            Self::Pause(StepQueue { workflow, step }) => format!("{workflow}#{step}"),
            // The order of the texts is that of the ids turned round.
            Self::Find { task: Reverse(task), .. } => format!("{:032x}", !u128::from_be_bytes(*task.as_bytes())),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} / {}", self.partition(), self.sort())
    }
}

/// The stored form of a record, or of a part of one.
pub(crate) fn stored(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_else(|error| unserializable(&error))
}

/// The stored form of a part of a record that is kept as JSON text.
pub(crate) fn stored_text(value: &impl Serialize) -> Value {
    serde_json::to_string(value).unwrap_or_else(|error| unserializable(&error)).into()
}

/// Is never reached: serialization to JSON fails only for maps whose keys are not strings, and no record has one.
fn unserializable(error: &serde_json::Error) -> ! {
    unreachable!("a record is JSON: {error}")
}

/// The stored form of a set.
pub(crate) fn set<'a>(members: impl IntoIterator<Item = &'a String>) -> Value {
    members.into_iter().collect::<BTreeSet<_>>().into_iter().map(|member| Value::from(member.as_str())).collect()
}
