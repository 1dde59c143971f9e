//! `POST /tasks/redrive`: redrives all tasks that fit a filter, or says which they are.

use crate::{
    Engine,
    act::reason,
    error::ApiError,
    fields::Fields,
    filter::{take_filter, take_page},
    operator::Operator,
};
use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{StatusCode, request::Parts},
};
use serde::Serialize;
use stepwell::{
    ActionError, RefusedTask, Runtime, TaskId,
    core::state::{TaskEvent, TaskState, TaskStatus},
    ports::{Queue, Store},
};

/// How many tasks are redriven at a time where nothing is said, and at most. They are redriven one after another, and all
/// of that has to fit into one request.
const LIMIT: (usize, usize) = (50, 100);

/// What became of them.
#[derive(Serialize)]
pub(crate) struct Redriven {
    /// Whether nothing was done.
    dry_run: bool,
    /// How many fit.
    matched: usize,
    /// How many of them were redriven.
    redriven: usize,
    /// Those that were not, and why.
    refused: Vec<Refused>,
    /// Those that fit.
    tasks: Vec<TaskId>,
    /// Where to go on, as the body's `next`. There may be more even where none fitted.
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
        let (error, code) = ApiError::from(error).said();
        Self { task_id, error, code }
    }
}

/// Whether a task of this status can be redriven.
fn can_be_retried(status: TaskStatus) -> bool {
    let redriven = TaskState::ALL.into_iter().filter(|state| state.on(TaskEvent::Redrive).is_some());
    redriven.map(TaskState::status).any(|known| known == status)
}

/// Some of the failed tasks that fit, redriven, or, unless `dry_run` is `false`, only found.
pub(crate) async fn redrive_all<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
    Extension(operator): Extension<Operator>,
    request: Parts,
    body: Body,
) -> Result<(StatusCode, Json<Redriven>), ApiError> {
    let mut fields = Fields::of_body(&request, body).await?;
    let mut inner = fields.inner("filter");
    let filter = take_filter(&mut inner, engine.now());
    if filter.status.is_some_and(|status| !can_be_retried(status)) {
        inner.wrong("status", "has to be error or compensating: nothing else can be redriven");
    }
    if filter.compensated == Some(true) {
        inner.wrong("compensated", "has to be false: what is compensated is closed");
    }
    fields.take_over(inner);
    let (limit, from) = take_page(&mut fields, LIMIT.0, LIMIT.1);
    let dry_run = fields.flag("dry_run").unwrap_or(true);
    let reason = reason(&mut fields);
    fields.finish()?;
    // Held against the rules in a dry run too, so that what comes after it is not refused for its reason.
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
