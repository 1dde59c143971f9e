//! `POST /cancel_checkout/{task_id}`: cancels a checkout for its customer, until it is complete or is being undone.

use crate::{access::Opened, checkouts::Shared, error::ApiError, standing::Standing};
use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use serde::Serialize;
use stepwell::{
    ActionError, Runtime, TaskId,
    ports::{Queue, Store},
};

const COMPLETE: &str = "This order is complete and cannot be cancelled here. Please contact us.";
const UNCONFIRMED: &str = "We do not know yet whether this checkout was started. Please try again in a minute.";
const FAILED: &str = "This checkout has failed already. What was charged is given back.";

#[derive(Serialize)]
struct Cancelled {
    success: bool,
    message: &'static str,
    status: &'static str,
    task_id: TaskId,
}

/// Cancels the checkout. What was charged is given back, as `GET /order_status` shows. A repeated request has the same answer.
pub(crate) async fn cancel<T: Store, Q: Queue, A: Runtime>(
    State(checkouts): Shared<T, Q, A>,
    Opened(task_id): Opened,
) -> Result<impl IntoResponse, ApiError> {
    match checkouts.engine.cancel(task_id, &checkouts.cancellations).await {
        Err(ActionError::NotFound(_)) if checkouts.may_be_under_way(task_id) => {
            return Err(ApiError::CannotCancel(UNCONFIRMED));
        }
        Err(ActionError::Status { .. }) => match Standing::of(&checkouts.find(task_id).await?) {
            Standing::Cancelled { .. } | Standing::NotStarted => {}
            Standing::Failed(_) => return Err(ApiError::CannotCancel(FAILED)),
            Standing::Processing { .. } | Standing::NeedsAttention | Standing::Completed { .. } => {
                return Err(ApiError::CannotCancel(COMPLETE));
            }
        },
        cancelled => drop(cancelled?),
    }
    let message = "Checkout cancelled";
    Ok((StatusCode::ACCEPTED, Json(Cancelled { success: true, message, status: "cancelled", task_id })))
}
