//! The port that the shop's API reads from.

use crate::{Order, Product, StoreError};

/// The port that reads the catalogue and the orders for customers.
pub trait Storefront: Send + Sync {
    /// Returns the whole catalogue, by number. Rows that cannot be read are left out: one bad row must not close the
    /// shop.
    ///
    /// # Errors
    /// The table gave no answer.
    fn all_products(&self) -> impl Future<Output = Result<Vec<Product>, StoreError>> + Send;

    /// Returns the order with this id, cancelled or not; `None` where there is none or the text is not an id.
    ///
    /// # Errors
    /// The table gave no answer.
    fn find_order(&self, id: &str) -> impl Future<Output = Result<Option<Order>, StoreError>> + Send;
}
