//! Who buys, when, and what.

use super::{faults::stream, world};
use crate::shop;
use serde_json::Value;
use std::time::Duration;

/// Why a customer cannot be served, whatever the shop does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unservable {
    /// The card is declined.
    Declined,
    /// The catalogue shows it, but the last one has been sold.
    SoldOut,
}

/// One customer.
#[derive(Clone, Debug)]
pub struct Customer {
    /// When the order button is pressed, since the start.
    pub arrives: Duration,
    /// What the page sends then.
    pub request: Value,
    /// Why it must fail, where it must.
    pub unservable: Option<Unservable>,
}

/// So many customers, spread over `span`; one in `unservable_every` cannot be served.
pub fn customers(seed: u64, count: usize, span: Duration, unservable_every: usize) -> Vec<Customer> {
    let customer = |number: usize| {
        let place = (number as f64 + stream(seed, [5, number as u64, 0, 0]).f64()) / count as f64;
        let unservable = (number % unservable_every == unservable_every / 2).then(|| {
            if (number / unservable_every).is_multiple_of(2) { Unservable::Declined } else { Unservable::SoldOut }
        });
        let (product, token) = match unservable {
            None => (world::LAMP, "test_success_visa"),
            Some(Unservable::Declined) => (world::LAMP, world::DECLINED),
            Some(Unservable::SoldOut) => (world::SOLD_OUT, "test_success_visa"),
        };
        let email = format!("customer{number}@example.com");
        let mut request = shop::request(&[(product, world::PRICE_CENTS, 2)], token, &email);
        Customer { arrives: span.mul_f64(place), request: request["checkout"].take(), unservable }
    };
    (0..count).map(customer).collect()
}
