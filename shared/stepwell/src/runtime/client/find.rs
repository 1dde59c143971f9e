//! Finds tasks by their entries in the index, and redrives tasks in bulk.

use super::{ActionError, Actor, Client};
use crate::{
    core::{
        id::TaskId,
        index::{IndexEntry, IndexPartition, IndexPosition, Page},
        record::{Action, ActionKind},
        state::TaskStatus,
        timestamp::Timestamp,
    },
    ports::{Queue, Runtime, Store, TableError},
};
use std::{collections::BTreeSet, fmt, str::FromStr};

/// How many entries of the index are read at a time.
const PAGE: u16 = 100;

/// How many entries one call reads in all, so that a filter that matches few tasks still answers in time.
const MOST_READ: usize = 1_000;

/// A filter for tasks. A task has to match all of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The status, by its word. `in_progress` matches the same tasks as `pending`, because only the steps distinguish them.
    pub status: Option<TaskStatus>,
    /// The workflow, as `namespace/name` or `namespace/name@version`.
    pub workflow: Option<String>,
    /// A step that failed for good.
    pub failed_step: Option<String>,
    /// The error code of a step that failed for good.
    pub error_code: Option<String>,
    /// Whether the task has been compensated.
    pub compensated: Option<bool>,
    /// Whether the task [waits for a person](crate::core::index::IndexEntry::needs_person).
    pub needs_person: Option<bool>,
    /// The earliest start, inclusive.
    pub created_from: Option<Timestamp>,
    /// The latest start, exclusive.
    pub created_before: Option<Timestamp>,
}

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

/// The results of a bulk redrive.
#[derive(Debug)]
pub struct BulkRedriveReport {
    /// The tasks that match the filter.
    pub found: TaskPage,
    /// How many of them were redriven.
    pub redriven: usize,
    /// The tasks whose redrive was refused.
    pub refused: Vec<RefusedTask>,
}

/// A task whose redrive was refused.
#[derive(Debug)]
pub struct RefusedTask {
    /// The task.
    pub task_id: TaskId,
    /// The reason.
    pub error: ActionError,
}

/// A position in the list of found tasks. Its text is opaque to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The time of the request for the first page.
    begun: Timestamp,
    part: usize,
    after: Option<(Timestamp, TaskId)>,
}

/// A text that is not a cursor.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a `next` that a list has ended with")]
pub struct NotACursor(String);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.begun.as_millis(), self.part)?;
        match &self.after {
            Some((at, task)) => write!(f, "_{}_{task}", at.as_millis()),
            None => Ok(()),
        }
    }
}

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let parse = || {
            let mut words = text.split('_');
            let begun = Timestamp::from_millis(words.next()?.parse().ok()?);
            let part = words.next()?.parse().ok()?;
            let after = match words.next() {
                Some(at) => Some((Timestamp::from_millis(at.parse().ok()?), words.next()?.parse().ok()?)),
                None => None,
            };
            words.next().is_none().then_some(Self { begun, part, after })
        };
        parse().ok_or_else(|| NotACursor(text.to_owned()))
    }
}

impl Filter {
    /// The shards of the index that can have matching tasks.
    fn parts(&self) -> Vec<(IndexPartition, u8)> {
        let listings = self.status.map_or(&IndexPartition::ALL[..], IndexPartition::of);
        let possible = |listing: &&IndexPartition| {
            self.needs_person != Some(true) || IndexPartition::WAITING_FOR_A_PERSON.contains(listing)
        };
        listings
            .iter()
            .filter(possible)
            .flat_map(|&partition| (0..IndexPartition::SHARDS).map(move |shard| (partition, shard)))
            .collect()
    }

    fn fits(&self, listed: &IndexEntry) -> bool {
        let status = |wanted| match wanted {
            TaskStatus::InProgress => listed.status == TaskStatus::Pending,
            wanted => listed.status.as_str() == wanted.as_str(),
        };
        let workflow = |wanted: &String| {
            listed.workflow == *wanted || listed.workflow.split_once('@').is_some_and(|(name, _)| name == wanted)
        };
        self.status.is_none_or(status)
            && self.workflow.as_ref().is_none_or(workflow)
            && self.failed_step.as_ref().is_none_or(|step| listed.failed_steps.contains(step))
            && self.compensated.is_none_or(|wanted| listed.status.is_compensated() == wanted)
            && self.needs_person.is_none_or(|wanted| listed.needs_person == wanted)
            && self.created_from.is_none_or(|from| from <= listed.created_at)
            && self.created_before.is_none_or(|before| listed.created_at < before)
    }
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
        let begun = from.map_or_else(|| self.engine.now(), |cursor| cursor.begun);
        let (mut part, mut after) = from.map_or((0, None), |cursor| (cursor.part, cursor.after));
        let mut read = 0;
        while let Some(&(partition, shard)) = parts.get(part) {
            if tasks.len() >= limit || read >= MOST_READ {
                return Ok(TaskPage { tasks, next: Some(Cursor { begun, part, after }) });
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
                    return Ok(TaskPage { tasks, next: Some(Cursor { begun, part, after }) });
                }
            }
            if whole {
                (part, after) = (part + 1, None);
            }
        }
        Ok(TaskPage { tasks, next: None })
    }

    /// Finds failed tasks and redrives them. Without an `actor` it only finds them. Compensated tasks cannot be redriven, and
    /// are left out unless the filter asks for them. Of completed tasks only those with a warning are found. A task that fails again is not redriven a second time by a later page.
    ///
    /// # Errors
    /// The store failed during the search. A refused redrive is in the report.
    pub async fn redrive_all(
        &self,
        filter: &Filter,
        from: Option<&Cursor>,
        limit: usize,
        actor: Option<&Actor>,
    ) -> Result<BulkRedriveReport, TableError> {
        // What needs a person has failed, or a compensation of it has.
        let default = (filter.needs_person != Some(true)).then_some(TaskStatus::Error);
        let failed = Filter {
            status: filter.status.or(default),
            compensated: filter.compensated.or(Some(false)),
            ..filter.clone()
        };
        let TaskPage { tasks, next } = self.find(&failed, from, limit).await?;
        let mut report =
            BulkRedriveReport { found: TaskPage { tasks: Vec::new(), next }, redriven: 0, refused: Vec::new() };
        let unblemished = |task: &Summary| task.status == TaskStatus::Complete && task.failed_steps.is_empty();
        for task in tasks.into_iter().filter(|task| !unblemished(task)) {
            if let Some(actor) = actor {
                match self.redrive_once(task.task_id, actor, from.map(|cursor| cursor.begun)).await {
                    Ok(true) => report.redriven += 1,
                    Ok(false) => continue,
                    Err(error) => report.refused.push(RefusedTask { task_id: task.task_id, error }),
                }
            }
            report.found.tasks.push(task);
        }
        Ok(report)
    }

    /// Redrives a task, unless the same actor has done so for the same reason since then. Returns whether it did.
    async fn redrive_once(&self, id: TaskId, actor: &Actor, since: Option<Timestamp>) -> Result<bool, ActionError> {
        if let Some(since) = since
            && let Some(snapshot) = self.snapshot(id).await?
        {
            let now = self.action(ActionKind::Redrive, None, actor);
            let same = |action: &Action| action.at >= since && *action == Action { at: action.at, ..now.clone() };
            if snapshot.task.actions.iter().any(same) {
                return Ok(false);
            }
        }
        self.redrive(id, actor).await.map(|_| true)
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
