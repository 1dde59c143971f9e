//! What the shop shows to its customers.

use crate::{Order, Product, StoreError};

/// The catalogue and the orders, as customers look at them.
pub trait Storefront: Send + Sync {
    /// The whole catalogue, by number, less what cannot be read: one bad row must not close the shop.
    ///
    /// # Errors
    /// The table gave no answer.
    fn all_products(&self) -> impl Future<Output = Result<Vec<Product>, StoreError>> + Send;

    /// The order with this id, cancelled or not; `None` where there is none or the text is no id.
    ///
    /// # Errors
    /// The table gave no answer.
    fn find_order(&self, id: &str) -> impl Future<Output = Result<Option<Order>, StoreError>> + Send;
}
