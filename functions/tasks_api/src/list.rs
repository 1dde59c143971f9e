//! `GET /tasks`: lists tasks.

use crate::{
    Engine,
    error::ApiError,
    filter::{take_filter, take_page},
};
use axum::{Json, extract::State, http::request::Parts};
use http_api::Fields;
use serde::Serialize;
use std::collections::BTreeSet;
use stepwell::{
    Runtime, Summary, TaskId, Timestamp,
    core::state::TaskStatus,
    ports::{Queue, Store},
};

/// The number of tasks on a page: the default and the maximum.
const LIMIT: (usize, usize) = (50, 200);

/// One page of the list.
#[derive(Serialize)]
pub(crate) struct TaskList {
    tasks: Vec<ListedTask>,
    /// The number of tasks on this page.
    count: usize,
    /// The query's `next` for the next page; `null` on the last one. An empty page can have a next one.
    next: Option<String>,
}

/// A task in the list.
#[derive(Serialize)]
pub(crate) struct ListedTask {
    task_id: TaskId,
    workflow: String,
    status: TaskStatus,
    created_at: Timestamp,
    failed_steps: BTreeSet<String>,
    compensated: bool,
    /// Whether the task waits for a person.
    needs_person: bool,
}

impl From<Summary> for ListedTask {
    fn from(Summary { task_id, workflow, status, created_at, failed_steps, needs_person }: Summary) -> Self {
        let compensated = status.is_compensated();
        Self { task_id, workflow, status, created_at, failed_steps, compensated, needs_person }
    }
}

/// Lists the tasks that match the query.
pub(crate) async fn list<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
    request: Parts,
) -> Result<Json<TaskList>, ApiError> {
    let mut fields = Fields::of_query(&request);
    let filter = take_filter(&mut fields, engine.now());
    let (limit, from) = take_page(&mut fields, LIMIT.0, LIMIT.1);
    fields.finish()?;
    let found = engine.find(&filter, from.as_ref(), limit).await?;
    let tasks: Vec<ListedTask> = found.tasks.into_iter().map(ListedTask::from).collect();
    Ok(Json(TaskList { count: tasks.len(), tasks, next: found.next.map(|next| next.to_string()) }))
}
