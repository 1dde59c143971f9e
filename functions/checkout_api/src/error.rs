//! What is answered when a request cannot be done.

use crate::violations;
use axum::{
    Extension, Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use checkout::StoreError;
use serde::Serialize;
use std::borrow::Cow;
use stepwell::{
    ActionError, EngineError, StartError, Violation, queue::QueueError, state::TaskStatus, table::TableError,
};

/// Every answer that is not the one asked for.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// The body is not JSON; where it stops being so.
    NotJson(serde_json::Error),
    /// The idempotency key is none; why.
    BadKey(String),
    /// There is no such checkout or order.
    NotFound,
    /// There is no such path.
    NoRoute,
    /// The path has no such method. axum adds the `Allow` header.
    WrongMethod,
    /// The idempotency key stands for another request.
    KeyUsed,
    /// The task's status rules out a retry, or that all it did has been undone.
    CannotRetry { status: TaskStatus, compensated: bool },
    /// The body has more bytes than this.
    TooLarge(usize),
    /// The body says that it is something other than JSON.
    NotOurMediaType,
    /// The body is JSON, but no checkout request; the paths are those of the body.
    Invalid(Vec<Violation>),
    /// What we depend on did not answer; the cause is for the log only.
    Unavailable(String),
    /// What we keep cannot be read, and trying again will not help; the cause is for the log only.
    Broken(String),
}

/// The cause of an error, on its way from a route to the log.
#[derive(Clone)]
pub(crate) struct Cause(pub(crate) String);

/// How long a client should wait before it asks again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotJson(_) | Self::BadKey(_) => StatusCode::BAD_REQUEST,
            Self::NotFound | Self::NoRoute => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::KeyUsed | Self::CannotRetry { .. } => StatusCode::CONFLICT,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotOurMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn text(&self) -> Cow<'static, str> {
        match self {
            Self::NotFound => "Order not found".into(),
            Self::NoRoute => "No such path".into(),
            Self::WrongMethod => "This path has no such method".into(),
            Self::NotJson(error) => format!("The body is not JSON: {error}").into(),
            Self::NotOurMediaType => "The body has to be JSON; send Content-Type: application/json".into(),
            Self::TooLarge(most) => format!("The body is too large; at most {most} bytes are accepted").into(),
            Self::BadKey(why) => format!("Invalid Idempotency-Key: {why}").into(),
            Self::KeyUsed => "This Idempotency-Key was used with another request".into(),
            Self::Invalid(_) => "Invalid checkout data".into(),
            Self::CannotRetry { status, compensated: false } => format!("Cannot retry task in {status} status").into(),
            Self::CannotRetry { status, compensated: true } => {
                format!("Cannot retry task in {status} status: it has been compensated").into()
            }
            Self::Unavailable(_) => "The service is not available right now; please try again".into(),
            Self::Broken(_) => "Something went wrong on our side".into(),
        }
    }
}

/// The body of them all.
#[derive(Serialize)]
struct ErrorBody<'a> {
    /// `false`, or missing where nothing was there to fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    success: Option<bool>,
    error: Cow<'static, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a [Violation]>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let success = if matches!(self, Self::NotFound | Self::NoRoute) { None } else { Some(false) };
        let details = if let Self::Invalid(violations) = &self { Some(violations.as_slice()) } else { None };
        let body = ErrorBody { success, error: self.text(), details };
        let response = (self.status(), Json(body)).into_response();
        match self {
            Self::Unavailable(cause) => {
                ([(header::RETRY_AFTER, RETRY_AFTER)], Extension(Cause(cause)), response).into_response()
            }
            Self::Broken(cause) => (Extension(Cause(cause)), response).into_response(),
            _ => response,
        }
    }
}

impl From<TableError> for ApiError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Call { .. } => Self::Unavailable(error.to_string()),
            TableError::Unreadable { .. } => Self::Broken(error.to_string()),
        }
    }
}

impl From<QueueError> for ApiError {
    fn from(error: QueueError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy(_) | StoreError::Failed(_) => Self::Unavailable(error.to_string()),
            StoreError::Unreadable(_) => Self::Broken(error.to_string()),
        }
    }
}

impl From<StartError> for ApiError {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Invalid(found) => Self::Invalid(violations::of_body(found)),
            StartError::TooLarge { .. } => Self::TooLarge(stepwell::table::MAX_CONTEXT_BYTES),
            StartError::KeyUsed { .. } => Self::KeyUsed,
            StartError::Table(error) => error.into(),
            StartError::Queue(error) => error.into(),
        }
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Table(error) => error.into(),
            EngineError::Queue(error) => error.into(),
        }
    }
}

impl From<ActionError> for ApiError {
    fn from(error: ActionError) -> Self {
        match error {
            ActionError::NotFound(_) => Self::NotFound,
            ActionError::Status { status, compensated, .. } => Self::CannotRetry { status, compensated },
            ActionError::Engine(error) => error.into(),
            // The others are answers to what only operators do.
            ActionError::KeepsChanging(_)
            | ActionError::NoStep(_)
            | ActionError::StepState { .. }
            | ActionError::NotReady { .. }
            | ActionError::ResultTooLarge(_) => Self::Unavailable(error.to_string()),
        }
    }
}
