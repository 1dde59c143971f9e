//! The port of the stock: units are held for a checkout, then taken by it, or released.

use crate::{InsufficientStock, Release, Reservation, StoreError};
use stepwell::Timestamp;

/// The reason why nothing was held.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoldError {
    /// A product has too few units.
    #[error(transparent)]
    InsufficientStock(#[from] InsufficientStock),
    /// The reservation was released, or its key was voided before it was made. The key can hold nothing later.
    #[error("the reservation was released, or its idempotency key was voided before anything was held")]
    Void,
    /// The table gave no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The reason why nothing was taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TakeError {
    /// There is no reservation under the key.
    #[error("nothing is held under this idempotency key")]
    NothingHeld,
    /// The reservation was released, or its key was voided before it was made.
    #[error("the reservation was released, or its idempotency key was voided before anything was held")]
    Void,
    /// The table gave no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The port that holds, takes and releases units of stock.
///
/// A reservation is made as *held*: its units are out of stock, so nobody else can be charged for them. It becomes
/// *taken* when the checkout is paid. It is *released* if the checkout is compensated, whether it was taken or not.
pub trait Stock: Send + Sync {
    /// Holds every line of this reservation, or none, and returns the reservation that stands under the idempotency
    /// key. A repeated call holds nothing more and returns the first one, also if it is taken by now and the stock is
    /// used up.
    ///
    /// The figures of `wanted` are those that the caller has read. They refuse what is plainly sold out without a
    /// write; only the write's own condition grants anything.
    ///
    /// # Errors
    /// A product has too few units, the key is void, or the table gave no answer.
    fn hold(
        &self,
        key: &str,
        wanted: &Reservation,
        at: Timestamp,
    ) -> impl Future<Output = Result<Reservation, HoldError>> + Send;

    /// Turns a held reservation into a taken one, and returns it. A repeated call changes nothing.
    ///
    /// # Errors
    /// Nothing is held under the key, the key is void, or the table gave no answer.
    fn take(&self, key: &str, at: Timestamp) -> impl Future<Output = Result<Reservation, TakeError>> + Send;

    /// Voids a reservation's idempotency key, and puts the units that were held or taken under it back. If there are
    /// none, the key can hold nothing later, however late the request comes. A product that is gone from the catalogue
    /// does not stop the others: the answer names it. A repeated call puts back nothing and returns the first answer.
    ///
    /// # Errors
    /// The table gave no answer.
    fn release(&self, key: &str, at: Timestamp) -> impl Future<Output = Result<Release, StoreError>> + Send;
}
