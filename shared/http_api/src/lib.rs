//! What Stepwell's HTTP APIs have in common: what is around every request, the answers that say what was wrong, how a
//! body is read, and the picture of a task.

mod body;
mod details;
mod error;
mod every_request;
mod request;
#[cfg(test)]
mod tests;
mod unique_keys;

pub use body::{check_media_type, read};
pub use details::Details;
pub use error::{CommonError, ErrorBody};
pub use request::{Caller, QueryFields, RequestId, query_fields};

use axum::{
    Router,
    extract::{Path, rejection::PathRejection},
};
use std::time::Duration;
use stepwell::TaskId;

/// The parameter of a path that may be any text at all.
pub type Segment = Result<Path<String>, PathRejection>;

/// The task that a path names; what is no task's id is the id of no task.
pub fn task_id(segment: Segment) -> Option<TaskId> {
    segment.ok().and_then(|Path(text)| text.parse().ok())
}

/// Completes an API: what is on no route is answered too, and every request has to be answered within `limit`.
pub fn complete<S: Clone + Send + Sync + 'static>(routes: Router<S>, limit: Duration) -> Router<S> {
    let routes =
        routes.fallback(async || CommonError::NoRoute).method_not_allowed_fallback(async || CommonError::WrongMethod);
    every_request::around(routes, limit)
}

/// An API that answers every request with this error.
pub fn refusing(error: impl Fn() -> CommonError + Clone + Send + Sync + 'static, limit: Duration) -> Router {
    every_request::around(Router::new().fallback(async move || error()), limit)
}

/// The JSON pointer to a field of the object at `parent`.
pub fn pointer(parent: &str, name: &str) -> String {
    format!("{parent}/{}", name.replace('~', "~0").replace('/', "~1"))
}
