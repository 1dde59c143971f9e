//! The SDK's errors as refused conditions and [`CallError`]s, and the classification of retryable errors.

use super::value::AttributeItem;
use crate::error::{CONFLICT, call_failed_as, failure_kind};
use aws_sdk_dynamodb::{
    config::{
        ConfigBag, Intercept, RuntimeComponents,
        interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef},
    },
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        delete_item::DeleteItemError, put_item::PutItemError, transact_write_items::TransactWriteItemsError,
        update_item::UpdateItemError,
    },
    types::CancellationReason,
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{context::InterceptorContext, dyn_dispatch_hint},
        orchestrator::HttpResponse,
        retries::classifiers::{ClassifyRetry, RetryAction},
    },
};
use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use stepwell::{CallError, FailureKind};

/// Finds out whether an attempt of a call may have taken effect without an answer that says so. The SDK's error tells how
/// the last attempt ended. An attempt before it may have timed out after the service had made the write.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts(Arc<AttemptFlags>);

#[derive(Debug, Default)]
struct AttemptFlags {
    /// An attempt was sent, and no answer has said that it had no effect.
    open: AtomicBool,
    /// An attempt before the last one ended in this way.
    unclear: AtomicBool,
}

impl Attempts {
    /// Corrects the kind of a failure that holds for the last attempt only.
    pub(super) fn kind(&self, last: FailureKind) -> FailureKind {
        if self.0.unclear.load(Ordering::Relaxed) { FailureKind::Unavailable } else { last }
    }
}

#[dyn_dispatch_hint]
impl Intercept for Attempts {
    fn name(&self) -> &'static str {
        "attempts"
    }

    fn read_before_attempt(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if self.0.open.swap(true, Ordering::Relaxed) {
            self.0.unclear.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    // An attempt that times out does not come here.
    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().is_some_and(|response| response.status().is_client_error()) {
            self.0.open.store(false, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A service error that may be a refused condition.
pub(super) trait ServiceError {
    /// Takes the item that failed the condition, empty where there was none; `None` for any other error.
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

/// Separates a refused condition from a failed call.
pub(super) fn refused_or_failed<E>(
    operation: &'static str,
    attempts: &Attempts,
    error: SdkError<E, HttpResponse>,
) -> Result<AttributeItem, CallError>
where
    E: ServiceError + ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    match error.as_service_error().and_then(ServiceError::refused) {
        Some(item) => Ok(item),
        None => {
            let kind = attempts.kind(failure_kind(&error));
            Err(call_failed_as(operation, kind, error))
        }
    }
}

/// Converts the error of a transaction that failed for another reason than its conditions.
pub(super) fn transaction_failed(
    attempts: &Attempts,
    error: SdkError<TransactWriteItemsError, HttpResponse>,
) -> CallError {
    let busy = cancelled(&error).is_some_and(|reasons| reasons.iter().any(was_busy));
    let last = if busy { FailureKind::Throttled } else { failure_kind(&error) };
    call_failed_as("TransactWriteItems", attempts.kind(last), error)
}

/// Returns the reasons why a transaction was cancelled, one for each write; `None` for any other error.
pub(super) fn cancelled(error: &SdkError<TransactWriteItemsError, HttpResponse>) -> Option<&[CancellationReason]> {
    match error.as_service_error()? {
        TransactWriteItemsError::TransactionCanceledException(cancelled) => Some(cancelled.cancellation_reasons()),
        _ => None,
    }
}

/// Whether this write of a cancelled transaction conflicted with another one on the same item, or was throttled.
pub fn was_busy(reason: &CancellationReason) -> bool {
    const CODES: [&str; 4] =
        ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded", "RequestLimitExceeded"];
    reason.code().is_some_and(|code| CODES.contains(&code))
}

/// Whether the condition of this write of a cancelled transaction was refused.
pub(super) fn was_refused(reason: &CancellationReason) -> bool {
    reason.code() == Some("ConditionalCheckFailed")
}

/// Retries a call that was throttled or conflicted with a transaction on the same item. The SDK itself does not retry a
/// cancelled transaction.
#[derive(Debug)]
struct TransactionConflicts;

/// Makes the retry classifier for the client of a [`super::DynamoTable`].
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

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_dynamodb::types::error::TransactionCanceledException;
    use aws_smithy_runtime_api::client::{
        interceptors::context::{Error as ErasedError, Input},
        orchestrator::OrchestratorError,
    };
    use test_case::test_case;

    #[test_case(&["None", "TransactionConflict"], true)]
    #[test_case(&["ThrottlingError", "None"], true)]
    #[test_case(&["ProvisionedThroughputExceeded"], true)]
    #[test_case(&["RequestLimitExceeded"], true)]
    #[test_case(&["TransactionConflict", "ConditionalCheckFailed"], false; "another write is refused")]
    #[test_case(&["ValidationError"], false)]
    #[test_case(&["ItemCollectionSizeLimitExceeded"], false)]
    fn transaction_that_was_cancelled_for_now_is_retried(codes: &[&str], is_retried: bool) {
        let reasons = codes.iter().map(|code| CancellationReason::builder().code(*code).build()).collect();
        let cancelled = TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons)).build();
        let error = TransactWriteItemsError::TransactionCanceledException(cancelled);
        let mut context = InterceptorContext::new(Input::doesnt_matter());
        context.set_output_or_error(Err(OrchestratorError::operation(ErasedError::erase(error))));
        let expected = if is_retried { RetryAction::transient_error() } else { RetryAction::NoActionIndicated };
        assert_eq!(transaction_conflicts().classify_retry(&context), expected);
    }
}
