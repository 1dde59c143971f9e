//! Which path leads where.

use crate::{backend::Backend, details, retry, shop, start, status};
use axum::{
    Router,
    routing::{get, post},
};
use std::{sync::Arc, time::Duration};

/// A little less than the function's own timeout in the template, so that a client gets an answer that says something.
const TIME_LIMIT: Duration = Duration::from_secs(9);

/// The API over this backend.
pub(crate) fn router<B: Backend>(backend: B) -> Router {
    let routes = Router::new()
        .route("/checkout", post(start::start::<B>))
        .route("/order_status/{task_id}", get(status::status::<B>))
        .route("/workflow_details/{task_id}", get(details::details::<B>))
        .route("/retry_checkout/{task_id}", post(retry::retry::<B>))
        .route("/orders/{order_id}", get(shop::order::<B>))
        .route("/products", get(shop::products::<B>));
    http_api::complete(routes, TIME_LIMIT).with_state(Arc::new(backend))
}
