//! What a store can be asked for: a conditional change of some items, all or nothing.
//!
//! A store asks [`Transition::refused`] what follows where a condition does not hold.
//!
//! A [`Transition`] is a value. The functions in [`step`](super::step) and [`task`](super::task) make it, and a store
//! interprets it: [`Condition::holds`] and [`Change::apply`] define what it means, a store that evaluates by other means has
//! to agree with them.

use super::{
    format,
    item::{Item, Key, attribute},
};
use crate::core::state::{StepEvent, TaskEvent};
use serde_json::Value;
use std::collections::BTreeSet;

/// Some writes that take effect together or not at all, but for those that are optional.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// What it is called, in the traces of the simulation.
    pub name: &'static str,
    /// The writes: at least one that is not optional, and at most one to an item.
    pub writes: Vec<Write>,
}

/// A change of one item, under a condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// The item.
    pub key: Key,
    /// What happens to the step or the task by it; `None` where its state or status stays as it is.
    pub event: Option<Event>,
    /// What has to hold of the item as it stands.
    pub condition: Condition,
    /// What has to hold of the item whatever the transition is about: this version may act on it. Where it does not hold, the
    /// whole transition is refused, even where this write is optional. Of what is created there is nothing to ask.
    pub guard: Condition,
    /// What becomes of the item.
    pub effect: Effect,
    /// What holds of the item where this very write has taken effect before: its answer may have been lost on the way, and
    /// the store's client then makes it again.
    pub made_before: Option<Condition>,
    /// Whether the other writes are made without this one where its condition is refused.
    pub optional: bool,
    /// What the store answers with.
    pub answer: Answer,
}

/// What happens to a step or to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// To a step.
    Step(StepEvent),
    /// To a task.
    Task(TaskEvent),
}

/// A condition on an item. No item at all is an empty one.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// There is no item.
    NoItem,
    /// The item has no such attribute.
    Absent(&'static str),
    /// The item has such an attribute.
    Present(&'static str),
    /// The attribute has this value.
    Is(&'static str, Value),
    /// The attribute is a number not above this one.
    AtMost(&'static str, i64),
    /// The attribute is a number below this one.
    Below(&'static str, i64),
    /// The attribute is a list with this entry.
    Contains(&'static str, Value),
    /// All of these hold. None at all holds always.
    All(Vec<Condition>),
    /// One of these holds.
    Any(Vec<Condition>),
}

/// What becomes of an item.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// It is made, with these attributes.
    Create(Item),
    /// Its attributes change; where there is no item, one is made.
    Change(Vec<Change>),
    /// It is deleted.
    Delete,
}

/// A change of one attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// It gets this value.
    Set(&'static str, Value),
    /// It gets this value, unless it has one.
    SetIfAbsent(&'static str, Value),
    /// It goes.
    Remove(&'static str),
    /// The number rises by this much, from 0 where there is none.
    Add(&'static str, u32),
    /// The list gets this entry at its end.
    Append(&'static str, Value),
    /// The set gets this member.
    Include(&'static str, String),
    /// The set loses these members. A set without members goes.
    Exclude(&'static str, BTreeSet<String>),
}

/// What a write that took effect answers with. It has no meaning for one among several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing.
    Nothing,
    /// The attributes that it changed, as they are now.
    Changed,
    /// The whole item, as it is now.
    Item,
}

/// How a transition ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// It took effect, now or when it was made before. Holds what was asked for as the answer.
    Written(Item),
    /// A condition did not hold, and nothing was written. Holds the item that stood against it.
    Refused(Item),
}

/// What to do where some of a transition's conditions did not hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Rejection {
    /// It has ended so.
    Ended(Applied),
    /// These writes are to be made instead, without the optional ones that were refused.
    Without(Transition),
}

impl Applied {
    /// Whether it took effect.
    pub const fn is_written(&self) -> bool {
        matches!(self, Self::Written(_))
    }

    /// The dependencies, or the leaves, that are done: what an arrival answers with.
    pub fn done_deps(&self) -> BTreeSet<String> {
        let (Self::Written(item) | Self::Refused(item)) = self;
        members(item, attribute::DONE_DEPS)
    }
}

/// The members of a set.
fn members(item: &Item, name: &str) -> BTreeSet<String> {
    let members = item.get(name).and_then(Value::as_array).into_iter().flatten();
    members.filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Transition {
    /// One write by itself.
    pub fn of(name: &'static str, write: Write) -> Self {
        Self { name, writes: vec![write] }
    }

    /// What follows where conditions did not hold. `against` has for each write, in their order, the item that stood
    /// against its condition, and `None` where the condition held.
    pub fn refused(&self, against: impl IntoIterator<Item = Option<Item>>) -> Rejection {
        let (mut refused, mut left) = (None, Vec::new());
        for (write, against) in self.writes.iter().zip(against) {
            match against {
                Some(item) if refused.is_none() && (!write.optional || !write.guard.holds(&item)) => {
                    refused = Some(write.refused(item));
                }
                Some(_) => {}
                None => left.push(write.clone()),
            }
        }
        match refused {
            Some(ended) => Rejection::Ended(ended),
            None => Rejection::Without(Self { name: self.name, writes: left }),
        }
    }
}

/// Holds of an item that this version may act on. It says the same as [`NewerFormat::of`](format::NewerFormat::of).
pub(super) fn guard() -> Condition {
    Condition::Any(vec![Condition::Absent(attribute::NEEDS), Condition::AtMost(attribute::NEEDS, format::READS)])
}

impl Write {
    /// A write under a condition.
    pub(crate) fn new(key: Key, condition: Condition, effect: Effect) -> Self {
        let guard = match effect {
            Effect::Create(_) => Condition::ALWAYS,
            Effect::Change(_) | Effect::Delete => guard(),
        };
        Self { key, event: None, condition, guard, effect, made_before: None, optional: false, answer: Answer::Nothing }
    }

    /// A change of an item's attributes under a condition.
    pub(crate) fn update(key: Key, condition: Condition, changes: Vec<Change>) -> Self {
        Self::new(key, condition, Effect::Change(changes))
    }

    pub(crate) fn on_step(self, event: StepEvent) -> Self {
        Self { event: Some(Event::Step(event)), ..self }
    }

    pub(crate) fn on_task(self, event: TaskEvent) -> Self {
        Self { event: Some(Event::Task(event)), ..self }
    }

    pub(crate) fn made_before(self, condition: Condition) -> Self {
        Self { made_before: Some(condition), ..self }
    }

    pub(crate) fn answering(self, answer: Answer) -> Self {
        Self { answer, ..self }
    }

    pub(crate) fn optional(self) -> Self {
        Self { optional: true, ..self }
    }

    /// Whether the item as it stands lets it be made: its condition and its guard.
    pub fn holds(&self, item: &Item) -> bool {
        self.condition.holds(item) && self.guard.holds(item)
    }

    /// How this write ends where its condition or its guard did not hold of this item.
    pub fn refused(&self, against: Item) -> Applied {
        let is_ours = self.made_before.as_ref().is_some_and(|made| made.holds(&against));
        if is_ours { Applied::Written(against) } else { Applied::Refused(against) }
    }

    /// What it answers with, where it leaves this item.
    pub fn answer(&self, after: Item) -> Item {
        let changed = |name: &str| match &self.effect {
            Effect::Change(changes) => changes.iter().any(|change| change.attribute() == name),
            Effect::Create(_) | Effect::Delete => false,
        };
        match self.answer {
            Answer::Nothing => Item::new(),
            Answer::Changed => after.into_iter().filter(|(name, _)| changed(name)).collect(),
            Answer::Item => after,
        }
    }
}

impl Condition {
    /// The condition that always holds.
    pub const ALWAYS: Self = Self::All(Vec::new());

    /// Whether it holds of this item.
    pub fn holds(&self, item: &Item) -> bool {
        let number = |name: &str| item.get(name).and_then(Value::as_i64);
        match self {
            Self::NoItem => item.is_empty(),
            Self::Absent(name) => !item.contains_key(*name),
            Self::Present(name) => item.contains_key(*name),
            Self::Is(name, value) => item.get(*name) == Some(value),
            Self::AtMost(name, most) => number(name).is_some_and(|number| number <= *most),
            Self::Below(name, bound) => number(name).is_some_and(|number| number < *bound),
            Self::Contains(name, entry) => {
                item.get(*name).and_then(Value::as_array).is_some_and(|list| list.contains(entry))
            }
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(item)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(item)),
        }
    }

    /// This condition, and another one.
    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        match self {
            Self::All(mut conditions) => {
                conditions.push(other);
                Self::All(conditions)
            }
            one => Self::All(vec![one, other]),
        }
    }
}

impl Effect {
    /// What becomes of this item; an empty one where it is deleted.
    pub fn apply(&self, item: &Item) -> Item {
        match self {
            Self::Create(made) => made.clone(),
            Self::Delete => Item::new(),
            Self::Change(changes) => {
                let mut changed = item.clone();
                changes.iter().for_each(|change| change.apply(&mut changed));
                changed
            }
        }
    }
}

impl Change {
    /// The attribute that it changes.
    pub const fn attribute(&self) -> &'static str {
        match self {
            Self::Set(name, _)
            | Self::SetIfAbsent(name, _)
            | Self::Remove(name)
            | Self::Add(name, _)
            | Self::Append(name, _)
            | Self::Include(name, _)
            | Self::Exclude(name, _) => name,
        }
    }

    /// Makes the change.
    pub fn apply(&self, item: &mut Item) {
        let name = self.attribute().to_owned();
        match self {
            Self::Set(_, value) => {
                item.insert(name, value.clone());
            }
            Self::SetIfAbsent(_, value) => {
                item.entry(name).or_insert_with(|| value.clone());
            }
            Self::Remove(_) => {
                item.remove(&name);
            }
            Self::Add(_, more) => {
                let number = item.get(&name).and_then(Value::as_i64).unwrap_or_default();
                item.insert(name, number.saturating_add(i64::from(*more)).into());
            }
            Self::Append(_, entry) => {
                let mut list = match item.remove(&name) {
                    Some(Value::Array(list)) => list,
                    _ => Vec::new(),
                };
                list.push(entry.clone());
                item.insert(name, list.into());
            }
            Self::Include(_, member) => {
                let mut members = members(item, &name);
                members.insert(member.clone());
                item.insert(name, super::item::set(&members));
            }
            Self::Exclude(_, gone) => {
                let members = members(item, &name);
                let left: Vec<&String> = members.difference(gone).collect();
                if left.is_empty() {
                    item.remove(&name);
                } else {
                    item.insert(name, super::item::set(left));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn item(value: Value) -> Item {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn condition_on_a_missing_attribute_holds_only_where_it_asks_for_that() {
        let (empty, full) = (Item::new(), item(json!({"n": 5, "l": [{"a": 1}]})));
        let holds = |condition: Condition| (condition.holds(&empty), condition.holds(&full));
        assert_eq!(holds(Condition::NoItem), (true, false));
        assert_eq!(holds(Condition::Absent("n")), (true, false));
        assert_eq!(holds(Condition::Present("n")), (false, true));
        assert_eq!(holds(Condition::Is("n", json!(5))), (false, true));
        assert_eq!(holds(Condition::Is("n", json!(6))), (false, false));
        assert_eq!(holds(Condition::AtMost("n", 5)), (false, true));
        assert_eq!(holds(Condition::Below("n", 5)), (false, false));
        assert_eq!(holds(Condition::Below("n", 6)), (false, true));
        assert_eq!(holds(Condition::Contains("l", json!({"a": 1}))), (false, true));
        assert_eq!(holds(Condition::Contains("l", json!({"a": 2}))), (false, false));
        assert_eq!(holds(Condition::ALWAYS), (true, true));
        assert_eq!(holds(Condition::Any(vec![])), (false, false));
    }

    #[test]
    fn change_starts_from_nothing_where_there_is_nothing() {
        let mut changed = item(json!({"kept": 1, "gone": 1, "failed_steps": ["a", "b"]}));
        let changes = [
            Change::SetIfAbsent("kept", json!(2)),
            Change::SetIfAbsent("new", json!(2)),
            Change::Remove("gone"),
            Change::Add("count", 1),
            Change::Append("list", json!("x")),
            Change::Include("done_deps", "b".to_owned()),
            Change::Include("done_deps", "a".to_owned()),
            Change::Exclude("failed_steps", ["a".to_owned()].into()),
        ];
        changes.iter().for_each(|change| change.apply(&mut changed));
        let expected = json!({
            "kept": 1, "new": 2, "count": 1, "list": ["x"], "done_deps": ["a", "b"], "failed_steps": ["b"],
        });
        assert_eq!(Value::Object(changed.clone()), expected);
        Change::Exclude("failed_steps", ["b".to_owned()].into()).apply(&mut changed);
        assert!(!changed.contains_key("failed_steps"), "a set without members goes");
    }

    #[test]
    fn write_of_a_newer_item_is_never_left_out() {
        let write = |optional| {
            let write =
                Write::update(Key::Task(crate::core::id::TaskId::new()), Condition::Absent("taken"), Vec::new());
            Write { optional, ..write }
        };
        let transition = Transition { name: "test", writes: vec![write(false), write(true)] };
        let newer = item(json!({"needs": format::READS + 1}));
        assert!(!write(true).holds(&newer));
        assert_eq!(transition.refused([None, Some(newer.clone())]), Rejection::Ended(Applied::Refused(newer)));
        let taken = item(json!({"taken": true, "needs": format::READS}));
        assert!(matches!(transition.refused([None, Some(taken)]), Rejection::Without(_)));
    }

    #[test]
    fn only_an_optional_write_is_left_out() {
        let write = |optional| Write {
            optional,
            ..Write::update(Key::Task(crate::core::id::TaskId::new()), Condition::ALWAYS, Vec::new())
                .made_before(Condition::Present("ours"))
        };
        let transition = Transition { name: "test", writes: vec![write(false), write(true)] };
        let (there, ours) = (item(json!({"a": 1})), item(json!({"ours": 1})));
        let refused = |one: Option<&Item>, other: Option<&Item>| transition.refused([one.cloned(), other.cloned()]);
        assert_eq!(refused(Some(&there), None), Rejection::Ended(Applied::Refused(there.clone())));
        assert_eq!(refused(Some(&ours), Some(&there)), Rejection::Ended(Applied::Written(ours.clone())));
        let left = Transition { name: "test", writes: transition.writes[..1].to_vec() };
        assert_eq!(refused(None, Some(&there)), Rejection::Without(left));
    }
}
