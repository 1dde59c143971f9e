//! `POST /retry_checkout/{task_id}`: runs a checkout's failed step now, for its customer, with another card if one is given.

use crate::{
    access::Opened,
    checkouts::SharedPaying,
    error::ApiError,
    standing::{is_retry_offered, may_resend},
};
use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
};
use checkout::{CardTokens, Counters, Payment, Token};
use http_api::ClientAddress;
use serde::Serialize;
use serde_json::Value;
use stepwell::{
    Runtime, StepResult, TaskId, Violation, Workflow,
    core::{
        limits::MAX_CONTEXT_BYTES,
        state::{StepState, TaskState, TaskStatus},
    },
    ports::{Queue, Store},
};

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Retried {
    success: bool,
    message: &'static str,
    status: TaskStatus,
    task_id: TaskId,
}

/// Runs the failed step: the next attempt of a step that waits for its retry, or a fresh set of attempts where they are used
/// up. Completed steps are kept. A customer's redrive does not count as one of the engine's, so those that the engine would
/// make by itself are still to come.
///
/// Of a complete checkout it sends the confirmation again, if that could not be sent.
///
/// With a token the payment charges that card. The payment stays the same one: if it turns out that the first card was charged, that
/// is the result, and the new card is not touched.
pub(crate) async fn retry<T: Store, Q: Queue, A: Runtime, C: CardTokens + Counters>(
    State(paying): SharedPaying<T, Q, A, C>,
    Opened(task_id): Opened,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, ApiError> {
    http_api::check_media_type(&headers)?;
    let body = http_api::read_if_any(body, MAX_CONTEXT_BYTES).await?;
    let checkouts = &paying.checkouts;
    let snapshot = checkouts.find(task_id).await?;
    let card = body.map(|body| other_card(body, &snapshot.task.context, &checkouts.workflow)).transpose();
    let card = card.map_err(ApiError::Invalid)?.flatten();
    let is_running = match snapshot.task.state {
        TaskState::Running => true,
        TaskState::Failed => false,
        TaskState::Completed if may_resend(&snapshot) => false,
        // The engine's redrive would repeat failed compensations, or other optional steps that failed. Only operators may do that.
        _ => return Err(ApiError::CannotRetry(snapshot.status())),
    };
    if !is_retry_offered(&snapshot) {
        return Err(ApiError::NoRetryOffered);
    }
    if let Some(token) = card {
        match snapshot.step(Payment::STEP).map(|payment| payment.state) {
            Some(state) if state.is_done() => return Err(ApiError::PaidAlready),
            // An attempt that runs, or is about to, has its card. A request that is refused must not change it.
            Some(StepState::Retrying) => {}
            Some(_) if !is_running => {}
            _ => return Err(ApiError::CannotRetry(snapshot.status())),
        }
        let request = serde_json::from_str(&snapshot.task.context).unwrap_or_default();
        paying.brakes.count(&request, address, checkouts.engine.now()).await?;
        paying.keep(task_id, &token).await?;
    }
    match is_running {
        true => drop(checkouts.engine.run_now_after_pause(task_id).await?),
        false => drop(checkouts.engine.redrive_before_deadline(task_id, &checkouts.retries).await?),
    }
    let message = "Checkout retry initiated";
    let body = Retried { success: true, message, status: TaskStatus::Pending, task_id };
    Ok((StatusCode::ACCEPTED, Json(body)))
}

/// The token of another card in a retry's body, if there is one: `{"payment_info": {"token": ...}}`. It has to fit the schema
/// in the request's place.
fn other_card(body: Value, context: &str, workflow: &Workflow) -> Result<Option<Token>, Vec<Violation>> {
    let violation = |path: &str, message: &str| vec![Violation { path: path.to_owned(), message: message.to_owned() }];
    let mut fields = body;
    let mut path = String::new();
    for name in ["payment_info", "token"] {
        let Value::Object(mut object) = fields else {
            return Err(violation(&path, &format!("an object with the field \"{name}\" is expected here")));
        };
        let field = object.remove(name);
        if let Some(other) = object.keys().next() {
            let unexpected = format!("only \"{name}\" is expected here");
            return Err(violation(&http_api::pointer(&path, other), &unexpected));
        }
        let Some(field) = field else { return Ok(None) };
        path = http_api::pointer(&path, name);
        fields = field;
    }
    let mut request: Value = serde_json::from_str(context).unwrap_or_default();
    if let Some(token) = request.pointer_mut(&path) {
        *token = fields;
    }
    let mut found = workflow.validate(&request).err().unwrap_or_default();
    found.retain(|violation| violation.path == path);
    if !found.is_empty() {
        return Err(found);
    }
    let token = checkout::take_token(&mut request);
    token.map(Some).ok_or_else(|| violation(&path, "value is not the token of a card"))
}
