//! The world that the services stand for: the money, the stock, the orders and the emails, whoever asked for them.
//!
//! It is a shop in memory. Beside it stands which checkout has asked for what.

use super::locked;
use checkout::{Catalogue, Money, OrderStatus, Product, ProductId, StoreError, testing::MemoryShop};
use std::{collections::BTreeMap, sync::Mutex};

/// What every customer who can be served buys.
pub const LAMP: u32 = 1;

/// A product of which the catalogue shows a few that are not there any more.
pub const SOLD_OUT: u32 = 2;

/// A token that the gateway declines.
pub const DECLINED: &str = "test_declined_visa";

/// The price of any product, in cents.
pub const PRICE_CENTS: i64 = 4_398;

/// Enough for everybody.
const PLENTY: u32 = 1_000_000_000;

/// The state of the world.
#[derive(Debug)]
pub struct World {
    /// What the services work on.
    pub shop: MemoryShop,
    askers: Mutex<BTreeMap<String, usize>>,
}

/// What stands in the world for one checkout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Charges that were not given back.
    pub charges: u32,
    /// Reservations of stock that were not given back.
    pub reservations: u32,
    /// Orders that were not cancelled.
    pub orders: u32,
    /// Letters sent.
    pub emails: u32,
}

impl Default for World {
    fn default() -> Self {
        let product = |id, name: &str, stock| {
            let (id, name) = (ProductId(id), name.to_owned());
            Product { id, name, price: Money::from_cents(PRICE_CENTS), stock, active: true }
        };
        let shop = MemoryShop::selling([product(LAMP, "Lamp", PLENTY), product(SOLD_OUT, "Chair", 0)]);
        Self { shop, askers: Mutex::default() }
    }
}

impl World {
    /// The products with these numbers, as the catalogue shows them.
    ///
    /// # Errors
    /// None.
    pub async fn products(&self, ids: &[ProductId]) -> Result<BTreeMap<ProductId, Product>, StoreError> {
        let mut products = self.shop.products(ids).await?;
        products.entry(ProductId(SOLD_OUT)).and_modify(|chair| chair.stock = 5);
        Ok(products)
    }

    /// Notes which checkout asks for something under this key: an idempotency key, a task's id, or the address of a letter.
    pub fn note(&self, checkout: usize, key: &str) {
        locked(&self.askers).insert(key.to_owned(), checkout);
    }

    /// What stands for each of so many checkouts.
    ///
    /// # Panics
    /// Where the stock is not what it was less what was taken: then the world itself is wrong.
    pub fn standing(&self, checkouts: usize) -> Vec<Standing> {
        let reservations = self.shop.reservations();
        let taken: u32 = reservations.values().map(|reservation| reservation.total_items_reserved).sum();
        assert_eq!(taken, PLENTY - self.shop.stock_of(ProductId(LAMP)), "the stock is off");
        let askers = locked(&self.askers);
        let mut standing = vec![Standing::default(); checkouts];
        self.shop.charges().keys().for_each(|key| standing[askers[key]].charges += 1);
        reservations.keys().for_each(|key| standing[askers[key]].reservations += 1);
        let orders = self.shop.all_orders().into_iter().filter(|order| order.status != OrderStatus::Cancelled);
        orders.for_each(|order| standing[askers[&order.order_id.to_string()]].orders += 1);
        self.shop.emails().iter().for_each(|letter| standing[askers[letter.to.as_str()]].emails += 1);
        standing
    }
}
