//! `GET /tasks`: finds tasks.

use crate::{
    Engine,
    error::ApiError,
    fields::Fields,
    filter::{take_filter, take_page},
};
use axum::{Json, extract::State, http::request::Parts};
use serde::Serialize;
use std::collections::BTreeSet;
use stepwell::{
    Runtime, Summary, TaskId, Timestamp,
    core::state::TaskStatus,
    ports::{Queue, Store},
};

/// How many tasks are listed where nothing is said, and at most.
const LIMIT: (usize, usize) = (50, 200);

/// Some of the tasks.
#[derive(Serialize)]
pub(crate) struct List {
    tasks: Vec<IndexEntry>,
    /// How many are listed here.
    count: usize,
    /// Where the list goes on: the query's `next`. There may be more even where no task is listed.
    next: Option<String>,
}

/// A task in the list.
#[derive(Serialize)]
struct IndexEntry {
    task_id: TaskId,
    workflow: String,
    status: TaskStatus,
    created_at: Timestamp,
    failed_steps: BTreeSet<String>,
    compensated: bool,
}

impl From<Summary> for IndexEntry {
    fn from(Summary { task_id, workflow, status, created_at, failed_steps }: Summary) -> Self {
        Self { task_id, workflow, status, created_at, failed_steps, compensated: status.is_compensated() }
    }
}

/// The tasks that fit the query.
pub(crate) async fn list<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
    request: Parts,
) -> Result<Json<List>, ApiError> {
    let mut fields = Fields::of_query(&request);
    let filter = take_filter(&mut fields, engine.now());
    let (limit, from) = take_page(&mut fields, LIMIT.0, LIMIT.1);
    fields.finish()?;
    let found = engine.find(&filter, from.as_ref(), limit).await?;
    let tasks: Vec<IndexEntry> = found.tasks.into_iter().map(IndexEntry::from).collect();
    Ok(Json(List { count: tasks.len(), tasks, next: found.next.map(|next| next.to_string()) }))
}
