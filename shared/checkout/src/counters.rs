//! Counters of what was done lately, which the brakes against abuse are made of.

use crate::StoreError;
use stepwell::Timestamp;

/// The port of the store of counters.
pub trait Counters: Send + Sync {
    /// Adds one to the counter of this name, and returns what it has counted with it. A counter that is not there begins at 0. It
    /// may be deleted at any time after `expires_at`, which the first count of it sets.
    ///
    /// # Errors
    /// The table fails. Then it is not known whether this was counted.
    fn count(&self, name: &str, expires_at: Timestamp) -> impl Future<Output = Result<u32, StoreError>> + Send;
}
