//! Processes of two versions: the shipped one, and a made-up newer one whose items need a reader of a newer format than
//! the shipped one's.

use crate::locked::Locked;
use std::{collections::BTreeSet, sync::Arc};
use stepwell::{
    TaskId,
    core::{
        format::{NewerFormat, READS, WRITES},
        index::{IndexEntry, Page},
        item::{Item, Key, attribute},
        settlement::{Settled, Settlement},
        snapshot::Loaded,
        transition::{Applied, Change, Condition, Effect, Transition, Write},
    },
    ports::{Store, TableError, settle_first},
};

/// The format of the newer version.
const NEWER: i64 = READS + 1;

/// The version of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// The shipped version.
    Shipped,
    /// A newer version, which differs only in the format of the items that it makes.
    Newer,
}

/// A store as a process of this version uses it.
#[derive(Clone, Debug)]
pub(super) struct Versioned<S> {
    store: S,
    version: Version,
    /// How often a process of the shipped version has met an item of the newer format.
    met: Arc<Locked<u64>>,
}

impl<S> Versioned<S> {
    pub(super) const fn new(store: S, version: Version, met: Arc<Locked<u64>>) -> Self {
        Self { store, version, met }
    }

    fn count(&self, is_newer: bool) {
        let more = u64::from(is_newer && self.version == Version::Shipped);
        *self.met.lock() += more;
    }

    fn refused(&self, transition: &Transition, item: &Item) {
        let first = transition.writes.first();
        self.count(first.is_some_and(|write| NewerFormat::of(&write.key, item).is_some()));
    }

    /// The loaded items as the process understands them.
    fn read(&self, mut loaded: Loaded) -> Loaded {
        self.count(loaded.newer().is_some());
        if self.version == Version::Newer {
            loaded.task.iter_mut().for_each(|task| task.newer = None);
            loaded.steps.values_mut().for_each(|step| step.newer = None);
        }
        loaded
    }
}

/// A transition as the newer version makes it.
fn raised(transition: &Transition) -> Transition {
    let mut raised = transition.clone();
    raised.writes.iter_mut().for_each(raise);
    raised
}

fn raise(write: &mut Write) {
    write.guard = Condition::Any(vec![Condition::Absent(attribute::NEEDS), Condition::AtMost(attribute::NEEDS, NEWER)]);
    let format = [attribute::V, attribute::NEEDS];
    match &mut write.effect {
        Effect::Create(item) => item.extend(format.map(|name| (name.to_owned(), NEWER.into()))),
        // A write that may create the item sets its expiry. The newer version also raises the format of an item that
        // the shipped version created.
        Effect::Change(changes) => {
            let makes = |change: &Change| matches!(change, Change::SetIfAbsent(attribute::EXPIRES_AT, _));
            if changes.iter().any(makes) {
                changes.extend(format.map(|name| Change::SetIfAbsent(name, NEWER.into())));
            }
        }
        Effect::Delete => {}
    }
}

/// An item as the newer version reads it: like one of its own.
fn lowered(mut item: Item) -> Item {
    for name in [attribute::V, attribute::NEEDS] {
        item.entry(name).and_modify(|value| *value = WRITES.into());
    }
    item
}

impl<S: Store> Store for Versioned<S> {
    async fn apply(&self, transition: &Transition) -> Result<Applied, TableError> {
        if self.version == Version::Newer {
            return Ok(match self.store.apply(&raised(transition)).await? {
                Applied::Written(item) => Applied::Written(lowered(item)),
                Applied::Refused(item) => Applied::Refused(lowered(item)),
            });
        }
        let applied = self.store.apply(transition).await?;
        if let Applied::Refused(item) = &applied {
            self.refused(transition, item);
        }
        Ok(applied)
    }

    async fn settle(&self, task: TaskId, settlement: Settlement) -> Result<Settled, TableError> {
        // The engine makes the consequences of the newer version's transition call by call, so that each is raised.
        if self.version == Version::Newer {
            return settle_first(self, settlement).await;
        }
        let transition = settlement.transition.clone();
        let settled = self.store.settle(task, settlement).await?;
        if let (Settled::Refused(item), Some(transition)) = (&settled, &transition) {
            self.refused(transition, item);
        }
        Ok(settled)
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        Ok(self.read(self.store.load(task, steps).await?))
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        Ok(self.read(self.store.load_all(task).await?))
    }

    async fn read(&self, key: &Key) -> Result<Item, TableError> {
        self.store.read(key).await
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<IndexEntry>, TableError> {
        self.store.list(page).await
    }

    async fn range(&self, from: &Key, limit: u16) -> Result<Vec<Item>, TableError> {
        let items = self.store.range(from, limit).await?;
        let read = |item| if self.version == Version::Newer { lowered(item) } else { item };
        Ok(items.into_iter().map(read).collect())
    }

    async fn newest(&self, before: TaskId, limit: u16) -> Result<Vec<TaskId>, TableError> {
        self.store.newest(before, limit).await
    }

    async fn read_all(&self, keys: &[Key], attributes: &[&'static str]) -> Result<Vec<(Key, Item)>, TableError> {
        let items = self.store.read_all(keys, attributes).await?;
        let read = |item| if self.version == Version::Newer { lowered(item) } else { item };
        Ok(items.into_iter().map(|(key, item)| (key, read(item))).collect())
    }
}
