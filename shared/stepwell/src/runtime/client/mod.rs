//! The client: starts and shows tasks. `operate` has the actions of operators, `rerun` one of them, `find` the search, `bulk` the start of actions on
//! many tasks, `pause` the pauses of steps, `analytics` figures of many tasks, `health` how the open tasks stand.

mod analytics;
mod bulk;
mod find;
mod health;
mod operate;
mod pause;
mod rerun;

pub use analytics::MOST_SAMPLED;
pub use bulk::{BulkCount, BulkError, BulkRequest, NewBulk, SAMPLE};
pub use find::{StepSummary, Summary, TaskPage};
pub use health::{Count, Health};
pub use operate::{ActionError, Actor, InvalidActor, ManualResult, RUN_NOW_PAUSE};
pub use pause::{PauseError, Paused};
pub use rerun::{Rerun, RerunRequest};

use crate::{
    core::{
        backlog::Overload,
        codes::EngineCode,
        format::{NEWER_FORMAT, NewerFormat},
        hex::hex,
        id::{CorrelationId, IdempotencyKey, TaskId},
        item::Key,
        limits::MAX_CONTEXT_BYTES,
        message::Outgoing,
        plan::{Plan, StepPlan},
        record::{ActionKind, KeptResult, KeyRecord, NewTask},
        search::SearchValue,
        settlement::{Due, Settlement},
        snapshot::TaskSnapshot,
        state::StepState,
        task,
        timestamp::Timestamp,
        trace_parent::TraceParent,
        workflow::{Violation, Workflow},
    },
    ports::{Queue, Runtime, Store, TableError},
    runtime::{
        backlog::BacklogView, breaker::ServiceBreaker, engine::Engine, error::EngineError, result_types::ResultTypes,
    },
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Starts, shows, finds, redrives, cancels, resolves and compensates tasks.
#[derive(Clone, Debug)]
pub struct Client<T, Q, A> {
    engine: Engine<T, Q, A>,
    result_types: ResultTypes,
}

/// The answer to a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// The task.
    pub task_id: TaskId,
    /// Whether an earlier request with the same idempotency key started it.
    pub already_there: bool,
    /// Whether the messages to its first steps were sent. If not, the watchdog sends them.
    pub messages_sent: bool,
}

/// A start that is checked, and whose task has its id. Nothing of the task is written yet, so a caller that drops it, or
/// whose time is over, knows that no task was started.
#[derive(Clone, Debug)]
pub struct PendingStart {
    task_id: TaskId,
    created_at: Timestamp,
    /// The workflow's name, as `namespace/name@version`.
    workflow: String,
    /// The name without namespace and version.
    workflow_name: String,
    context: String,
    plan: Plan,
    /// The values in the context by which the task is found.
    found_by: Vec<SearchValue>,
    /// The format of a newer version that has started the task. Only that version may act on it.
    started_by: Option<NewerFormat>,
    /// Whether an earlier request with the same idempotency key has written the task.
    is_written: bool,
    rerun_of: Option<RerunOf>,
    correlation_id: Option<CorrelationId>,
}

/// What a rerun has of another task.
#[derive(Clone, Debug)]
struct RerunOf {
    task: TaskId,
    /// The results of that task with which it begins.
    kept: Vec<KeptResult>,
}

impl PendingStart {
    /// The id that the task will have, or has if an earlier request with the same idempotency key started it.
    pub const fn task_id(&self) -> TaskId {
        self.task_id
    }

    /// Gives the task its caller's name for what it does. A task that is there already keeps its own.
    #[must_use]
    pub fn correlated(self, correlation_id: Option<CorrelationId>) -> Self {
        Self { correlation_id, ..self }
    }

    /// Whether the task was already there when this start was prepared.
    pub const fn is_written(&self) -> bool {
        self.is_written
    }
}

/// The reason why a task was not started, or why it is not known whether it was. The same request with the same
/// idempotency key goes on from there.
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
    #[error("the idempotency key was used with another request, which started task {task_id}")]
    KeyUsed {
        /// The task that the other request started.
        task_id: TaskId,
    },
    /// The store failed, and the task was certainly not written.
    #[error("nothing was started: {0}")]
    NotWritten(TableError),
    /// The store failed, and it is not known whether the task was written. If it was, it runs. So the request must not be
    /// repeated without its idempotency key before a snapshot has shown that there is no such task.
    #[error("it is not known whether task {task_id} was started: {source}")]
    Unconfirmed {
        /// The id of the task, if there is one.
        task_id: TaskId,
        /// The store's error.
        source: TableError,
    },
    /// The start took so long that somebody [ruled it out](Client::rule_out). Nothing was started.
    #[error("the start of task {task_id} was ruled out before it was written")]
    RuledOut {
        /// The id of the task that never starts.
        task_id: TaskId,
    },
    /// The item of the idempotency key needs a newer reader.
    #[error(transparent)]
    Newer(NewerFormat),
}

impl<T: Store, Q: Queue, A: Runtime> Client<T, Q, A> {
    /// A client with this store, these queues and this clock.
    pub fn new(table: T, queue: Q, runtime: A) -> Self {
        Self { engine: Engine::new(table, queue, runtime), result_types: ResultTypes::default() }
    }

    /// The client with the types that check the results which people give. Without them any JSON passes.
    #[must_use]
    pub fn with_result_types(self, result_types: ResultTypes) -> Self {
        Self { result_types, ..self }
    }

    /// The JSON schema of the result that a step of a workflow of this name has to have, where its type is known.
    pub fn result_schema(&self, workflow: &str, step: &str) -> Option<Value> {
        self.result_types.schema(workflow, step)
    }

    /// The current time, by the client's clock.
    pub fn now(&self) -> Timestamp {
        self.engine.now()
    }

    /// Since when a new task has had to wait for a service, as far as its breaker tells; `None` if it need not wait. It is for refusing starts
    /// before anything is written. The answer may be a second old.
    pub async fn out_since(&self, breaker: &ServiceBreaker) -> Option<Timestamp> {
        breaker.current(&self.engine).await.out_since(self.now())
    }

    /// Whether a new task of this workflow would not be completed in time, because messages wait for long in the queues of its steps. It is for
    /// refusing starts before anything is written: if it answers with an overload, nothing should be started, because it counts on that.
    pub async fn overload(&self, backlog: &BacklogView, workflow: &Workflow) -> Option<Overload> {
        backlog.overload(&self.engine, workflow).await
    }

    /// Whether a start with this idempotency key has been made, by a read that is eventually consistent.
    ///
    /// # Errors
    /// The store failed.
    pub async fn has_start(&self, workflow: &Workflow, key: &IdempotencyKey) -> Result<bool, TableError> {
        let (namespace, key) = (workflow.id().namespace.clone(), key.as_str().to_owned());
        self.engine.exists(&Key::IdempotencyKey { namespace, key }).await
    }

    /// Starts a task: validates the context, writes the task, and sends a message to each root.
    ///
    /// With an idempotency key a repeated request starts one task only, and completes a start that broke off. Once the task is
    /// written the start has succeeded: the watchdog sends the messages that could not be sent.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(
        &self,
        workflow: &Workflow,
        context: &Value,
        key: Option<&IdempotencyKey>,
    ) -> Result<Started, StartError> {
        self.write_start(self.prepare_start(workflow, context, key).await?).await
    }

    /// The first half of [`start`](Self::start): validates the context and reserves the idempotency key.
    ///
    /// # Errors
    /// See [`StartError`]; never [`StartError::Unconfirmed`] or [`StartError::RuledOut`].
    pub async fn prepare_start(
        &self,
        workflow: &Workflow,
        context: &Value,
        key: Option<&IdempotencyKey>,
    ) -> Result<PendingStart, StartError> {
        workflow.validate(context).map_err(StartError::Invalid)?;
        let text = context.to_string();
        if text.len() > MAX_CONTEXT_BYTES {
            return Err(StartError::TooLarge { bytes: text.len() });
        }
        let mut start = PendingStart {
            task_id: self.engine.runtime.new_task_id(),
            created_at: self.engine.now(),
            workflow: workflow.id().to_string(),
            workflow_name: workflow.id().name.clone(),
            plan: workflow.plan_for(context),
            found_by: workflow.search_keys().values(context),
            context: text,
            started_by: None,
            is_written: false,
            rerun_of: None,
            correlation_id: None,
        };
        let Some(key) = key else { return Ok(start) };
        let request_hash = request_hash(workflow, &start.context);
        let wanted = KeyRecord {
            namespace: workflow.id().namespace.clone(),
            key: key.as_str().to_owned(),
            task: start.task_id,
            request_hash: request_hash.clone(),
            created_at: start.created_at,
            newer: None,
        };
        // A key alone starts nothing, so it does not matter whether a failed reservation took effect.
        let mut found = self.engine.reserve(wanted).await.map_err(StartError::NotWritten)?;
        let same = found.request_hash == request_hash;
        match found.newer.take() {
            None if same && found.task == start.task_id => {}
            None if same => (found, start.is_written) = self.of_a_task_that_starts(found, &start).await?,
            None => return Err(StartError::KeyUsed { task_id: found.task }),
            // The newer version has started the task. Only that version may complete a start of its own that broke off.
            Some(newer) => {
                let started = same && self.snapshot(found.task).await.map_err(StartError::NotWritten)?.is_some();
                if !started {
                    tracing::error!(task_id = %found.task, code = NEWER_FORMAT, error = %newer, "not started");
                    return Err(StartError::Newer(newer));
                }
                (start.started_by, start.is_written) = (Some(newer), true);
            }
        }
        start.task_id = found.task;
        // A start that broke off before its task was written begins now: its time to complete has not begun.
        if start.is_written {
            start.created_at = found.created_at;
        }
        Ok(start)
    }

    /// The record of an earlier request's key, and whether that request has written its task. If the task was
    /// [ruled out](Self::rule_out), the key is given the task of this start.
    async fn of_a_task_that_starts(
        &self,
        found: KeyRecord,
        start: &PendingStart,
    ) -> Result<(KeyRecord, bool), StartError> {
        let earlier = self.snapshot(found.task).await.map_err(StartError::NotWritten)?;
        if !earlier.as_ref().is_some_and(|earlier| earlier.task.never_starts()) {
            return Ok((found, earlier.is_some()));
        }
        let repointed = self.engine.repoint(found, start.task_id, start.created_at).await;
        repointed.map(|found| (found, false)).map_err(StartError::NotWritten)
    }

    /// Settles whether a task has started: returns it, or makes sure that it never starts. For a start of which it is
    /// [not known](StartError::Unconfirmed) whether it was written. The returned task then
    /// [never starts](crate::core::record::TaskRecord::never_starts); a later request with the same idempotency key starts
    /// another one.
    ///
    /// The id has to be one that a start has made, not older than the retention of a task. Otherwise this would create a task
    /// for each id that somebody invents, or hide that a task has expired.
    ///
    /// # Errors
    /// The store failed.
    pub async fn rule_out(
        &self,
        workflow: &Workflow,
        id: TaskId,
        actor: &Actor,
    ) -> Result<Option<TaskSnapshot>, TableError> {
        let action = self.action(ActionKind::Cancel, None, actor);
        self.engine.rule_out(id, workflow.id().to_string(), &action).await?;
        self.snapshot(id).await
    }

    /// The second half of [`start`](Self::start): writes the task and sends a message to each of its first steps. If a caller drops this
    /// future, it is not known whether the task was written.
    ///
    /// # Errors
    /// [`StartError::NotWritten`], [`StartError::Unconfirmed`] and [`StartError::RuledOut`].
    pub async fn write_start(&self, start: PendingStart) -> Result<Started, StartError> {
        let PendingStart {
            task_id,
            created_at,
            workflow,
            workflow_name,
            context,
            plan,
            found_by,
            started_by,
            is_written,
            rerun_of,
            correlation_id,
            ..
        } = start;
        if let Some(newer) = started_by {
            note_newer(task_id, &newer);
            return Ok(Started { task_id, already_there: true, messages_sent: false });
        }
        let new = NewTask { correlation_id, id: task_id, workflow, context: &context, plan: &plan, created_at };
        let (create, kept) = match rerun_of {
            Some(of) => (task::create_rerun(&new, of.task, &of.kept), of.kept),
            None => (task::create(&new), Vec::new()),
        };
        let first = plan.first_steps(|name| kept.iter().any(|kept| kept.step == name));
        let settlement = Settlement::of(create).then(wake(task_id, &workflow_name, first));
        // A task that is known to be there is found by its values already. To put them again could fail, and say of a task that runs that nothing
        // was written.
        let found_by = found_by.iter().filter(|_| !is_written).map(|value| value.put(task_id, created_at)).collect();
        let settlement = settlement.found_by(found_by);
        let (followed, already_there) = match self.engine.settle(task_id, &workflow_name, settlement).await {
            Ok(Some(followed)) => {
                let called = new.correlation_id.as_ref();
                tracing::info!(
                    workflow = workflow_name,
                    %task_id,
                    correlation_id = called.map(CorrelationId::as_str),
                    traceparent = called.and_then(CorrelationId::trace).map(TraceParent::as_str),
                    start_seconds = self.engine.now().since(created_at).as_secs_f64(),
                    "task started"
                );
                (followed.map(drop), false)
            }
            Ok(None) => match self.engine.snapshot(task_id).await {
                Ok(Some(there)) if there.task.never_starts() => return Err(StartError::RuledOut { task_id }),
                Ok(Some(there)) => (self.wake_untouched(&there).await, true),
                Ok(None) => (Ok(()), true),
                Err(error) => (Err(error), true),
            },
            Err(EngineError::Newer(newer)) => (Err(EngineError::Newer(newer)), true),
            Err(EngineError::Table(source)) if source.may_have_taken_effect() => {
                return Err(StartError::Unconfirmed { task_id, source });
            }
            Err(EngineError::Table(error)) => return Err(StartError::NotWritten(error)),
            // The writes are the only calls of the settlement itself. A message that was not sent is in `followed`.
            Err(EngineError::Queue(error)) => (Err(error.into()), true),
        };
        let messages_sent = followed.is_ok();
        match followed {
            Ok(()) => {}
            Err(EngineError::Newer(newer)) => note_newer(task_id, &newer),
            // The task is listed for the watchdog, which sends what was not sent.
            Err(error) => {
                let code = EngineCode::StartNotSent.as_str();
                tracing::warn!(%task_id, code, %error, "started; a message is left to the watchdog");
            }
        }
        Ok(Started { task_id, already_there, messages_sent })
    }

    /// Reads the task with all of its steps; `None` if it does not exist. A task that needs a newer reader is read as far as
    /// possible ([`TaskSnapshot::newer`]).
    ///
    /// # Errors
    /// The store failed.
    pub async fn snapshot(&self, id: TaskId) -> Result<Option<TaskSnapshot>, TableError> {
        self.engine.shown(id).await
    }

    /// Returns when the task may have ended since this call. Whoever waits for its end reads its [snapshot](Self::snapshot) then. Most stores
    /// cannot tell, and then it never returns.
    pub fn changed(&self, id: TaskId) -> impl Future<Output = ()> + Send {
        self.engine.changed(id)
    }

    /// Sends messages to the first steps that are still pending, because the start that wrote this task may have broken off before
    /// its sends. A step that a worker has claimed has had its message.
    async fn wake_untouched(&self, snapshot: &TaskSnapshot) -> Result<(), EngineError> {
        let task = &snapshot.task;
        let is_kept = |name: &str| snapshot.step(name).is_some_and(|record| record.kept_from.is_some());
        let untouched =
            |step: &&StepPlan| snapshot.step(&step.name).is_none_or(|record| record.state == StepState::Pending);
        let then = wake(task.id, task.workflow_name(), task.plan.first_steps(is_kept).filter(untouched));
        self.engine.follow_up(task, then.map(Into::into).collect()).await.map(drop)
    }
}

/// Logs that a repeated start sent no messages, because only a newer version may act on the task.
fn note_newer(task_id: TaskId, newer: &NewerFormat) {
    tracing::error!(%task_id, code = NEWER_FORMAT, error = %newer, "started before; no messages sent");
}

/// The messages of these steps.
fn wake<'a>(task: TaskId, workflow: &str, steps: impl Iterator<Item = &'a StepPlan>) -> impl Iterator<Item = Due> {
    let delay = Duration::ZERO;
    steps.map(move |step| Due::Send(Outgoing { workflow: workflow.to_owned(), message: step.message(task), delay }))
}

/// SHA-256 over the workflow's name and the context, as hex. It leaves out the version, so that a request is still the same
/// after a deployment.
fn request_hash(workflow: &Workflow, context: &str) -> String {
    hex(Sha256::new_with_prefix(&workflow.id().name).chain_update([0]).chain_update(context).finalize())
}

#[cfg(test)]
mod tests;
