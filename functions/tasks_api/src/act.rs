//! `POST /tasks/{task_id}/...`: the operators' actions on one task. Each has a reason, which the audit trail keeps.

use crate::{
    Engine,
    error::{ApiError, no_task, task_id},
    operator::Operator,
};
use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{StatusCode, request::Parts},
    routing::{MethodRouter, post},
};
use http_api::{Fields, Segment};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use stepwell::{
    ActionError, Actor, Client, ManualResult, Runtime, TaskId,
    core::{
        snapshot::TaskSnapshot,
        state::{TaskState, TaskStatus},
    },
    ports::{Queue, Store},
};

/// An operator's action on a task.
#[derive(Clone)]
pub(crate) enum OperatorAction {
    /// Gives failed steps a fresh set of attempts.
    Redrive,
    /// Makes the attempts that wait for their time at once.
    RunNow,
    /// Starts no new step and compensates the attempted ones.
    Cancel,
    /// Compensates the attempted steps.
    Compensate,
    /// Declares the task done.
    Resolve,
    /// Declares a step done, with this result: JSON as text. A step that was attempted only if that was checked.
    ResolveStep { step: String, result: String, attempts_checked: bool },
}

/// The answer to an action that was applied.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Accepted {
    success: bool,
    task_id: TaskId,
    /// The status after the action.
    status: TaskStatus,
}

type ActionResponse = Result<(StatusCode, Json<Accepted>), ApiError>;
type CurrentOperator = Extension<Operator>;

/// Makes the route of an action on a task.
pub(crate) fn to_task<S, Q, A>(what: OperatorAction) -> MethodRouter<Arc<Client<S, Q, A>>>
where
    S: Store + 'static,
    Q: Queue + 'static,
    A: Runtime + 'static,
{
    post(
        move |State(engine): Engine<S, Q, A>,
              Extension(operator): CurrentOperator,
              segment: Segment,
              request: Parts,
              body: Body| {
            let what = what.clone();
            async move { act(&engine, &operator, task_id(segment)?, what, Fields::of_body(&request, body).await?).await }
        },
    )
}

/// `/steps/{step}/resolve`: completes a step that was done by hand, with a result. Its dependents run.
pub(crate) async fn resolve_step<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
    Extension(operator): CurrentOperator,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Parts,
    body: Body,
) -> ActionResponse {
    let Path((task, step)) = path.map_err(|_| no_task())?;
    let task = task_id(Ok(Path(task)))?;
    let mut fields = Fields::of_body(&request, body).await?;
    let result = result(&mut fields);
    let attempts_checked = fields.flag("attempts_checked").unwrap_or(false);
    act(&engine, &operator, task, OperatorAction::ResolveStep { step, result, attempts_checked }, fields).await
}

/// Takes the result from the body without a change to its text, so that numbers keep every digit. Parsing it as a
/// [`Value`] checks that later steps can parse it; [`RawValue`](serde_json::value::RawValue) checks the syntax only.
fn result(fields: &mut Fields) -> String {
    let Some(raw) = fields.any("result") else { return String::new() };
    if let Err(error) = serde_json::from_str::<Value>(raw.get()) {
        fields.wrong("result", format!("cannot be read: {error}"));
    }
    raw.get().to_owned()
}

async fn act<S: Store, Q: Queue, A: Runtime>(
    engine: &Client<S, Q, A>,
    operator: &Operator,
    task_id: TaskId,
    act: OperatorAction,
    mut fields: Fields,
) -> ActionResponse {
    let reason = reason(&mut fields);
    fields.finish()?;
    let actor = operator.actor(reason)?;
    let status = perform(engine, task_id, act, &actor).await?;
    Ok((StatusCode::ACCEPTED, Json(Accepted { success: true, task_id, status })))
}

/// Applies an action to a task and returns the status after it.
async fn perform<S: Store, Q: Queue, A: Runtime>(
    engine: &Client<S, Q, A>,
    id: TaskId,
    act: OperatorAction,
    actor: &Actor,
) -> Result<TaskStatus, ActionError> {
    match act {
        OperatorAction::Redrive => Ok(going_on(&engine.redrive(id, actor).await?)),
        OperatorAction::RunNow => Ok(going_on(&engine.run_now(id, actor).await?)),
        OperatorAction::Cancel => engine.cancel(id, actor).await,
        OperatorAction::Compensate => engine.compensate(id, actor).await.map(|()| TaskStatus::Compensating),
        OperatorAction::Resolve => engine.resolve(id, actor).await.map(|()| TaskStatus::ResolvedManually),
        OperatorAction::ResolveStep { step, result, attempts_checked } => {
            engine.resolve_step(id, &step, ManualResult { json: &result, attempts_checked }, actor).await?;
            // The status depends on the other steps, so it has to be read from the table.
            Ok(engine.snapshot(id).await?.ok_or(ActionError::NotFound(id))?.status())
        }
    }
}

/// The status of a task that has been redriven, or run now, since it was read.
fn going_on(before: &TaskSnapshot) -> TaskStatus {
    match before.task.state {
        TaskState::Failed => TaskStatus::Pending,
        _ => before.status(),
    }
}

/// Takes the reason from the body. A missing reason, or one that is not a text, is a violation.
pub(crate) fn reason(fields: &mut Fields) -> String {
    match fields.any("reason").map(|raw| serde_json::from_str(raw.get())) {
        Some(Ok(reason)) => reason,
        Some(Err(_)) => {
            fields.wrong("reason", "has to be a text");
            String::new()
        }
        None => String::new(),
    }
}
