//! From the records of the table in memory to items as DynamoDB stores them.

use super::item::Item;
use serde::Serialize;
use serde_json::{Value, json};
use stepwell::{
    TaskId, Timestamp,
    state::TaskStatus,
    table::{KeyRecord, Listing, StepRecord, TaskRecord},
};

/// The keys of a task's item.
pub(crate) fn task_key(task: TaskId) -> String {
    format!("TASK#{task} TASK")
}

/// The keys of a step's item.
pub(crate) fn step_key(task: TaskId, step: &str) -> String {
    format!("TASK#{task} STEP#{step}")
}

/// The keys of an idempotency key's item.
pub(crate) fn idempotency_key(record: &KeyRecord) -> String {
    format!("KEY#{}#{} KEY", record.namespace, record.key)
}

/// A task's item.
pub(crate) fn task(record: &TaskRecord, (listing, at): (Listing, Timestamp)) -> Item {
    item(json!({
        "workflow": record.workflow,
        "status": record.status,
        "context": record.context,
        "plan": serde_json::to_string(&record.plan).expect("a plan is JSON"),
        "created_at": record.created_at.as_millis(),
        "finished_at": millis(record.finished_at),
        "failed_steps": record.failed_steps,
        "done_deps": record.done_deps,
        "ends_as": record.ends_as.map(|end| TaskStatus::from(end).as_str()),
        "compensations": record.compensations,
        "actions": stored(&record.actions),
        "status_shard": format!("{}#{}", listing.as_str(), Listing::shard(record.id)),
        "listed_at": at.to_string(),
    }))
}

/// A step's item.
pub(crate) fn step(record: &StepRecord) -> Item {
    item(json!({
        "state": record.state,
        "attempt": record.attempt,
        "exempt": record.exempt,
        "owner": record.owner,
        "started_at": millis(record.started_at),
        "lease_until": millis(record.lease_until),
        "next_retry_at": millis(record.next_retry_at),
        "finished_at": millis(record.finished_at),
        "done_deps": record.done_deps,
        "result": record.result,
        "error": stored(&record.error),
        "attempts": stored(&record.attempts),
    }))
}

/// An idempotency key's item.
pub(crate) fn key(record: &KeyRecord) -> Item {
    item(json!({
        "task_id": record.task,
        "request_hash": record.request_hash,
        "created_at": record.created_at.as_millis(),
    }))
}

/// What the engine itself makes of a part of an item.
fn stored(part: &impl Serialize) -> Value {
    serde_json::to_value(part).expect("it is stored by serde")
}

fn millis(moment: Option<Timestamp>) -> Option<i64> {
    moment.map(Timestamp::as_millis)
}

fn item(value: Value) -> Item {
    match value {
        Value::Object(item) => item,
        other => panic!("{other} is no item"),
    }
}
