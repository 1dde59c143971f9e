//! The catalogue on the `products` table.

use crate::{
    Tables,
    items::{self, AttributeItem, unreadable},
    tables::{self, store_error},
};
use aws_sdk_dynamodb::types::KeysAndAttributes;
use checkout::{Catalogue, Product, ProductId, StoreError};
use serde::{Deserialize, de::DeserializeOwned};
use std::collections::{BTreeMap, HashMap};

pub(crate) const PRODUCTS: &str = "products";

/// The log message for a row of the catalogue that cannot be read, with `stock: 2.5`, say, or no `active`. An
/// alarm looks at the metric of it.
pub const UNREADABLE_ROW: &str = "unreadable row";

/// The columns of a product that a reservation needs. So units can be put back even if the other columns cannot be
/// read.
#[derive(Deserialize)]
pub(crate) struct StockRow {
    id: ProductId,
    pub(crate) stock: u32,
}

/// Reads a row of the catalogue. The problem goes to the log only, because clients may see the error.
pub(crate) fn read<T: DeserializeOwned>(row: AttributeItem) -> Result<T, StoreError> {
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
    /// Reads the stock of the products with these numbers. Products that do not exist are left out.
    pub(crate) async fn stocks(&self, ids: &[ProductId]) -> Result<BTreeMap<ProductId, u32>, StoreError> {
        Ok(self.rows::<StockRow>(ids).await?.into_iter().map(|row| (row.id, row.stock)).collect())
    }

    /// Reads rows with a strongly consistent `BatchGetItem`, and requests unprocessed keys again.
    async fn rows<T: DeserializeOwned>(&self, ids: &[ProductId]) -> Result<Vec<T>, StoreError> {
        let keys = ids.iter().map(|id| AttributeItem::from([("id".to_owned(), items::number(id))])).collect();
        let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
        let mut wanted = Some(HashMap::from([(self.name(PRODUCTS), wanted.map_err(unreadable)?)]));
        let mut found = Vec::new();
        for number in tables::tries() {
            let answer = self.client.batch_get_item().set_request_items(wanted.take()).send().await;
            let answer = answer.map_err(|error| store_error(&error))?;
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
}
