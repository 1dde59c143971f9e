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
    /// Open tasks that run.
    running: CountView,
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
}

/// A number of tasks.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct CountView {
    tasks: usize,
    /// Whether there may be more: at most 64 entries in each of 16 shards of the index are read.
    or_more: bool,
    /// When the oldest of those that were counted was started; `null` if there is none. If there may be more, there may be an older one.
    oldest_at: Option<Timestamp>,
    /// The age of that task.
    oldest_seconds: Option<u64>,
}

impl CountView {
    fn of(Count { tasks, or_more, oldest }: Count, at: Timestamp) -> Self {
        Self { tasks, or_more, oldest_at: oldest, oldest_seconds: oldest.map(|started| at.since(started).as_secs()) }
    }
}

impl HealthView {
    fn of(health: Health, pauses: &Pauses, at: Timestamp) -> Self {
        let of = |count| CountView::of(count, at);
        Self {
            at,
            open: of(health.open),
            running: of(health.running),
            failed: of(health.failed),
            compensating: of(health.compensating),
            overdue: of(health.overdue),
            stuck: of(health.stuck),
            needs_person: of(health.needs_person),
            dead_lettered: of(health.dead_lettered),
            paused_steps: pauses.in_force(),
            unknown_pauses: pauses.unknown(),
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
