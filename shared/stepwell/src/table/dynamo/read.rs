//! From items to records.

use super::{
    Action, KeyRecord, Listed, ListedAt, Listing, Loaded, StepRecord, TableError, TaskId, TaskRecord,
    expression::{Item, STEP, TASK},
};
use crate::{
    plan::Plan,
    state::{End, TaskStatus},
    table::record::is_compensated,
    timestamp::{Timestamp, millis},
};
use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, de::DeserializeOwned};
use std::collections::BTreeSet;

#[derive(Deserialize)]
struct TaskItem {
    workflow: String,
    status: TaskStatus,
    context: String,
    plan: String,
    #[serde(with = "millis")]
    created_at: Timestamp,
    #[serde(with = "millis::option", default)]
    finished_at: Option<Timestamp>,
    #[serde(default)]
    failed_steps: BTreeSet<String>,
    #[serde(default)]
    done_deps: BTreeSet<String>,
    #[serde(default)]
    ends_as: Option<End>,
    #[serde(default)]
    compensations: Option<Vec<String>>,
    #[serde(default)]
    actions: Vec<Action>,
}

#[derive(Deserialize)]
struct ListedItem {
    workflow: String,
    status: TaskStatus,
    #[serde(with = "millis")]
    created_at: Timestamp,
    listed_at: Timestamp,
    #[serde(default)]
    failed_steps: BTreeSet<String>,
    #[serde(default)]
    compensations: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct KeyItem {
    task_id: TaskId,
    request_hash: String,
    #[serde(with = "millis")]
    created_at: Timestamp,
}

/// Puts an item of a task's partition where it belongs. An item of a kind we do not know is passed over.
pub(super) fn sort_in(loaded: &mut Loaded, task: TaskId, item: Item) -> Result<(), TableError> {
    let sk = item.get("sk").and_then(|sk| sk.as_s().ok()).cloned().unwrap_or_default();
    if sk == TASK {
        loaded.task = Some(task_record(task, item)?);
    } else if let Some(name) = sk.strip_prefix(STEP) {
        loaded.steps.insert(name.to_owned(), step_record(name, item)?);
    }
    Ok(())
}

pub(super) fn step_record(name: &str, item: Item) -> Result<StepRecord, TableError> {
    let record: StepRecord = parse(item)?;
    Ok(StepRecord { name: name.to_owned(), ..record })
}

fn task_record(id: TaskId, item: Item) -> Result<TaskRecord, TableError> {
    let key = describe(&item);
    let stored: TaskItem = parse(item)?;
    let plan: Plan = serde_json::from_str(&stored.plan)
        .map_err(|error| TableError::Unreadable { key, cause: format!("its plan: {error}") })?;
    Ok(TaskRecord {
        id,
        workflow: stored.workflow,
        status: stored.status,
        context: stored.context,
        plan,
        created_at: stored.created_at,
        finished_at: stored.finished_at,
        failed_steps: stored.failed_steps,
        done_deps: stored.done_deps,
        ends_as: stored.ends_as,
        compensations: stored.compensations,
        actions: stored.actions,
    })
}

/// The task's own item; `None` where it is empty, because there is none.
pub(super) fn task(id: TaskId, item: Item) -> Result<Option<TaskRecord>, TableError> {
    if item.is_empty() { Ok(None) } else { task_record(id, item).map(Some) }
}

pub(super) fn listed(listing: Listing, item: Item) -> Result<Listed, TableError> {
    let id = text(&item, "pk").strip_prefix("TASK#").and_then(|id| id.parse::<TaskId>().ok());
    let Some(task) = id else {
        return Err(TableError::Unreadable { key: describe(&item), cause: "not the key of a task".to_owned() });
    };
    let ListedItem { workflow, status, created_at, listed_at, failed_steps, compensations } = parse(item)?;
    let place = ListedAt { task, listing, at: listed_at };
    let compensated = is_compensated(status, compensations.is_some());
    Ok(Listed { place, workflow, status, created_at, failed_steps, compensated })
}

pub(super) fn key_record(asked: KeyRecord, item: Item) -> Result<KeyRecord, TableError> {
    let stored: KeyItem = parse(item)?;
    Ok(KeyRecord { task: stored.task_id, request_hash: stored.request_hash, created_at: stored.created_at, ..asked })
}

/// The members of a set, empty where there is none.
pub(super) fn set(item: Option<Item>, name: &str) -> BTreeSet<String> {
    let members = item.as_ref().and_then(|item| item.get(name)).and_then(|value| value.as_ss().ok());
    members.into_iter().flatten().cloned().collect()
}

fn parse<T: DeserializeOwned>(item: Item) -> Result<T, TableError> {
    let key = describe(&item);
    serde_dynamo::from_item(item).map_err(|error| TableError::Unreadable { key, cause: error.to_string() })
}

fn describe(item: &Item) -> String {
    format!("{} / {}", text(item, "pk"), text(item, "sk"))
}

fn text<'a>(item: &'a Item, name: &str) -> &'a str {
    item.get(name).and_then(|value: &AttributeValue| value.as_s().ok()).map_or("?", String::as_str)
}
