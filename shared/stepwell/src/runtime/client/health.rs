//! How the open tasks stand as a whole, counted in the index.

use super::Client;
use crate::{
    core::{
        index::{IndexEntry, IndexPartition, Page},
        state::TaskStatus,
        timestamp::Timestamp,
    },
    ports::{Queue, Runtime, Store, TableError},
};
use futures::{StreamExt, TryStreamExt, stream};
use std::time::Duration;

/// How many entries of a shard are read. Ids spread tasks evenly over the 16 shards of a partition, so up to 800 tasks of a partition are
/// counted to the last one, and no more than 1,024 are read.
const READ: u16 = 64;

/// How long after its time an inspection counts as missed: two runs of the watchdog, of a minute each, and the length of a third one.
const MISSED_AFTER: Duration = Duration::from_secs(180);

/// How many shards are read at a time.
const CONCURRENCY: usize = 16;

/// The partitions with open tasks, and with those that wait for a person.
const COUNTED: [IndexPartition; 3] =
    [IndexPartition::Pending, IndexPartition::Compensating, IndexPartition::NeedsPerson];

/// A number of tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// The tasks that were counted.
    pub tasks: usize,
    /// Whether there may be more, because a shard of the index had more entries than are read.
    pub or_more: bool,
    /// The start of the oldest of those that were counted; `None` if there is none. If there may be more, one of them may be older: the index
    /// begins with those that are inspected next, and old tasks are inspected less often.
    pub oldest: Option<Timestamp>,
}

impl Count {
    /// Adds the entries that fit, of a shard that was read as a whole or not.
    fn add(&mut self, entries: &[IndexEntry], whole: bool, fits: impl Fn(&IndexEntry) -> bool) {
        let started = entries.iter().filter(|entry| fits(entry)).map(|entry| entry.created_at);
        self.tasks += started.clone().count();
        self.or_more |= !whole;
        self.oldest = started.chain(self.oldest).min();
    }
}

/// How the open tasks stand as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Tasks that run or are compensated, or have failed and are redriven or compensated later.
    pub open: Count,
    /// Those of them that run.
    pub running: Count,
    /// Those of them that have failed.
    pub failed: Count,
    /// Those of them that are compensated.
    pub compensating: Count,
    /// Those of them that run, and were started longer ago than their workflow gives them. A redriven task has its whole time once more, and is
    /// counted all the same.
    pub overdue: Count,
    /// Those of them that the watchdog should have inspected three minutes ago, so that a lost message of theirs would not be noticed. A task
    /// that needs a newer version is among them: nobody inspects it.
    pub stuck: Count,
    /// Tasks that wait for a person, open or not.
    pub needs_person: Count,
    /// Those of them of which the queue has given up a message, and whose redrives are used up.
    pub dead_lettered: Count,
}

impl Health {
    fn add(&mut self, partition: IndexPartition, entries: &[IndexEntry], now: Timestamp, time_of: &TimeOf<'_>) {
        let whole = entries.len() < usize::from(READ);
        if IndexPartition::WAITING_FOR_A_PERSON.contains(&partition) {
            self.needs_person.add(entries, whole, |entry| entry.needs_person);
        }
        if partition == IndexPartition::NeedsPerson {
            return self.dead_lettered.add(entries, whole, |_| true);
        }
        // A task is listed here also if it is complete, and an optional step of it is redriven.
        self.open.add(entries, whole, |entry| entry.status != TaskStatus::Complete);
        if partition == IndexPartition::Pending {
            self.running.add(entries, whole, |_| true);
            self.overdue.add(entries, whole, |entry| {
                time_of(&entry.workflow).is_some_and(|time| entry.created_at + time < now)
            });
        } else {
            self.failed.add(entries, whole, |entry| entry.status == TaskStatus::Error);
            self.compensating.add(entries, whole, |entry| entry.status == TaskStatus::Compensating);
        }
        // They stand in the order of their inspections, so where the last one is not missed, none is that was not read.
        let is_missed = |entry: &IndexEntry| entry.place.at + MISSED_AFTER < now;
        self.stuck.add(entries, whole || !entries.last().is_some_and(is_missed), is_missed);
    }
}

/// The time that a workflow gives its tasks, by its id as `namespace/name@version`.
type TimeOf<'a> = dyn Fn(&str) -> Option<Duration> + Sync + 'a;

impl<T: Store, Q: Queue, A: Runtime> Client<T, Q, A> {
    /// Counts how the open tasks stand. `time_of` says how long tasks of a workflow, named `namespace/name@version`, may be open. It makes
    /// 48 reads of the index, each of at most 64 entries, whatever the number of tasks. The index is eventually consistent.
    ///
    /// # Errors
    /// The store failed.
    pub async fn health(&self, time_of: &TimeOf<'_>) -> Result<Health, TableError> {
        let now = self.engine.now();
        let shards: Vec<_> = IndexPartition::shards_of(COUNTED)
            .map(|(partition, shard)| async move {
                let page = Page { partition, shard, until: None, after: None, limit: READ };
                Ok::<_, TableError>((partition, self.engine.list(&page).await?))
            })
            .collect();
        let mut shards = stream::iter(shards).buffer_unordered(CONCURRENCY);
        let mut health = Health::default();
        while let Some((partition, entries)) = shards.try_next().await? {
            health.add(partition, &entries, now, time_of);
        }
        Ok(health)
    }

    /// Checks by one small read that the store answers.
    ///
    /// # Errors
    /// The store failed.
    pub async fn check_store(&self) -> Result<(), TableError> {
        let page = Page { partition: IndexPartition::Pending, shard: 0, until: None, after: None, limit: 1 };
        self.engine.list(&page).await.map(drop)
    }
}
