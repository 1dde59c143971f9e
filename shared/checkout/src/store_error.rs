//! Errors of the shop's tables.

use crate::ShopCode;
use stepwell::StepError;

/// An error of a table. None of these is the request's fault, so each is retryable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB throttles, or another transaction conflicted on one of the items.
    #[error("the table is busy ({0})")]
    Busy(String),
    /// The call failed otherwise. It may have had its effect.
    #[error("the table gave no answer ({0})")]
    Failed(String),
    /// An item is invalid.
    #[error("an item cannot be read: {0}")]
    Unreadable(String),
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        let code = match error {
            StoreError::Busy(_) => ShopCode::TableBusy,
            StoreError::Failed(_) => ShopCode::TableUnavailable,
            StoreError::Unreadable(_) => ShopCode::TableUnreadable,
        };
        Self::new(code, error.to_string())
    }
}
