//! From the SDK's errors to answers and [`TableError`]s, and which of them are worth trying again.

use super::{TableError, value::AttributeItem};
use aws_sdk_dynamodb::{
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::{
        delete_item::DeleteItemError, put_item::PutItemError, transact_write_items::TransactWriteItemsError,
        update_item::UpdateItemError,
    },
    types::CancellationReason,
};
use aws_smithy_runtime_api::client::{
    interceptors::context::InterceptorContext,
    retries::classifiers::{ClassifyRetry, RetryAction},
};

/// The error of a call that failed.
pub(super) fn failed(operation: &'static str) -> impl FnOnce(&dyn std::error::Error) -> TableError {
    move |error| TableError::Call { operation, cause: DisplayErrorContext(error).to_string() }
}

/// An error that may be a refused condition, and what stood there then.
pub(super) trait Refusal {
    /// The item that stood against the condition, empty where there was none; `None` for any other error.
    fn refused(&self) -> Option<AttributeItem>;
}

macro_rules! refusal {
    ($error:ident) => {
        impl Refusal for $error {
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
pub(super) fn refused_or_failed<E, R>(
    operation: &'static str,
    error: SdkError<E, R>,
) -> Result<AttributeItem, TableError>
where
    E: Refusal + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    match error.as_service_error().and_then(Refusal::refused) {
        Some(item) => Ok(item),
        None => Err(failed(operation)(&error)),
    }
}

/// Why a transaction was cancelled, one reason for each of its writes; `None` for any other error.
pub(super) fn cancelled<R>(error: &SdkError<TransactWriteItemsError, R>) -> Option<&[CancellationReason]> {
    match error.as_service_error()? {
        TransactWriteItemsError::TransactionCanceledException(cancelled) => Some(cancelled.cancellation_reasons()),
        _ => None,
    }
}

/// Whether this write of a cancelled transaction was the one whose condition was refused.
pub(super) fn was_refused(reason: &CancellationReason) -> bool {
    reason.code() == Some("ConditionalCheckFailed")
}

/// Tries again what failed only because it met a transaction on the same item. The SDK would give up.
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
                reasons.iter().any(|reason| reason.code() == Some("TransactionConflict"))
                    && !reasons.iter().any(was_refused)
            }
            _ => error
                .downcast_ref::<UpdateItemError>()
                .is_some_and(|error| error.code() == Some("TransactionConflictException")),
        };
        if conflict { RetryAction::transient_error() } else { RetryAction::NoActionIndicated }
    }

    fn name(&self) -> &'static str {
        "transaction conflicts"
    }
}
