//! `GET /tasks/{task_id}`: shows a whole task, without its context.

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
        bulk::BulkId,
        record::Action,
        recovery::{begins_at, redrive_at},
        snapshot::{TaskSnapshot, Warning},
        state::End,
    },
    ports::{Queue, Store},
};

/// The answer: a task for operators.
#[derive(Serialize)]
struct TaskView<'a> {
    #[serde(flatten)]
    details: Details<'a>,
    /// The status after compensation; `null` unless compensation has begun.
    ends_as: Option<End>,
    /// Whether all compensations are complete, which closes the task.
    compensated: bool,
    /// When the failed steps are redriven automatically.
    redrives_at: Option<Timestamp>,
    /// When compensation begins automatically.
    compensates_at: Option<Timestamp>,
    /// What the task goes on without: the optional steps and compensations that failed for good.
    warnings: Vec<WarningView<'a>>,
    /// The audit trail, oldest entry first.
    actions: Vec<AuditEntry<'a>>,
    /// Set where a newer version wrote the task. This version shows the part that it understands, and does not act on
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    newer_format: Option<FormatVersions>,
}

/// The format versions of a task that a newer version wrote.
#[derive(Serialize)]
struct FormatVersions {
    /// The format of the version that wrote the task.
    written: i64,
    /// The oldest format whose readers may act on the task.
    needs: i64,
}

/// An optional step that failed for good.
#[derive(Serialize)]
struct WarningView<'a> {
    step: &'a str,
    code: &'a str,
    message: &'a str,
}

impl<'a> From<Warning<'a>> for WarningView<'a> {
    fn from(Warning { step, error }: Warning<'a>) -> Self {
        let (code, message) = error.map_or(("", ""), |error| (&error.code, &error.message));
        Self { step, code, message }
    }
}

/// An entry of the audit trail.
#[derive(Serialize)]
struct AuditEntry<'a> {
    at: Timestamp,
    what: &'static str,
    step: Option<&'a str>,
    who: &'a str,
    why: &'a str,
    /// The bulk action that it was a part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    bulk: Option<BulkId>,
}

impl<'a> From<&'a Action> for AuditEntry<'a> {
    fn from(Action { at, what, step, who, why, bulk }: &'a Action) -> Self {
        let bulk = bulk.map(|page| page.id);
        Self { at: *at, what: what.as_str(), step: step.as_deref(), who, why, bulk }
    }
}

impl<'a> TaskView<'a> {
    fn of(snapshot: &'a TaskSnapshot) -> Self {
        Self {
            details: Details::of(snapshot),
            ends_as: snapshot.task.state.ends_as(),
            compensated: snapshot.status().is_compensated(),
            redrives_at: redrive_at(snapshot),
            compensates_at: begins_at(snapshot),
            warnings: snapshot.warnings().into_iter().map(WarningView::from).collect(),
            actions: snapshot.task.actions.iter().map(AuditEntry::from).collect(),
            newer_format: snapshot.newer().map(|newer| FormatVersions { written: newer.v, needs: newer.needs }),
        }
    }
}

/// Shows one task.
pub(crate) async fn show<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
    segment: Segment,
) -> Result<Response, ApiError> {
    let snapshot = engine.snapshot(task_id(segment)?).await?.ok_or_else(no_task)?;
    Ok(Json(TaskView::of(&snapshot)).into_response())
}
