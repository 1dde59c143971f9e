//! `GET /health/...`: whether the program runs, whether its store answers, and how the open tasks stand.

use crate::{
    Engine,
    error::ApiError,
    paused::{PausedStep, Pauses, UnknownPause},
    workflows,
};
use axum::{Json, extract::State};
use serde::Serialize;
use stepwell::{
    Count, Health, Runtime, Timestamp,
    ports::{Queue, Store},
};

/// The answer to a probe. It says nothing else, because anybody may ask.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Probe {
    /// `live` or `ready`.
    status: &'static str,
}

/// How the open tasks stand.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct HealthView {
    /// When this was counted.
    at: Timestamp,
    /// Tasks that run or are compensated, or have failed and are redriven or compensated later.
    open: CountView,
    /// Open tasks that have failed, and are redriven or compensated later.
    failed: CountView,
    /// Open tasks that are compensated.
    compensating: CountView,
    /// Running tasks that were started longer ago than their workflow gives them. A redriven task has its whole time once more, and is counted
    /// all the same.
    overdue: CountView,
    /// Open tasks that the watchdog should have inspected three minutes ago. It does not run, or is behind, or a newer version has written
    /// them.
    stuck: CountView,
    /// Tasks that wait for a person: a compensation failed for good, or they are dead-lettered.
    needs_person: CountView,
    /// Tasks of which the queue has given up a message, and whose redrives are used up.
    dead_lettered: CountView,
    /// The steps that are paused, the one that is for longest first. The tasks that wait behind them are open, and late once their time is over.
    paused_steps: Vec<PausedStep>,
    /// The steps that may be paused: this version cannot read their pauses, and leaves them as they are.
    unknown_pauses: Vec<UnknownPause>,
    /// When the oldest open task was started; `null` if none is open, or more than are counted.
    oldest_open_at: Option<Timestamp>,
    /// The age of that task.
    oldest_open_seconds: Option<u64>,
}

/// A number of tasks.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct CountView {
    tasks: usize,
    /// Whether there may be more: at most 64 entries in each of 16 shards of the index are read.
    or_more: bool,
}

impl From<Count> for CountView {
    fn from(Count { tasks, or_more }: Count) -> Self {
        Self { tasks, or_more }
    }
}

impl HealthView {
    fn of(health: Health, pauses: &Pauses, at: Timestamp) -> Self {
        Self {
            at,
            open: health.open.into(),
            failed: health.failed.into(),
            compensating: health.compensating.into(),
            overdue: health.overdue.into(),
            stuck: health.stuck.into(),
            needs_person: health.needs_person.into(),
            dead_lettered: health.dead_lettered.into(),
            paused_steps: pauses.in_force(),
            unknown_pauses: pauses.unknown(),
            oldest_open_at: health.oldest_open,
            oldest_open_seconds: health.oldest_open.map(|started| at.since(started).as_secs()),
        }
    }
}

/// Says that the program runs.
pub(crate) async fn live() -> Json<Probe> {
    Json(Probe { status: "live" })
}

/// Says that the store answers.
pub(crate) async fn ready<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
) -> Result<Json<Probe>, ApiError> {
    engine.check_store().await?;
    Ok(Json(Probe { status: "ready" }))
}

/// Counts how the open tasks stand.
pub(crate) async fn status<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
) -> Result<Json<HealthView>, ApiError> {
    let pauses = Pauses::read(&engine).await?;
    let health = engine.health(&workflows::time_of).await?;
    Ok(Json(HealthView::of(health, &pauses, engine.now())))
}
