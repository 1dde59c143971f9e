//! Starts, shows and stops actions on many tasks. The watchdog's function carries them out ([`runtime::bulk`](crate::runtime::bulk)).

use super::{Actor, Client, Summary, TaskPage};
use crate::{
    core::{
        bulk::{self, BulkAction, BulkActor, BulkCursor, BulkId, BulkRecord, BulkResults, BulkState, Pace},
        filter::{Cursor, Filter},
        format::NewerFormat,
        hex::hex,
        id::IdempotencyKey,
        item::Key,
        state::TaskStatus,
        timestamp::Timestamp,
    },
    ports::{Queue, Runtime, Store, TableError},
    runtime::error::EngineError,
};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// How many of the counted tasks are shown.
pub const SAMPLE: usize = 20;

/// The largest exact count. Reading the entries of so many tasks takes some seconds.
const MOST_COUNTED: usize = 50_000;

/// How many tasks are counted at a time.
const COUNTED_PAGE: usize = 1_000;

/// How many bulk actions are read at a time.
const READ_PAGE: u16 = 100;

/// A bulk action to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBulk {
    /// What it does to each task.
    pub action: BulkAction,
    /// The tasks that it is for. An empty filter is refused.
    pub filter: Filter,
    /// How fast it goes.
    pub pace: Pace,
    /// The number of tasks that the operator has agreed to.
    pub expected: usize,
    /// Whether the operator has agreed to more, because the tasks were too many to count.
    pub or_more: bool,
    /// The request, if it may be repeated.
    pub request: Option<BulkRequest>,
}

/// A request to start a bulk action that has an idempotency key: it may be repeated, and starts one bulk action only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BulkRequest {
    id: BulkId,
    hash: String,
}

impl BulkRequest {
    /// The request with this key and this text. The same key with another text is refused.
    pub fn new(key: &IdempotencyKey, text: &str) -> Self {
        Self { id: BulkId::of_key(key), hash: hex(Sha256::digest(text)) }
    }
}

impl NewBulk {
    /// The bulk action that an earlier request has started, if that was the same request.
    fn started(&self, found: BulkRecord) -> Result<BulkRecord, BulkError> {
        let hash = self.request.as_ref().map(|request| &request.hash);
        if found.request_hash.as_ref() == hash { Ok(found) } else { Err(BulkError::KeyUsed(found.id)) }
    }
}

/// How many tasks match.
#[derive(Clone, Debug, PartialEq)]
pub struct BulkCount {
    /// The number of tasks.
    pub tasks: usize,
    /// Whether there may be more: the count was given up, because there are too many or the time was over.
    pub or_more: bool,
    /// Some of the tasks, at most [`SAMPLE`].
    pub sample: Vec<Summary>,
}

/// The reason why a bulk action was not started, or not stopped.
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    /// The filter matches every task.
    #[error("the filter is empty, so it would match every task; give a status at least")]
    EmptyFilter,
    /// The action is not for tasks of this status.
    #[error("cannot {action} tasks in {status} status")]
    Status {
        /// The action.
        action: BulkAction,
        /// The status of the filter.
        status: TaskStatus,
    },
    /// More tasks match than the operator has agreed to.
    #[error("{}{} tasks match, and {expected} were expected; nothing was started", if .found.or_more { "at least " } else { "" }, .found.tasks)]
    More {
        /// The number of tasks that the operator has agreed to.
        expected: usize,
        /// The tasks that match.
        found: BulkCount,
    },
    /// The idempotency key was used with another request, which has started this bulk action.
    #[error("the idempotency key was used with another request, which has started the bulk action {0}")]
    KeyUsed(BulkId),
    /// There is no such bulk action.
    #[error("there is no bulk action {0}")]
    NotFound(BulkId),
    /// The bulk action is over, or is being stopped by somebody else.
    #[error("the bulk action is {0}, so it cannot be stopped")]
    NotRunning(BulkState),
    /// Only a newer version may act on the bulk action.
    #[error(transparent)]
    Newer(NewerFormat),
    /// The store failed. A start may have taken effect: the list of bulk actions shows it.
    #[error(transparent)]
    Table(#[from] TableError),
}

impl From<EngineError> for BulkError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Newer(newer) => Self::Newer(newer),
            EngineError::Table(error) => Self::Table(error),
            EngineError::Queue(error) => Self::Table(error.source.into()),
        }
    }
}

impl From<&Actor> for BulkActor {
    fn from(actor: &Actor) -> Self {
        Self { who: actor.who().to_owned(), why: actor.why().to_owned() }
    }
}

impl<T: Store, Q: Queue, A: Runtime> Client<T, Q, A> {
    /// Counts the tasks that a bulk action is for, until this time at the latest.
    ///
    /// # Errors
    /// [`BulkError::EmptyFilter`], [`BulkError::Status`], [`BulkError::Table`].
    pub async fn count_bulk(
        &self,
        action: BulkAction,
        filter: &Filter,
        until: Timestamp,
    ) -> Result<BulkCount, BulkError> {
        self.count(action, &self.checked(action, filter)?, MOST_COUNTED, until).await
    }

    /// Starts a bulk action. It counts the tasks first, until this time at the latest, and is refused if a tenth more than expected
    /// match, and more than ten. A [request](NewBulk::request) that has started one before gets that one, and nothing is counted.
    ///
    /// # Errors
    /// See [`BulkError`]. Nothing is started unless it says so.
    pub async fn start_bulk(&self, new: &NewBulk, actor: &Actor, until: Timestamp) -> Result<BulkRecord, BulkError> {
        let NewBulk { action, pace, expected, or_more, .. } = *new;
        let filter = self.checked(action, &new.filter)?;
        let id = new.request.as_ref().map(|request| request.id);
        if let Some(id) = id
            && let Some(found) = self.bulk(id).await?
        {
            return new.started(found);
        }
        if !or_more {
            let most = expected.saturating_add((expected / 10).max(10));
            let found = self.count(action, &filter, MOST_COUNTED.max(most.saturating_add(1)), until).await?;
            if found.tasks > most || found.or_more {
                return Err(BulkError::More { expected, found });
            }
        }
        let now = self.engine.now();
        let bulk = BulkRecord {
            id: id.unwrap_or_else(|| self.engine.runtime.new_task_id().into()),
            action,
            filter,
            started_by: actor.into(),
            request_hash: new.request.as_ref().map(|request| request.hash.clone()),
            pace,
            expected: expected.try_into().unwrap_or(u64::MAX),
            created_at: now,
            state: BulkState::Running,
            page: 0,
            planned: Vec::new(),
            cursor: BulkCursor::Start,
            done: 0,
            refused: BTreeMap::new(),
            due_at: now,
            finished_at: None,
            stopped_by: None,
            newer: None,
        };
        if self.engine.apply(&bulk::start(&bulk)).await?.is_written() {
            return Ok(bulk);
        }
        // The same request was here in the meantime, or its first write has taken effect though it seemed to fail.
        new.started(self.bulk(bulk.id).await?.ok_or(BulkError::NotFound(bulk.id))?)
    }

    /// Stops a bulk action: at most the page that it is acting on is finished. Whoever has stopped it may repeat that.
    ///
    /// # Errors
    /// [`BulkError::NotFound`], [`BulkError::NotRunning`], [`BulkError::Newer`], [`BulkError::Table`].
    pub async fn stop_bulk(&self, id: BulkId, actor: &Actor) -> Result<BulkRecord, BulkError> {
        let found = self.bulk(id).await?.ok_or(BulkError::NotFound(id))?;
        if let Some(newer) = found.newer {
            return Err(BulkError::Newer(newer));
        }
        let stopped = self.engine.apply(&bulk::stop(id, &actor.into())).await?.is_written();
        let bulk = self.bulk(id).await?.ok_or(BulkError::NotFound(id))?;
        if stopped { Ok(bulk) } else { Err(BulkError::NotRunning(bulk.state)) }
    }

    /// Reads a bulk action; `None` if it does not exist.
    ///
    /// # Errors
    /// The store failed.
    pub async fn bulk(&self, id: BulkId) -> Result<Option<BulkRecord>, TableError> {
        let found = self.engine.range(&Key::Bulk(id), 1).await?.pop();
        let bulk = found.map(BulkRecord::from_item).transpose()?;
        Ok(bulk.filter(|bulk| bulk.id == id))
    }

    /// Reads all bulk actions of the last 90 days, the oldest first. Few are ever started, so the list has no pages.
    ///
    /// # Errors
    /// The store failed. A bulk action that cannot be read is logged and left out.
    pub async fn bulks(&self) -> Result<Vec<BulkRecord>, TableError> {
        let (mut bulks, mut from) = (Vec::<BulkRecord>::new(), BulkId::FIRST);
        loop {
            let found = self.engine.range(&Key::Bulk(from), READ_PAGE).await?;
            let is_last = found.len() < usize::from(READ_PAGE);
            for item in found {
                match BulkRecord::from_item(item) {
                    Ok(bulk) if bulks.last().is_some_and(|last| last.id == bulk.id) => {}
                    Ok(bulk) => bulks.push(bulk),
                    Err(error) => tracing::error!(%error, "a bulk action that cannot be read is left out"),
                }
            }
            match bulks.last().map(|last| last.id).filter(|last| !is_last && *last != from) {
                Some(last) => from = last,
                None => break,
            }
        }
        bulks.sort_by_key(|bulk| (bulk.created_at, bulk.id));
        Ok(bulks)
    }

    /// Reads the results of a bulk action, from this page on, at most of so many pages.
    ///
    /// # Errors
    /// The store failed.
    pub async fn bulk_results(&self, id: BulkId, from: u32, pages: u16) -> Result<Vec<BulkResults>, TableError> {
        let found = self.engine.range(&Key::BulkResults(id, from), pages).await?;
        Ok(found.into_iter().map(BulkResults::from_item).collect::<Result<_, _>>()?)
    }

    /// The filter as the action narrows it, if it can be for the action.
    fn checked(&self, action: BulkAction, filter: &Filter) -> Result<Filter, BulkError> {
        if filter.is_empty() {
            return Err(BulkError::EmptyFilter);
        }
        match filter.status.filter(|status| !action.fits(*status)) {
            Some(status) => Err(BulkError::Status { action, status }),
            None => Ok(action.narrowed(filter, self.engine.now())),
        }
    }

    /// Finds tasks that a bulk action is for. Of completed tasks a redrive is for those with a warning.
    pub(crate) async fn find_for(
        &self,
        action: BulkAction,
        filter: &Filter,
        from: Option<&Cursor>,
        limit: usize,
    ) -> Result<TaskPage, TableError> {
        let mut page = self.find(filter, from, limit).await?;
        let redrives = action == BulkAction::Redrive;
        page.tasks.retain(|task| !redrives || task.status != TaskStatus::Complete || !task.failed_steps.is_empty());
        Ok(page)
    }

    async fn count(
        &self,
        action: BulkAction,
        filter: &Filter,
        most: usize,
        until: Timestamp,
    ) -> Result<BulkCount, BulkError> {
        let (mut count, mut from) = (BulkCount { tasks: 0, or_more: false, sample: Vec::new() }, None);
        loop {
            let page = self.find_for(action, filter, from.as_ref(), COUNTED_PAGE.min(most - count.tasks)).await?;
            count.tasks += page.tasks.len();
            count.sample.extend(page.tasks.into_iter().take(SAMPLE - count.sample.len()));
            from = page.next;
            count.or_more = from.is_some();
            if from.is_none() || count.tasks >= most || self.engine.now() >= until {
                return Ok(count);
            }
        }
    }
}
