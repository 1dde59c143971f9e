//! `POST /tasks/{task_id}/...`: what operators do to one task. Each says why, and the audit trail keeps it.

use crate::{
    Engine,
    error::{ApiError, no_task, task_id},
    fields::Fields,
    operator::Operator,
};
use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State, rejection::PathRejection},
    http::{StatusCode, request::Parts},
    routing::{MethodRouter, post},
};
use http_api::Segment;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use stepwell::{
    ActionError, Actor, Client, Runtime, TaskId,
    core::state::{TaskState, TaskStatus},
    ports::{Queue, Store},
};

/// What can be done to a task.
#[derive(Clone)]
pub(crate) enum OperatorAction {
    /// What failed gets a fresh set of attempts.
    Redrive,
    /// Nothing new starts, and what was done is undone.
    Cancel,
    /// What was done is undone.
    Compensate,
    /// It is declared done.
    Resolve,
    /// A step is declared done, with this result: JSON as text.
    ResolveStep { step: String, result: String },
}

/// It was done.
#[derive(Serialize)]
pub(crate) struct Accepted {
    success: bool,
    task_id: TaskId,
    /// The status that this leads to.
    status: TaskStatus,
}

type Answer = Result<(StatusCode, Json<Accepted>), ApiError>;
type Who = Extension<Operator>;

/// The route that does this to a task.
pub(crate) fn to_task<S, Q, A>(what: OperatorAction) -> MethodRouter<Arc<Client<S, Q, A>>>
where
    S: Store + 'static,
    Q: Queue + 'static,
    A: Runtime + 'static,
{
    post(
        move |State(engine): Engine<S, Q, A>,
              Extension(operator): Who,
              segment: Segment,
              request: Parts,
              body: Body| {
            let what = what.clone();
            async move { act(&engine, &operator, task_id(segment)?, what, Fields::of_body(&request, body).await?).await }
        },
    )
}

/// `/steps/{step}/resolve`: a step was done by hand, with this result, and what depends on it runs.
pub(crate) async fn resolve_step<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
    Extension(operator): Who,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Parts,
    body: Body,
) -> Answer {
    let Path((task, step)) = path.map_err(|_| no_task())?;
    let task = task_id(Ok(Path(task)))?;
    let mut fields = Fields::of_body(&request, body).await?;
    let result = result(&mut fields);
    act(&engine, &operator, task, OperatorAction::ResolveStep { step, result }, fields).await
}

/// The result as it stands in the body, to the digit. The steps that take it have to be able to read it, which is more
/// than finding its end.
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
) -> Answer {
    let reason = reason(&mut fields);
    fields.finish()?;
    let actor = operator.actor(reason)?;
    let status = done(engine, task_id, act, &actor).await?;
    Ok((StatusCode::ACCEPTED, Json(Accepted { success: true, task_id, status })))
}

/// Does something to a task, and answers with the status that this leads to.
async fn done<S: Store, Q: Queue, A: Runtime>(
    engine: &Client<S, Q, A>,
    id: TaskId,
    act: OperatorAction,
    actor: &Actor,
) -> Result<TaskStatus, ActionError> {
    match act {
        OperatorAction::Redrive => Ok(match engine.redrive(id, actor).await?.task.state {
            TaskState::Compensating(_) => TaskStatus::Compensating,
            _ => TaskStatus::Pending,
        }),
        OperatorAction::Cancel => engine.cancel(id, actor).await,
        OperatorAction::Compensate => engine.compensate(id, actor).await.map(|()| TaskStatus::Compensating),
        OperatorAction::Resolve => engine.resolve(id, actor).await.map(|()| TaskStatus::ResolvedManually),
        OperatorAction::ResolveStep { step, result } => {
            engine.resolve_step(id, &step, &result, actor).await?;
            // Whether others have failed too is in the table only.
            Ok(engine.snapshot(id).await?.ok_or(ActionError::NotFound(id))?.status())
        }
    }
}

/// Why it is done. Where that is not said, or is not a text, the fields are wrong.
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
