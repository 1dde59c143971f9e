//! The client: starts and shows tasks. `operate` has the actions of operators, `find` the search.

mod find;
mod operate;

pub use find::{BulkRedriveReport, Cursor, Filter, NotACursor, RefusedTask, Summary, TaskPage};
pub use operate::{ActionError, Actor, InvalidActor};

use crate::{
    core::{
        format::{NEWER_FORMAT, NewerFormat},
        id::{IdempotencyKey, TaskId},
        limits::MAX_CONTEXT_BYTES,
        message::Outgoing,
        plan::StepPlan,
        record::{KeyRecord, NewTask},
        settlement::{Due, Settlement},
        snapshot::TaskSnapshot,
        state::StepState,
        task,
        timestamp::Timestamp,
        workflow::{Violation, Workflow},
    },
    ports::{Queue, QueueError, Runtime, Store, TableError},
    runtime::{engine::Engine, error::EngineError},
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// Starts, shows, finds, redrives, cancels, resolves and compensates tasks.
#[derive(Clone, Debug)]
pub struct Client<T, Q, A> {
    engine: Engine<T, Q, A>,
}

/// The answer to a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// The task.
    pub task_id: TaskId,
    /// Whether an earlier request with the same idempotency key started it.
    pub already_there: bool,
}

/// The reason why a task was not started. If a write or a send failed, the same request with the same idempotency key goes
/// on from there.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The context does not fit the workflow's schema.
    #[error("the context does not fit the workflow's schema in {} places", .0.len())]
    Invalid(Vec<Violation>),
    /// The context is larger than a task can hold.
    #[error("the context has {bytes} bytes; at most {max} fit into a task", max = MAX_CONTEXT_BYTES)]
    TooLarge {
        /// The size of the context as JSON.
        bytes: usize,
    },
    /// The idempotency key was used with another request.
    #[error("the idempotency key `{key}` was used with another request, which started task {task_id}")]
    KeyUsed {
        /// The key.
        key: String,
        /// The task that the other request started.
        task_id: TaskId,
    },
    /// The store failed.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A queue failed.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// The item of the idempotency key needs a newer reader.
    #[error(transparent)]
    Newer(NewerFormat),
}

impl<T: Store, Q: Queue, A: Runtime> Client<T, Q, A> {
    /// A client with this store, these queues and this clock.
    pub fn new(table: T, queue: Q, runtime: A) -> Self {
        Self { engine: Engine::new(table, queue, runtime) }
    }

    /// The current time, by the client's clock.
    pub fn now(&self) -> Timestamp {
        self.engine.now()
    }

    /// Starts a task: validates the context, writes the task, and sends a message to each root.
    ///
    /// With an idempotency key a repeated request starts one task only, and completes a start that broke off.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        &self,
        workflow: &Workflow,
        context: &Value,
        key: Option<&IdempotencyKey>,
    ) -> Result<Started, StartError> {
        workflow.validate(context).map_err(StartError::Invalid)?;
        let text = context.to_string();
        if text.len() > MAX_CONTEXT_BYTES {
            return Err(StartError::TooLarge { bytes: text.len() });
        }
        let (mut id, mut created_at) = (self.engine.runtime.new_task_id(), self.engine.now());
        if let Some(key) = key {
            let request_hash = request_hash(workflow, &text);
            let wanted = KeyRecord {
                namespace: workflow.id().namespace.clone(),
                key: key.as_str().to_owned(),
                task: id,
                request_hash: request_hash.clone(),
                created_at,
                newer: None,
            };
            let found = self.engine.reserve(wanted).await?;
            let same = found.request_hash == request_hash;
            match found.newer {
                None if same => {}
                None => return Err(StartError::KeyUsed { key: found.key, task_id: found.task }),
                // The newer version has started the task. Only that version may complete a start of its own that broke off.
                Some(newer) if same && self.snapshot(found.task).await?.is_some() => {
                    return Ok(started_by(found.task, &newer));
                }
                Some(newer) => {
                    tracing::error!(key = found.key, code = NEWER_FORMAT, error = %newer, "not started");
                    return Err(StartError::Newer(newer));
                }
            }
            (id, created_at) = (found.task, found.created_at);
        }
        let plan = workflow.plan_for(context);
        let new = NewTask { id, workflow: workflow.id().to_string(), context: &text, plan: &plan, created_at };
        let start = Settlement::of(task::create(&new)).then(wake(id, &workflow.id().name, plan.roots()));
        let already_there = match self.engine.settle(id, start).await {
            Ok(None) => self.wake_untouched_roots(id).await.map(|()| true),
            Ok(Some(followed)) => followed.map(|()| false),
            Err(error) => Err(error),
        };
        match already_there {
            Err(EngineError::Newer(newer)) => Ok(started_by(id, &newer)),
            already_there => Ok(Started { task_id: id, already_there: already_there? }),
        }
    }

    /// Reads the task with all of its steps; `None` if it does not exist. A task that needs a newer reader is read as far as
    /// possible ([`TaskSnapshot::newer`]).
    ///
    /// # Errors
    /// The store failed.
    pub async fn snapshot(&self, id: TaskId) -> Result<Option<TaskSnapshot>, TableError> {
        self.engine.shown(id).await
    }

    /// Sends messages to the roots that are still pending, because the start that wrote this task may have broken off before
    /// its sends. A root that a worker has claimed has had its message.
    async fn wake_untouched_roots(&self, id: TaskId) -> Result<(), EngineError> {
        let Some(snapshot) = self.engine.snapshot(id).await? else { return Ok(()) };
        let untouched =
            |step: &&StepPlan| snapshot.step(&step.name).is_none_or(|record| record.state == StepState::Pending);
        let then = wake(id, snapshot.task.workflow_name(), snapshot.task.plan.roots().filter(untouched));
        self.engine.follow_up(id, then.map(Into::into).collect()).await
    }
}

/// The answer to the repeated start of a task that needs a newer reader. Only the newer version may act on the task, but it
/// can be shown.
fn started_by(task_id: TaskId, newer: &NewerFormat) -> Started {
    tracing::error!(%task_id, code = NEWER_FORMAT, error = %newer, "started before; no messages sent");
    Started { task_id, already_there: true }
}

/// The messages of these steps.
fn wake<'a>(task: TaskId, workflow: &str, steps: impl Iterator<Item = &'a StepPlan>) -> impl Iterator<Item = Due> {
    steps.map(move |step| Due::Send(Outgoing { workflow: workflow.to_owned(), message: step.message(task) }))
}

impl From<EngineError> for StartError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Table(error) => Self::Table(error),
            EngineError::Queue(error) => Self::Queue(error),
            EngineError::Newer(newer) => Self::Newer(newer),
        }
    }
}

/// SHA-256 over the workflow's name and the context, as hex. It leaves out the version, so that a request is still the same
/// after a deployment.
fn request_hash(workflow: &Workflow, context: &str) -> String {
    let digest = Sha256::new_with_prefix(&workflow.id().name).chain_update([0]).chain_update(context).finalize();
    digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests;
