//! The port [`Storefront`] on the `products` and `orders` tables.

use crate::{
    Tables,
    catalogue::{self, PRODUCTS},
    orders::{self, ORDERS},
    tables::store_error,
};
use checkout::{Order, Product, StoreError, Storefront};
use stepwell::TaskId;

impl Storefront for Tables {
    async fn all_products(&self) -> Result<Vec<Product>, StoreError> {
        let mut products: Vec<Product> = Vec::new();
        let mut after = None;
        loop {
            let request = self.client.scan().table_name(self.name(PRODUCTS)).set_exclusive_start_key(after);
            let page = request.send().await.map_err(|error| store_error(&error))?;
            products.extend(page.items.into_iter().flatten().filter_map(|row| catalogue::read(row).ok()));
            after = page.last_evaluated_key.filter(|key| !key.is_empty());
            if after.is_none() {
                products.sort_by_key(|product| product.id);
                return Ok(products);
            }
        }
    }

    async fn find_order(&self, id: &str) -> Result<Option<Order>, StoreError> {
        let Ok(id) = id.parse::<TaskId>() else { return Ok(None) };
        self.get(ORDERS, &id.to_string()).await?.map_or(Ok(None), orders::read)
    }
}
