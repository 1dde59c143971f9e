//! The code that Stepwell's HTTP APIs share: middleware, error answers, reading of bodies, and the JSON view of a task.

mod body;
mod details;
mod error;
mod every_request;
mod fields;
#[cfg(feature = "openapi")]
pub mod openapi;
mod request;
mod task_key;
#[cfg(test)]
mod tests;
mod unique_keys;
mod violations;
mod wait;

pub use body::{check_media_type, read, read_if_any};
pub use details::Details;
pub use error::{Cause, CommonError, ErrorBody, refusal};
pub use every_request::AnswerBy;
pub use fields::Fields;
pub use request::{Caller, ClientAddress, Correlation, QueryFields, RequestId, Rights, idempotency_key, query_fields};
pub use task_key::{TASK_KEY_HEADER, TaskKeys, WeakSecret};
pub use violations::{MOST_VIOLATIONS, violations_below};
pub use wait::Wait;

use axum::{
    Router,
    extract::{Path, rejection::PathRejection},
    http::header::CONTENT_TYPE,
    routing::{MethodRouter, get},
};
use std::time::Duration;
use stepwell::TaskId;

/// A path parameter that may be any text.
pub type Segment = Result<Path<String>, PathRejection>;

/// Parses the task's id in a path; `None` where the text is not one.
pub fn task_id(segment: Segment) -> Option<TaskId> {
    segment.ok().and_then(|Path(text)| text.parse().ok())
}

/// Completes an API with answers for unknown paths and methods and with the middleware. Every request has to be
/// answered within `limit`; one that asks for a longer [`Wait`], 2 s after it.
pub fn complete<S: Clone + Send + Sync + 'static>(routes: Router<S>, limit: Duration) -> Router<S> {
    let routes =
        routes.fallback(async || CommonError::NoRoute).method_not_allowed_fallback(async || CommonError::WrongMethod);
    every_request::around(routes, limit)
}

/// Wraps routes in the middleware as [`complete`] does, without answers for unknown paths, so that they can be merged into an API.
pub fn alone<S: Clone + Send + Sync + 'static>(routes: Router<S>, limit: Duration) -> Router<S> {
    every_request::around(routes, limit)
}

/// Makes an API that answers every request with this error.
pub fn refusing(error: impl Fn() -> CommonError + Clone + Send + Sync + 'static, limit: Duration) -> Router {
    every_request::around(Router::new().fallback(async move || error()), limit)
}

/// Makes the route that serves an API's OpenAPI document.
pub fn document<S: Clone + Send + Sync + 'static>(json: &'static str) -> MethodRouter<S> {
    get(async move || ([(CONTENT_TYPE, "application/json")], json))
}

/// Makes the JSON pointer to a field of the object at `parent`.
pub fn pointer(parent: &str, name: &str) -> String {
    format!("{parent}/{}", name.replace('~', "~0").replace('/', "~1"))
}
