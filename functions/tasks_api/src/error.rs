//! The error answers of the API.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use checkout::{MailError, StoreError};
use http_api::{CommonError, ErrorBody, Segment};
use stepwell::{
    ActionError, EngineError, NotRerun, PauseError, TaskId,
    core::{
        format::{NEWER_FORMAT, NewerFormat},
        state::{StepState, TaskStatus},
    },
    ports::TableError,
};

/// An error answer.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// API Gateway has named no caller.
    NoCaller,
    /// The caller of this name may look, and not act.
    MayOnlyLook(String),
    /// The caller of this name may not see what tasks were started with.
    MayNotReveal(String),
    /// The caller may act, and not start tasks.
    MayNotStart(String),
    /// The task or the step does not exist, as the text says.
    NotFound(String),
    /// The state of the task or of the step does not allow the action.
    Illegal { why: String, status: Option<&'static str> },
    /// A newer version wrote the task, and only such a version may act on it.
    Newer(NewerFormat),
    /// The e-mail was not sent, or it is not known whether it was.
    Mail(MailError),
    /// An error that all APIs share.
    Common(CommonError),
}

impl ApiError {
    /// Makes the status and the body of the answer.
    fn body(self) -> Result<(StatusCode, ErrorBody), CommonError> {
        Ok(match self {
            Self::NoCaller => {
                let text = "Operators only: this request came with nobody's signature or token";
                (StatusCode::FORBIDDEN, ErrorBody::new(text))
            }
            Self::MayOnlyLook(name) => {
                let text =
                    format!("{name} may look, and not act: an administrator lets somebody act, by the group operators");
                (StatusCode::FORBIDDEN, ErrorBody::new(text))
            }
            Self::MayNotReveal(name) => {
                let text = format!(
                    "{name} may not see inputs by this path: that needs the right to POST /tasks/TASK/reveal, as it stands"
                );
                (StatusCode::FORBIDDEN, ErrorBody::new(text))
            }
            Self::MayNotStart(name) => {
                let text = format!("{name} may act on tasks, and not start any: that needs the scope start");
                (StatusCode::FORBIDDEN, ErrorBody::new(text))
            }
            Self::NotFound(what) => (StatusCode::NOT_FOUND, ErrorBody::new(what)),
            Self::Illegal { why, status } => {
                (StatusCode::CONFLICT, ErrorBody { status, ..ErrorBody::new(capitalized(&why)) })
            }
            Self::Newer(newer) => {
                (StatusCode::CONFLICT, ErrorBody { code: Some(NEWER_FORMAT), ..ErrorBody::new(newer.to_string()) })
            }
            Self::Mail(error) => {
                let (status, remedy) = match error {
                    MailError::RateLimited => (StatusCode::SERVICE_UNAVAILABLE, "Send the request again in a minute"),
                    MailError::Unavailable(_) => {
                        let remedy = "The e-mail may have been sent all the same. Send the request again when the service \
                                      answers";
                        (StatusCode::SERVICE_UNAVAILABLE, remedy)
                    }
                    MailError::Unknown(_) => {
                        let remedy =
                            "Check the address, and whether the sender may send to it; then send the request again";
                        (StatusCode::BAD_GATEWAY, remedy)
                    }
                };
                let code = Some(error.code().as_str());
                (status, ErrorBody { code, ..ErrorBody::new(format!("{}. {remedy}", capitalized(&error.to_string()))) })
            }
            Self::Common(error) => return Err(error),
        })
    }
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self.body() {
            Ok((status, body)) => (status, Json(body)).into_response(),
            Err(error) => error.into_response(),
        }
    }
}

/// Reads the task's id from the path.
pub(crate) fn task_id(segment: Segment) -> Result<TaskId, ApiError> {
    http_api::task_id(segment).ok_or_else(no_task)
}

/// Makes the answer for a task that does not exist.
pub(crate) fn no_task() -> ApiError {
    ApiError::NotFound("There is no such task".to_owned())
}

impl From<CommonError> for ApiError {
    fn from(error: CommonError) -> Self {
        Self::Common(error)
    }
}

impl From<MailError> for ApiError {
    fn from(error: MailError) -> Self {
        Self::Mail(error)
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

impl From<PauseError> for ApiError {
    fn from(error: PauseError) -> Self {
        match error {
            PauseError::Engine(EngineError::Newer(newer)) => Self::Newer(newer),
            PauseError::Engine(error) => Self::Common(error.into()),
            PauseError::KeepsChanging(_) | PauseError::Unseen { .. } => {
                Self::Illegal { why: error.to_string(), status: None }
            }
        }
    }
}

impl From<ActionError> for ApiError {
    fn from(error: ActionError) -> Self {
        let why = error.to_string();
        match error {
            ActionError::NotFound(_) | ActionError::NoStep(_) => Self::NotFound(capitalized(&why)),
            ActionError::Status { status, .. } | ActionError::NothingWaits(status) => {
                Self::Illegal { why, status: Some(status.as_str()) }
            }
            ActionError::StepState { state, .. } => Self::Illegal { why, status: Some(state.as_str()) },
            ActionError::ServiceOut { .. } | ActionError::IsDue { .. } => {
                Self::Illegal { why, status: Some(StepState::Retrying.as_str()) }
            }
            ActionError::NotRerun(ref refused) => {
                let status = match refused {
                    NotRerun::Status(status) => Some(status.as_str()),
                    NotRerun::Complete => Some(TaskStatus::Complete.as_str()),
                    NotRerun::MayStillRun { state, .. } => Some(state.as_str()),
                    _ => None,
                };
                let remedy =
                    if refused.asks_for_again() { ": send the request again with `\"again\": true`" } else { "" };
                Self::Illegal { why: format!("{why}{remedy}"), status }
            }
            ActionError::NotReady { .. }
            | ActionError::TrailFull
            | ActionError::RunTooOften
            | ActionError::DeadlineExceeded(_)
            | ActionError::ActedOn(_)
            | ActionError::KeepsChanging(_) => Self::Illegal { why, status: None },
            ActionError::Attempted { .. } => {
                let remedy = "Make sure that no attempt had an effect, or undo it; then send the request again with \
                              `\"attempts_checked\": true`";
                Self::Illegal { why: format!("{why}. {remedy}"), status: None }
            }
            ActionError::InFlight { .. } => Self::Illegal { why, status: Some(StepState::InProgress.as_str()) },
            ActionError::ResultMismatch { violation, .. } => {
                Self::Common(CommonError::field(format!("/result{}", violation.path), why))
            }
            ActionError::Newer(newer) => Self::Newer(newer),
            ActionError::ResultTooLarge(_) => Self::Common(CommonError::field("/result", why)),
            ActionError::Engine(error) => Self::Common(error.into()),
        }
    }
}
