//! `/tasks/bulk`: actions on all tasks that match a filter, which the engine carries out at a pace.

use crate::{Engine, act::reason, error::ApiError, filter::take_filter, list::ListedTask, operator::Operator};
use axum::{
    Extension, Json,
    body::Body,
    extract::{Path, State},
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use http_api::{CommonError, Fields, Segment};
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};
use stepwell::{
    BulkAction, BulkCount, BulkError, BulkId, BulkRecord, BulkRequest, BulkState, Filter, NewBulk, Pace, Runtime,
    StepFilter, TaskId, Timestamp,
    core::{
        bulk::{BulkActor, BulkResult},
        state::TaskStatus,
    },
    ports::{Queue, Store},
};

/// How long the tasks are counted. The rest of the time limit is for the answer.
const COUNTING_TIME: Duration = Duration::from_secs(10);

/// The largest number of tasks that an operator may expect: more than any table has.
pub(crate) const MOST_EXPECTED: usize = 1_000_000_000;

/// How many pages of results an answer has: 500 tasks.
const PAGES: u16 = 10;

/// The answer to a dry run: how many tasks match, and some of them.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct DryRun {
    dry_run: bool,
    /// The number of tasks that match.
    count: usize,
    /// Whether there may be more, because they were too many to count.
    or_more: bool,
    sample: Vec<ListedTask>,
}

impl From<BulkCount> for DryRun {
    fn from(BulkCount { tasks, or_more, sample }: BulkCount) -> Self {
        Self { dry_run: true, count: tasks, or_more, sample: sample.into_iter().map(ListedTask::from).collect() }
    }
}

/// A bulk action.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct BulkView {
    bulk_id: BulkId,
    action: BulkAction,
    filter: FilterView,
    status: BulkState,
    started_at: Timestamp,
    who: String,
    why: String,
    /// Tasks a minute.
    pace: Pace,
    /// The number of tasks that the operator has agreed to.
    expected_count: u64,
    /// The number of tasks that were acted on.
    done: u64,
    /// The number of tasks that were not, by reason.
    refused: BTreeMap<&'static str, u64>,
    /// When it is over at its pace; `null` once it is over.
    expected_end: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    stopped_by: Option<BulkActor>,
}

/// A filter, with the names of a request.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct FilterView {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<TaskStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workflow: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_step: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<StepFilter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compensated: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    needs: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_from: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_before: Option<Timestamp>,
}

impl From<Filter> for FilterView {
    fn from(filter: Filter) -> Self {
        let Filter {
            status,
            workflow,
            failed_step,
            error_code,
            step,
            compensated,
            needs_person,
            created_from,
            created_before,
        } = filter;
        let needs = needs_person.filter(|needs| *needs).map(|_| "person");
        Self { status, workflow, failed_step, error_code, step, compensated, needs, created_from, created_before }
    }
}

impl BulkView {
    fn of(bulk: BulkRecord, now: Timestamp) -> Self {
        let expected_end = bulk.expected_end(now);
        Self {
            bulk_id: bulk.id,
            action: bulk.action,
            filter: bulk.filter.into(),
            status: bulk.state,
            started_at: bulk.created_at,
            who: bulk.started_by.who,
            why: bulk.started_by.why,
            pace: bulk.pace,
            expected_count: bulk.expected,
            done: bulk.done,
            refused: bulk.refused.into_iter().map(|(reason, count)| (reason.as_str(), count)).collect(),
            expected_end,
            finished_at: bulk.finished_at,
            stopped_by: bulk.stopped_by,
        }
    }
}

/// All bulk actions, the newest first.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct BulkList {
    bulk_actions: Vec<BulkView>,
}

/// A part of the results of a bulk action.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ResultList {
    results: Vec<ResultView>,
    /// The query's `next` for the next part; `null` on the last one so far.
    next: Option<String>,
}

/// The result of one task.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct ResultView {
    task_id: TaskId,
    /// `done` or `refused`.
    result: &'static str,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

impl From<BulkResult> for ResultView {
    fn from(BulkResult { task, refused }: BulkResult) -> Self {
        let result = if refused.is_some() { "refused" } else { "done" };
        Self { task_id: task, result, reason: refused.map(|reason| reason.as_str()) }
    }
}

/// Counts the matching tasks or, if `dry_run` is `false`, starts to act on them. With an idempotency key it may be repeated.
pub(crate) async fn start<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
    Extension(operator): Extension<Operator>,
    request: Parts,
    body: Body,
) -> Result<Response, ApiError> {
    let until = engine.now() + COUNTING_TIME;
    let key = http_api::idempotency_key(&request.headers, Some(operator.name()))?;
    let mut fields = Fields::of_body(&request, body).await?;
    let asked = fields.to_json();
    let action = action(&mut fields);
    let mut inner = fields.inner("filter");
    let filter = take_filter(&mut inner, engine.now());
    fields.merge_violations(inner);
    let most = usize::try_from(Pace::MAX).unwrap_or(usize::MAX);
    let pace = fields.count("pace", most).and_then(|pace| Pace::per_minute(u32::try_from(pace).ok()?));
    let dry_run = fields.flag("dry_run").unwrap_or(true);
    let expected = fields.count("expected_count", MOST_EXPECTED);
    let or_more = fields.flag("or_more").unwrap_or(false);
    if expected.is_none() && !dry_run {
        fields.wrong("expected_count", "has to be the count of a dry run, from 1 on");
    }
    let reason = reason(&mut fields);
    fields.finish()?;
    // A dry run checks the reason, too, so that the same body is not refused later without `dry_run`.
    let actor = operator.actor(reason)?;
    match expected.filter(|_| !dry_run) {
        None => Ok(Json(DryRun::from(engine.count_bulk(action, &filter, until).await?)).into_response()),
        Some(expected) => {
            let pace = pace.unwrap_or(Pace::DEFAULT);
            let request = key.map(|key| BulkRequest::new(&key, &asked));
            let new = NewBulk { action, filter, pace, expected, or_more, request };
            let bulk = engine.start_bulk(&new, &actor, until).await?;
            tracing::info!(bulk = %bulk.id, action = %bulk.action, who = actor.who(), why = actor.why(), expected, "bulk action started");
            Ok((StatusCode::ACCEPTED, Json(BulkView::of(bulk, engine.now()))).into_response())
        }
    }
}

/// Takes the action. If it is missing or unknown, that is a violation, and the action does not matter.
fn action(fields: &mut Fields) -> BulkAction {
    let text = fields.any("action");
    let Some(text) = text else { return BulkAction::Redrive };
    serde_json::from_str(text.get()).unwrap_or_else(|_| {
        fields.wrong("action", format!("has to be one of {}", BulkAction::ALL.map(BulkAction::as_str).join(", ")));
        BulkAction::Redrive
    })
}

/// Lists the bulk actions.
pub(crate) async fn list<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
) -> Result<Json<BulkList>, ApiError> {
    let now = engine.now();
    let bulks = engine.bulks().await?.into_iter().rev();
    Ok(Json(BulkList { bulk_actions: bulks.map(|bulk| BulkView::of(bulk, now)).collect() }))
}

/// Shows a bulk action.
pub(crate) async fn show<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
    segment: Segment,
) -> Result<Response, ApiError> {
    let bulk = engine.bulk(bulk_id(segment)?).await?.ok_or_else(no_bulk)?;
    Ok(Json(BulkView::of(bulk, engine.now())).into_response())
}

/// Lists the results of a bulk action, in the order in which it has acted on the tasks.
pub(crate) async fn results<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
    segment: Segment,
    request: Parts,
) -> Result<Json<ResultList>, ApiError> {
    let id = bulk_id(segment)?;
    let mut fields = Fields::of_query(&request);
    let from = fields.text("next", |text| text.parse().map_err(|_| "is not a `next` that a list has ended with"));
    fields.finish()?;
    engine.bulk(id).await?.ok_or_else(no_bulk)?;
    let pages = engine.bulk_results(id, from.unwrap_or(0), PAGES).await?;
    let is_full = pages.len() == usize::from(PAGES);
    let next = pages.last().filter(|_| is_full).and_then(|last| last.page.checked_add(1));
    let results = pages.into_iter().flat_map(|page| page.results).map(ResultView::from).collect();
    Ok(Json(ResultList { results, next: next.map(|next| next.to_string()) }))
}

/// Stops a bulk action. Tasks on which it has not acted stay as they are.
pub(crate) async fn stop<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
    Extension(operator): Extension<Operator>,
    segment: Segment,
    request: Parts,
    body: Body,
) -> Result<Response, ApiError> {
    let id = bulk_id(segment)?;
    let mut fields = Fields::of_body(&request, body).await?;
    let reason = reason(&mut fields);
    fields.finish()?;
    let bulk = engine.stop_bulk(id, &operator.actor(reason)?).await?;
    Ok((StatusCode::ACCEPTED, Json(BulkView::of(bulk, engine.now()))).into_response())
}

fn bulk_id(segment: Segment) -> Result<BulkId, ApiError> {
    segment.ok().and_then(|Path(text)| text.parse().ok()).ok_or_else(no_bulk)
}

fn no_bulk() -> ApiError {
    ApiError::NotFound("There is no such bulk action".to_owned())
}

impl From<BulkError> for ApiError {
    fn from(error: BulkError) -> Self {
        let why = error.to_string();
        match error {
            BulkError::EmptyFilter => CommonError::field("/filter", why).into(),
            BulkError::Status { .. } => CommonError::field("/filter/status", why).into(),
            BulkError::More { .. } => Self::Illegal { why, status: None },
            BulkError::NotRunning(state) => Self::Illegal { why, status: Some(state.as_str()) },
            BulkError::KeyUsed(_) => CommonError::KeyUsed.into(),
            BulkError::NotFound(_) => no_bulk(),
            BulkError::Newer(newer) => Self::Newer(newer),
            BulkError::Table(error) => error.into(),
        }
    }
}
