//! `POST /checkout`: starts a checkout.

use crate::{
    checkouts::{Checkouts, SharedPaying},
    error::ApiError,
    standing::Standing,
    status::{ASK_AGAIN, OrderStatus, Outcome, UNCONFIRMED},
    violations,
};
use axum::{
    Extension, Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use checkout::{CardTokens, Counters};
use http_api::{AnswerBy, Caller, Cause, ClientAddress, Correlation, TaskKeys, Wait};
use serde::Serialize;
use serde_json::Value;
use stepwell::{
    Runtime, StartError, Started, TaskId, Violation,
    core::{limits::MAX_CONTEXT_BYTES, state::TaskStatus},
    ports::{Queue, Store},
};

/// The answer to a request that was accepted. `success` says that the request must not be repeated.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Accepted<'a> {
    success: bool,
    task_id: TaskId,
    /// Opens the checkout to whoever has it: in `checkout_url`, or as the header `X-Task-Key` of any request about it.
    task_key: String,
    /// `pending` after a new start; later the word of `GET /order_status`.
    status: &'static str,
    checkout_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
    /// How the checkout ended, if it has.
    #[serde(flatten)]
    outcome: Option<Outcome<'a>>,
}

/// Starts a checkout. Once the task may be written, the answer is 202, whatever else fails: a customer who repeated the
/// purchase would pay twice. Every other answer says that this request has started nothing. With a `wait` the answer comes when the checkout
/// has ended or the time is over.
pub(crate) async fn start<T: Store, Q: Queue, A: Runtime, C: CardTokens + Counters>(
    State(paying): SharedPaying<T, Q, A, C>,
    Extension(answer_by): Extension<AnswerBy>,
    caller: Option<Extension<Caller>>,
    (ClientAddress(address), Correlation(correlation_id)): (ClientAddress, Correlation),
    wait: Wait,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    http_api::check_media_type(&headers)?;
    let caller = caller.as_ref().map(|Extension(Caller { name, .. })| name.as_str());
    let key = http_api::idempotency_key(&headers, caller)?;
    let body = http_api::read(body, MAX_CONTEXT_BYTES).await?;
    let mut request = take_request(body).map_err(ApiError::Invalid)?;
    let checkouts = &paying.checkouts;
    checkouts.workflow.validate(&request).map_err(StartError::Invalid)?;
    checkouts.check_capacity(key.as_ref()).await?;
    let token = checkout::take_token(&mut request);
    let start = checkouts.engine.prepare_start(&checkouts.workflow, &request, key.as_ref()).await?;
    let start = start.correlated(correlation_id);
    let task_id = start.task_id();
    if !start.is_written() {
        paying.brakes.count(&request, address, checkouts.engine.now()).await?;
    }
    // Before the task is written, so that its payment finds the token. A request that is repeated later must not bring it back.
    if let Some(token) = token.filter(|_| !start.is_written()) {
        paying.keep(task_id, &token).await?;
    }
    match answer_by.bound(checkouts.engine.write_start(start)).await {
        Some(Ok(Started { already_there, .. })) if already_there || wait.is_asked() => {
            Ok(followed(checkouts, task_id, answer_by, wait).await)
        }
        Some(Ok(_)) => Ok(accepted(&checkouts.keys, task_id, TaskStatus::Pending.as_str(), None)),
        Some(Err(error @ StartError::Unconfirmed { .. })) => {
            Ok(unconfirmed(&checkouts.keys, task_id, error.to_string()))
        }
        Some(Err(error)) => Err(error.into()),
        None => Ok(unconfirmed(&checkouts.keys, task_id, "no answer to the start in time".to_owned())),
    }
}

/// The answer for a checkout that was started, now or by an earlier request.
async fn followed<T: Store, Q: Queue, A: Runtime>(
    checkouts: &Checkouts<T, Q, A>,
    id: TaskId,
    answer_by: AnswerBy,
    wait: Wait,
) -> Response {
    // It was started; where it cannot be read, only its status is not known.
    let Some(Ok(Some(snapshot))) = answer_by.bound(checkouts.follow(id, wait)).await else {
        return accepted(&checkouts.keys, id, TaskStatus::Pending.as_str(), None);
    };
    if snapshot.status() == TaskStatus::Pending {
        return accepted(&checkouts.keys, id, TaskStatus::Pending.as_str(), None);
    }
    let Some(Ok(rerun)) = answer_by.bound(checkouts.engine.last_rerun(&snapshot.task)).await else {
        return accepted(&checkouts.keys, id, TaskStatus::Pending.as_str(), None);
    };
    let OrderStatus { status, body, .. } = OrderStatus::of(&snapshot, rerun, &checkouts.keys);
    accepted(&checkouts.keys, id, status, Standing::of(&snapshot).has_ended().then_some(body))
}

fn accepted(keys: &TaskKeys, task_id: TaskId, status: &'static str, outcome: Option<Outcome>) -> Response {
    let (url, task_key) = (keys.url("/order_status", task_id), keys.key_of(task_id));
    let message = (status == UNCONFIRMED).then_some(ASK_AGAIN);
    let body = Accepted { success: true, task_id, task_key, status, checkout_url: url.clone(), message, outcome };
    (StatusCode::ACCEPTED, Extension(task_id), [(header::LOCATION, url)], Json(body)).into_response()
}

fn unconfirmed(keys: &TaskKeys, task_id: TaskId, cause: String) -> Response {
    (Extension(Cause(cause)), accepted(keys, task_id, UNCONFIRMED, None)).into_response()
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
    let mut found: Vec<Violation> = beside.take(http_api::MOST_VIOLATIONS).collect();
    match request {
        Some(request) if found.is_empty() => return Ok(request),
        Some(_) => {}
        None => {
            found.insert(0, violation(violations::pointer(violations::FIELD), "\"checkout\" is a required property"))
        }
    }
    Err(found)
}
