//! What the routes need of the engine.

use std::future::Future;
use stepwell::{
    ActionError, Ambient, By, Client, Cursor, Filter, Found, Matches, TaskId, Timestamp,
    core::{
        history::History,
        state::{TaskState, TaskStatus},
    },
    ports::{Queue, Store, TableError},
};

/// What can be done to a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// What failed gets a fresh set of attempts.
    Retry,
    /// Nothing new starts, and what was done is undone.
    Cancel,
    /// What was done is undone.
    Compensate,
    /// It is declared done.
    Resolve,
    /// A step is declared done, with this result: JSON as text.
    ResolveStep { step: String, result: String },
}

/// The tasks, wherever they are kept.
pub(crate) trait Backend: Send + Sync + 'static {
    /// The moment it is.
    fn now(&self) -> Timestamp;

    /// Some of the tasks that fit.
    fn find(
        &self,
        filter: &Filter,
        from: Option<&Cursor>,
        limit: usize,
    ) -> impl Future<Output = Result<Found, TableError>> + Send;

    /// A task with all that has happened to it.
    fn history(&self, id: TaskId) -> impl Future<Output = Result<Option<History>, TableError>> + Send;

    /// Does something to a task, and answers with the status that this leads to.
    fn act(&self, id: TaskId, act: &Act, by: &By) -> impl Future<Output = Result<TaskStatus, ActionError>> + Send;

    /// Retries the failed tasks that fit; where `by` is nobody, only finds them.
    fn retry_all(
        &self,
        filter: &Filter,
        from: Option<&Cursor>,
        limit: usize,
        by: Option<&By>,
    ) -> impl Future<Output = Result<Matches, TableError>> + Send;
}

impl<S, Q, A> Backend for Client<S, Q, A>
where
    S: Store + 'static,
    Q: Queue + 'static,
    A: Ambient + 'static,
{
    fn now(&self) -> Timestamp {
        Client::now(self)
    }

    async fn find(&self, filter: &Filter, from: Option<&Cursor>, limit: usize) -> Result<Found, TableError> {
        self.find(filter, from, limit).await
    }

    async fn history(&self, id: TaskId) -> Result<Option<History>, TableError> {
        self.history(id).await
    }

    async fn act(&self, id: TaskId, act: &Act, by: &By) -> Result<TaskStatus, ActionError> {
        match act {
            Act::Retry => Ok(match self.retry(id, by).await?.task.state {
                TaskState::Compensating(_) => TaskStatus::Compensating,
                _ => TaskStatus::Pending,
            }),
            Act::Cancel => self.cancel(id, by).await,
            Act::Compensate => self.compensate(id, by).await.map(|()| TaskStatus::Compensating),
            Act::Resolve => self.resolve(id, by).await.map(|()| TaskStatus::ResolvedManually),
            Act::ResolveStep { step, result } => {
                self.resolve_step(id, step, result, by).await?;
                // Whether others have failed too is in the table only.
                let history = self.history(id).await?.ok_or(ActionError::NotFound(id))?;
                Ok(history.status())
            }
        }
    }

    async fn retry_all(
        &self,
        filter: &Filter,
        from: Option<&Cursor>,
        limit: usize,
        by: Option<&By>,
    ) -> Result<Matches, TableError> {
        self.retry_all(filter, from, limit, by).await
    }
}
