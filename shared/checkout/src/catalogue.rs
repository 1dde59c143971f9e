//! The catalogue: the products that the shop sells.

use crate::{Money, StoreError, money};
use serde::{Deserialize, Deserializer, Serialize, de};
use std::{collections::BTreeMap, fmt};

/// A product's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct ProductId(pub u32);

impl fmt::Display for ProductId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for ProductId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::lenient::whole(deserializer)?.map(Self).ok_or_else(|| de::Error::custom("not a product's number"))
    }
}

/// A product: an item of the `products` table, which holds the price as `price_cents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Product {
    /// The product's number, the key of its item.
    pub id: ProductId,
    /// The name, as customers see it.
    pub name: String,
    /// The price of one unit.
    #[serde(rename(deserialize = "price_cents"), deserialize_with = "money::from_cents")]
    pub price: Money,
    /// The number of units that can be sold. Never below 0.
    pub stock: u32,
    /// Whether the product is sold.
    pub active: bool,
}

/// The stock is smaller than the requested number of units.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Insufficient stock for {name}. Available: {available}, Requested: {requested}")]
pub struct InsufficientStock {
    /// The product's name.
    pub name: String,
    /// The number of units in stock.
    pub available: u32,
    /// The number of units in the cart.
    pub requested: u32,
}

/// The port that looks up products.
pub trait Catalogue: Send + Sync {
    /// Returns the products with these numbers, at most [`MAX_LINES`](crate::MAX_LINES). Products that do not exist are
    /// left out.
    ///
    /// # Errors
    /// The table gave no answer, or one of these products cannot be read.
    fn products(
        &self,
        ids: &[ProductId],
    ) -> impl Future<Output = Result<BTreeMap<ProductId, Product>, StoreError>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn product_is_stored_in_cents_and_shown_as_an_amount() {
        let stored = json!({"id": 1, "name": "Lamp", "price_cents": 4398, "stock": 7, "active": true});
        let product: Product = serde_json::from_value(stored).unwrap();
        let shown = r#"{"id":1,"name":"Lamp","price":43.98,"stock":7,"active":true}"#;
        assert_eq!(serde_json::to_string(&product).unwrap(), shown);
    }

    #[test]
    fn insufficient_stock_message_names_product_and_both_numbers() {
        let lack = InsufficientStock { name: "Lamp".to_owned(), available: 3, requested: 999 };
        assert_eq!(lack.to_string(), "Insufficient stock for Lamp. Available: 3, Requested: 999");
    }
}
