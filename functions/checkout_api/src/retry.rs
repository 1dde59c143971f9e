//! `POST /retry_checkout/{task_id}`: runs a checkout's failed step now, for its customer.

use crate::{access::Opened, checkouts::Shared, error::ApiError, standing::is_retry_offered};
use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use serde::Serialize;
use stepwell::{
    Runtime, TaskId,
    core::state::{TaskState, TaskStatus},
    ports::{Queue, Store},
};

#[derive(Serialize)]
struct Retried {
    success: bool,
    message: &'static str,
    status: TaskStatus,
    task_id: TaskId,
}

/// Runs the failed step: the next attempt of a step that waits for its retry, or a fresh set of attempts where they are used
/// up. Completed steps are kept. A customer's redrive does not count as one of the engine's, so those that the engine would
/// make by itself are still to come.
pub(crate) async fn retry<T: Store, Q: Queue, A: Runtime>(
    State(checkouts): Shared<T, Q, A>,
    Opened(task_id): Opened,
) -> Result<impl IntoResponse, ApiError> {
    let snapshot = checkouts.find(task_id).await?;
    match snapshot.task.state {
        // The engine's redrive would repeat failed compensations, or the optional steps that failed. Only operators may do that.
        TaskState::Compensating(_) | TaskState::Completed => return Err(ApiError::CannotRetry(snapshot.status())),
        _ if !is_retry_offered(&snapshot) => return Err(ApiError::NoRetryOffered),
        TaskState::Running => drop(checkouts.engine.run_now(task_id).await?),
        _ => drop(checkouts.engine.redrive(task_id, &checkouts.retries).await?),
    }
    let message = "Checkout retry initiated";
    let body = Retried { success: true, message, status: TaskStatus::Pending, task_id };
    Ok((StatusCode::ACCEPTED, Json(body)))
}
