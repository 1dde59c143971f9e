//! `POST /retry_checkout/{task_id}`: gives a failed checkout another chance.

use crate::{checkouts::Shared, error::ApiError};
use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use http_api::Segment;
use serde::Serialize;
use stepwell::{
    Runtime, TaskId,
    core::state::TaskStatus,
    ports::{Queue, Store},
};

#[derive(Serialize)]
struct Retried {
    success: bool,
    message: &'static str,
    status: TaskStatus,
    task_id: TaskId,
}

/// The checkout goes on at the step that failed, with a fresh set of attempts; what completed is kept.
pub(crate) async fn retry<T: Store, Q: Queue, A: Runtime>(
    State(checkouts): Shared<T, Q, A>,
    segment: Segment,
) -> Result<impl IntoResponse, ApiError> {
    let snapshot = checkouts.find(segment).await?;
    // Once it is being undone, the engine's redrive is for a compensation that has failed. That is the operators' affair.
    if snapshot.task.state.is_compensating() {
        return Err(ApiError::CannotRetry(snapshot.status()));
    }
    let task_id = snapshot.task.id;
    checkouts.engine.redrive(task_id, &checkouts.customer).await?;
    let message = "Checkout retry initiated";
    let body = Retried { success: true, message, status: TaskStatus::Pending, task_id };
    Ok((StatusCode::ACCEPTED, Json(body)))
}
