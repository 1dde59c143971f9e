//! Finds tasks by their entries in the index, or by a search key.

use super::Client;
use crate::{
    core::{
        codec::Unreadable,
        filter::{Before, Cursor, Filter},
        id::TaskId,
        index::{IndexEntry, IndexPartition, IndexPosition, Page},
        item::{Item, Key, attribute},
        record::StepRecord,
        search::{SearchValue, task_found},
        state::{StepState, TaskStatus},
        timestamp::Timestamp,
    },
    ports::{Queue, Runtime, Store, TableError},
};
use futures::future::try_join_all;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How many entries of the index are read at a time.
const PAGE: u16 = 100;

/// How many entries one call reads in all, so that a filter that matches few tasks still answers in time.
const MOST_READ: usize = 1_000;

/// How many shards are asked beside each other at first. Where these have little, all others of their partition are asked at once: so a
/// list of few tasks takes few rounds, and one of many throws away little of what it reads.
const FIRST_SHARDS: usize = 4;

/// How long before its task is written an id is made, for all tasks but those whose start broke off and was repeated later.
const START_TIME: Duration = Duration::from_secs(600);

/// A page of found tasks.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskPage<C = Cursor> {
    /// The tasks.
    pub tasks: Vec<Summary>,
    /// The start of the next page, if there may be one. There may be more tasks even if this page is empty.
    pub next: Option<C>,
}

/// A found task.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The task.
    pub task_id: TaskId,
    /// The workflow, as `namespace/name@version`.
    pub workflow: String,
    /// The status without regard to the steps: never `in_progress`.
    pub status: TaskStatus,
    /// The time of the start.
    pub created_at: Timestamp,
    /// The steps that failed for good.
    pub failed_steps: BTreeSet<String>,
    /// Whether the task [waits for a person](crate::core::index::IndexEntry::needs_person).
    pub needs_person: bool,
    /// The step that the filter names.
    pub step: Option<StepSummary>,
}

/// How a step of a found task stands.
#[derive(Clone, Debug, PartialEq)]
pub struct StepSummary {
    /// The name.
    pub name: String,
    /// The state.
    pub state: StepState,
    /// The number of the last attempt.
    pub attempt: u32,
    /// The code of the last error.
    pub error_code: Option<String>,
    /// The time before which a retry is not attempted.
    pub next_retry_at: Option<Timestamp>,
}

impl Summary {
    fn of(entry: IndexEntry, step: Option<StepRecord>) -> Self {
        let IndexEntry { place, workflow, status, created_at, failed_steps, needs_person } = entry;
        let step = step.map(|StepRecord { name, state, attempt, error, next_retry_at, .. }| StepSummary {
            name,
            state,
            attempt,
            error_code: error.map(|error| error.code),
            next_retry_at,
        });
        Self { task_id: place.task, workflow, status, created_at, failed_steps, needs_person, step }
    }
}

impl<T: Store, Q: Queue, A: Runtime> Client<T, Q, A> {
    /// Finds at most `limit` tasks, starting at `from`: by status, and then in no particular order. The index is eventually
    /// consistent, so a new or recently changed task may be missing. A task that changes between two pages may be on both.
    ///
    /// # Errors
    /// The store failed.
    pub async fn find(&self, filter: &Filter, from: Option<&Cursor>, limit: usize) -> Result<TaskPage, TableError> {
        let parts = filter.parts();
        let mut tasks = Vec::new();
        let (mut part, mut after) = from.map_or((0, None), |cursor| (cursor.part, cursor.after));
        // What begins within a shard probably fills its page there.
        let (mut read, mut width) = (0, if after.is_some() { 1 } else { FIRST_SHARDS });
        while let Some((partition, _)) = parts.get(part) {
            if tasks.len() >= limit || read >= MOST_READ {
                return Ok(TaskPage { tasks, next: Some(Cursor { part, after }) });
            }
            // Shards of one partition only: a task that goes to another one while both are read could be missed.
            let beside = parts.iter().skip(part).take_while(|(other, _)| other == partition).take(width);
            let beside = beside.enumerate().map(|(place, &shard)| self.entries_of(shard, after.filter(|_| place == 0)));
            let mut pages = try_join_all(beside).await?;
            let whole = |listed: &Vec<IndexEntry>| listed.len() < usize::from(PAGE);
            // The rest of a shard comes before the next one.
            let is_full = pages.iter().position(|listed| !whole(listed));
            pages.truncate(is_full.map_or(pages.len(), |full| full + 1));
            width = if is_full.is_some() { 1 } else { parts.len() };
            let pages_in_order: Vec<(usize, bool)> = pages.iter().map(|listed| (listed.len(), whole(listed))).collect();
            let mut judged = self.judge(filter, pages.into_iter().flatten().collect()).await?.into_iter();
            for (listed, whole) in pages_in_order {
                read += listed.max(1);
                for Judged { place, found } in judged.by_ref().take(listed) {
                    after = Some((place.at, place.task));
                    tasks.extend(found);
                    if tasks.len() >= limit {
                        return Ok(TaskPage { tasks, next: Some(Cursor { part, after }) });
                    }
                }
                if whole {
                    (part, after) = (part + 1, None);
                }
            }
        }
        Ok(TaskPage { tasks, next: None })
    }

    /// The entries of a shard of the index after this one, as many as are read at a time.
    async fn entries_of(
        &self,
        (partition, shard): (IndexPartition, u8),
        after: Option<(Timestamp, TaskId)>,
    ) -> Result<Vec<IndexEntry>, TableError> {
        let place = after.map(|(at, task)| IndexPosition { task, step: None, partition, at });
        self.engine.list(&Page { partition, shard, until: None, after: place.as_ref(), limit: PAGE }).await
    }

    /// Finds at most `limit` tasks before a position, the newest first: those with this value of a search key, or all. A task is
    /// found by a key as soon as it is written; the list of all is eventually consistent.
    ///
    /// The order is that of the ids. So a start that broke off and was repeated stands at the time of its first request, and a
    /// list of all from a time that is more than ten minutes later leaves it out.
    ///
    /// # Errors
    /// The store failed.
    pub async fn newest(
        &self,
        value: Option<&SearchValue>,
        filter: &Filter,
        before: Option<Before>,
        limit: usize,
    ) -> Result<TaskPage<Before>, TableError> {
        let started_before = filter.created_before.map(TaskId::first_at);
        let mut before =
            before.map(|Before(task)| task).into_iter().chain(started_before).min().unwrap_or(TaskId::LAST);
        // A value has few tasks, so there all are read.
        let from = filter.created_from.filter(|_| value.is_none());
        let first = from.map(|from| TaskId::first_at(from.before(START_TIME)));
        let size = u16::try_from(limit).unwrap_or(PAGE);
        let size = if filter.is_empty() { size } else { size.max(PAGE) };
        let (mut tasks, mut read) = (Vec::new(), 0);
        while read < MOST_READ {
            let (found, read_to_end) = match value {
                Some(value) => self.tasks_with(value, before, size).await?,
                None => {
                    let found = self.engine.newest(before, size).await?;
                    let short = found.len() < usize::from(size);
                    (found, short)
                }
            };
            let in_time: Vec<TaskId> =
                found.iter().copied().filter(|task| first.is_none_or(|first| first <= *task)).collect();
            let is_last = read_to_end || in_time.len() < found.len();
            read += in_time.len().max(1);
            let judged = self.judge(filter, self.entries(&in_time).await?).await?;
            let mut judged: BTreeMap<TaskId, Judged> = judged.into_iter().map(|one| (one.place.task, one)).collect();
            for task in &in_time {
                before = *task;
                tasks.extend(judged.remove(task).and_then(|one| one.found));
                if tasks.len() >= limit {
                    break;
                }
            }
            if is_last && in_time.last().is_none_or(|last| *last == before) {
                return Ok(TaskPage { tasks, next: None });
            }
            if tasks.len() >= limit {
                break;
            }
        }
        Ok(TaskPage { tasks, next: Some(Before(before)) })
    }

    /// At most `limit` tasks with this value before this one, and whether they are the last ones.
    async fn tasks_with(
        &self,
        value: &SearchValue,
        before: TaskId,
        limit: u16,
    ) -> Result<(Vec<TaskId>, bool), TableError> {
        let Some(from) = before.previous() else { return Ok((Vec::new(), true)) };
        let items = self.engine.range(&value.key(from), limit).await?;
        let mut unreadable = None;
        let mut leave_out = |error: Unreadable| {
            tracing::error!(%error, "a search key is left out");
            unreadable = Some(error);
        };
        let found: Vec<TaskId> =
            items.iter().filter_map(|item| task_found(item).map_err(&mut leave_out).ok()).collect();
        let is_last = items.len() < usize::from(limit);
        match unreadable {
            // The list could not go on after them.
            Some(error) if found.is_empty() && !is_last => Err(error.into()),
            _ => Ok((found, is_last)),
        }
    }

    /// Judges the entries of a page, in their order. The steps that this takes are read together.
    async fn judge(&self, filter: &Filter, entries: Vec<IndexEntry>) -> Result<Vec<Judged>, TableError> {
        let fitting = entries.iter().filter(|entry| filter.fits(entry));
        let steps = fitting.flat_map(|entry| filter.steps_of(entry).map(|step| (entry.place.task, step.to_owned())));
        let keys: Vec<Key> = steps.map(|(task, step)| Key::Step(task, step)).collect();
        let mut steps: BTreeMap<TaskId, Vec<StepRecord>> = BTreeMap::new();
        if !keys.is_empty() {
            for (key, item) in self.engine.read_all(&keys, &StepRecord::SUMMARIZED).await? {
                let Key::Step(task, name) = key else { continue };
                match StepRecord::from_item(task, &name, item) {
                    Ok(step) => steps.entry(task).or_default().push(step),
                    Err(error) => tracing::error!(%error, "an unreadable step is left out"),
                }
            }
        }
        let asks_steps = filter.step.is_some() || filter.error_code.is_some();
        let judged = entries.into_iter().map(|entry| {
            let place = entry.place.clone();
            let step = steps.remove(&place.task).into_iter().flatten().find(|step| filter.fits_step(step));
            let fits = filter.fits(&entry) && (step.is_some() || !asks_steps);
            Judged { place, found: fits.then(|| Summary::of(entry, step.filter(|_| filter.step.is_some()))) }
        });
        Ok(judged.collect())
    }

    /// Reads the own items of these tasks. One that does not exist is left out, and so is one that cannot be read.
    async fn entries(&self, tasks: &[TaskId]) -> Result<Vec<IndexEntry>, TableError> {
        let keys: Vec<Key> = tasks.iter().copied().map(Key::Task).collect();
        let attributes = [&[attribute::STATUS_SHARD, attribute::LISTED_AT], IndexEntry::PROJECTED.as_slice()].concat();
        let unreadable = |error: &Unreadable| tracing::error!(%error, "an unreadable task is left out");
        let read = |(key, item): (Key, Item)| IndexEntry::from_item(&key, &item).inspect_err(unreadable).ok();
        Ok(self.engine.read_all(&keys, &attributes).await?.into_iter().filter_map(read).collect())
    }
}

/// An entry of a page, and whether it is found.
struct Judged {
    place: IndexPosition,
    found: Option<Summary>,
}
