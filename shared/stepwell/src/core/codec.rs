//! From items to records, and how a task's state is stored.

use super::{
    format::{NewerFormat, understood},
    index::{Listed, ListedAt},
    item::{Item, Key, attribute},
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

/// An item that cannot be read: not written by this engine. One that says that it needs a newer reader is read as far as it
/// is understood.
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
        Self { key: key.to_string(), cause: cause.to_string() }
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

/// Reads an item. Where it needs a newer reader and cannot be read, what is understood of it is; `base` has what it cannot
/// do without.
fn lenient<T>(
    item: Item,
    newer: Option<&NewerFormat>,
    base: impl FnOnce() -> Item,
    groups: &[&[&str]],
    read: impl Fn(Item) -> Result<T, Unreadable>,
) -> Result<T, Unreadable> {
    if newer.is_none() {
        return read(item);
    }
    let can_be_read = |item: &Item| read(item.clone()).is_ok();
    if can_be_read(&item) { read(item) } else { read(understood(base(), &item, groups, can_be_read)) }
}

impl TaskRecord {
    /// What says a task's state, together.
    const STATE: &[&str] = &[attribute::STATUS, attribute::ENDS_AS, attribute::COMPENSATIONS];

    /// Reads a task's item.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn from_item(id: TaskId, item: Item) -> Result<Self, Unreadable> {
        let newer = NewerFormat::of(&Key::Task(id), &item);
        let base = || {
            let texts = [(attribute::WORKFLOW, ""), (attribute::CONTEXT, "{}"), (attribute::PLAN, "")];
            let texts = texts.into_iter().chain([(attribute::STATUS, TaskState::Running.stored_word())]);
            let texts = texts.map(|(name, text)| (name.to_owned(), Value::from(text)));
            texts.chain([(attribute::CREATED_AT.to_owned(), 0.into())]).collect()
        };
        let read = |item| Self::read(id, item, newer.is_some());
        let record = lenient(item, newer.as_ref(), base, &[Self::STATE], read)?;
        Ok(Self { newer, ..record })
    }

    fn read(id: TaskId, item: Item, is_newer: bool) -> Result<Self, Unreadable> {
        let key = Key::Task(id);
        let stored: TaskItem = parse(&key, item)?;
        let plan = match serde_json::from_str(&stored.plan) {
            Ok(plan) => plan,
            Err(_) if is_newer => Plan::not_understood(),
            Err(error) => return Err(Unreadable::new(&key, format!("its plan: {error}"))),
        };
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
            newer: None,
        })
    }
}

impl StepRecord {
    /// Reads a step's item; an empty one is that of a step to which nothing has happened.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn from_item(task: TaskId, name: &str, item: Item) -> Result<Self, Unreadable> {
        let key = Key::Step(task, name.to_owned());
        let newer = NewerFormat::of(&key, &item);
        let record: Self = lenient(item, newer.as_ref(), Item::new, &[], |item| parse(&key, item))?;
        Ok(Self { name: name.to_owned(), newer, ..record })
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
        // The index does not hold which format it needs: a state that is not known is one of a newer version.
        let status = match TaskState::ALL.iter().any(|state| state.stored_word() == status) {
            // Nor does it hold how a compensating task ends, and what is shown of it is the same for both ends.
            true => TaskState::read(&key, &status, compensations.is_some(), |_| true)?.status(),
            false => place.listing.status(),
        };
        Ok(Self { place, workflow, status, created_at, failed_steps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::{
            backoff::Backoff,
            format::v1,
            index::Listing,
            record::NewTask,
            state::StepState,
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
    fn index_says_of_a_state_that_is_not_known_what_it_lists_it_under() {
        for listing in Listing::ALL {
            let place = format!("{}#3", listing.as_str());
            let (id, item) = item(&json!({"status": "suspended", "status_shard": place}));
            let status = Listed::from_item(id, item).unwrap().status;
            assert_eq!(Listing::of(status).first(), Some(&listing), "{status:?}");
        }
    }

    /// The item of a step that failed, with these attributes in it.
    fn step_item(more: &Value) -> Item {
        let mut item = json!({"state": "error", "attempt": 2, "error": {"code": "NO", "message": "never"}});
        item.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        item.as_object().cloned().unwrap()
    }

    #[test]
    fn field_that_is_not_known_is_passed_over_and_all_else_is_read() {
        let plan = r#"{"s":[{"n":"s0","x":1,"b":{"base_seconds":7,"y":2}}],"z":{"w":3}}"#;
        let action = json!({"at": 5, "what": "retry", "who": "w", "why": "y", "ticket": 7});
        let (id, item) = item(&json!({"v": 2, "needs": 1, "plan": plan, "actions": [action], "priority": 9}));
        let task = TaskRecord::from_item(id, item).unwrap();
        assert_eq!((task.newer, task.actions.len(), task.plan.steps().len()), (None, 1, 1));
        assert_eq!(task.plan.steps()[0].backoff, Backoff { base_seconds: 7, ..v1::BACKOFF });
        let step = StepRecord::from_item(id, "s0", step_item(&json!({"v": 2, "needs": 1, "host": "h"}))).unwrap();
        assert_eq!((step.newer, step.state, step.attempt), (None, StepState::Error, 2));
    }

    #[test]
    fn what_is_not_known_of_a_newer_task_is_as_in_one_that_has_just_begun() {
        let new = json!({"v": 3, "needs": 2, "priority": 9});
        let read = |more: Value| {
            let mut all = new.clone();
            all.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
            let (id, item) = item(&all);
            TaskRecord::from_item(id, item).unwrap()
        };
        let known = read(json!({"status": "error", "finished_at": 7, "failed_steps": ["s0"]}));
        let newer = known.newer.clone().unwrap();
        assert_eq!((newer.partition, newer.v, newer.needs), (format!("TASK#{}", known.id), 3, 2));
        assert_eq!((known.state, known.plan.steps().len()), (TaskState::Failed, 1));
        let suspended = read(json!({"status": "suspended", "failed_steps": ["s0"], "finished_at": "never"}));
        assert!(suspended.newer.is_some());
        assert_eq!((suspended.state, suspended.plan.steps().len()), (TaskState::Running, 1));
        assert_eq!((suspended.failed_steps, suspended.finished_at), (["s0".to_owned()].into(), None));
        let branching = read(json!({"plan": {"graph": []}, "status": "compensating", "ends_as": "cancelled"}));
        assert_eq!(branching.state, TaskState::Compensating(End::Cancelled), "its state is read as a whole");
        assert_eq!((branching.plan.steps(), branching.created_at), (&[][..], at(0)));
        let (id, item) = item(&json!({"status": "suspended"}));
        assert!(TaskRecord::from_item(id, item).is_err(), "a task that does not say that it is newer is broken");
    }

    #[test]
    fn what_is_not_known_of_a_newer_step_is_as_in_an_untouched_one() {
        let id = TaskId::new();
        let newer = step_item(&json!({"v": 2, "needs": 2, "state": "suspended", "attempts": "many"}));
        let step = StepRecord::from_item(id, "s0", newer).unwrap();
        assert_eq!(step.newer.as_ref().map(|newer| newer.needs), Some(2));
        assert_eq!((step.state, step.attempt, step.attempts.len()), (StepState::Pending, 2, 0));
        assert_eq!(step.error.unwrap().code, "NO");
        assert!(StepRecord::from_item(id, "s0", step_item(&json!({"state": "suspended"}))).is_err());
    }

    #[test]
    fn what_the_engine_did_not_write_is_named_and_not_guessed_at() {
        for wrong in [
            json!({"status": "no such status"}),
            json!({"plan": r#"{"s":[{"n":"a","d":["b"]}]}"#}),
            json!({"plan": "not JSON"}),
            json!({"created_at": "yesterday"}),
        ] {
            let (id, item) = item(&wrong);
            let error = TaskRecord::from_item(id, item).unwrap_err().to_string();
            assert!(error.starts_with(&format!("the item TASK#{id} / TASK cannot be read: ")), "{wrong}: {error}");
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
        for word in ["pending", "complete", "resolved_manually"] {
            let (id, item) = item(&json!({"status": word, "compensations": ["u0"]}));
            assert!(Listed::from_item(id, item).is_err(), "{word}");
        }
        let (id, item) = item(&json!({"status": "error", "compensations": ["u0"]}));
        let error = TaskRecord::from_item(id, item).unwrap_err();
        let expected = "its `ends_as` and its `compensations` do not go with the status `error`";
        assert_eq!(error.cause, expected);
    }
}
