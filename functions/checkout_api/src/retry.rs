//! `POST /retry_checkout/{task_id}`: redrives a failed checkout for its customer.

use crate::{checkouts::Shared, error::ApiError};
use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use http_api::Segment;
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

/// Redrives the failed steps with a fresh set of attempts. Completed steps are kept.
pub(crate) async fn retry<T: Store, Q: Queue, A: Runtime>(
    State(checkouts): Shared<T, Q, A>,
    segment: Segment,
) -> Result<impl IntoResponse, ApiError> {
    let snapshot = checkouts.find(segment).await?;
    // For a compensating task, the engine's redrive repeats failed compensations, for a completed one failed optional steps.
    // Only operators may do that.
    if snapshot.task.state.is_compensating() || snapshot.task.state == TaskState::Completed {
        return Err(ApiError::CannotRetry(snapshot.status()));
    }
    let task_id = snapshot.task.id;
    checkouts.engine.redrive(task_id, &checkouts.customer).await?;
    let message = "Checkout retry initiated";
    let body = Retried { success: true, message, status: TaskStatus::Pending, task_id };
    Ok((StatusCode::ACCEPTED, Json(body)))
}
