//! What is answered when a request cannot be done, where that is the same for every API.

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

/// An answer that is not the one asked for.
#[derive(Debug)]
pub enum CommonError {
    /// The body is not JSON; where it stops being so.
    NotJson(serde_json::Error),
    /// An object in the body holds a key twice; the JSON pointer to it.
    DuplicateKey(String),
    /// A header holds what no header may hold; its name, unless that is what is wrong.
    BadHeader(Option<String>),
    /// Something else about the request is not HTTP.
    NotHttp,
    /// There is no such path.
    NoRoute,
    /// The path has no such method. axum adds the `Allow` header.
    WrongMethod,
    /// The body has more bytes than this.
    TooLarge(usize),
    /// The body says that it is something other than JSON.
    NotOurMediaType,
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

impl CommonError {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotJson(_) | Self::DuplicateKey(_) | Self::BadHeader(_) | Self::NotHttp => StatusCode::BAD_REQUEST,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NotOurMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What it says to the client.
    pub fn text(&self) -> Cow<'static, str> {
        match self {
            Self::NoRoute => "No such path".into(),
            Self::WrongMethod => "This path has no such method".into(),
            Self::NotJson(error) => format!("The body is not JSON: {error}").into(),
            Self::DuplicateKey(_) => "A field is there more than once; send it once".into(),
            Self::BadHeader(Some(name)) => {
                format!("The header {name} has a control character in it, such as a line break; send it without").into()
            }
            Self::BadHeader(None) => "A header has a name that HTTP does not allow".into(),
            Self::NotHttp => "The request cannot be read: its path is too long, or is not one".into(),
            Self::NotOurMediaType => "The body has to be JSON; send Content-Type: application/json".into(),
            Self::TooLarge(most) => format!("The body is too large; at most {most} bytes are accepted").into(),
            Self::Unavailable(_) => "The service is not available right now; please try again".into(),
            Self::Broken(_) => "Something went wrong on our side".into(),
        }
    }
}

/// The body of every answer that is not the one asked for.
#[derive(Serialize)]
pub struct ErrorBody {
    /// `false`, or missing where nothing was there to fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub success: Option<bool>,
    /// A sentence for people.
    pub error: Cow<'static, str>,
    /// The same for programs, where there is a code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// The status of the task, or the state of the step, that stands in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<&'static str>,
    /// What is wrong with the request, and where in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Vec<Violation>>,
}

impl ErrorBody {
    /// The body that says this, and that nothing was done.
    pub fn new(error: impl Into<Cow<'static, str>>) -> Self {
        Self { success: Some(false), error: error.into(), code: None, status: None, details: None }
    }
}

impl IntoResponse for CommonError {
    fn into_response(self) -> Response {
        let success = if matches!(self, Self::NoRoute) { None } else { Some(false) };
        let details = match &self {
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
            TableError::Call(error) => call(error.kind, &error),
            TableError::Unreadable(error) => Self::Broken(error.to_string()),
        }
    }
}

impl From<QueueError> for CommonError {
    fn from(error: QueueError) -> Self {
        call(error.source.kind, &error)
    }
}

/// Only what may pass invites another try.
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
            // A newer version goes on with the task, here or beside this one.
            EngineError::Newer(error) => Self::Unavailable(error.to_string()),
        }
    }
}
