//! Reads items into records, and defines the stored form of a task's state.

use super::{
    format::{NewerFormat, understood},
    index::{IndexEntry, IndexPartition, IndexPosition},
    item::{Item, Key, attribute},
    record::{Action, KeyRecord, Refusal, StepRecord, TaskRecord},
};
use crate::core::{
    id::{CorrelationId, TaskId},
    plan::{Plan, StepPlan, one_after_another},
    state::{End, TaskState, TaskStatus},
    timestamp::{Timestamp, millis},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// An item that cannot be read, because this engine did not write it. An item that needs a newer reader is not unreadable:
/// it is read as far as possible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the item {key} cannot be read: {cause}")]
pub struct Unreadable {
    /// The item's partition key and sort key.
    pub key: String,
    /// The reason.
    pub cause: String,
}

impl Unreadable {
    pub(crate) fn new(key: &Key, cause: impl ToString) -> Self {
        Self { key: key.to_string(), cause: cause.to_string() }
    }
}

/// The stored form of a task's state: three attributes. Any other combination is unreadable.
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

    /// Whether the state is valid with (`stored`) or without an order of compensations.
    const fn allows_order(self, stored: bool) -> bool {
        match self {
            Self::Compensating(_) => true,
            Self::Compensated(_) => stored,
            Self::Running | Self::Completed | Self::Failed | Self::Cancelled | Self::Resolved => !stored,
        }
    }

    /// Reads the state with this word, with or without an order of compensations, and with such an end.
    fn read(key: &Key, word: &str, ordered: bool, ends_as: impl Fn(Option<End>) -> bool) -> Result<Self, Unreadable> {
        let stored =
            |state: &Self| state.stored_word() == word && state.allows_order(ordered) && ends_as(state.ends_as());
        let no_state = || format!("its `ends_as` and its `compensations` do not go with the status `{word}`");
        Self::ALL.into_iter().find(stored).ok_or_else(|| Unreadable::new(key, no_state()))
    }
}

impl End {
    /// The word in the attribute `ends_as`, and in `status` after the end.
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
    waits_for: Option<BTreeMap<String, Vec<String>>>,
    #[serde(with = "millis::option", default)]
    deadline_from: Option<Timestamp>,
    #[serde(default)]
    actions: Vec<Action>,
    #[serde(default)]
    refusals: Vec<Refusal>,
    #[serde(default)]
    correlation_id: Option<String>,
    #[serde(default)]
    traceparent: Option<String>,
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

/// Reads an item. If it needs a newer reader and cannot be read as a whole, it is read as far as possible. `base` has the
/// required attributes.
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
    /// The attributes that a task's state is read from, together.
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
            Err(_) if is_newer => Plan::without_steps(),
            Err(error) => return Err(Unreadable::new(&key, format!("its plan: {error}"))),
        };
        let ordered = stored.compensations.is_some();
        let compensations = stored.compensations.map(|names| graph(&plan, names, stored.waits_for));
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
            compensations,
            deadline_from: stored.deadline_from,
            actions: stored.actions,
            refusals: stored.refusals,
            correlation_id: stored
                .correlation_id
                .and_then(CorrelationId::new)
                .map(|id| id.within(stored.traceparent.and_then(|trace| trace.parse().ok()))),
            newer: None,
        })
    }
}

/// The compensations with these names, and what each waits for.
fn graph(plan: &Plan, names: Vec<String>, waits_for: Option<BTreeMap<String, Vec<String>>>) -> Vec<StepPlan> {
    // A plan that only a newer reader can read has no compensation of this name.
    let planned = |name: String| plan.step(&name).cloned().unwrap_or_else(|| StepPlan::of_unreadable_plan(name));
    let compensations = names.into_iter().map(planned);
    let Some(mut waits_for) = waits_for else { return one_after_another(compensations) };
    let mut depends_on = |name: &str| waits_for.remove(name).unwrap_or_default();
    compensations.map(|step| StepPlan { depends_on: depends_on(&step.name), ..step }).collect()
}

impl StepRecord {
    /// The attributes that tell how a step stands. A record that is read of these alone has nothing else.
    pub const SUMMARIZED: [&str; 6] = [
        attribute::V,
        attribute::NEEDS,
        attribute::STATE,
        attribute::ATTEMPT,
        attribute::ERROR,
        attribute::NEXT_RETRY_AT,
    ];

    /// Reads a step's item. An empty item is an untouched step.
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
    /// Reads the item of the idempotency key that `asked` names. If the item needs a newer reader and cannot be read, the
    /// record has an empty hash, which is the hash of no request.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn from_item(asked: Self, item: Item) -> Result<Self, Unreadable> {
        let key = asked.key_of_item();
        let newer = NewerFormat::of(&key, &item);
        match parse(&key, item) {
            Ok(KeyItem { task_id, request_hash, created_at }) => {
                Ok(Self { task: task_id, request_hash, created_at, newer, ..asked })
            }
            Err(_) if newer.is_some() => Ok(Self { request_hash: String::new(), newer, ..asked }),
            Err(unreadable) => Err(unreadable),
        }
    }
}

impl IndexEntry {
    /// What an entry has besides the keys of the item and of the index: what an index has to project.
    pub const PROJECTED: [&str; 5] = [
        attribute::WORKFLOW,
        attribute::STATUS,
        attribute::CREATED_AT,
        attribute::FAILED_STEPS,
        attribute::COMPENSATIONS,
    ];

    /// Reads the attributes that the index projects of the item of a task, or of a step. The index does not have the item's format, and an
    /// unreadable item must not hide the rest of its page. So an attribute that cannot be read gets its value from the item's
    /// position in the index.
    ///
    /// # Errors
    /// The item has no valid position in the index.
    pub fn from_item(key: &Key, item: &Item) -> Result<Self, Unreadable> {
        let place = IndexPosition::of(key, item).ok_or_else(|| Unreadable::new(key, "it has no place in the index"))?;
        let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
        // The index does not have `ends_as`, and the status of a compensating task is the same for both ends.
        let state =
            TaskState::read(key, text(attribute::STATUS), item.contains_key(attribute::COMPENSATIONS), |_| true);
        let status = state.map_or_else(|_| place.partition.status(), TaskState::status);
        let created_at =
            item.get(attribute::CREATED_AT).and_then(|at| millis::deserialize(at).ok()).unwrap_or(place.at);
        let failed_steps = item.get(attribute::FAILED_STEPS).and_then(|steps| BTreeSet::deserialize(steps).ok());
        let failed_steps: BTreeSet<String> = failed_steps.unwrap_or_default();
        let mut compensations = item.get(attribute::COMPENSATIONS).and_then(Value::as_array).into_iter().flatten();
        let mut failed = || compensations.any(|name| name.as_str().is_some_and(|name| failed_steps.contains(name)));
        let needs_person =
            place.partition == IndexPartition::NeedsPerson || (status == TaskStatus::Compensating && failed());
        let workflow = text(attribute::WORKFLOW).to_owned();
        Ok(Self { place, workflow, status, created_at, failed_steps, needs_person })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::{
            backoff::Backoff,
            format::{READS, v1},
            index::IndexPartition,
            record::NewTask,
            state::StepState,
            task,
            transition::{Change, Effect},
        },
        testing::fixtures::{at, snapshot},
    };
    use serde_json::json;

    /// The item of a new task, with these attributes.
    fn item(more: &Value) -> (TaskId, Item) {
        let task = snapshot(&[&[]], &[0]).task;
        let (context, created_at) = (&*task.context, at(0));
        let new = NewTask {
            correlation_id: None,
            id: task.id,
            workflow: task.workflow,
            context,
            plan: &task.plan,
            created_at,
        };
        let create = task::create(&new).writes.remove(0).effect;
        let Effect::Create(mut item) = create else { panic!("{create:?}") };
        for (name, value) in more.as_object().unwrap() {
            item.insert(name.clone(), value.clone());
        }
        (task.id, item)
    }

    /// The stored form of every state: `status`, `ends_as`, whether there are `compensations`.
    const STORED: [(&str, Option<&str>, bool, TaskState); 11] = [
        ("pending", None, false, TaskState::Running),
        ("complete", None, false, TaskState::Completed),
        ("error", None, false, TaskState::Failed),
        ("error", Some("error"), true, TaskState::Compensated(End::Error)),
        ("compensating", Some("error"), false, TaskState::Compensating(End::Error)),
        ("compensating", Some("error"), true, TaskState::Compensating(End::Error)),
        ("compensating", Some("cancelled"), false, TaskState::Compensating(End::Cancelled)),
        ("compensating", Some("cancelled"), true, TaskState::Compensating(End::Cancelled)),
        ("cancelled", None, false, TaskState::Cancelled),
        ("cancelled", Some("cancelled"), true, TaskState::Compensated(End::Cancelled)),
        ("resolved_manually", None, false, TaskState::Resolved),
    ];

    #[test]
    fn every_stored_state_is_read_and_no_other_combination_is() {
        for state in TaskState::ALL {
            assert!(STORED.iter().any(|(.., known)| *known == state), "{state:?}");
        }
        let words =
            ["pending", "complete", "error", "compensating", "cancelled", "resolved_manually", "in_progress", ""];
        let ends = [None, Some("error"), Some("cancelled")];
        let pairs = words.into_iter().flat_map(|word| ends.map(|end| (word, end)));
        let mut read = Vec::new();
        for ((word, end), ordered) in pairs.flat_map(|pair| [(pair, false), (pair, true)]) {
            let (id, mut item) = item(&json!({"status": word}));
            item.extend(end.map(|end| (attribute::ENDS_AS.to_owned(), json!(end))));
            item.extend(ordered.then(|| (attribute::COMPENSATIONS.to_owned(), json!(["u0"]))));
            let Ok(task) = TaskRecord::from_item(id, item.clone()) else { continue };
            read.push((word, end, ordered, task.state));
            assert_eq!((task.state.stored_word(), task.state.ends_as().map(End::stored_word)), (word, end));
            Change::Remove(attribute::ENDS_AS).apply(&mut item);
            assert_eq!(
                IndexEntry::from_item(&Key::Task(id), &item).unwrap().status,
                task.state.status(),
                "in the index"
            );
        }
        assert_eq!(read, STORED);
    }

    #[test]
    fn order_of_compensations_is_refused_for_a_task_that_is_not_compensated() {
        let (id, item) = item(&json!({"status": "error", "compensations": ["u0"]}));
        let error = TaskRecord::from_item(id, item).unwrap_err();
        let expected = "its `ends_as` and its `compensations` do not go with the status `error`";
        assert_eq!(error.cause, expected);
    }

    #[test]
    fn unreadable_index_entry_gets_its_status_from_its_position() {
        for partition in IndexPartition::ALL {
            let place = format!("{}#3", partition.as_str());
            for newer in [
                json!({"status": "suspended"}),
                json!({"status": 7, "workflow": 7, "created_at": "then", "failed_steps": {"s0": 1}}),
                json!({"status": "complete", "compensations": {"s0": "undo_s0"}}),
            ] {
                let (id, mut item) = item(&newer);
                item.insert(attribute::STATUS_SHARD.to_owned(), place.clone().into());
                let listed = IndexEntry::from_item(&Key::Task(id), &item).unwrap();
                assert!(IndexPartition::of(listed.status).contains(&partition), "{newer}: {listed:?}");
                assert!(listed.failed_steps.is_empty());
                let created_at = if newer.get("created_at").is_some() { listed.place.at } else { at(0) };
                assert_eq!(listed.created_at, created_at);
            }
        }
    }

    /// The item of a failed step, with these attributes.
    fn step_item(more: &Value) -> Item {
        let mut item = json!({"state": "error", "attempt": 2, "error": {"code": "NO", "message": "never"}});
        item.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        item.as_object().cloned().unwrap()
    }

    #[test]
    fn unknown_field_is_ignored_and_all_others_are_read() {
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
    fn unreadable_fields_of_a_newer_task_have_the_values_of_a_new_task() {
        let (v, needs) = (READS + 2, READS + 1);
        let new = json!({"v": v, "needs": needs, "priority": 9});
        let read = |more: Value| {
            let mut all = new.clone();
            all.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
            let (id, item) = item(&all);
            TaskRecord::from_item(id, item).unwrap()
        };
        let known = read(json!({"status": "error", "finished_at": 7, "failed_steps": ["s0"]}));
        let newer = known.newer.clone().unwrap();
        assert_eq!((newer.partition, newer.v, newer.needs), (format!("TASK#{}", known.id), v, needs));
        assert_eq!((known.state, known.plan.steps().len()), (TaskState::Failed, 1));
        let suspended = read(json!({"status": "suspended", "failed_steps": ["s0"], "finished_at": "never"}));
        assert!(suspended.newer.is_some());
        assert_eq!((suspended.state, suspended.plan.steps().len()), (TaskState::Running, 1));
        assert_eq!((suspended.failed_steps, suspended.finished_at), (["s0".to_owned()].into(), None));
        let branching = read(json!({"plan": {"graph": []}, "status": "compensating", "ends_as": "cancelled"}));
        assert_eq!(
            branching.state,
            TaskState::Compensating(End::Cancelled),
            "the attributes of its state are read together"
        );
        assert_eq!((branching.plan.steps(), branching.created_at), (&[][..], at(0)));
        let (id, item) = item(&json!({"status": "suspended"}));
        assert!(TaskRecord::from_item(id, item).is_err(), "a task that does not need a newer reader is unreadable");
    }

    #[test]
    fn unreadable_fields_of_a_newer_step_have_the_values_of_an_untouched_step() {
        let id = TaskId::new();
        let needs = READS + 1;
        let newer = step_item(&json!({"v": needs, "needs": needs, "state": "suspended", "attempts": "many"}));
        let step = StepRecord::from_item(id, "s0", newer).unwrap();
        assert_eq!(step.newer.as_ref().map(|newer| newer.needs), Some(needs));
        assert_eq!((step.state, step.attempt, step.attempts.len()), (StepState::Pending, 2, 0));
        assert_eq!(step.error.unwrap().code, "NO");
        assert!(StepRecord::from_item(id, "s0", step_item(&json!({"state": "suspended"}))).is_err());
    }

    #[test]
    fn item_that_the_engine_did_not_write_is_unreadable() {
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
}
