//! Middleware for every request: a time limit, panic handling, the common response headers, and one log line.

use crate::{
    error::{Cause, CommonError},
    request::{CORRELATION_ID, RequestId, named},
    task_key::TASK_KEY_HEADER,
    wait::Wait,
};
use axum::{
    Router,
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue, header},
    middleware::{Next, from_fn},
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use std::{panic::AssertUnwindSafe, time::Duration};
use stepwell::{CorrelationId, TaskId};
use tokio::time::Instant;

/// The headers that nobody but their reader should see.
const SECRET_HEADERS: [HeaderName; 4] =
    [header::AUTHORIZATION, header::COOKIE, TASK_KEY_HEADER, HeaderName::from_static("idempotency-key")];

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The time by which a request has to be answered. A route that has begun what cannot be taken back bounds it by this time,
/// and gives its own answer. Otherwise the middleware answers that nothing was done.
#[derive(Clone, Copy, Debug)]
pub struct AnswerBy(Instant);

impl AnswerBy {
    /// The time that a route needs to make its answer.
    const MARGIN: Duration = Duration::from_millis(250);

    /// Waits for a future as long as there is time to answer; `None` if it is not done by then.
    pub async fn bound<T>(self, future: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout_at(self.0 - Self::MARGIN, future).await.ok()
    }
}

/// The time after a request's [`Wait`] in which it has to be answered.
const AFTER_WAIT: Duration = Duration::from_secs(2);

/// Wraps routes in the middleware; each request has to be answered within `limit`, or a little after its [`Wait`].
pub(crate) fn around<S: Clone + Send + Sync + 'static>(routes: Router<S>, limit: Duration) -> Router<S> {
    routes.layer(from_fn(move |request, next| redaction::in_scope(within(limit, request, next))))
}

/// Passes a request on to its route.
async fn within(limit: Duration, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let (mut parts, body) = request.into_parts();
    for name in SECRET_HEADERS {
        if let header::Entry::Occupied(mut values) = parts.headers.entry(name) {
            // `Debug` shows none of them from now on, whoever writes it.
            values.iter_mut().for_each(|value| value.set_sensitive(true));
        }
    }
    // A route that knows no wait ignores it, and one that does refuses an invalid one.
    let limit = Wait::asked(&parts).ok().flatten().map_or(limit, |wait| limit.max(wait + AFTER_WAIT));
    let answer_by = started + limit;
    parts.extensions.insert(AnswerBy(answer_by));
    let correlation_id = named(&parts.headers);
    let request = Request::from_parts(parts, body);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let request_id = request.extensions().get::<RequestId>().map(|RequestId(id)| id.clone());
    // The path has the id of the task or order. The id of a task that was just started is in the answer.
    let task_id = request.uri().path().split('/').find_map(|part| part.parse().ok());

    let answer = tokio::time::timeout_at(answer_by, AssertUnwindSafe(next.run(request)).catch_unwind()).await;
    let mut response = match answer {
        Ok(Ok(response)) => response,
        // The panic hook has logged the message. Uncaught, the panic would become the runtime's answer to the client.
        Ok(Err(_)) => CommonError::Broken("the route panicked".to_owned()).into_response(),
        Err(_) => CommonError::Unavailable(format!("no answer within {limit:?}")).into_response(),
    };

    let line = RequestLog {
        method: method.as_str(),
        route: route.as_ref().map_or("none", MatchedPath::as_str),
        task_id: task_id.or_else(|| response.extensions().get::<TaskId>().copied()),
        request_id: request_id.as_deref(),
        correlation_id: correlation_id.as_ref().map(CorrelationId::as_str),
        elapsed: started.elapsed(),
    };
    line.write(&response);
    let headers = response.headers_mut();
    // A route that has nothing personal in its answer says itself how long it may be kept.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if let Some(id) = request_id.and_then(|id| HeaderValue::try_from(id).ok()) {
        headers.insert(REQUEST_ID, id);
    }
    if let Some(id) = correlation_id.and_then(|id| HeaderValue::try_from(id.as_str()).ok()) {
        headers.insert(CORRELATION_ID, id);
    }
    response
}

/// The log line of a request. It has no body, header or path, because the client controls their text.
struct RequestLog<'a> {
    method: &'a str,
    route: &'a str,
    task_id: Option<TaskId>,
    request_id: Option<&'a str>,
    /// As the caller names it; otherwise what follows has the request's id.
    correlation_id: Option<&'a str>,
    elapsed: Duration,
}

impl RequestLog<'_> {
    fn write(&self, response: &Response) {
        let Self { method, route, task_id, request_id, correlation_id, elapsed } = *self;
        let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let status = response.status().as_u16();
        let task_id = task_id.map(tracing::field::display);
        match response.extensions().get::<Cause>() {
            None => tracing::info!(method, route, status, ms, task_id, request_id, correlation_id, "request"),
            Some(Cause(cause)) => {
                tracing::error!(method, route, status, ms, task_id, request_id, correlation_id, cause, "request");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TaskKeys;
    use axum::{body::Body, http::request::Parts, routing::get};
    use redaction::redact;
    use tower::ServiceExt;

    /// The route prints what a careless one or a dependency might log.
    #[tokio::test]
    async fn secrets_of_a_request_are_hidden_from_whoever_prints_it() {
        let task: TaskId = "018f4e4e-7c1a-7000-8000-0123456789ab".parse().unwrap();
        let keys = TaskKeys::new([7; 32], []).unwrap();
        let (key, stranger) = (keys.key_of(task), "planted-by-4-stranger".to_owned());
        let route = {
            let (key, stranger) = (key.clone(), stranger.clone());
            async move |parts: Parts| {
                let is_open = keys.open(task, &parts);
                let told = format!("{is_open} {:?} {}", parts.headers, redact(&format!("{key} {stranger}")));
                told
            }
        };
        let app = around(Router::new().route("/", get(route)), Duration::from_secs(5));
        let ask = async |key: &str| {
            let request = Request::get("/").header("x-task-key", key).header("x-other", "kept");
            let request = ["authorization", "cookie", "idempotency-key"]
                .into_iter()
                .fold(request, |request, name| request.header(name, "planted"));
            let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
            String::from_utf8(body.to_vec()).unwrap()
        };
        let told = ask(&key).await;
        assert!(told.starts_with("true {") && told.contains("\"kept\""), "{told}");
        assert!(!told.contains(&key) && told.ends_with(&format!("*** {stranger}")), "{told}");
        assert!(!told.contains("\"planted\""), "{told}");
        // What a stranger sends is hidden where it stands, and not made a secret, which would hide that text in the lines of others.
        let told = ask(&stranger).await;
        assert!(told.starts_with("false {") && told.matches(&stranger).count() == 1, "{told}");
    }
}
