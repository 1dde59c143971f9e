//! A backend in memory: tasks as they are put there, and a list of what was asked for.

use crate::backend::{Act, Backend};
use std::sync::{Arc, Mutex, MutexGuard};
use stepwell::{
    ActionError, By, CallError, Cursor, FailureKind, Filter, Found, Matches, Refusal, Summary, TaskId, Timestamp,
    core::{history::History, record::ActionKind, state::TaskStatus},
    ports::TableError,
};

/// What there is, what was asked for, and what is broken. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
pub(super) struct State {
    pub(super) history: Option<History>,
    pub(super) found: Vec<Summary>,
    pub(super) next: Option<Cursor>,
    /// The answer to the next action, where it is a refusal.
    pub(super) refusal: Option<ActionError>,
    pub(super) outage: bool,
    pub(super) searches: Vec<(Filter, Option<Cursor>, usize)>,
    pub(super) actions: Vec<(TaskId, Act, By)>,
    pub(super) retried_by: Vec<Option<By>>,
}

/// Words of an outage that no client may read.
pub(super) const INTERNALS: &str = "arn:aws:dynamodb:eu-central-1:123456789012:table/stepwell-dev-tasks";

/// The moment it always is.
pub(super) const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

impl Fake {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Whether nothing was done, or even looked for.
    pub(super) fn is_untouched(&self) -> bool {
        let state = self.state();
        state.searches.is_empty() && state.actions.is_empty() && state.retried_by.is_empty()
    }

    fn table(&self) -> Result<(), TableError> {
        if self.state().outage { Err(outage()) } else { Ok(()) }
    }
}

/// The table's error while it is down.
pub(super) fn outage() -> TableError {
    CallError::new("Query", FailureKind::Unavailable, INTERNALS).into()
}

impl Backend for Fake {
    fn now(&self) -> Timestamp {
        NOW
    }

    async fn find(&self, filter: &Filter, from: Option<&Cursor>, limit: usize) -> Result<Found, TableError> {
        self.table()?;
        let mut state = self.state();
        state.searches.push((filter.clone(), from.cloned(), limit));
        Ok(Found { tasks: state.found.clone(), next: state.next.clone() })
    }

    async fn history(&self, id: TaskId) -> Result<Option<History>, TableError> {
        self.table()?;
        Ok(self.state().history.clone().filter(|history| history.task.id == id))
    }

    async fn act(&self, id: TaskId, act: &Act, by: &By) -> Result<TaskStatus, ActionError> {
        self.table()?;
        let mut state = self.state();
        if let Some(refusal) = state.refusal.take() {
            return Err(refusal);
        }
        state.actions.push((id, act.clone(), by.clone()));
        Ok(TaskStatus::Pending)
    }

    async fn retry_all(
        &self,
        filter: &Filter,
        from: Option<&Cursor>,
        limit: usize,
        by: Option<&By>,
    ) -> Result<Matches, TableError> {
        let found = self.find(filter, from, limit).await?;
        let mut state = self.state();
        state.retried_by.push(by.cloned());
        if by.is_none() {
            return Ok(Matches { found, retried: 0, refused: Vec::new() });
        }
        let errors = [ActionError::Status { action: ActionKind::Retry, status: TaskStatus::Pending }, outage().into()];
        let ids = found.tasks.iter().rev().map(|task| task.task_id);
        let refused: Vec<Refusal> = ids.zip(errors).map(|(task_id, error)| Refusal { task_id, error }).collect();
        Ok(Matches { retried: found.tasks.len() - refused.len(), found, refused })
    }
}
