//! `POST /tasks/redrive`: redrives the tasks that match a filter, or only counts them.

use crate::{
    Engine,
    act::reason,
    error::ApiError,
    filter::{take_filter, take_page},
    operator::Operator,
};
use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{StatusCode, request::Parts},
};
use http_api::Fields;
use serde::Serialize;
use stepwell::{
    ActionError, RefusedTask, Runtime, TaskId,
    core::state::{TaskEvent, TaskState, TaskStatus},
    ports::{Queue, Store},
};

/// The number of tasks that one request redrives: the default and the maximum. They are redriven one after another
/// within the time limit of the request.
const LIMIT: (usize, usize) = (50, 100);

/// The answer: what was found and redriven.
#[derive(Serialize)]
pub(crate) struct Redriven {
    /// Whether the tasks were only counted.
    dry_run: bool,
    /// The number of tasks that match the filter.
    matched: usize,
    /// The number of tasks that were redriven.
    redriven: usize,
    /// The matching tasks that were not redriven, with the error.
    refused: Vec<Refused>,
    /// The tasks that match the filter.
    tasks: Vec<TaskId>,
    /// The body's `next` for the next request; `null` at the end. It can be set even if no task matched.
    next: Option<String>,
}

#[derive(Serialize)]
struct Refused {
    task_id: TaskId,
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
}

impl From<RefusedTask> for Refused {
    fn from(RefusedTask { task_id, error }: RefusedTask) -> Self {
        if let ActionError::Engine(cause) = &error {
            tracing::error!(%task_id, %cause, "not redriven");
        }
        let (error, code) = ApiError::from(error).message_and_code();
        Self { task_id, error, code }
    }
}

/// Whether a task of this status can be redriven.
fn can_be_redriven(status: TaskStatus) -> bool {
    let redriven = TaskState::ALL.into_iter().filter(|state| state.on(TaskEvent::Redrive).is_some());
    redriven.map(TaskState::status).any(|known| known == status)
}

/// Redrives one page of the tasks that match. It only counts them unless `dry_run` is `false`.
pub(crate) async fn redrive_all<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
    Extension(operator): Extension<Operator>,
    request: Parts,
    body: Body,
) -> Result<(StatusCode, Json<Redriven>), ApiError> {
    let mut fields = Fields::of_body(&request, body).await?;
    let mut inner = fields.inner("filter");
    let filter = take_filter(&mut inner, engine.now());
    if filter.status.is_some_and(|status| !can_be_redriven(status)) {
        inner.wrong("status", "has to be error, compensating or complete: nothing else can be redriven");
    }
    if filter.compensated == Some(true) {
        inner.wrong("compensated", "has to be false: what is compensated is closed");
    }
    fields.merge_violations(inner);
    let (limit, from) = take_page(&mut fields, LIMIT.0, LIMIT.1);
    let dry_run = fields.flag("dry_run").unwrap_or(true);
    let reason = reason(&mut fields);
    fields.finish()?;
    // A dry run checks the reason, too, so that the same body is not refused later without `dry_run`.
    let actor = operator.actor(reason)?;

    let matches = engine.redrive_all(&filter, from.as_ref(), limit, (!dry_run).then_some(&actor)).await?;
    let tasks: Vec<TaskId> = matches.found.tasks.iter().map(|task| task.task_id).collect();
    let redriven = Redriven {
        dry_run,
        matched: tasks.len(),
        redriven: matches.redriven,
        refused: matches.refused.into_iter().map(Refused::from).collect(),
        tasks,
        next: matches.found.next.map(|next| next.to_string()),
    };
    Ok((if dry_run { StatusCode::OK } else { StatusCode::ACCEPTED }, Json(redriven)))
}
