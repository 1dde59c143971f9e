//! `POST /checkout`: starts a checkout.

use crate::{checkouts::Shared, error::ApiError, violations};
use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
};
use serde::Serialize;
use serde_json::Value;
use stepwell::{
    IdempotencyKey, NotAKey, Runtime, TaskId, Violation,
    core::{limits::MAX_CONTEXT_BYTES, state::TaskStatus},
    ports::{Queue, Store},
};

const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

#[derive(Serialize)]
struct Accepted {
    success: bool,
    task_id: TaskId,
    status: TaskStatus,
    checkout_url: String,
}

/// Starts a checkout. It answers once the task is written and the messages to its root steps are sent.
pub(crate) async fn start<T: Store, Q: Queue, A: Runtime>(
    State(checkouts): Shared<T, Q, A>,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, ApiError> {
    http_api::check_media_type(&headers)?;
    let key = idempotency_key(&headers)?;
    let body = http_api::read(body, MAX_CONTEXT_BYTES).await?;
    let request = take_request(body).map_err(ApiError::Invalid)?;
    let task_id = checkouts.engine.start(&checkouts.workflow, &request, key.as_ref()).await?.task_id;
    let url = format!("/order_status/{task_id}");
    let body = Accepted { success: true, task_id, status: TaskStatus::Pending, checkout_url: url.clone() };
    Ok((StatusCode::ACCEPTED, Extension(task_id), [(header::LOCATION, url)], Json(body)))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let text = value.to_str().map_err(|_| ApiError::BadKey("it is not ASCII text".to_owned()))?;
    text.parse().map(Some).map_err(|problem: NotAKey| ApiError::BadKey(problem.to_string()))
}

/// Takes the request out of the body. A field beside it is refused, as an unknown field in it is: a `priority` in the
/// wrong place would otherwise be ignored silently.
fn take_request(body: Value) -> Result<Value, Vec<Violation>> {
    let violation = |path: String, message: &str| Violation { path, message: message.to_owned() };
    let Value::Object(mut fields) = body else {
        return Err(vec![violation(String::new(), "the body has to be an object with the field \"checkout\"")]);
    };
    let request = fields.remove(violations::FIELD);
    let beside = fields.keys().map(|name| violation(violations::pointer(name), "only \"checkout\" is expected here"));
    let mut found: Vec<Violation> = beside.take(violations::MOST).collect();
    match request {
        Some(request) if found.is_empty() => return Ok(request),
        Some(_) => {}
        None => {
            found.insert(0, violation(violations::pointer(violations::FIELD), "\"checkout\" is a required property"))
        }
    }
    Err(found)
}
