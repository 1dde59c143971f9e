//! Finding tasks by what the index says of them, and redriving all that are found.

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

/// How many entries one call reads in all, so that a filter which few tasks fit still answers in time.
const MOST_READ: usize = 1_000;

/// Which tasks are looked for: those that fit all that is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The status, by its word. `in_progress` finds the same as `pending`: only the steps tell them apart.
    pub status: Option<TaskStatus>,
    /// The workflow, as `namespace/name` or `namespace/name@version`.
    pub workflow: Option<String>,
    /// A step that failed for good.
    pub failed_step: Option<String>,
    /// The code of the error of a step that failed for good.
    pub error_code: Option<String>,
    /// Whether all that it has done has been undone.
    pub compensated: Option<bool>,
    /// Started at this moment or after it.
    pub created_from: Option<Timestamp>,
    /// Started before this moment.
    pub created_before: Option<Timestamp>,
}

/// Some of the tasks that were looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskPage {
    /// The tasks, by status and then in no particular order.
    pub tasks: Vec<Summary>,
    /// Where to go on, where there may be more. There may be more even if no task was found.
    pub next: Option<Cursor>,
}

/// A task in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Its id.
    pub task_id: TaskId,
    /// The workflow it runs, as `namespace/name@version`.
    pub workflow: String,
    /// Its status, without a look at its steps: never `in_progress`.
    pub status: TaskStatus,
    /// When it was started.
    pub created_at: Timestamp,
    /// The steps that failed for good.
    pub failed_steps: BTreeSet<String>,
}

/// What became of the tasks that were to be redriven.
#[derive(Debug)]
pub struct BulkRedriveReport {
    /// The tasks that fit the filter.
    pub found: TaskPage,
    /// How many of them were redriven.
    pub redriven: usize,
    /// Those that were not, and why.
    pub refused: Vec<RefusedTask>,
}

/// A task that was not redriven.
#[derive(Debug)]
pub struct RefusedTask {
    /// The task.
    pub task_id: TaskId,
    /// Why.
    pub error: ActionError,
}

/// A place in the list of all tasks. As a text it is one word, to be handed back as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// When the first page was asked for.
    begun: Timestamp,
    part: usize,
    after: Option<(Timestamp, TaskId)>,
}

/// A text that is not a place in the list.
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
    /// The parts of the index in which such tasks can be.
    fn parts(&self) -> Vec<(IndexPartition, u8)> {
        let listings = self.status.map_or(&IndexPartition::ALL[..], IndexPartition::of);
        listings.iter().flat_map(|&listing| (0..IndexPartition::SHARDS).map(move |shard| (listing, shard))).collect()
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
            && self.created_from.is_none_or(|from| from <= listed.created_at)
            && self.created_before.is_none_or(|before| listed.created_at < before)
    }
}

impl<T: Store, Q: Queue, A: Runtime> Client<T, Q, A> {
    /// Finds tasks: `limit` of them at most, from where `from` says. A task that was started or has changed a moment
    /// ago may be missing, and one that changes between two pages may be on both.
    ///
    /// # Errors
    /// The table's.
    pub async fn find(&self, filter: &Filter, from: Option<&Cursor>, limit: usize) -> Result<TaskPage, TableError> {
        let parts = filter.parts();
        let mut tasks = Vec::new();
        let begun = from.map_or_else(|| self.engine.now(), |cursor| cursor.begun);
        let (mut part, mut after) = from.map_or((0, None), |cursor| (cursor.part, cursor.after));
        let mut read = 0;
        while let Some(&(listing, shard)) = parts.get(part) {
            if tasks.len() >= limit || read >= MOST_READ {
                return Ok(TaskPage { tasks, next: Some(Cursor { begun, part, after }) });
            }
            let place = after.map(|(at, task)| IndexPosition { task, listing, at });
            let page = Page { listing, shard, until: None, after: place.as_ref(), limit: PAGE };
            let listed = self.engine.list(&page).await?;
            read += listed.len().max(1);
            let whole = listed.len() < usize::from(PAGE);
            for listed in listed {
                after = Some((listed.place.at, listed.place.task));
                if filter.fits(&listed) && self.has_error(&listed, filter.error_code.as_deref()).await? {
                    let IndexEntry { place, workflow, status, created_at, failed_steps } = listed;
                    let task_id = place.task;
                    tasks.push(Summary { task_id, workflow, status, created_at, failed_steps });
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

    /// Finds failed tasks and gives each a fresh set of attempts, or, where `by` is nobody, only says which they are. What
    /// is compensated can have no other attempt, and is not among them unless the filter asks for it. A task that fails
    /// again is not redriven a second time by a later page.
    ///
    /// # Errors
    /// The table's, while looking. A task that is not redriven is in the answer.
    pub async fn redrive_all(
        &self,
        filter: &Filter,
        from: Option<&Cursor>,
        limit: usize,
        actor: Option<&Actor>,
    ) -> Result<BulkRedriveReport, TableError> {
        let failed = Filter {
            status: filter.status.or(Some(TaskStatus::Error)),
            compensated: filter.compensated.or(Some(false)),
            ..filter.clone()
        };
        let TaskPage { tasks, next } = self.find(&failed, from, limit).await?;
        let mut matches =
            BulkRedriveReport { found: TaskPage { tasks: Vec::new(), next }, redriven: 0, refused: Vec::new() };
        for task in tasks {
            if let Some(actor) = actor {
                match self.redrive_once(task.task_id, actor, from.map(|cursor| cursor.begun)).await {
                    Ok(true) => matches.redriven += 1,
                    Ok(false) => continue,
                    Err(error) => matches.refused.push(RefusedTask { task_id: task.task_id, error }),
                }
            }
            matches.found.tasks.push(task);
        }
        Ok(matches)
    }

    /// Redrives a task, unless the same people have done so for the same reason since then; answers with whether it did.
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
