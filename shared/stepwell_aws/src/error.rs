//! Start-up errors of a function, and the conversion of the SDK's errors to [`CallError`]s.

use aws_runtime::retries::classifiers::{THROTTLING_ERRORS, TRANSIENT_ERRORS};
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use std::{error::Error, fmt};
use stepwell::{CallError, FailureKind};

/// An error that keeps a function from starting. It ends the process, with the reason in the log.
pub type ServeError = Box<dyn std::error::Error + Send + Sync>;

/// A service's error as a source: its text has the whole chain of sources, with the service's own message.
#[derive(Debug)]
struct WithSources<E>(E);

impl<E: Error + 'static> fmt::Display for WithSources<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        DisplayErrorContext(&self.0).fmt(f)
    }
}

impl<E: Error + 'static> Error for WithSources<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// Converts the SDK's error of a call that failed after the last attempt.
pub(crate) fn call_failed<E>(operation: &'static str, error: SdkError<E, HttpResponse>) -> CallError
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let kind = failure_kind(&error);
    CallError::new(operation, kind, WithSources(error))
}

/// Converts the SDK's error of a call, with a known kind of failure.
pub(crate) fn call_failed_as(
    operation: &'static str,
    kind: FailureKind,
    error: impl Error + Send + Sync + 'static,
) -> CallError {
    CallError::new(operation, kind, WithSources(error))
}

/// The error code of a call that conflicted with a transaction on the same item. The SDK's lists of retryable codes
/// lack it.
pub(crate) const CONFLICT: &str = "TransactionConflictException";

/// Classifies the failure of a call after the SDK's last attempt.
pub fn failure_kind<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> FailureKind {
    let SdkError::ServiceError(service) = error else {
        return match error {
            SdkError::ConstructionFailure(_) => FailureKind::Refused,
            _ => FailureKind::Unavailable,
        };
    };
    match service.err().code() {
        Some(code) if code == CONFLICT || THROTTLING_ERRORS.contains(&code) => FailureKind::Throttled,
        Some(code) if TRANSIENT_ERRORS.contains(&code) => FailureKind::Unavailable,
        _ if service.raw().status().is_server_error() => FailureKind::Unavailable,
        _ => FailureKind::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_dynamodb::{error::ErrorMetadata, operation::update_item::UpdateItemError};
    use aws_smithy_types::body::SdkBody;
    use test_case::test_case;

    fn answered(code: &str, status: u16) -> SdkError<UpdateItemError, HttpResponse> {
        let error = UpdateItemError::generic(ErrorMetadata::builder().code(code).message("the reason").build());
        SdkError::service_error(error, HttpResponse::new(status.try_into().unwrap(), SdkBody::empty()))
    }

    #[test_case("ThrottlingException", 400, FailureKind::Throttled)]
    #[test_case("ProvisionedThroughputExceededException", 400, FailureKind::Throttled)]
    #[test_case("TransactionConflictException", 400, FailureKind::Throttled)]
    #[test_case("TransactionInProgressException", 400, FailureKind::Throttled)]
    #[test_case("RequestLimitExceeded", 400, FailureKind::Throttled)]
    #[test_case("InternalServerError", 500, FailureKind::Unavailable)]
    #[test_case("AccessDeniedException", 400, FailureKind::Refused)]
    #[test_case("ValidationException", 400, FailureKind::Refused)]
    fn error_code_and_status_decide_the_kind_of_failure(code: &str, status: u16, kind: FailureKind) {
        let error = call_failed("UpdateItem", answered(code, status));
        assert_eq!((error.kind, error.operation), (kind, "UpdateItem"));
        let text = error.to_string();
        assert!(text.contains(code) && text.contains("the reason"), "{text}");
        assert!(error.source().is_some_and(|source| source.source().is_some()), "its source is kept");
    }

    #[test]
    fn call_without_an_answer_is_an_outage() {
        let error: SdkError<UpdateItemError, HttpResponse> = SdkError::timeout_error("3 s");
        assert_eq!(call_failed("UpdateItem", error).kind, FailureKind::Unavailable);
        let error: SdkError<UpdateItemError, HttpResponse> = SdkError::construction_failure("no region");
        assert_eq!(call_failed("UpdateItem", error).kind, FailureKind::Refused);
    }
}
