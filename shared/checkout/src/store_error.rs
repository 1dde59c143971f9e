//! Why what the shop keeps could not be read or written.

use crate::ShopCode;
use stepwell::StepError;

/// Why a table gave no answer. None of these is the request's fault, so each is worth another attempt.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Too many requests, or another transaction held one of the items.
    #[error("the table is busy ({0})")]
    Busy(String),
    /// The call failed otherwise. Whether it has had its effect is not known.
    #[error("the table gave no answer ({0})")]
    Failed(String),
    /// An item does not hold what it should.
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
