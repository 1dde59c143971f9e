//! `POST /retry_checkout/{task_id}`: gives a failed checkout another chance.

use crate::{
    backend::Backend,
    error::{ApiError, task_id},
};
use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use http_api::Segment;
use serde::Serialize;
use std::sync::Arc;
use stepwell::{TaskId, core::state::TaskStatus};

#[derive(Serialize)]
struct Retried {
    success: bool,
    message: &'static str,
    status: TaskStatus,
    task_id: TaskId,
}

/// The checkout goes on at the step that failed, with a fresh set of attempts; what completed is kept.
pub(crate) async fn retry<B: Backend>(
    State(backend): State<Arc<B>>,
    segment: Segment,
) -> Result<impl IntoResponse, ApiError> {
    let task_id = task_id(segment)?;
    // Once it is being undone, the engine's retry is for a compensation that has failed. That is the operators' affair.
    let history = backend.history(task_id).await?.ok_or(ApiError::NotFound)?;
    if history.task.state.is_compensating() {
        return Err(ApiError::CannotRetry(history.status()));
    }
    backend.retry(task_id).await?;
    let message = "Checkout retry initiated";
    let body = Retried { success: true, message, status: TaskStatus::Pending, task_id };
    Ok((StatusCode::ACCEPTED, Json(body)))
}
