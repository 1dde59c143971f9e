//! Finds tasks by their entries in the index, or by a search key.

use super::Client;
use crate::{
    core::{
        codec::Unreadable,
        filter::{Before, Cursor, Filter},
        id::TaskId,
        index::{IndexEntry, IndexPosition, Page},
        search::{SearchValue, task_found},
        state::TaskStatus,
        timestamp::Timestamp,
    },
    ports::{Queue, Runtime, Store, TableError},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How many entries of the index are read at a time.
const PAGE: u16 = 100;

/// How many entries one call reads in all, so that a filter that matches few tasks still answers in time.
const MOST_READ: usize = 1_000;

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
}

impl From<IndexEntry> for Summary {
    fn from(entry: IndexEntry) -> Self {
        let IndexEntry { place, workflow, status, created_at, failed_steps, needs_person } = entry;
        Self { task_id: place.task, workflow, status, created_at, failed_steps, needs_person }
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
        let mut read = 0;
        while let Some(&(partition, shard)) = parts.get(part) {
            if tasks.len() >= limit || read >= MOST_READ {
                return Ok(TaskPage { tasks, next: Some(Cursor { part, after }) });
            }
            let place = after.map(|(at, task)| IndexPosition { task, step: None, partition, at });
            let page = Page { partition, shard, until: None, after: place.as_ref(), limit: PAGE };
            let listed = self.engine.list(&page).await?;
            read += listed.len().max(1);
            let whole = listed.len() < usize::from(PAGE);
            for listed in listed {
                after = Some((listed.place.at, listed.place.task));
                if self.matches(filter, &listed).await? {
                    tasks.push(listed.into());
                }
                if tasks.len() >= limit {
                    return Ok(TaskPage { tasks, next: Some(Cursor { part, after }) });
                }
            }
            if whole {
                (part, after) = (part + 1, None);
            }
        }
        Ok(TaskPage { tasks, next: None })
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
            let entries = self.engine.entries(&in_time).await?;
            let mut entries: BTreeMap<TaskId, IndexEntry> =
                entries.into_iter().map(|entry| (entry.place.task, entry)).collect();
            for task in &in_time {
                before = *task;
                if let Some(entry) = entries.remove(task)
                    && self.matches(filter, &entry).await?
                {
                    tasks.push(entry.into());
                }
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
        match unreadable {
            // The list could not go on after them.
            Some(error) if found.is_empty() => Err(error.into()),
            _ => Ok((found, items.len() < usize::from(limit))),
        }
    }

    async fn matches(&self, filter: &Filter, entry: &IndexEntry) -> Result<bool, TableError> {
        Ok(filter.fits(entry) && self.has_error(entry, filter.error_code.as_deref()).await?)
    }

    async fn has_error(&self, listed: &IndexEntry, code: Option<&str>) -> Result<bool, TableError> {
        let Some(code) = code else { return Ok(true) };
        let failed: BTreeSet<&str> = listed.failed_steps.iter().map(String::as_str).collect();
        if failed.is_empty() {
            return Ok(false);
        }
        let steps = self.engine.shown_steps(listed.place.task, &failed).await?.steps;
        Ok(steps.values().any(|step| step.error.as_ref().is_some_and(|error| error.code == code)))
    }
}
