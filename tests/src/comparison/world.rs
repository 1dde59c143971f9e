//! The state behind the services: charges, stock, orders and e-mails of all checkouts.
//!
//! It is a shop in memory, with a record of which checkout used which key.

use super::locked;
use checkout::{Catalogue, Money, OrderStatus, Product, ProductId, StoreError, testing::MemoryShop};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

/// The product that every servable customer buys.
pub const LAMP: u32 = 1;

/// A product that the catalogue lists with stock although none is left.
pub const SOLD_OUT: u32 = 2;

/// A card token that the gateway declines.
pub const DECLINED: &str = "test_declined_visa";

/// The price of any product, in cents.
pub const PRICE_CENTS: i64 = 4_398;

/// Stock that no run uses up.
const PLENTY: u32 = 1_000_000_000;

/// The shop, and who used which key.
#[derive(Debug)]
pub struct ShopWorld {
    /// The shop that the services read and change.
    pub shop: MemoryShop,
    lamps: u32,
    askers: Mutex<BTreeMap<String, usize>>,
    books: Option<Mutex<Books>>,
}

/// What was seen of money and goods, read after every effect on the shop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Books {
    /// The number of effects.
    pub effects: u64,
    /// The most charges that were in force at a time.
    pub most_charges: usize,
    /// The most charges in force at a time of checkouts without a reservation.
    pub most_without_goods: usize,
    /// Whether the units in stock and those reserved always came to the same sum.
    pub balanced: bool,
}

/// What exists in the shop for one checkout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Charges that were not refunded.
    pub charges: u32,
    /// Reservations of stock that were not released.
    pub reservations: u32,
    /// Orders that were not cancelled.
    pub orders: u32,
    /// E-mails sent.
    pub emails: u32,
}

impl Default for ShopWorld {
    fn default() -> Self {
        Self::selling(PLENTY, None)
    }
}

impl ShopWorld {
    /// A shop with this many lamps, whose books are read after every effect.
    pub fn audited(lamps: u32) -> Self {
        let books = Books { effects: 0, most_charges: 0, most_without_goods: 0, balanced: true };
        Self::selling(lamps, Some(Mutex::new(books)))
    }

    fn selling(lamps: u32, books: Option<Mutex<Books>>) -> Self {
        let product = |id, name: &str, stock| {
            let (id, name) = (ProductId(id), name.to_owned());
            Product { id, name, price: Money::from_cents(PRICE_CENTS), stock, active: true }
        };
        let shop = MemoryShop::selling([product(LAMP, "Lamp", lamps), product(SOLD_OUT, "Chair", 0)]);
        Self { shop, lamps, askers: Mutex::default(), books }
    }

    /// Reads the books, if this world is audited.
    ///
    /// # Panics
    /// Somebody has used a key that was not noted.
    pub fn audit(&self) {
        let Some(books) = &self.books else { return };
        let mut books = locked(books);
        let askers = locked(&self.askers);
        let (charges, reservations) = (self.shop.charges(), self.shop.reservations());
        let with_goods: BTreeSet<usize> = reservations.keys().map(|key| askers[key]).collect();
        let without = charges.keys().filter(|payment| !with_goods.contains(&askers[&payment.0])).count();
        let reserved: u32 = reservations.values().map(|reservation| reservation.total_items_reserved).sum();
        books.effects += 1;
        books.most_charges = books.most_charges.max(charges.len());
        books.most_without_goods = books.most_without_goods.max(without);
        books.balanced &= reserved + self.shop.stock_of(ProductId(LAMP)) == self.lamps;
    }

    /// What was seen so far.
    ///
    /// # Panics
    /// This world is not audited.
    pub fn books(&self) -> Books {
        *locked(self.books.as_ref().expect("an audited world"))
    }

    /// The products with these ids, as the catalogue lists them.
    ///
    /// # Errors
    /// None: the shop is in memory.
    pub async fn products(&self, ids: &[ProductId]) -> Result<BTreeMap<ProductId, Product>, StoreError> {
        let mut products = self.shop.products(ids).await?;
        products.entry(ProductId(SOLD_OUT)).and_modify(|chair| chair.stock = 5);
        Ok(products)
    }

    /// Records which checkout uses this key: an idempotency key, a payment, a task's id, or an e-mail address.
    pub fn note(&self, checkout: usize, key: &str) {
        locked(&self.askers).insert(key.to_owned(), checkout);
    }

    /// What exists for each of this many checkouts.
    ///
    /// # Panics
    /// The stock and the reservations do not add up: a bug of this module.
    pub fn standing(&self, checkouts: usize) -> Vec<Standing> {
        let reservations = self.shop.reservations();
        let taken: u32 = reservations.values().map(|reservation| reservation.total_items_reserved).sum();
        assert_eq!(taken, self.lamps - self.shop.stock_of(ProductId(LAMP)), "the stock is off");
        let askers = locked(&self.askers);
        let mut standing = vec![Standing::default(); checkouts];
        self.shop.charges().keys().for_each(|payment| standing[askers[&payment.0]].charges += 1);
        reservations.keys().for_each(|key| standing[askers[key]].reservations += 1);
        let orders = self.shop.all_orders().into_iter().filter(|order| order.status != OrderStatus::Cancelled);
        orders.for_each(|order| standing[askers[&order.order_id.to_string()]].orders += 1);
        self.shop.emails().iter().for_each(|email| standing[askers[email.to.as_str()]].emails += 1);
        standing
    }
}
