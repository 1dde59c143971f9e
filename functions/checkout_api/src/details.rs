//! `GET /workflow_details/{task_id}`: everything that happened to a checkout, step by step and attempt by attempt.

use crate::{checkouts::Shared, error::ApiError};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http_api::{Details, Segment};
use stepwell::{
    Runtime,
    ports::{Queue, Store},
};

/// All that is known of the checkout, its context and what operators did to it apart.
pub(crate) async fn details<T: Store, Q: Queue, A: Runtime>(
    State(checkouts): Shared<T, Q, A>,
    segment: Segment,
) -> Result<Response, ApiError> {
    Ok(Json(Details::of(&checkouts.find(segment).await?)).into_response())
}
