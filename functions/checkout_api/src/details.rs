//! `GET /workflow_details/{task_id}`: everything that happened to a checkout, step by step and attempt by attempt.

use crate::{
    backend::Backend,
    error::{ApiError, task_id},
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http_api::{Details, Segment};
use std::sync::Arc;

/// All that is known of the checkout, its context and what operators did to it apart.
pub(crate) async fn details<B: Backend>(State(backend): State<Arc<B>>, segment: Segment) -> Result<Response, ApiError> {
    let history = backend.history(task_id(segment)?).await?.ok_or(ApiError::NotFound)?;
    Ok(Json(Details::of(&history)).into_response())
}
