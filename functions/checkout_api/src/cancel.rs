//! `POST /cancel_checkout/{task_id}`: cancels a checkout for its customer, until its order is shipped or it is being undone.

use crate::{access::Opened, checkouts::Shared, error::ApiError, standing::Standing};
use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use checkout::{ShopCode, customer_text};
use http_api::Wait;
use serde::Serialize;
use stepwell::{
    ActionError, Runtime, TaskId,
    core::snapshot::TaskSnapshot,
    ports::{Queue, Store},
};

const UNLESS_SHIPPED: &str = "Your order is cancelled, unless it has been shipped already";
const COMPLETE: &str = "This order is complete and cannot be cancelled here. Please contact us.";
const UNCONFIRMED: &str = "We do not know yet whether this checkout was started. Please try again in a minute.";
const FAILED: &str = "This checkout has failed already. What was charged is given back.";
const RERUN: &str = "This checkout goes on as another one. Its status names that one, which you can cancel.";
const MAYBE_RERUN: &str =
    "We do not know yet whether this checkout goes on as another one. Please try again in a minute.";
const TOO_OFTEN: &str = "This checkout was cancelled too often. Please contact us.";

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Cancelled {
    success: bool,
    message: &'static str,
    status: &'static str,
    task_id: TaskId,
}

/// Cancels the checkout. What was charged is given back, as `GET /order_status` shows. A repeated request has the same answer.
/// A complete checkout is `processing` until it is known whether its order was shipped.
pub(crate) async fn cancel<T: Store, Q: Queue, A: Runtime>(
    State(checkouts): Shared<T, Q, A>,
    Opened(task_id): Opened,
) -> Result<impl IntoResponse, ApiError> {
    let found = checkouts.engine.snapshot(task_id).await?;
    if found.as_ref().is_some_and(is_shipped) {
        return Err(shipped());
    }
    match checkouts.engine.cancel(task_id, &checkouts.cancellations).await {
        Err(ActionError::NotFound(_)) if checkouts.may_be_under_way(task_id) => {
            return Err(ApiError::CannotCancel(UNCONFIRMED));
        }
        Err(ActionError::TrailFull) => return Err(ApiError::CannotCancel(TOO_OFTEN)),
        Err(ActionError::Status { .. }) => {}
        cancelled => drop(cancelled?),
    }
    let found = checkouts.find(task_id).await?;
    // Whoever is told that it is cancelled expects no charge of its rerun.
    if let Some(rerun) = found.task.goes_on_as() {
        match checkouts.settle(rerun, Wait::none()).await? {
            None => return Err(ApiError::CannotCancel(MAYBE_RERUN)),
            Some(rerun) if rerun.task.never_starts() => {}
            Some(_) => return Err(ApiError::CannotCancel(RERUN)),
        }
    }
    let (message, status) = match Standing::of(&found) {
        Standing::Cancelled { .. } | Standing::NotStarted => ("Checkout cancelled", "cancelled"),
        Standing::Processing { .. } if found.task.state.is_compensating() => (UNLESS_SHIPPED, "processing"),
        Standing::Failed(_) => return Err(ApiError::CannotCancel(FAILED)),
        Standing::Completed { .. } if is_shipped(&found) => return Err(shipped()),
        Standing::Processing { .. } | Standing::NeedsAttention | Standing::Completed { .. } => {
            return Err(ApiError::CannotCancel(COMPLETE));
        }
    };
    Ok((StatusCode::ACCEPTED, Json(Cancelled { success: true, message, status, task_id })))
}

fn shipped() -> ApiError {
    ApiError::CannotCancel(customer_text(ShopCode::OrderShipped.as_str()).text)
}

/// Whether a cancellation was refused because the order was shipped. That is for good, so it is not asked again.
fn is_shipped(snapshot: &TaskSnapshot) -> bool {
    snapshot.task.refusals.last().is_some_and(|refusal| refusal.error.code == ShopCode::OrderShipped.as_str())
}
