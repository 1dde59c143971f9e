//! `GET /tasks/{task_id}`: everything that is known of a task, its context apart.

use crate::{
    Engine,
    error::{ApiError, no_task, task_id},
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http_api::{Details, Segment};
use serde::Serialize;
use stepwell::{
    Runtime, Timestamp,
    core::{
        record::Action,
        recovery::{begins_at, redrive_at},
        snapshot::TaskSnapshot,
        state::End,
    },
    ports::{Queue, Store},
};

/// A task, as operators see it.
#[derive(Serialize)]
struct Task<'a> {
    #[serde(flatten)]
    details: Details<'a>,
    /// Where it goes when it has been compensated; `null` unless compensation has begun.
    ends_as: Option<End>,
    /// Whether all that it did has been undone, which closes it.
    compensated: bool,
    /// When what failed is tried again by itself.
    redrives_at: Option<Timestamp>,
    /// When it is undone by itself.
    compensates_at: Option<Timestamp>,
    /// What was done to it from outside, in order.
    actions: Vec<Done<'a>>,
    /// Where a newer version wrote it, and this one may only show it: as much of it as it understands.
    #[serde(skip_serializing_if = "Option::is_none")]
    newer_format: Option<Newer>,
}

/// The format of what a newer version wrote.
#[derive(Serialize)]
struct Newer {
    /// Of who wrote it.
    written: i64,
    /// Of the oldest reader that may act on it.
    needs: i64,
}

/// An entry of the audit trail.
#[derive(Serialize)]
struct Done<'a> {
    at: Timestamp,
    what: &'static str,
    step: Option<&'a str>,
    who: &'a str,
    why: &'a str,
}

impl<'a> From<&'a Action> for Done<'a> {
    fn from(Action { at, what, step, who, why }: &'a Action) -> Self {
        Self { at: *at, what: what.as_str(), step: step.as_deref(), who, why }
    }
}

impl<'a> Task<'a> {
    fn of(snapshot: &'a TaskSnapshot) -> Self {
        Self {
            details: Details::of(snapshot),
            ends_as: snapshot.task.state.ends_as(),
            compensated: snapshot.status().is_compensated(),
            redrives_at: redrive_at(snapshot),
            compensates_at: begins_at(snapshot),
            actions: snapshot.task.actions.iter().map(Done::from).collect(),
            newer_format: snapshot.newer().map(|newer| Newer { written: newer.v, needs: newer.needs }),
        }
    }
}

/// One task.
pub(crate) async fn show<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
    segment: Segment,
) -> Result<Response, ApiError> {
    let snapshot = engine.snapshot(task_id(segment)?).await?.ok_or_else(no_task)?;
    Ok(Json(Task::of(&snapshot)).into_response())
}
