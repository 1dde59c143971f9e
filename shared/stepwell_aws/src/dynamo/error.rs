//! From the SDK's errors to answers and [`CallError`]s, and which of them are worth trying again.

use super::value::AttributeItem;
use crate::error::{CONFLICT, call_failed, call_failed_as};
use aws_sdk_dynamodb::{
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        delete_item::DeleteItemError, put_item::PutItemError, transact_write_items::TransactWriteItemsError,
        update_item::UpdateItemError,
    },
    types::CancellationReason,
};
use aws_smithy_runtime_api::client::{
    interceptors::context::InterceptorContext,
    orchestrator::HttpResponse,
    retries::classifiers::{ClassifyRetry, RetryAction},
};
use std::error::Error;
use stepwell::{CallError, FailureKind};

/// An error that may be a refused condition, and what stood there then.
pub(super) trait ServiceError {
    /// The item that stood against the condition, empty where there was none; `None` for any other error.
    fn refused(&self) -> Option<AttributeItem>;
}

macro_rules! refusal {
    ($error:ident) => {
        impl ServiceError for $error {
            fn refused(&self) -> Option<AttributeItem> {
                match self {
                    Self::ConditionalCheckFailedException(refused) => Some(refused.item().cloned().unwrap_or_default()),
                    _ => None,
                }
            }
        }
    };
}

refusal!(PutItemError);
refusal!(UpdateItemError);
refusal!(DeleteItemError);

/// Tells a refused condition from a failed call.
pub(super) fn refused_or_failed<E>(
    operation: &'static str,
    error: SdkError<E, HttpResponse>,
) -> Result<AttributeItem, CallError>
where
    E: ServiceError + ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match error.as_service_error().and_then(ServiceError::refused) {
        Some(item) => Ok(item),
        None => Err(call_failed(operation, error)),
    }
}

/// The error of a transaction that failed, and not by one of its conditions.
pub(super) fn transaction_failed(error: SdkError<TransactWriteItemsError, HttpResponse>) -> CallError {
    const OPERATION: &str = "TransactWriteItems";
    match cancelled(&error).is_some_and(|reasons| reasons.iter().any(was_busy)) {
        true => call_failed_as(OPERATION, FailureKind::Throttled, error),
        false => call_failed(OPERATION, error),
    }
}

/// Why a transaction was cancelled, one reason for each of its writes; `None` for any other error.
pub(super) fn cancelled(error: &SdkError<TransactWriteItemsError, HttpResponse>) -> Option<&[CancellationReason]> {
    match error.as_service_error()? {
        TransactWriteItemsError::TransactionCanceledException(cancelled) => Some(cancelled.cancellation_reasons()),
        _ => None,
    }
}

/// Whether this write of a cancelled transaction met another one on the same item, or a table with too much to do.
pub fn was_busy(reason: &CancellationReason) -> bool {
    const CODES: [&str; 4] =
        ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded"];
    reason.code().is_some_and(|code| CODES.contains(&code))
}

/// Whether this write of a cancelled transaction was the one whose condition was refused.
pub(super) fn was_refused(reason: &CancellationReason) -> bool {
    reason.code() == Some("ConditionalCheckFailed")
}

/// Tries again what failed only because it met a transaction on the same item, or a table with too much to do. The SDK
/// would give up.
#[derive(Debug)]
struct TransactionConflicts;

/// The retry classifier that a client for [`super::DynamoTable`] should have.
pub(crate) fn transaction_conflicts() -> impl ClassifyRetry + 'static {
    TransactionConflicts
}

impl ClassifyRetry for TransactionConflicts {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        let error = context.output_or_error().and_then(Result::err).and_then(|error| error.as_operation_error());
        let Some(error) = error else { return RetryAction::NoActionIndicated };
        let conflict = match error.downcast_ref::<TransactWriteItemsError>() {
            Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) => {
                let reasons = cancelled.cancellation_reasons();
                reasons.iter().any(was_busy) && !reasons.iter().any(was_refused)
            }
            _ => error.downcast_ref::<UpdateItemError>().is_some_and(|error| error.code() == Some(CONFLICT)),
        };
        if conflict { RetryAction::transient_error() } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "transaction conflicts"
    }
}
