//! `GET /tasks`: lists tasks.

use crate::{
    Engine,
    error::ApiError,
    filter::{Order, take_filter, take_key, take_order, take_page},
};
use axum::{Json, extract::State, http::request::Parts};
use http_api::Fields;
use serde::Serialize;
use std::{collections::BTreeSet, fmt::Display};
use stepwell::{
    Before, Cursor, Runtime, StepSummary, Summary, TaskId, TaskPage, Timestamp,
    core::state::{StepState, TaskStatus},
    ports::{Queue, Store},
};

/// The number of tasks on a page: the default and the maximum.
const LIMIT: (usize, usize) = (50, 200);

/// One page of the list.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct TaskList {
    tasks: Vec<ListedTask>,
    /// The number of tasks on this page.
    count: usize,
    /// The query's `next` for the next page; `null` on the last one. An empty page can have a next one.
    next: Option<String>,
}

/// A task in the list.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ListedTask {
    task_id: TaskId,
    workflow: String,
    status: TaskStatus,
    created_at: Timestamp,
    failed_steps: BTreeSet<String>,
    compensated: bool,
    /// Whether the task waits for a person.
    needs_person: bool,
    /// The step that the query names.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<ListedStep>,
}

/// A step of a task in the list.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ListedStep {
    name: String,
    state: StepState,
    /// The number of its last attempt.
    attempt: u32,
    /// The code of its last error.
    error_code: Option<String>,
    /// When its next attempt is due, if it waits for one.
    next_retry_at: Option<Timestamp>,
}

impl From<StepSummary> for ListedStep {
    fn from(StepSummary { name, state, attempt, error_code, next_retry_at }: StepSummary) -> Self {
        Self { name, state, attempt, error_code, next_retry_at }
    }
}

impl From<Summary> for ListedTask {
    fn from(summary: Summary) -> Self {
        let Summary { task_id, workflow, status, created_at, failed_steps, needs_person, step } = summary;
        let (compensated, step) = (status.is_compensated(), step.map(ListedStep::from));
        Self { task_id, workflow, status, created_at, failed_steps, compensated, needs_person, step }
    }
}

impl<C: Display> From<TaskPage<C>> for TaskList {
    fn from(page: TaskPage<C>) -> Self {
        let tasks: Vec<ListedTask> = page.tasks.into_iter().map(ListedTask::from).collect();
        Self { count: tasks.len(), tasks, next: page.next.map(|next| next.to_string()) }
    }
}

/// Lists the tasks that match the query, the newest first or by status.
pub(crate) async fn list<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
    request: Parts,
) -> Result<Json<TaskList>, ApiError> {
    let mut fields = Fields::of_query(&request);
    let filter = take_filter(&mut fields, engine.now());
    let value = take_key(&mut fields);
    match take_order(&mut fields, value.is_some(), &filter) {
        Order::Newest => {
            let (limit, before) = take_page::<Before>(&mut fields, LIMIT.0, LIMIT.1);
            fields.finish()?;
            Ok(Json(engine.newest(value.as_ref(), &filter, before, limit).await?.into()))
        }
        Order::Status => {
            let (limit, from) = take_page::<Cursor>(&mut fields, LIMIT.0, LIMIT.1);
            fields.finish()?;
            Ok(Json(engine.find(&filter, from.as_ref(), limit).await?.into()))
        }
    }
}
