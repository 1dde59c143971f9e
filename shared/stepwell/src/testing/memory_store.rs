//! A store in memory.

use crate::{
    core::{
        codec::Unreadable,
        id::TaskId,
        index::{IndexEntry, IndexPartition, IndexPosition, Page},
        item::{Item, Key},
        record::{StepRecord, TaskRecord},
        settlement::{Settled, Settlement},
        snapshot::Loaded,
        transition::{Applied, Change, Event, Rejection, Transition, Write},
    },
    ports::{Store, TableError, settle_first},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A store in memory. Clones share it.
///
/// It evaluates conditions and changes as [`core::transition`](crate::core::transition) defines them. A test compares
/// DynamoDB's answers with its own (`tests/tests/it/transitions/model.rs`).
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Items>>);

/// A write that took effect, for an observer of the store.
#[derive(Clone, Copy, Debug)]
pub struct Written<'a> {
    /// The item.
    pub key: &'a Key,
    /// The event of the step or of the task.
    pub event: Option<Event>,
    /// The item before the write; empty if there was none.
    pub before: &'a Item,
    /// The item after the write; empty if it was deleted.
    pub after: &'a Item,
    /// The records before and after the write.
    pub records: Records<'a>,
}

/// The records of an item before and after a write.
#[derive(Clone, Copy, Debug)]
pub enum Records<'a> {
    /// A task that existed before.
    Task(&'a TaskRecord, &'a TaskRecord),
    /// A step; untouched if there was no item.
    Step(&'a StepRecord, &'a StepRecord),
    /// A new task, an idempotency key, a breaker, a bulk action, or a deleted item.
    Other,
}

#[derive(Debug, Default)]
struct Items(BTreeMap<Key, Entry>);

/// An item and its record. The record is kept, because items are read more often than they are written.
#[derive(Clone, Debug)]
struct Entry {
    item: Item,
    record: Record,
    place: Option<IndexPosition>,
}

#[derive(Clone, Debug)]
enum Record {
    Task(Box<TaskRecord>),
    Step(Box<StepRecord>),
    Other,
}

impl Entry {
    fn new(key: &Key, item: Item) -> Result<Self, Unreadable> {
        let record = match key {
            Key::Task(task) => Record::Task(Box::new(TaskRecord::from_item(*task, item.clone())?)),
            Key::Step(task, step) => Record::Step(Box::new(StepRecord::from_item(*task, step, item.clone())?)),
            Key::IdempotencyKey { .. }
            | Key::Breaker(_)
            | Key::Backlog(_)
            | Key::Bulk(_)
            | Key::BulkResults(..)
            | Key::Pause(_)
            | Key::Find { .. } => Record::Other,
        };
        Ok(Self { place: IndexPosition::of(key, &item), item, record })
    }

    fn step(&self) -> Option<&StepRecord> {
        match &self.record {
            Record::Step(step) => Some(step),
            Record::Task(_) | Record::Other => None,
        }
    }

    fn task(&self) -> Option<&TaskRecord> {
        match &self.record {
            Record::Task(task) => Some(task),
            Record::Step(_) | Record::Other => None,
        }
    }
}

impl MemoryStore {
    fn items(&self) -> MutexGuard<'_, Items> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a transition, and calls `observe` for each of its writes that takes effect.
    ///
    /// # Errors
    /// The transition would make an item unreadable. Then nothing is written.
    pub fn apply_observed(
        &self,
        transition: &Transition,
        observe: impl FnMut(Written<'_>),
    ) -> Result<Applied, TableError> {
        Ok(self.items().apply(transition, observe)?)
    }

    /// An item as it is stored; empty if there is none.
    pub fn item(&self, key: &Key) -> Item {
        self.items().0.get(key).map_or_else(Item::new, |entry| entry.item.clone())
    }

    /// Puts an item without any condition.
    ///
    /// # Errors
    /// The item cannot be read.
    pub fn put(&self, key: Key, item: Item) -> Result<(), TableError> {
        let entry = Entry::new(&key, item)?;
        self.items().0.insert(key, entry);
        Ok(())
    }

    /// Changes an item without any condition.
    ///
    /// # Errors
    /// The change would make the item unreadable.
    pub fn force(&self, key: Key, changes: Vec<Change>) -> Result<(), TableError> {
        let mut item = self.item(&key);
        changes.iter().for_each(|change| change.apply(&mut item));
        self.put(key, item)
    }

    /// The keys of all items.
    pub fn keys(&self) -> Vec<Key> {
        self.items().0.keys().cloned().collect()
    }

    /// The number of items.
    pub fn count(&self) -> usize {
        self.items().0.len()
    }

    /// The task and all of its steps.
    pub fn all(&self, task: TaskId) -> Loaded {
        let items = self.items();
        let steps = items.steps(task).map(|step| (step.name.clone(), step.clone()));
        Loaded { task: items.task(task).cloned(), steps: steps.collect() }
    }

    /// The step's record; untouched if there is no item.
    pub fn step(&self, task: TaskId, step: &str) -> StepRecord {
        let items = self.items();
        let found = items.0.get(&Key::Step(task, step.to_owned())).and_then(Entry::step);
        found.cloned().unwrap_or_else(|| StepRecord::untouched(step))
    }

    /// Calls `look` with the task's record, if the task exists.
    pub fn with_task<R>(&self, task: TaskId, look: impl FnOnce(&TaskRecord) -> R) -> Option<R> {
        self.items().task(task).map(look)
    }

    /// The task's position in the index.
    pub fn listed(&self, task: TaskId) -> Option<IndexPosition> {
        self.items().0.get(&Key::Task(task))?.place.clone()
    }

    /// The first position in the index, by time, for which `fits` holds.
    pub fn first_listed(&self, fits: impl Fn(&IndexPosition) -> bool) -> Option<IndexPosition> {
        let items = self.items();
        let places = items.0.values().filter_map(|entry| entry.place.as_ref()).filter(|place| fits(place));
        places.min_by_key(|place| (place.at, place.key())).cloned()
    }

    /// All tasks that have an item, even if it is only a step's.
    pub fn tasks(&self) -> BTreeSet<TaskId> {
        let items = self.items();
        let tasks = items.0.keys().filter_map(|key| match key {
            Key::Task(task) | Key::Step(task, _) => Some(*task),
            Key::IdempotencyKey { .. }
            | Key::Breaker(_)
            | Key::Backlog(_)
            | Key::Bulk(_)
            | Key::BulkResults(..)
            | Key::Pause(_)
            | Key::Find { .. } => None,
        });
        tasks.collect()
    }
}

impl Items {
    fn task(&self, task: TaskId) -> Option<&TaskRecord> {
        self.0.get(&Key::Task(task))?.task()
    }

    fn steps(&self, task: TaskId) -> impl Iterator<Item = &StepRecord> {
        let from = Key::Step(task, String::new());
        let of_task = move |key: &Key| matches!(key, Key::Step(of, _) if *of == task);
        self.0.range(from..).take_while(move |(key, _)| of_task(key)).filter_map(|(_, entry)| entry.step())
    }

    fn apply(&mut self, transition: &Transition, mut observe: impl FnMut(Written<'_>)) -> Result<Applied, Unreadable> {
        let none = Item::new();
        let item = |key: &Key| self.0.get(key).map_or(&none, |entry| &entry.item);
        let against = transition.writes.iter().map(|write| {
            let item = item(&write.key);
            (!write.holds(item)).then(|| item.clone())
        });
        let against: Vec<Option<Item>> = against.collect();
        let without;
        let writes = if against.iter().all(Option::is_none) {
            &transition.writes
        } else {
            match transition.refused(against) {
                Rejection::Ended(applied) => return Ok(applied),
                Rejection::Without(others) => {
                    without = others.writes;
                    &without
                }
            }
        };
        let next = writes.iter().map(|write| match write.effect.apply(item(&write.key)) {
            deleted if deleted.is_empty() => Ok(None),
            item => Entry::new(&write.key, item).map(Some),
        });
        let next = next.collect::<Result<Vec<_>, _>>()?;
        let mut answer = Item::new();
        for (write, next) in writes.iter().zip(next) {
            answer = self.put(write, next, &mut observe);
        }
        Ok(Applied::Written(answer))
    }

    /// Replaces an item, calls `observe`, and returns the answer to the write.
    fn put(&mut self, write: &Write, next: Option<Entry>, observe: &mut impl FnMut(Written<'_>)) -> Item {
        let before = match &next {
            Some(entry) => self.0.insert(write.key.clone(), entry.clone()),
            None => self.0.remove(&write.key),
        };
        let none = Entry { item: Item::new(), record: Record::Other, place: None };
        let (from, to) = (before.as_ref().unwrap_or(&none), next.as_ref().unwrap_or(&none));
        let untouched = StepRecord::untouched(to.step().map_or("", |step| &step.name));
        let records = match (&from.record, &to.record) {
            (Record::Task(before), Record::Task(after)) => Records::Task(before, after),
            (_, Record::Step(after)) => Records::Step(from.step().unwrap_or(&untouched), after),
            _ => Records::Other,
        };
        observe(Written { key: &write.key, event: write.event, before: &from.item, after: &to.item, records });
        next.map_or_else(Item::new, |entry| write.answer(entry.item))
    }
}

impl Store for MemoryStore {
    async fn apply(&self, transition: &Transition) -> Result<Applied, TableError> {
        self.apply_observed(transition, |_| ())
    }

    async fn settle(&self, _task: TaskId, settlement: Settlement) -> Result<Settled, TableError> {
        settle_first(self, settlement).await
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        let steps = steps.iter().map(|&name| (name.to_owned(), self.step(task, name))).collect();
        Ok(Loaded { task: self.with_task(task, TaskRecord::clone), steps })
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        Ok(self.all(task))
    }

    async fn read(&self, key: &Key) -> Result<Item, TableError> {
        Ok(self.item(key))
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<IndexEntry>, TableError> {
        let items = self.items();
        let here = |place: &IndexPosition| {
            place.partition == page.partition
                && IndexPartition::shard(place.task) == page.shard
                && page.until.is_none_or(|until| place.at <= until)
                && page.after.is_none_or(|after| (place.at, place.key()) > (after.at, after.key()))
        };
        let found = items.0.iter().filter(|(_, entry)| entry.place.as_ref().is_some_and(here));
        let found = found.map(|(key, entry)| IndexEntry::from_item(key, &entry.item));
        let mut found = found.collect::<Result<Vec<_>, _>>()?;
        found.sort_by_key(|listed| (listed.place.at, listed.place.key()));
        found.truncate(page.limit.into());
        Ok(found)
    }

    async fn range(&self, from: &Key, limit: u16) -> Result<Vec<Item>, TableError> {
        let (items, partition) = (self.items(), from.partition());
        let here = items.0.range(from..).take_while(|(key, _)| key.partition() == partition);
        Ok(here.take(limit.into()).map(|(_, entry)| entry.item.clone()).collect())
    }

    /// `Key::Task` is the first kind of key, so that all that are before one are tasks.
    async fn newest(&self, before: TaskId, limit: u16) -> Result<Vec<TaskId>, TableError> {
        let items = self.items();
        let tasks = items.0.range(..Key::Task(before)).rev().filter_map(|(key, _)| match key {
            Key::Task(task) => Some(*task),
            _ => None,
        });
        Ok(tasks.take(limit.into()).collect())
    }

    async fn read_all(&self, keys: &[Key], attributes: &[&'static str]) -> Result<Vec<(Key, Item)>, TableError> {
        let items = self.items();
        let read = |key: &Key| {
            let mut item = items.0.get(key)?.item.clone();
            item.retain(|name, _| attributes.contains(&name.as_str()));
            Some((key.clone(), item))
        };
        Ok(keys.iter().filter_map(read).collect())
    }
}
