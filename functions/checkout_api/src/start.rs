//! `POST /checkout`: starts a checkout.

use crate::{
    checkouts::{Checkouts, Shared},
    error::ApiError,
    standing::Standing,
    violations,
};
use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_api::{AnswerBy, Cause, TaskKeys};
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;
use stepwell::{
    IdempotencyKey, NotAKey, Runtime, StartError, TaskId, Timestamp, Violation,
    core::{limits::MAX_CONTEXT_BYTES, state::TaskStatus},
    ports::{Queue, Store},
};

const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// The status of a checkout of which it is not known whether it was started.
pub(crate) const UNCONFIRMED: &str = "unconfirmed";

/// What its customer reads.
pub(crate) const ASK_AGAIN: &str = "We do not know yet whether your order was started. Please do not pay again: \
    ask this checkout's status in a moment.";

/// How long a checkout without a task is unconfirmed, from the time in its id. A write that was under way when its answer got
/// lost has ended long before.
const UNCONFIRMED_FOR: Duration = Duration::from_secs(60);

/// The answer to a request that was accepted. `success` says that the request must not be repeated.
#[derive(Serialize)]
struct Accepted {
    success: bool,
    task_id: TaskId,
    /// Opens the checkout to whoever has it: in `checkout_url`, or as the header `X-Task-Key` of any request about it.
    task_key: String,
    /// `pending` after a new start; later the word of `GET /order_status`.
    status: &'static str,
    checkout_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
}

/// Starts a checkout. Once the task may be written, the answer is 202, whatever else fails: a customer who repeated the
/// purchase would pay twice. Every other answer says that nothing was started.
pub(crate) async fn start<T: Store, Q: Queue, A: Runtime>(
    State(checkouts): Shared<T, Q, A>,
    Extension(answer_by): Extension<AnswerBy>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    http_api::check_media_type(&headers)?;
    let key = idempotency_key(&headers)?;
    let body = http_api::read(body, MAX_CONTEXT_BYTES).await?;
    let request = take_request(body).map_err(ApiError::Invalid)?;
    let start = checkouts.engine.prepare_start(&checkouts.workflow, &request, key.as_ref()).await?;
    let task_id = start.task_id();
    let written = async {
        let started = checkouts.engine.write_start(start).await?;
        Ok(if started.already_there { status(&checkouts, task_id).await } else { TaskStatus::Pending.as_str() })
    };
    match answer_by.bound(written).await {
        Some(Ok(status)) => Ok(accepted(&checkouts.keys, task_id, status)),
        Some(Err(error @ StartError::Unconfirmed { .. })) => {
            Ok(unconfirmed(&checkouts.keys, task_id, error.to_string()))
        }
        Some(Err(error)) => Err(error.into()),
        None => Ok(unconfirmed(&checkouts.keys, task_id, "no answer to the start in time".to_owned())),
    }
}

/// The status of a checkout that an earlier request started.
async fn status<T: Store, Q: Queue, A: Runtime>(checkouts: &Checkouts<T, Q, A>, id: TaskId) -> &'static str {
    match checkouts.engine.snapshot(id).await {
        Ok(Some(snapshot)) if snapshot.status() == TaskStatus::Pending => TaskStatus::Pending.as_str(),
        Ok(Some(snapshot)) => Standing::of(&snapshot).word(),
        // It was started; only its status is not known.
        Ok(None) | Err(_) => TaskStatus::Pending.as_str(),
    }
}

fn accepted(keys: &TaskKeys, task_id: TaskId, status: &'static str) -> Response {
    let (url, task_key) = (keys.url("/order_status", task_id), keys.key_of(task_id));
    let message = (status == UNCONFIRMED).then_some(ASK_AGAIN);
    let body = Accepted { success: true, task_id, task_key, status, checkout_url: url.clone(), message };
    (StatusCode::ACCEPTED, Extension(task_id), [(header::LOCATION, url)], Json(body)).into_response()
}

fn unconfirmed(keys: &TaskKeys, task_id: TaskId, cause: String) -> Response {
    (Extension(Cause(cause)), accepted(keys, task_id, UNCONFIRMED)).into_response()
}

/// Whether the task of this id, which is not there, may still be on its way into the table.
pub(crate) fn may_be_under_way(id: TaskId, now: Timestamp) -> bool {
    // The clock of the function that made the id may be ahead of this one.
    id.made_at().is_some_and(|made_at| made_at < now + UNCONFIRMED_FOR && now < made_at + UNCONFIRMED_FOR)
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
