//! Which path leads where.

use crate::{backend::Backend, details, error::ApiError, every_request, retry, shop, start, status};
use axum::{
    Router,
    extract::{Path, rejection::PathRejection},
    middleware,
    routing::{get, post},
};
use std::sync::Arc;
use stepwell::TaskId;

/// The API over this backend.
pub(crate) fn router<B: Backend>(backend: B) -> Router {
    Router::new()
        .route("/checkout", post(start::start::<B>))
        .route("/order_status/{task_id}", get(status::status::<B>))
        .route("/workflow_details/{task_id}", get(details::details::<B>))
        .route("/retry_checkout/{task_id}", post(retry::retry::<B>))
        .route("/orders/{order_id}", get(shop::order::<B>))
        .route("/products", get(shop::products::<B>))
        .fallback(async || ApiError::NoRoute)
        .method_not_allowed_fallback(async || ApiError::WrongMethod)
        .layer(middleware::from_fn(every_request::around))
        .with_state(Arc::new(backend))
}

/// The parameter of a path that may be any text at all.
pub(crate) type Segment = Result<Path<String>, PathRejection>;

/// The task that a path names. What is no task's id is the id of no task.
pub(crate) fn task_id(segment: Segment) -> Result<TaskId, ApiError> {
    let Path(text) = segment.map_err(|_| ApiError::NotFound)?;
    text.parse().map_err(|_| ApiError::NotFound)
}
