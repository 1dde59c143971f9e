//! The stock, as the steps ask for it.

use crate::{InsufficientStock, LineItem, Release, Reservation, StoreError};
use stepwell::Timestamp;

/// Why nothing was reserved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// A product has too few units.
    #[error(transparent)]
    InsufficientStock(#[from] InsufficientStock),
    /// The reservation was released, maybe before it was made. Its key takes nothing any more.
    #[error("the reservation was released, or its idempotency key was voided before anything was reserved")]
    Void,
    /// The table gave no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where stock is taken from and given back to.
pub trait Stock: Send + Sync {
    /// Takes every line out of stock, or none. The same idempotency key again takes nothing more and answers as the
    /// first time. The lines name each product once.
    ///
    /// # Errors
    /// A product has too few units, the key is void, or the table gave no answer.
    fn reserve(
        &self,
        key: &str,
        lines: &[LineItem],
        at: Timestamp,
    ) -> impl Future<Output = Result<Reservation, ReserveError>> + Send;

    /// Makes a reservation's idempotency key void: what was taken with it is given back, and where nothing was, nothing
    /// ever will be, however late a request for it comes. The same key again gives back nothing more and answers as the
    /// first time.
    ///
    /// # Errors
    /// The table gave no answer.
    fn release(&self, key: &str, at: Timestamp) -> impl Future<Output = Result<Release, StoreError>> + Send;
}
