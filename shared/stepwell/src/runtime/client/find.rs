//! Finds tasks by their entries in the index.

use super::Client;
use crate::{
    core::{
        filter::{Cursor, Filter},
        id::TaskId,
        index::{IndexEntry, IndexPosition, Page},
        state::TaskStatus,
        timestamp::Timestamp,
    },
    ports::{Queue, Runtime, Store, TableError},
};
use std::collections::BTreeSet;

/// How many entries of the index are read at a time.
const PAGE: u16 = 100;

/// How many entries one call reads in all, so that a filter that matches few tasks still answers in time.
const MOST_READ: usize = 1_000;

/// A page of found tasks.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskPage {
    /// The tasks, by status and then in no particular order.
    pub tasks: Vec<Summary>,
    /// The start of the next page, if there may be one. There may be more tasks even if this page is empty.
    pub next: Option<Cursor>,
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

impl<T: Store, Q: Queue, A: Runtime> Client<T, Q, A> {
    /// Finds at most `limit` tasks, starting at `from`. The index is eventually consistent, so a new or recently changed task
    /// may be missing. A task that changes between two pages may be on both.
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
                if filter.fits(&listed) && self.has_error(&listed, filter.error_code.as_deref()).await? {
                    let IndexEntry { place, workflow, status, created_at, failed_steps, needs_person } = listed;
                    let task_id = place.task;
                    tasks.push(Summary { task_id, workflow, status, created_at, failed_steps, needs_person });
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
