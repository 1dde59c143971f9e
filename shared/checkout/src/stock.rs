//! The port of the stock.

use crate::{InsufficientStock, LineItem, Release, Reservation, StoreError};
use stepwell::Timestamp;

/// The reason why nothing was reserved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// A product has too few units.
    #[error(transparent)]
    InsufficientStock(#[from] InsufficientStock),
    /// The reservation was released, or its key was voided before it was made. The key can reserve nothing later.
    #[error("the reservation was released, or its idempotency key was voided before anything was reserved")]
    Void,
    /// The table gave no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The port that reserves and releases units of stock.
pub trait Stock: Send + Sync {
    /// Takes every line out of stock, or none. A repeated call with the same idempotency key takes nothing and returns
    /// the first answer. The lines name each product once.
    ///
    /// # Errors
    /// A product has too few units, the key is void, or the table gave no answer.
    fn reserve(
        &self,
        key: &str,
        lines: &[LineItem],
        at: Timestamp,
    ) -> impl Future<Output = Result<Reservation, ReserveError>> + Send;

    /// Voids a reservation's idempotency key. Units that were taken under it are put back. If there are none, the key
    /// can take nothing later, however late the request comes. A repeated call puts back nothing and returns the first
    /// answer.
    ///
    /// # Errors
    /// The table gave no answer.
    fn release(&self, key: &str, at: Timestamp) -> impl Future<Output = Result<Release, StoreError>> + Send;
}
