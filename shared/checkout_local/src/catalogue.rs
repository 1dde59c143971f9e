//! The catalogue, and what customers read.

use crate::{LocalShop, orders, rows::unreadable};
use checkout::{Catalogue, Money, Order, Product, ProductId, StoreError, Storefront};
use rusqlite::{Connection, OptionalExtension, Row};
use std::collections::BTreeMap;
use stepwell::TaskId;
use stepwell_local::FileError;

const COLUMNS: &str = "SELECT id, name, price_cents, stock, active FROM products";

/// The columns of a product.
fn product(row: &Row<'_>) -> rusqlite::Result<Product> {
    Ok(Product {
        id: ProductId(row.get(0)?),
        name: row.get(1)?,
        price: Money::from_cents(row.get(2)?),
        stock: row.get(3)?,
        active: row.get(4)?,
    })
}

/// The stock of the products with these numbers. Products that do not exist are left out.
pub(crate) fn stocks(
    tx: &Connection,
    ids: impl IntoIterator<Item = ProductId>,
) -> Result<BTreeMap<ProductId, u32>, FileError> {
    let mut get = tx.prepare_cached("SELECT stock FROM products WHERE id = ?")?;
    let mut stocks = BTreeMap::new();
    for id in ids {
        let stock = get.query_row([id.0], |row| row.get(0)).optional();
        stocks.extend(stock.map_err(|error| unreadable("product", id, error))?.map(|stock| (id, stock)));
    }
    Ok(stocks)
}

impl Catalogue for LocalShop {
    async fn products(&self, ids: &[ProductId]) -> Result<BTreeMap<ProductId, Product>, StoreError> {
        self.read(|tx| {
            let mut get = tx.prepare_cached(&format!("{COLUMNS} WHERE id = ?"))?;
            let mut products = BTreeMap::new();
            for id in ids {
                let product = get.query_row([id.0], product).optional();
                products.extend(product.map_err(|error| unreadable("product", id, error))?.map(|found| (*id, found)));
            }
            Ok(products)
        })
    }
}

impl Storefront for LocalShop {
    async fn all_products(&self) -> Result<Vec<Product>, StoreError> {
        self.read(|tx| {
            let mut all = tx.prepare_cached(&format!("{COLUMNS} ORDER BY id"))?;
            let mut rows = all.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                match product(row) {
                    Ok(product) => found.push(product),
                    Err(error) => tracing::error!(%error, "a row of the products cannot be read: it is left out"),
                }
            }
            Ok(found)
        })
    }

    async fn find_order(&self, id: &str) -> Result<Option<Order>, StoreError> {
        let Ok(task) = id.parse::<TaskId>() else { return Ok(None) };
        self.read(|tx| Ok(orders::stored(tx, task)?.and_then(|stored| stored.order)))
    }
}

impl LocalShop {
    /// Adds those of these products whose numbers are not in the catalogue, and returns how many. The others stay as they are.
    ///
    /// # Errors
    /// The file cannot be written. Then none is added.
    pub async fn load_products(&self, products: Vec<Product>) -> Result<usize, StoreError> {
        self.write(move |tx| {
            let mut put =
                tx.prepare_cached("INSERT INTO products VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING")?;
            let mut added = 0;
            for Product { id, name, price, stock, active } in &products {
                added += put.execute((id.0, name, price.cents(), stock, active))?;
            }
            Ok(added)
        })
        .await
    }
}
