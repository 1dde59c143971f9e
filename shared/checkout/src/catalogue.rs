//! What the shop sells.

use crate::{
    Money, StoreError, Tables,
    items::{self, Item},
    money, tables,
};
use aws_sdk_dynamodb::types::KeysAndAttributes;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeOwned},
};
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

/// A product's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// Its number.
    pub id: ProductId,
    /// Its name.
    pub name: String,
    /// The price of one unit.
    #[serde(rename(deserialize = "price_cents"), deserialize_with = "money::from_cents")]
    pub price: Money,
    /// How many units are there to be sold. Never below 0.
    pub stock: u32,
    /// Whether it is sold at all.
    pub active: bool,
}

/// Fewer units than are asked for. Deliveries come, so it may pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Insufficient stock for {name}. Available: {available}, Requested: {requested}")]
pub struct InsufficientStock {
    /// The product's name.
    pub name: String,
    /// How many there are.
    pub available: u32,
    /// How many were asked for.
    pub requested: u32,
}

/// Where products are looked up.
pub trait Catalogue: Send + Sync {
    /// The products with these numbers, at most [`MAX_LINES`](crate::MAX_LINES); those that are not there are left out.
    ///
    /// # Errors
    /// The table gave no answer, or one of these products cannot be read.
    fn products(
        &self,
        ids: &[ProductId],
    ) -> impl Future<Output = Result<BTreeMap<ProductId, Product>, StoreError>> + Send;
}

pub(crate) const PRODUCTS: &str = "products";

/// The message in the log where a row of the catalogue cannot be read: `stock: 2.5`, say, or no `active`, which is not guessed
/// at. The template's alarm looks for it.
pub const UNREADABLE_ROW: &str = "unreadable row";

/// The part of a product that a reservation moves. Units can be given back to a product whose other columns cannot be read.
#[derive(Deserialize)]
pub(crate) struct StockRow {
    id: ProductId,
    pub(crate) stock: u32,
}

/// A row of the catalogue. What is wrong with it is for the log: the error may be shown to a client.
pub(crate) fn read<T: DeserializeOwned>(row: Item) -> Result<T, StoreError> {
    let number = row.get("id").and_then(|id| id.as_n().ok());
    let product = number.map_or_else(|| "without a number".to_owned(), String::clone);
    items::from_item(row).map_err(|problem| {
        tracing::error!(table = PRODUCTS, product, %problem, "{UNREADABLE_ROW}");
        StoreError::Unreadable(format!("product {product}"))
    })
}

impl Catalogue for Tables {
    async fn products(&self, ids: &[ProductId]) -> Result<BTreeMap<ProductId, Product>, StoreError> {
        let products = self.rows::<Product>(ids).await?;
        Ok(products.into_iter().map(|product| (product.id, product)).collect())
    }
}

impl Tables {
    /// The stock of the products with these numbers; those that are not there are left out.
    pub(crate) async fn stocks(&self, ids: &[ProductId]) -> Result<BTreeMap<ProductId, u32>, StoreError> {
        Ok(self.rows::<StockRow>(ids).await?.into_iter().map(|row| (row.id, row.stock)).collect())
    }

    /// One strongly consistent `BatchGetItem`. What DynamoDB leaves unprocessed is asked for again.
    async fn rows<T: DeserializeOwned>(&self, ids: &[ProductId]) -> Result<Vec<T>, StoreError> {
        let keys = ids.iter().map(|id| Item::from([("id".to_owned(), items::number(id))])).collect();
        let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
        let mut wanted = Some(HashMap::from([(self.name(PRODUCTS), wanted.map_err(StoreError::unreadable)?)]));
        let mut found = Vec::new();
        for number in tables::tries() {
            let answer = self.client.batch_get_item().set_request_items(wanted.take()).send().await;
            let answer = answer.map_err(|error| StoreError::of(&error))?;
            for row in answer.responses.into_iter().flatten().flat_map(|(_, rows)| rows) {
                found.push(read(row)?);
            }
            wanted = answer.unprocessed_keys.filter(|left| !left.is_empty());
            if wanted.is_none() {
                return Ok(found);
            }
            tables::pause(number).await;
        }
        Err(StoreError::Busy("unprocessed keys".to_owned()))
    }

    /// The whole catalogue, by number, less what cannot be read.
    pub(crate) async fn scan_products(&self) -> Result<Vec<Product>, StoreError> {
        let mut products: Vec<Product> = Vec::new();
        let mut after = None;
        loop {
            let request = self.client.scan().table_name(self.name(PRODUCTS)).set_exclusive_start_key(after);
            let page = request.send().await.map_err(|error| StoreError::of(&error))?;
            products.extend(page.items.into_iter().flatten().filter_map(|row| read(row).ok()));
            after = page.last_evaluated_key.filter(|key| !key.is_empty());
            if after.is_none() {
                products.sort_by_key(|product| product.id);
                return Ok(products);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_product_is_stored_in_cents_and_shown_as_an_amount() {
        let stored = json!({"id": 1, "name": "Lamp", "price_cents": 4398, "stock": 7, "active": true});
        let product: Product = serde_json::from_value(stored).unwrap();
        let shown = r#"{"id":1,"name":"Lamp","price":43.98,"stock":7,"active":true}"#;
        assert_eq!(serde_json::to_string(&product).unwrap(), shown);
    }

    #[test]
    fn a_lack_of_stock_is_told_word_for_word() {
        let lack = InsufficientStock { name: "Lamp".to_owned(), available: 3, requested: 999 };
        assert_eq!(lack.to_string(), "Insufficient stock for Lamp. Available: 3, Requested: 999");
    }

    #[test]
    fn template_has_an_alarm_for_the_message_of_an_unreadable_row() {
        let pattern = format!(r#"FilterPattern: '{{ $.message = "{UNREADABLE_ROW}" }}'"#);
        assert!(include_str!("../../../infra/template.yaml").contains(&pattern), "{pattern}");
    }
}
