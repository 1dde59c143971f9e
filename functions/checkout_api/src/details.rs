//! `GET /workflow_details/{task_id}`: shows a checkout step by step and attempt by attempt.

use crate::{access::Opened, checkouts::Shared, error::ApiError};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http_api::Details;
use stepwell::{
    Runtime,
    ports::{Queue, Store},
};

/// Shows the whole checkout, without its context and without the actions of operators.
pub(crate) async fn details<T: Store, Q: Queue, A: Runtime>(
    State(checkouts): Shared<T, Q, A>,
    Opened(id): Opened,
) -> Result<Response, ApiError> {
    Ok(Json(Details::of(&checkouts.find(id).await?)).into_response())
}
