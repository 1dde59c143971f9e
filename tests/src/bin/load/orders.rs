//! The carts of the checkouts.

use futures::future::join_all;
use serde_json::Value;
use std::collections::BTreeMap;
use stepwell_tests::{shop, stack::Stack};

pub(crate) struct Product {
    id: u32,
    price_cents: i64,
}

/// One cart.
#[derive(Clone)]
pub(crate) struct Order {
    /// The lines: product, price in cents, quantity.
    pub(crate) lines: Vec<(u32, i64, i64)>,
    pub(crate) total_cents: i64,
}

pub(crate) async fn active_products(stack: &Stack) -> Vec<Product> {
    let answer = stack.api.get("/products").await.expect(200);
    let products = answer["products"].as_array().into_iter().flatten().filter(|product| product["active"] == true);
    let product = |product: &Value| {
        let id = product["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        Product { id: id.expect("a product's number"), price_cents: shop::cents(&product["price"]) }
    };
    let products: Vec<Product> = products.map(product).collect();
    assert!(!products.is_empty(), "the shop sells nothing; infra/local.sh up loads its products");
    products
}

/// Carts of one to three units of the products in turn, every fourth with a second line.
pub(crate) fn orders(catalogue: &[Product], count: u32) -> Vec<Order> {
    let order = |number: usize| {
        let line = |at: usize, quantity: usize| {
            let product = &catalogue[at % catalogue.len()];
            (product.id, product.price_cents, i64::try_from(quantity).expect("a small number"))
        };
        let mut lines = vec![line(number, 1 + number % 3)];
        if number.is_multiple_of(4) && catalogue.len() > 1 {
            lines.push(line(number + 1, 1));
        }
        let prices: Vec<(i64, i64)> = lines.iter().map(|&(_, price, quantity)| (price, quantity)).collect();
        Order { lines, total_cents: shop::total_cents(&prices) }
    };
    (0..count as usize).map(order).collect()
}

pub(crate) fn units<'a>(orders: impl Iterator<Item = &'a Order>) -> BTreeMap<u32, i64> {
    let mut units = BTreeMap::new();
    for (product, _, quantity) in orders.flat_map(|order| &order.lines) {
        *units.entry(*product).or_default() += quantity;
    }
    units
}

pub(crate) async fn stock(stack: &Stack, catalogue: &[Product]) -> BTreeMap<u32, i64> {
    let stock = catalogue.iter().map(async |product| (product.id, stack.stock(product.id).await));
    join_all(stock).await.into_iter().collect()
}
