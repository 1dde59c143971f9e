//! Which path leads where.

use crate::{
    act,
    backend::{Act, Backend},
    list, operator, retry_all, show,
};
use axum::{
    Router,
    middleware::from_fn,
    routing::{get, post},
};
use std::{sync::Arc, time::Duration};

/// A little less than the function's own timeout in the template, so that a client gets an answer that says something.
const TIME_LIMIT: Duration = Duration::from_secs(27);

/// The API over this backend.
pub(crate) fn router<B: Backend>(backend: B) -> Router {
    let routes = Router::new()
        .route("/tasks", get(list::list::<B>))
        .route("/tasks/retry", post(retry_all::retry_all::<B>))
        .route("/tasks/{task_id}", get(show::show::<B>))
        .route("/tasks/{task_id}/retry", act::to_task(Act::Retry))
        .route("/tasks/{task_id}/cancel", act::to_task(Act::Cancel))
        .route("/tasks/{task_id}/compensate", act::to_task(Act::Compensate))
        .route("/tasks/{task_id}/resolve", act::to_task(Act::Resolve))
        .route("/tasks/{task_id}/steps/{step}/resolve", post(act::resolve_step::<B>))
        .layer(from_fn(operator::only));
    http_api::complete(routes, TIME_LIMIT).with_state(Arc::new(backend))
}
