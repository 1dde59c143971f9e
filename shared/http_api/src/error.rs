//! The error answers that all APIs share.

use axum::{
    Extension, Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use std::borrow::Cow;
use stepwell::{
    EngineError, FailureKind, Violation,
    ports::{QueueError, TableError},
};

/// An error answer that all APIs share.
#[derive(Debug)]
pub enum CommonError {
    /// The body is not JSON. The error has the position.
    NotJson(serde_json::Error),
    /// An object in the body holds a key twice. It has the JSON pointer to the key.
    DuplicateKey(String),
    /// A header is invalid. It has the header's name, unless the name itself is invalid.
    BadHeader(Option<String>),
    /// The idempotency key is invalid, for this reason.
    BadKey(String),
    /// The idempotency key was used with another request.
    KeyUsed,
    /// Another part of the request is not HTTP.
    NotHttp,
    /// There is no such path.
    NoRoute,
    /// The path has no such method. axum adds the `Allow` header.
    WrongMethod,
    /// The body has more bytes than this.
    TooLarge(usize),
    /// The `Content-Type` is not JSON.
    NotOurMediaType,
    /// Fields of the query or of the body are invalid.
    Invalid(Vec<Violation>),
    /// A dependency did not answer. The cause is for the log only.
    Unavailable(String),
    /// Stored data cannot be read, and a retry will not help. The cause is for the log only.
    Broken(String),
}

/// The cause of an error, for the log only. A route passes it to the log as an extension of its response.
#[derive(Clone, Debug)]
pub struct Cause(pub String);

/// How long a client should wait before it asks again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

impl CommonError {
    /// Makes the error for one invalid field, with the JSON pointer to it.
    pub fn field(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation { path: path.into(), message: message.into() }])
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::NotJson(_) | Self::DuplicateKey(_) | Self::BadHeader(_) | Self::BadKey(_) | Self::NotHttp => {
                StatusCode::BAD_REQUEST
            }
            Self::KeyUsed => StatusCode::CONFLICT,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotOurMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the sentence for the client.
    pub fn text(&self) -> Cow<'static, str> {
        match self {
            Self::NoRoute => "No such path".into(),
            Self::WrongMethod => "This path has no such method".into(),
            Self::NotJson(error) => format!("The body is not JSON: {error}").into(),
            Self::DuplicateKey(_) => "A field is there more than once; send it once".into(),
            Self::BadHeader(Some(name)) => {
                format!("The header {name} has a control character in it, such as a line break; send it without").into()
            }
            Self::BadKey(why) => format!("Invalid Idempotency-Key: {why}").into(),
            Self::KeyUsed => "This Idempotency-Key was used with another request".into(),
            Self::BadHeader(None) => "A header has a name that HTTP does not allow".into(),
            Self::NotHttp => "The request cannot be read: its path is too long, or is not one".into(),
            Self::NotOurMediaType => "The body has to be JSON; send Content-Type: application/json".into(),
            Self::TooLarge(most) => format!("The body is too large; at most {most} bytes are accepted").into(),
            Self::Invalid(_) => "Invalid request".into(),
            Self::Unavailable(_) => "The service is not available right now; please try again".into(),
            Self::Broken(_) => "Something went wrong on our side".into(),
        }
    }
}

/// The body of every error answer.
#[derive(Serialize, schemars::JsonSchema)]
pub struct ErrorBody {
    /// `false`; missing where the path or the resource does not exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    /// The error as a sentence, for people.
    pub error: Cow<'static, str>,
    /// The error code, for programs; few errors have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// The status of the task, or the state of the step, that does not allow the action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'static str>,
    /// The violations of the request, with their paths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Vec<Violation>>,
}

impl ErrorBody {
    /// Makes a body with this sentence and `success: false`.
    pub fn new(error: impl Into<Cow<'static, str>>) -> Self {
        Self { success: Some(false), error: error.into(), code: None, status: None, details: None }
    }
}

/// Answers with this status and this sentence. No cache keeps it.
pub fn refusal(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Response {
    ([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], (status, Json(ErrorBody::new(text))))
        .into_response()
}

impl IntoResponse for CommonError {
    fn into_response(self) -> Response {
        let success = if matches!(self, Self::NoRoute) { None } else { Some(false) };
        let details = match &self {
            Self::Invalid(found) => Some(found.clone()),
            Self::DuplicateKey(path) => {
                Some(vec![Violation { path: path.clone(), message: "is there more than once".to_owned() }])
            }
            _ => None,
        };
        let body = ErrorBody { success, details, ..ErrorBody::new(self.text()) };
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

impl From<TableError> for CommonError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Call(ref failed) | TableError::SearchKey(ref failed) => call(failed.kind, &error),
            TableError::Unreadable(error) => Self::Broken(error.to_string()),
        }
    }
}

impl From<QueueError> for CommonError {
    fn from(error: QueueError) -> Self {
        call(error.source.kind, &error)
    }
}

/// Converts a failed call. Only a transient failure becomes a 503, which invites a repetition. All requests but
/// `POST /checkout` may be repeated, whether or not they took effect; that one tells the cases apart itself.
fn call(kind: FailureKind, error: &impl ToString) -> CommonError {
    match kind {
        FailureKind::Throttled | FailureKind::Unavailable => CommonError::Unavailable(error.to_string()),
        FailureKind::Refused => CommonError::Broken(error.to_string()),
    }
}

impl From<EngineError> for CommonError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Table(error) => error.into(),
            EngineError::Queue(error) => error.into(),
            // A retry may reach a newer version, which can act on the task.
            EngineError::Newer(error) => Self::Unavailable(error.to_string()),
        }
    }
}
