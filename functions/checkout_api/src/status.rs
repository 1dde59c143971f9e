//! `GET /order_status/{task_id}`: shows the status of a checkout to its customer.

use crate::{checkouts::Shared, error::ApiError};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use checkout::{CreatedOrder, Money};
use http_api::Segment;
use serde::Serialize;
use stepwell::{
    Runtime, StepResult, TaskId, Timestamp,
    core::{
        record::{Failure, StepRecord},
        recovery::redrive_at,
        snapshot::{Progress, TaskSnapshot},
        state::{End, StepState, TaskState},
    },
    ports::{Queue, Store},
};

/// Shows the status of the checkout.
pub(crate) async fn status<T: Store, Q: Queue, A: Runtime>(
    State(checkouts): Shared<T, Q, A>,
    segment: Segment,
) -> Result<Response, ApiError> {
    Ok(Json(OrderStatus::of(&checkouts.find(segment).await?)).into_response())
}

/// The answer, with one shape for each status.
#[derive(Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(crate) enum OrderStatus<'a> {
    /// Steps are ready, running or waiting for a retry.
    Processing(Processing<'a>),
    /// All steps are complete.
    Completed(Finished),
    /// A step failed for good; the checkout may be compensating or compensated.
    Failed(Failed<'a>),
    /// An operator cancelled the checkout; it may be compensating or compensated.
    Cancelled(Cancelled<'a>),
    /// An operator declared the checkout done.
    ResolvedManually(Finished),
}

/// The answer for a running checkout.
#[derive(Serialize)]
pub(crate) struct Processing<'a> {
    task_id: TaskId,
    /// The first step that is not complete; `null` in the moment between the last step's end and the task's.
    current_step: Option<&'a str>,
    progress: Percentage,
    #[serde(skip_serializing_if = "Option::is_none")]
    retrying: Option<Retrying<'a>>,
}

#[derive(Serialize)]
struct Percentage {
    completed: usize,
    total: usize,
    percentage: usize,
}

/// A step that failed and waits for its next attempt.
#[derive(Serialize)]
struct Retrying<'a> {
    step: &'a str,
    /// The number of the last failed attempt.
    attempt: u32,
    error: Option<&'a Failure>,
    next_retry_at: Option<Timestamp>,
}

/// The answer for a cancelled checkout.
#[derive(Serialize)]
pub(crate) struct Cancelled<'a> {
    task_id: TaskId,
    progress: Percentage,
    /// The compensations of the attempted steps, in the order in which they run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    compensations: Vec<Compensation<'a>>,
}

/// The status of a compensation.
#[derive(Serialize)]
struct Compensation<'a> {
    step: &'a str,
    status: StepState,
}

/// The answer for a completed or resolved checkout. A checkout that was resolved by hand may have no order.
#[derive(Serialize)]
pub(crate) struct Finished {
    task_id: TaskId,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_id: Option<TaskId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order_number: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_amount: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    redirect_url: Option<String>,
}

/// The answer for a failed checkout.
#[derive(Serialize)]
pub(crate) struct Failed<'a> {
    task_id: TaskId,
    failed_step: Option<&'a str>,
    failed_steps: Vec<&'a str>,
    error: Option<&'a Failure>,
    /// When the checkout is redriven automatically; missing where no automatic redrive remains.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_retry_at: Option<Timestamp>,
    /// Missing once compensation has begun, where the audit trail is full, and where only a newer version may retry the
    /// task.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_url: Option<String>,
    /// The compensations of the attempted steps, in the order in which they run; empty while the checkout can be
    /// retried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    compensations: Vec<Compensation<'a>>,
}

impl<'a> OrderStatus<'a> {
    /// Makes the answer for a task.
    pub(crate) fn of(snapshot: &'a TaskSnapshot) -> Self {
        use TaskState as S;
        match snapshot.task.state {
            S::Running => Self::Processing(Processing::of(snapshot)),
            S::Completed => Self::Completed(Finished::of(snapshot)),
            S::Failed | S::Compensating(End::Error) | S::Compensated(End::Error) => Self::Failed(Failed::of(snapshot)),
            S::Cancelled | S::Compensating(End::Cancelled) | S::Compensated(End::Cancelled) => {
                Self::Cancelled(Cancelled::of(snapshot))
            }
            S::Resolved => Self::ResolvedManually(Finished::of(snapshot)),
        }
    }
}

impl<'a> Processing<'a> {
    fn of(snapshot: &'a TaskSnapshot) -> Self {
        Self {
            task_id: snapshot.task.id,
            current_step: snapshot.current_step().map(|step| step.name.as_str()),
            progress: snapshot.progress().into(),
            retrying: snapshot.steps.iter().find(|step| step.state == StepState::Retrying).map(Retrying::of),
        }
    }
}

impl From<Progress> for Percentage {
    fn from(Progress { completed, total, percentage }: Progress) -> Self {
        Self { completed, total, percentage }
    }
}

impl<'a> Retrying<'a> {
    fn of(step: &'a StepRecord) -> Self {
        Self { step: &step.name, attempt: step.attempt, error: step.error.as_ref(), next_retry_at: step.next_retry_at }
    }
}

impl<'a> Cancelled<'a> {
    fn of(snapshot: &'a TaskSnapshot) -> Self {
        let compensations = Compensation::all_of(snapshot);
        Self { task_id: snapshot.task.id, progress: snapshot.progress().into(), compensations }
    }
}

impl<'a> Compensation<'a> {
    fn all_of(snapshot: &'a TaskSnapshot) -> Vec<Self> {
        snapshot.compensations.iter().map(|step| Self { step: &step.name, status: step.state }).collect()
    }
}

impl Finished {
    fn of(snapshot: &TaskSnapshot) -> Self {
        let result = snapshot.step(CreatedOrder::STEP).and_then(|step| step.result.as_deref());
        let order = result.and_then(|result| serde_json::from_str::<CreatedOrder>(result).ok());
        Self {
            task_id: snapshot.task.id,
            redirect_url: order.as_ref().map(|order| format!("/orders/{}", order.order_id)),
            order_id: order.as_ref().map(|order| order.order_id),
            total_amount: order.as_ref().map(|order| order.total_amount),
            order_number: order.map(|order| order.order_number),
        }
    }
}

impl<'a> Failed<'a> {
    fn of(snapshot: &'a TaskSnapshot) -> Self {
        // The items are not read at the same moment, and the steps are read first: the task may be failed already in a
        // snapshot whose step is not.
        let listed = |step: &StepRecord| !step.state.is_done() && snapshot.task.failed_steps.contains(&step.name);
        let failed = snapshot.steps.iter().filter(|step| step.state == StepState::Error || listed(step));
        let failed: Vec<&StepRecord> = failed.collect();
        let first = failed.first();
        let may_be_retried = snapshot.task.state == TaskState::Failed
            && snapshot.newer().is_none()
            && snapshot.task.has_room_for_redrive();
        Self {
            task_id: snapshot.task.id,
            failed_step: first.map(|step| step.name.as_str()),
            error: first.and_then(|step| step.error.as_ref()),
            failed_steps: failed.iter().map(|step| step.name.as_str()).collect(),
            retry_url: may_be_retried.then(|| format!("/retry_checkout/{}", snapshot.task.id)),
            next_retry_at: redrive_at(snapshot),
            compensations: Compensation::all_of(snapshot),
        }
    }
}
