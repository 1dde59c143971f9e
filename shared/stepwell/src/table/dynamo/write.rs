//! From records to attribute values, and the conditions that guard a write.

use super::{
    AttemptRecord, Lease, TableError,
    error::failed,
    expression::{Item, n, s, values},
};
use crate::{
    TaskId, Timestamp,
    state::{StepState, TaskEvent, TaskStatus},
    table::RETENTION,
};
use aws_sdk_dynamodb::types::AttributeValue;

/// What an expired lease, or a due retry, needs besides its state is in the claim itself; every other write of a
/// worker is fenced by this.
pub(super) const FENCE: &str = "#state = :held AND #attempt = :mine";

/// The shards of each status in the `by_status` index.
const SHARDS: u8 = 16;

/// The values a fence needs, with those of its update.
pub(super) fn fence_values<const N: usize>(lease: &Lease, to: StepState, others: [(&str, AttributeValue); N]) -> Item {
    let fence = [("held", s(StepState::InProgress.as_str())), ("mine", n(lease.attempt)), ("to", s(to.as_str()))];
    values(fence.into_iter().chain(others))
}

/// The condition that the task's status allows the event, with the values it needs.
pub(super) fn legal(event: TaskEvent) -> (String, Item) {
    let from = TaskStatus::STORED.into_iter().filter(|status| status.on(event).is_some()).map(TaskStatus::as_str);
    let from: Vec<&str> = from.collect();
    let condition = from.iter().map(|status| format!("#status = :{status}")).collect::<Vec<_>>().join(" OR ");
    (condition, values(from.iter().map(|status| (*status, s(*status)))))
}

pub(super) fn attempt_value(attempt: &AttemptRecord) -> Result<AttributeValue, TableError> {
    serde_dynamo::to_attribute_value(attempt).map_err(|error| failed("UpdateItem")(&error))
}

pub(super) fn failure_value(attempt: &AttemptRecord) -> Result<AttributeValue, TableError> {
    serde_dynamo::to_attribute_value(&attempt.error).map_err(|error| failed("UpdateItem")(&error))
}

pub(super) fn list(entries: impl IntoIterator<Item = AttributeValue>) -> AttributeValue {
    AttributeValue::L(entries.into_iter().collect())
}

/// The keys under which the `by_status` index lists a task.
pub(super) fn listing(task: TaskId, status: TaskStatus, at: Timestamp) -> [(&'static str, AttributeValue); 2] {
    let [.., last] = *task.as_bytes();
    [("status_shard", s(format!("{status}#{}", last % SHARDS))), ("listed_at", s(at.to_string()))]
}

pub(super) fn expiry(now: Timestamp) -> AttributeValue {
    n((now + RETENTION).as_seconds())
}
