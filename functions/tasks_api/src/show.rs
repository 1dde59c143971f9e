//! `GET /tasks/{task_id}`: shows a whole task, without its input. `GET /tasks/{task_id}/graph`: its steps and compensations as a graph.

use crate::{
    Engine,
    cost::CostView,
    error::{ApiError, no_task, task_id},
    paused::{PausedStep, Pauses},
};
use axum::{
    Json,
    extract::State,
    http::{header::CONTENT_TYPE, request::Parts},
    response::{IntoResponse, Response},
};
use http_api::{CommonError, Details, Fields, Segment};
use serde::Serialize;
use stepwell::{
    Client, Runtime, TaskId, Timestamp,
    core::{
        bulk::BulkId,
        graph::Graph,
        record::{Action, AttemptRecord, Outcome, Refusal, RerunAs},
        recovery::{begins_at, redrive_at},
        snapshot::{TaskSnapshot, Warning},
        state::{End, TaskStatus},
        timeline::{Span, Wait, What, timeline},
    },
    ports::{Queue, Store, TableError},
};

/// The answer: a task for operators.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct TaskView<'a> {
    #[serde(flatten)]
    details: Details<'a>,
    /// The status after compensation; `null` unless compensation has begun.
    ends_as: Option<End>,
    /// Whether all compensations are complete, which closes the task.
    compensated: bool,
    /// What this task was, or is to be, rerun as.
    #[serde(skip_serializing_if = "Option::is_none")]
    rerun_as: Option<RerunView>,
    /// The task that this one is a rerun of.
    #[serde(skip_serializing_if = "Option::is_none")]
    rerun_of: Option<TaskId>,
    /// When the failed steps are redriven automatically.
    redrives_at: Option<Timestamp>,
    /// When compensation begins automatically.
    compensates_at: Option<Timestamp>,
    /// The steps that are due, and wait because they are paused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    paused: Vec<PausedStep>,
    /// What the task goes on without: the optional steps and compensations that failed for good.
    warnings: Vec<WarningView<'a>>,
    /// The audit trail, oldest entry first.
    actions: Vec<AuditEntry<'a>>,
    /// What happened and what it waited for, in the order of time.
    timeline: Vec<TimelineEntry<'a>>,
    cost: CostView,
    /// Set where a newer version wrote the task. This version shows the part that it understands, and does not act on
    /// it.
    #[serde(skip_serializing_if = "Option::is_none")]
    newer_format: Option<FormatVersions>,
}

/// The rerun of a task.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct RerunView {
    /// The id that is reserved for it.
    task_id: TaskId,
    /// `false` while its task is not there: the request for it may have broken off, and goes on if it is sent again.
    started: bool,
}

impl RerunView {
    /// The rerun of this task, if an id is reserved for one.
    pub(crate) async fn of<S: Store, Q: Queue, A: Runtime>(
        engine: &Client<S, Q, A>,
        snapshot: &TaskSnapshot,
    ) -> Result<Option<Self>, TableError> {
        let Some(RerunAs { task: task_id, .. }) = snapshot.task.rerun_as else { return Ok(None) };
        Ok(Some(Self { task_id, started: engine.has_started(task_id).await? }))
    }
}

/// The format versions of a task that a newer version wrote.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct FormatVersions {
    /// The format of the version that wrote the task.
    written: i64,
    /// The oldest format whose readers may act on the task.
    needs: i64,
}

/// An optional step that failed for good.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
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
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct AuditEntry<'a> {
    at: Timestamp,
    what: &'static str,
    step: Option<&'a str>,
    who: &'a str,
    why: &'a str,
    /// The bulk action that it was a part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    bulk: Option<BulkId>,
    /// The id of the new task, for a rerun.
    #[serde(skip_serializing_if = "Option::is_none")]
    rerun_as: Option<TaskId>,
}

impl<'a> From<&'a Action> for AuditEntry<'a> {
    fn from(Action { at, what, step, who, why, bulk, rerun_as }: &'a Action) -> Self {
        let bulk = bulk.map(|page| page.id);
        Self { at: *at, what: what.as_str(), step: step.as_deref(), who, why, bulk, rerun_as: *rerun_as }
    }
}

/// A part of the timeline.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct TimelineEntry<'a> {
    from: Timestamp,
    /// `null` while it lasts.
    until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<&'a str>,
    #[serde(flatten)]
    what: Happened<'a>,
}

/// What a part of the timeline is.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Happened<'a> {
    Started,
    Attempt {
        number: u32,
        outcome: Outcome,
        code: Option<String>,
        /// Lambda's request, by which its log lines are found.
        request_id: String,
    },
    Wait {
        reason: &'static str,
        /// The error after which it waits.
        #[serde(skip_serializing_if = "Option::is_none")]
        code: Option<String>,
        /// When the next attempt is due, or the redrive by the engine.
        #[serde(skip_serializing_if = "Option::is_none")]
        due: Option<Timestamp>,
        /// How many attempts happened meanwhile that are not kept in full.
        #[serde(skip_serializing_if = "Option::is_none")]
        attempts: Option<u32>,
    },
    Action {
        what: &'static str,
        who: &'a str,
        why: &'a str,
    },
    Refusal {
        code: &'a str,
    },
    Ended {
        status: TaskStatus,
    },
}

impl<'a> From<Span<'a>> for TimelineEntry<'a> {
    fn from(Span { step, from, until, what }: Span<'a>) -> Self {
        Self { from, until, step, what: what.into() }
    }
}

impl<'a> From<What<'a>> for Happened<'a> {
    fn from(what: What<'a>) -> Self {
        match what {
            What::Started => Self::Started,
            What::Attempt(AttemptRecord { number, outcome, error, request_id, .. }) => {
                Self::Attempt { number, outcome, code: error.map(|error| error.code), request_id }
            }
            What::Wait(Wait::Queue) => Self::Wait { reason: "queue", code: None, due: None, attempts: None },
            What::Wait(Wait::Redrive { due }) => Self::Wait { reason: "redrive", code: None, due, attempts: None },
            What::Wait(Wait::Backoff { code, due }) => {
                Self::Wait { reason: "backoff", code, due: Some(due), attempts: None }
            }
            What::Wait(Wait::Omitted { attempts }) => {
                Self::Wait { reason: "omitted", code: None, due: None, attempts: Some(attempts) }
            }
            What::Action(Action { what, who, why, .. }) => Self::Action { what: what.as_str(), who, why },
            What::Refusal(Refusal { error, .. }) => Self::Refusal { code: &error.code },
            What::Ended(status) => Self::Ended { status },
        }
    }
}

impl<'a> TaskView<'a> {
    pub(crate) fn of(
        snapshot: &'a TaskSnapshot,
        rerun_as: Option<RerunView>,
        pauses: &Pauses,
        now: Timestamp,
    ) -> Result<Self, CommonError> {
        Ok(Self {
            details: Details::of(snapshot),
            ends_as: snapshot.task.state.ends_as(),
            compensated: snapshot.status().is_compensated(),
            rerun_as,
            rerun_of: snapshot.task.rerun_of,
            redrives_at: redrive_at(snapshot),
            compensates_at: begins_at(snapshot),
            paused: pauses.that_hold(snapshot, now),
            warnings: snapshot.warnings().into_iter().map(WarningView::from).collect(),
            actions: snapshot.task.actions.iter().map(AuditEntry::from).collect(),
            timeline: timeline(snapshot).into_iter().map(TimelineEntry::from).collect(),
            cost: CostView::of(snapshot)?,
            newer_format: snapshot.newer().map(|newer| FormatVersions { written: newer.v, needs: newer.needs }),
        })
    }
}

/// Shows one task.
pub(crate) async fn show<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
    segment: Segment,
) -> Result<Response, ApiError> {
    let snapshot = engine.snapshot(task_id(segment)?).await?.ok_or_else(no_task)?;
    let rerun_as = RerunView::of(&engine, &snapshot).await?;
    let pauses = Pauses::read(&engine).await?;
    Ok(Json(TaskView::of(&snapshot, rerun_as, &pauses, engine.now())?).into_response())
}

/// Shows the graph of one task: as JSON, or with `format=mermaid` as a Mermaid flowchart.
pub(crate) async fn graph<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
    segment: Segment,
    request: Parts,
) -> Result<Response, ApiError> {
    let mut fields = Fields::of_query(&request);
    let mermaid = fields.text("format", format).unwrap_or_default();
    fields.finish()?;
    let graph = Graph::of(&engine.snapshot(task_id(segment)?).await?.ok_or_else(no_task)?);
    Ok(match mermaid {
        true => ([(CONTENT_TYPE, "text/vnd.mermaid; charset=utf-8")], graph.mermaid()).into_response(),
        false => Json(graph).into_response(),
    })
}

/// Parses the format of a graph: whether it is Mermaid.
fn format(text: &str) -> Result<bool, &'static str> {
    match text {
        "json" => Ok(false),
        "mermaid" => Ok(true),
        _ => Err("has to be json or mermaid"),
    }
}
