//! `GET /order_status/{task_id}`: where a checkout stands, in a customer's words.

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

/// Where the checkout stands.
pub(crate) async fn status<T: Store, Q: Queue, A: Runtime>(
    State(checkouts): Shared<T, Q, A>,
    segment: Segment,
) -> Result<Response, ApiError> {
    Ok(Json(OrderStatus::of(&checkouts.find(segment).await?)).into_response())
}

/// The answer, one shape for each way a checkout can stand.
#[derive(Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(crate) enum OrderStatus<'a> {
    /// On its way.
    Processing(Processing<'a>),
    /// Done.
    Completed(Finished),
    /// A step failed for good.
    Failed(Failed<'a>),
    /// Stopped by an operator.
    Cancelled(Cancelled<'a>),
    /// Declared done by an operator.
    ResolvedManually(Finished),
}

/// How far it has come.
#[derive(Serialize)]
pub(crate) struct Processing<'a> {
    task_id: TaskId,
    /// The first step that is not done; `null` in the moment between the last step's end and the task's.
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
    /// The attempt that failed last.
    attempt: u32,
    error: Option<&'a Failure>,
    next_retry_at: Option<Timestamp>,
}

/// How far it had come.
#[derive(Serialize)]
pub(crate) struct Cancelled<'a> {
    task_id: TaskId,
    progress: Percentage,
    /// What undoes the steps that were done, in its order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    compensations: Vec<Compensation<'a>>,
}

/// What undoes a step.
#[derive(Serialize)]
struct Compensation<'a> {
    step: &'a str,
    status: StepState,
}

/// What came of it. A checkout that was resolved by hand may have no order.
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

/// Why it did not come to its end.
#[derive(Serialize)]
pub(crate) struct Failed<'a> {
    task_id: TaskId,
    failed_step: Option<&'a str>,
    failed_steps: Vec<&'a str>,
    error: Option<&'a Failure>,
    /// When it is tried again by itself; missing where only somebody's retry can help.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_retry_at: Option<Timestamp>,
    /// Missing once what was done is being undone, where it was retried too often, and where only a newer version may retry it.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_url: Option<String>,
    /// What undoes the steps that were done, in its order; empty while the checkout can be retried.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    compensations: Vec<Compensation<'a>>,
}

impl<'a> OrderStatus<'a> {
    /// The answer for what is known of a task.
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
        // The items are read one after another, steps first: a task can be seen to have failed a moment before its step.
        let listed = |step: &StepRecord| !step.state.is_done() && snapshot.task.failed_steps.contains(&step.name);
        let failed = snapshot.steps.iter().filter(|step| step.state == StepState::Error || listed(step));
        let failed: Vec<&StepRecord> = failed.collect();
        let first = failed.first();
        Self {
            task_id: snapshot.task.id,
            failed_step: first.map(|step| step.name.as_str()),
            error: first.and_then(|step| step.error.as_ref()),
            failed_steps: failed.iter().map(|step| step.name.as_str()).collect(),
            retry_url: (snapshot.task.state == TaskState::Failed && snapshot.newer().is_none())
                .then_some(snapshot.to_redrive())
                .filter(|failed| snapshot.full_trail(failed).is_none())
                .map(|_| format!("/retry_checkout/{}", snapshot.task.id)),
            next_retry_at: redrive_at(snapshot),
            compensations: Compensation::all_of(snapshot),
        }
    }
}
