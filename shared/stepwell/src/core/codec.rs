//! From items to records.

use super::{
    index::{Listed, ListedAt},
    item::{Item, Key},
    record::{Action, KeyRecord, StepRecord, TaskRecord, is_compensated},
};
use crate::{
    TaskId, Timestamp,
    plan::Plan,
    state::{End, TaskStatus},
    timestamp::millis,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::BTreeSet;

/// An item that cannot be read: not written by this engine, or by a newer one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the item {key} cannot be read: {cause}")]
pub struct Unreadable {
    /// Its keys.
    pub key: String,
    /// What is wrong with it.
    pub cause: String,
}

impl Unreadable {
    pub(crate) fn new(key: &Key, cause: impl ToString) -> Self {
        Self { key: format!("{} / {}", key.partition(), key.sort()), cause: cause.to_string() }
    }
}

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

fn parse<T: DeserializeOwned>(key: &Key, item: Item) -> Result<T, Unreadable> {
    serde_json::from_value(Value::Object(item)).map_err(|error| Unreadable::new(key, error))
}

impl TaskRecord {
    /// Reads a task's item.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn from_item(id: TaskId, item: Item) -> Result<Self, Unreadable> {
        let key = Key::Task(id);
        let stored: TaskItem = parse(&key, item)?;
        let plan: Plan =
            serde_json::from_str(&stored.plan).map_err(|error| Unreadable::new(&key, format!("its plan: {error}")))?;
        Ok(Self {
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
}

impl StepRecord {
    /// Reads a step's item; an empty one is that of a step to which nothing has happened.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn from_item(task: TaskId, name: &str, item: Item) -> Result<Self, Unreadable> {
        let record: Self = parse(&Key::Step(task, name.to_owned()), item)?;
        Ok(Self { name: name.to_owned(), ..record })
    }
}

impl KeyRecord {
    /// Reads the item of an idempotency key that `asked` names.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn from_item(asked: Self, item: Item) -> Result<Self, Unreadable> {
        let stored: KeyItem = parse(&asked.key_of_item(), item)?;
        let KeyItem { task_id, request_hash, created_at } = stored;
        Ok(Self { task: task_id, request_hash, created_at, ..asked })
    }
}

impl Listed {
    /// Reads what the index holds of a task's item.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn from_item(task: TaskId, item: Item) -> Result<Self, Unreadable> {
        let key = Key::Task(task);
        let place = ListedAt::of(task, &item).ok_or_else(|| Unreadable::new(&key, "it has no place in the index"))?;
        let ListedItem { workflow, status, created_at, failed_steps, compensations } = parse(&key, item)?;
        let compensated = is_compensated(status, compensations.is_some());
        Ok(Self { place, workflow, status, created_at, failed_steps, compensated })
    }
}
