//! Transitions: conditional changes of some items, all or nothing, except for optional writes.
//!
//! A [`Transition`] is a value. The functions in [`step`](super::step) and [`task`](super::task) make it, and a store
//! interprets it. [`Condition::holds`] and [`Change::apply`] define its meaning. A store that evaluates conditions and
//! changes by other means has to agree with them. If a condition does not hold, [`Transition::refused`] tells the store
//! what to do.

use super::{
    format,
    item::{Item, Key, attribute},
};
use crate::core::state::{StepEvent, TaskEvent};
use serde_json::Value;
use std::collections::BTreeSet;

/// Some writes that take effect together or not at all, except for optional ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    /// The name in the traces of the simulation.
    pub name: &'static str,
    /// The writes: at least one is not optional, and at most one is to the same item.
    pub writes: Vec<Write>,
}

/// A change of one item, under a condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// The item.
    pub key: Key,
    /// The event of the step or of the task; `None` if its state stays the same.
    pub event: Option<Event>,
    /// The condition on the item as it is.
    pub condition: Condition,
    /// The condition that this version may act on the item. If it does not hold, the whole transition is refused, even if
    /// this write is optional. It always holds for an item that is created.
    pub guard: Condition,
    /// The change to the item.
    pub effect: Effect,
    /// A condition that holds if this very write took effect before. The store's client repeats a write whose answer was
    /// lost, and the repetition is recognized by this condition.
    pub made_before: Option<Condition>,
    /// Whether the other writes are made without this one if its condition does not hold.
    pub optional: bool,
    /// The answer of the store.
    pub answer: Answer,
}

/// An event of a step's or a task's state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Of a step.
    Step(StepEvent),
    /// Of a task.
    Task(TaskEvent),
}

/// A condition on an item. A missing item counts as an empty one.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// There is no item.
    NoItem,
    /// The item does not have the attribute.
    Absent(&'static str),
    /// The item has the attribute.
    Present(&'static str),
    /// The attribute has this value.
    Is(&'static str, Value),
    /// The attribute is a number less than or equal to this one.
    AtMost(&'static str, i64),
    /// The attribute is a number less than this one.
    Below(&'static str, i64),
    /// The attribute is a list with this entry.
    Contains(&'static str, Value),
    /// The attribute is not a list with this entry.
    Lacks(&'static str, Value),
    /// All of these hold. An empty list always holds.
    All(Vec<Condition>),
    /// At least one of these holds. An empty list never holds.
    Any(Vec<Condition>),
}

/// The effect of a write on its item.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Creates the item with these attributes.
    Create(Item),
    /// Changes attributes, and creates the item if there is none.
    Change(Vec<Change>),
    /// Deletes the item.
    Delete,
}

/// A change of one attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Sets the value.
    Set(&'static str, Value),
    /// Sets the value, unless the attribute has one.
    SetIfAbsent(&'static str, Value),
    /// Removes the attribute.
    Remove(&'static str),
    /// Adds to the number, which counts as 0 if there is none.
    Add(&'static str, u32),
    /// Appends this entry to the list.
    Append(&'static str, Value),
    /// Adds this member to the set.
    Include(&'static str, String),
    /// Removes these members from the set. A set without members is removed.
    Exclude(&'static str, BTreeSet<String>),
}

/// The answer to a write that took effect. It applies to transitions of one write only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No attributes.
    Nothing,
    /// The changed attributes, as they are after the write.
    Changed,
    /// The whole item, as it is after the write.
    Item,
}

/// The result of a transition.
#[derive(Clone, Debug, PartialEq)]
pub enum Applied {
    /// It took effect, now or when it was applied before. Holds the [`Answer`] of its write.
    Written(Item),
    /// A condition did not hold, and nothing was written. Holds the item that refused it.
    Refused(Item),
}

/// What a store does with a transition of which some conditions do not hold.
#[derive(Clone, Debug, PartialEq)]
pub enum Rejection {
    /// The store returns this result.
    Ended(Applied),
    /// The store applies this transition instead, without the optional writes that were refused.
    Without(Transition),
}

impl Applied {
    /// Whether the transition took effect.
    pub const fn is_written(&self) -> bool {
        matches!(self, Self::Written(_))
    }

    /// The done dependencies, or done leaves, in the answer to an arrival.
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
    /// A transition of one write.
    pub fn of(name: &'static str, write: Write) -> Self {
        Self { name, writes: vec![write] }
    }

    /// Decides what to do if conditions did not hold. `against` has one entry for each write, in their order: the item that
    /// refused its condition, or `None` if the condition held.
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

/// Holds if this version may act on the item. It agrees with [`NewerFormat::of`](format::NewerFormat::of).
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

    /// Whether both the condition and the guard hold for this item.
    pub fn holds(&self, item: &Item) -> bool {
        self.condition.holds(item) && self.guard.holds(item)
    }

    /// The result of this write if its condition or its guard does not hold for this item.
    pub fn refused(&self, against: Item) -> Applied {
        let is_ours = self.made_before.as_ref().is_some_and(|made| made.holds(&against));
        if is_ours { Applied::Written(against) } else { Applied::Refused(against) }
    }

    /// The answer if the write leaves this item.
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

    /// Whether it holds for this item.
    pub fn holds(&self, item: &Item) -> bool {
        let number = |name: &str| item.get(name).and_then(Value::as_i64);
        match self {
            Self::NoItem => item.is_empty(),
            Self::Absent(name) => !item.contains_key(*name),
            Self::Present(name) => item.contains_key(*name),
            Self::Is(name, value) => item.get(*name) == Some(value),
            Self::AtMost(name, most) => number(name).is_some_and(|number| number <= *most),
            Self::Below(name, bound) => number(name).is_some_and(|number| number < *bound),
            Self::Contains(name, entry) => contains(item, name, entry),
            Self::Lacks(name, entry) => !contains(item, name, entry),
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(item)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(item)),
        }
    }

    /// The conjunction of both conditions.
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

fn contains(item: &Item, name: &str, entry: &Value) -> bool {
    item.get(name).and_then(Value::as_array).is_some_and(|list| list.contains(entry))
}

impl Effect {
    /// The item after the effect; empty if it is deleted.
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
    /// The changed attribute.
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

    /// Changes the item.
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
    fn condition_on_a_missing_attribute_holds_only_if_it_requires_absence() {
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
        assert_eq!(holds(Condition::Lacks("l", json!({"a": 1}))), (true, false));
        assert_eq!(holds(Condition::Lacks("l", json!({"a": 2}))), (true, true));
        assert_eq!(holds(Condition::ALWAYS), (true, true));
        assert_eq!(holds(Condition::Any(vec![])), (false, false));
    }

    #[test]
    fn change_of_a_missing_attribute_starts_from_an_empty_value() {
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
        assert!(!changed.contains_key("failed_steps"), "a set without members is removed");
    }

    #[test]
    fn optional_write_to_a_newer_item_refuses_the_whole_transition() {
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
    fn only_a_refused_optional_write_is_left_out() {
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
