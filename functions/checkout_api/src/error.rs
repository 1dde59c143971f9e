//! The error answers of the API.

use crate::violations;
use axum::{
    Extension, Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use checkout::{StoreError, customer_text};
use http_api::{Cause, CommonError, ErrorBody, Segment};
use std::time::Duration;
use stepwell::{
    ActionError, EngineError, StartError, StepError, TaskId, Violation, core::state::TaskStatus, ports::TableError,
};

/// The code of the refusal of a checkout while a service is out.
const SERVICE_OUT: &str = "SERVICE_OUT";

/// What its customer reads.
const SERVICE_OUT_TEXT: &str = "A service that we need for your order does not answer right now. Nothing was ordered and nothing was charged. \
    Please try again in a minute.";

/// The code of the refusal of a checkout that would not be completed in time.
const OVERLOADED: &str = "OVERLOADED";

/// What its customer reads.
const OVERLOADED_TEXT: &str = "There are more orders right now than we can process. Nothing was ordered and nothing was charged. \
    Please try again in a minute.";

/// When the customer of either should ask again, in seconds. The breaker is probed each ten seconds, and workers note long waits as
/// often.
const CAPACITY_RETRY_AFTER: &str = "30";

/// An error answer.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// There is no such checkout or order.
    NotFound,
    /// The task cannot be retried in this status.
    CannotRetry(TaskStatus),
    /// The error of the checkout is one for which no retry is offered.
    NoRetryOffered,
    /// Another card was given for a checkout that is paid.
    PaidAlready,
    /// The checkout cannot be cancelled any more, for this reason.
    CannotCancel(&'static str),
    /// The audit trail of the task is full, so it can keep no more redrives.
    RetriedTooOften,
    /// The deadline of the checkout is over.
    TooLate,
    /// The e-mail address or the IP address has had its share of checkouts for now.
    TooMany {
        /// The time until it may start another one.
        retry_after: Duration,
    },
    /// A service that checkouts need is out, so none is started. The cause is for the log only.
    ServiceOut(String),
    /// A checkout would not be completed in time, so none is started. The cause is for the log only.
    Overloaded(String),
    /// The cart cannot be bought, for this reason.
    CannotBuy(StepError),
    /// The body is JSON, but not a checkout request. The paths point into the body.
    Invalid(Vec<Violation>),
    /// An error that all APIs share.
    Common(CommonError),
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, body) = match self {
            Self::NotFound => (StatusCode::NOT_FOUND, ErrorBody { success: None, ..ErrorBody::new("Order not found") }),
            Self::CannotRetry(status) => {
                let why = if status.is_compensated() { ": it has been compensated" } else { "" };
                (StatusCode::CONFLICT, ErrorBody::new(format!("Cannot retry task in {status} status{why}")))
            }
            Self::NoRetryOffered => (StatusCode::CONFLICT, ErrorBody::new("This checkout cannot be retried")),
            Self::PaidAlready => {
                (StatusCode::CONFLICT, ErrorBody::new("This checkout is paid; it needs no other card"))
            }
            Self::CannotCancel(why) => (StatusCode::CONFLICT, ErrorBody::new(why)),
            Self::RetriedTooOften => {
                (StatusCode::CONFLICT, ErrorBody::new("Cannot retry task: it was retried too often"))
            }
            Self::TooLate => {
                (StatusCode::CONFLICT, ErrorBody::new("Cannot retry task: the time for this checkout is over"))
            }
            Self::TooMany { retry_after } => {
                let error = "There were too many checkouts in a short time; please try again in some minutes";
                let seconds = [(header::RETRY_AFTER, retry_after.as_secs().max(1))];
                return (StatusCode::TOO_MANY_REQUESTS, seconds, Json(ErrorBody::new(error))).into_response();
            }
            Self::Invalid(found) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                ErrorBody { details: Some(found), ..ErrorBody::new("Invalid checkout data") },
            ),
            Self::CannotBuy(error) => {
                let code = checkout::error_codes().map(|entry| entry.code).find(|code| *code == error.code);
                let body = ErrorBody { code, ..ErrorBody::new(customer_text(&error.code).text) };
                (StatusCode::CONFLICT, body)
            }
            Self::ServiceOut(cause) => return no_capacity(SERVICE_OUT, SERVICE_OUT_TEXT, cause),
            Self::Overloaded(cause) => return no_capacity(OVERLOADED, OVERLOADED_TEXT, cause),
            Self::Common(error) => return error.into_response(),
        };
        (status, Json(body)).into_response()
    }
}

/// The answer of a refusal to start a checkout now.
fn no_capacity(code: &'static str, text: &'static str, cause: String) -> Response {
    let body = ErrorBody { code: Some(code), ..ErrorBody::new(text) };
    let header = [(header::RETRY_AFTER, HeaderValue::from_static(CAPACITY_RETRY_AFTER))];
    (StatusCode::SERVICE_UNAVAILABLE, header, Extension(Cause(cause)), Json(body)).into_response()
}

/// Reads the task's id from the path.
pub(crate) fn task_id(segment: Segment) -> Result<TaskId, ApiError> {
    http_api::task_id(segment).ok_or(ApiError::NotFound)
}

impl From<CommonError> for ApiError {
    fn from(error: CommonError) -> Self {
        Self::Common(error)
    }
}

impl From<TableError> for ApiError {
    fn from(error: TableError) -> Self {
        Self::Common(error.into())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy(_) | StoreError::Failed(_) => Self::Common(CommonError::Unavailable(error.to_string())),
            StoreError::Unreadable(_) => Self::Common(CommonError::Broken(error.to_string())),
        }
    }
}

impl From<StartError> for ApiError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Invalid(found) => Self::Invalid(violations::of_body(found)),
            StartError::TooLarge { .. } => {
                Self::Common(CommonError::TooLarge(stepwell::core::limits::MAX_CONTEXT_BYTES))
            }
            StartError::KeyUsed { .. } => Self::Common(CommonError::KeyUsed),
            StartError::NotWritten(error) => Self::Common(error.into()),
            StartError::RuledOut { .. } => Self::Common(CommonError::Unavailable(error.to_string())),
            // `POST /checkout` answers this with 202, because a repeated request could be a second purchase.
            StartError::Unconfirmed { .. } => Self::Common(CommonError::Broken(error.to_string())),
            StartError::Newer(newer) => Self::Common(EngineError::Newer(newer).into()),
        }
    }
}

impl From<ActionError> for ApiError {
    fn from(error: ActionError) -> Self {
        match error {
            ActionError::NotFound(_) => Self::NotFound,
            ActionError::Status { status, .. } | ActionError::NothingWaits(status) => Self::CannotRetry(status),
            ActionError::TrailFull => Self::RetriedTooOften,
            ActionError::DeadlineExceeded(_) => Self::TooLate,
            ActionError::Engine(error) => Self::Common(error.into()),
            ActionError::Newer(newer) => Self::Common(EngineError::Newer(newer).into()),
            // Only the actions of operators return the others.
            ActionError::KeepsChanging(_)
            | ActionError::ActedOn(_)
            | ActionError::NotRerun(_)
            | ActionError::NoStep(_)
            | ActionError::StepState { .. }
            | ActionError::ServiceOut { .. }
            | ActionError::IsDue { .. }
            | ActionError::RunTooOften
            | ActionError::NotReady { .. }
            | ActionError::Attempted { .. }
            | ActionError::InFlight { .. }
            | ActionError::ResultMismatch { .. }
            | ActionError::ResultTooLarge(_) => Self::Common(CommonError::Unavailable(error.to_string())),
        }
    }
}
