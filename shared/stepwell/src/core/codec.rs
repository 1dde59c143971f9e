//! From items to records, and how a task's state is stored.

use super::{
    index::{Listed, ListedAt},
    item::{Item, Key},
    record::{Action, KeyRecord, StepRecord, TaskRecord},
};
use crate::core::{
    id::TaskId,
    plan::Plan,
    state::{End, TaskState},
    timestamp::{Timestamp, millis},
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

/// How a task's state is stored: in three attributes, of which no other combination is read.
///
/// | state               | `status`                        | `ends_as` | `compensations`           |
/// |---------------------|---------------------------------|-----------|---------------------------|
/// | `Running`           | `pending`                       |           |                           |
/// | `Completed`         | `complete`                      |           |                           |
/// | `Failed`            | `error`                         |           |                           |
/// | `Compensating(end)` | `compensating`                  | the end   | once nothing is in flight |
/// | `Cancelled`         | `cancelled`                     |           |                           |
/// | `Resolved`          | `resolved_manually`             |           |                           |
/// | `Compensated(end)`  | the end: `error` or `cancelled` | the end   | always, be the list empty |
impl TaskState {
    /// The word in the attribute `status`.
    pub(crate) const fn stored_word(self) -> &'static str {
        match self {
            Self::Running => "pending",
            Self::Completed => "complete",
            Self::Failed => End::Error.stored_word(),
            Self::Compensating(_) => "compensating",
            Self::Cancelled => End::Cancelled.stored_word(),
            Self::Resolved => "resolved_manually",
            Self::Compensated(end) => end.stored_word(),
        }
    }

    /// Whether it is stored with an order of its compensations, or without one.
    const fn allows_order(self, stored: bool) -> bool {
        match self {
            Self::Compensating(_) => true,
            Self::Compensated(_) => stored,
            Self::Running | Self::Completed | Self::Failed | Self::Cancelled | Self::Resolved => !stored,
        }
    }

    /// The first state that is stored with this word, with or without an order, and with such an end.
    fn read(key: &Key, word: &str, ordered: bool, ends_as: impl Fn(Option<End>) -> bool) -> Result<Self, Unreadable> {
        let stored =
            |state: &Self| state.stored_word() == word && state.allows_order(ordered) && ends_as(state.ends_as());
        let no_state = || format!("its `ends_as` and its `compensations` do not go with the status `{word}`");
        Self::ALL.into_iter().find(stored).ok_or_else(|| Unreadable::new(key, no_state()))
    }
}

impl End {
    /// The word in the attribute `ends_as`, and in `status` once the task has ended so.
    pub(super) const fn stored_word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }
}

#[derive(Deserialize)]
struct TaskItem {
    workflow: String,
    status: String,
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
    status: String,
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
        let ordered = stored.compensations.is_some();
        Ok(Self {
            id,
            workflow: stored.workflow,
            state: TaskState::read(&key, &stored.status, ordered, |end| end == stored.ends_as)?,
            context: stored.context,
            plan,
            created_at: stored.created_at,
            finished_at: stored.finished_at,
            failed_steps: stored.failed_steps,
            done_deps: stored.done_deps,
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
        // The index does not hold how a compensating task ends, and what is shown of it is the same for both ends.
        let status = TaskState::read(&key, &status, compensations.is_some(), |_| true)?.status();
        Ok(Self { place, workflow, status, created_at, failed_steps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::{
            item::attribute,
            record::NewTask,
            task,
            transition::{Change, Effect},
        },
        testing::fixtures::{at, history},
    };
    use serde_json::json;

    /// The item of a task that was just started, with these attributes in it.
    fn item(more: &Value) -> (TaskId, Item) {
        let task = history(&[&[]], &[0]).task;
        let (context, created_at) = (&*task.context, at(0));
        let new = NewTask { id: task.id, workflow: task.workflow, context, plan: &task.plan, created_at };
        let create = task::create(&new).writes.remove(0).effect;
        let Effect::Create(mut item) = create else { panic!("{create:?}") };
        for (name, value) in more.as_object().unwrap() {
            item.insert(name.clone(), value.clone());
        }
        (task.id, item)
    }

    /// Every state, and whether the order of its compensations is settled, as it is stored.
    fn stored() -> [(TaskState, bool, Value); 11] {
        let (error, cancelled) = (End::Error, End::Cancelled);
        [
            (TaskState::Running, false, json!({"status": "pending"})),
            (TaskState::Completed, false, json!({"status": "complete"})),
            (TaskState::Failed, false, json!({"status": "error"})),
            (TaskState::Cancelled, false, json!({"status": "cancelled"})),
            (TaskState::Resolved, false, json!({"status": "resolved_manually"})),
            (TaskState::Compensating(error), false, json!({"status": "compensating", "ends_as": "error"})),
            (TaskState::Compensating(cancelled), false, json!({"status": "compensating", "ends_as": "cancelled"})),
            (
                TaskState::Compensating(error),
                true,
                json!({"status": "compensating", "ends_as": "error", "compensations": []}),
            ),
            (
                TaskState::Compensating(cancelled),
                true,
                json!({"status": "compensating", "ends_as": "cancelled", "compensations": ["u0"]}),
            ),
            (
                TaskState::Compensated(error),
                true,
                json!({"status": "error", "ends_as": "error", "compensations": ["u0"]}),
            ),
            (
                TaskState::Compensated(cancelled),
                true,
                json!({"status": "cancelled", "ends_as": "cancelled", "compensations": []}),
            ),
        ]
    }

    #[test]
    fn every_state_is_read_as_it_is_stored() {
        for state in TaskState::ALL {
            assert!(stored().iter().any(|(known, ..)| *known == state), "{state:?}");
        }
        for (state, ordered, attributes) in stored() {
            assert_eq!(attributes["status"], state.stored_word());
            assert_eq!(attributes.get("ends_as").cloned(), state.ends_as().map(|end| json!(end.stored_word())));
            let (id, item) = item(&attributes);
            let read = TaskRecord::from_item(id, item.clone()).unwrap();
            assert_eq!((read.state, read.compensations.is_some()), (state, ordered), "{attributes}");
            let mut projected = item;
            Change::Remove(attribute::ENDS_AS).apply(&mut projected);
            assert_eq!(Listed::from_item(id, projected).unwrap().status, state.status(), "{attributes}");
        }
    }

    #[test]
    fn no_other_combination_is_read() {
        let words =
            ["pending", "complete", "error", "compensating", "cancelled", "resolved_manually", "in_progress", ""];
        let ends = [None, Some("error"), Some("cancelled")];
        let known: Vec<(Value, Option<Value>, bool)> = stored()
            .into_iter()
            .map(|(_, ordered, stored)| (stored["status"].clone(), stored.get("ends_as").cloned(), ordered))
            .collect();
        let mut refused = 0;
        for ((word, end), ordered) in words
            .into_iter()
            .flat_map(|word| ends.map(|end| (word, end)))
            .flat_map(|pair| [(pair, false), (pair, true)])
        {
            let mut attributes = json!({"status": word});
            if let Some(end) = end {
                attributes["ends_as"] = json!(end);
            }
            if ordered {
                attributes["compensations"] = json!(["u0"]);
            }
            let (id, item) = item(&attributes);
            let sound = known.contains(&(json!(word), end.map(|end| json!(end)), ordered));
            assert_eq!(TaskRecord::from_item(id, item).is_ok(), sound, "{attributes}");
            refused += usize::from(!sound);
        }
        assert_eq!(refused, 48 - known.len());
        // All that the index can tell.
        for word in ["pending", "complete", "resolved_manually", "in_progress"] {
            let (id, item) = item(&json!({"status": word, "compensations": ["u0"]}));
            assert!(Listed::from_item(id, item).is_err(), "{word}");
        }
        let (id, item) = item(&json!({"status": "error", "compensations": ["u0"]}));
        let error = TaskRecord::from_item(id, item).unwrap_err();
        let expected = "its `ends_as` and its `compensations` do not go with the status `error`";
        assert_eq!(error.cause, expected);
    }
}
