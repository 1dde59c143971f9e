//! From records to attribute values, and the conditions that guard a write.

use super::{
    Action, AttemptRecord, Failure, Lease, Listing, StepRecord, TableError,
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

/// The values a fence needs, with those of its update.
pub(super) fn fence_values<const N: usize>(lease: &Lease, to: StepState, others: [(&str, AttributeValue); N]) -> Item {
    let fence = [("held", s(StepState::InProgress.as_str())), ("mine", n(lease.attempt)), ("to", s(to.as_str()))];
    values(fence.into_iter().chain(others))
}

/// The part of an update that appends `:action` to the audit trail.
pub(super) const ADD_ACTION: &str = ", #actions = list_append(if_not_exists(#actions, :no_actions), :action)";

/// The condition that the task's status allows the event and goes to `to` by it, with the values it needs. A task that
/// has been compensated is closed.
pub(super) fn legal(event: TaskEvent, to: TaskStatus) -> (String, Item) {
    let from = TaskStatus::STORED.into_iter().filter(|status| status.on(event) == Some(to)).map(TaskStatus::as_str);
    let from: Vec<&str> = from.collect();
    let any = from.iter().map(|status| format!("#status = :{status}")).collect::<Vec<_>>().join(" OR ");
    let compensating = TaskStatus::Compensating.as_str();
    let condition = format!("({any}) AND (attribute_not_exists(#compensations) OR #status = :{compensating})");
    (condition, values(from.iter().copied().chain([compensating]).map(|status| (status, s(status)))))
}

/// The condition that a step stands as it was read, and that nobody is at it.
pub(super) fn as_read(step: &StepRecord, now: Timestamp) -> (&'static str, Item) {
    let mut seen = values([("found", s(step.state.as_str())), ("seen", n(step.attempt))]);
    let condition = match step.state {
        StepState::InProgress => {
            seen.extend(values([("now", n(now.as_millis()))]));
            "#state = :found AND #attempt = :seen AND #lease_until < :now"
        }
        // There need not be an item, or none with a state.
        StepState::Pending => {
            "(attribute_not_exists(#state) OR #state = :found) AND (attribute_not_exists(#attempt) OR #attempt = :seen)"
        }
        _ => "#state = :found AND #attempt = :seen",
    };
    (condition, seen)
}

pub(super) fn attempt_value(attempt: &AttemptRecord) -> Result<AttributeValue, TableError> {
    serde_dynamo::to_attribute_value(attempt).map_err(|error| failed("UpdateItem")(&error))
}

pub(super) fn failure_value(failure: Option<&Failure>) -> Result<AttributeValue, TableError> {
    serde_dynamo::to_attribute_value(failure).map_err(|error| failed("UpdateItem")(&error))
}

pub(super) fn list(entries: impl IntoIterator<Item = AttributeValue>) -> AttributeValue {
    AttributeValue::L(entries.into_iter().collect())
}

pub(super) fn action_list(action: &Action) -> Result<AttributeValue, TableError> {
    Ok(list([serde_dynamo::to_attribute_value(action).map_err(|error| failed("UpdateItem")(&error))?]))
}

/// The hash key of a part of a listing.
pub(super) fn status_shard(listing: Listing, shard: u8) -> AttributeValue {
    s(format!("{}#{shard}", listing.as_str()))
}

/// The keys under which the `by_status` index lists a task.
pub(super) fn listing(task: TaskId, listing: Listing, at: Timestamp) -> [(&'static str, AttributeValue); 2] {
    [("status_shard", status_shard(listing, Listing::shard(task))), ("listed_at", s(at.to_string()))]
}

pub(super) fn expiry(now: Timestamp) -> AttributeValue {
    n((now + RETENTION).as_seconds())
}
