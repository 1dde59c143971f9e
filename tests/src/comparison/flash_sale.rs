//! A flash sale: far more buyers than pieces, all at the same moment, over the engine and the checkout's own steps.
//!
//! Calls meet busy tables, lost answers and deaths of their process, as in the comparison. The books are read after every
//! effect on the shop: at no moment may a buyer be charged for whom no piece is held.

use super::{
    customers::Customer,
    faults::Faults,
    in_virtual_time,
    process::VirtualTime,
    report::{Checkout, End},
    run_engine,
    world::{Books, DECLINED, LAMP, PRICE_CENTS, ShopWorld},
};
use crate::shop;
use checkout::ProductId;
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Why a buyer is refused for whom nothing is left.
const SOLD_OUT: &str = "validate_cart INSUFFICIENT_STOCK";

/// The settings of one flash sale.
#[derive(Clone, Copy, Debug)]
pub struct FlashSale {
    /// The seed of all random numbers.
    pub seed: u64,
    /// The number of buyers, each of whom wants one piece.
    pub buyers: u32,
    /// The number of pieces.
    pub pieces: u32,
    /// The rate of faults, from 0 to below 1.
    pub rate: f64,
    /// One buyer in this many has a card that is declined; 0 for none.
    pub declined_every: u32,
}

/// How a flash sale ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sale {
    /// The buyers with an order, a charge, a reservation and an e-mail.
    pub served: usize,
    /// The buyers who were refused for lack of stock, and for whom nothing is left behind.
    pub refused: usize,
    /// The buyers whose card was declined, and for whom nothing is left behind.
    pub declined: usize,
    /// All other ends, with their number.
    pub others: BTreeMap<String, usize>,
    /// The pieces in stock at the end.
    pub stock: u32,
    /// The reservations that are neither taken nor released at the end.
    pub holds: usize,
    /// The orders at the end that were not cancelled, and the charges that were not refunded.
    pub orders_and_charges: (u32, u32),
    /// The buyers who met a failure which survived the client's retries.
    pub met_failures: usize,
    /// The books while it went on.
    pub books: Books,
}

impl FlashSale {
    /// Runs the sale until nothing happens any more.
    ///
    /// # Panics
    /// The workflow file is invalid.
    pub fn run(&self) -> Sale {
        const SPAN: Duration = Duration::from_secs(60 * 60);
        let workflow = checkout::workflow().expect("a workflow file");
        let world = Arc::new(ShopWorld::audited(self.pieces));
        let faults = Arc::new(Faults::new(self.seed, self.rate, SPAN));
        let buyers: Vec<Customer> = (0..self.buyers).map(|number| self.buyer(number)).collect();
        let checkouts = in_virtual_time(async {
            let clock = VirtualTime::new(self.seed);
            run_engine(&world, buyers, &clock, &faults, workflow).await
        });
        Sale::of(&checkouts, &world)
    }

    fn buyer(&self, number: u32) -> Customer {
        let declined = self.declined_every > 0 && number.is_multiple_of(self.declined_every);
        let token = if declined { DECLINED } else { "test_success_visa" };
        let mut request = shop::request(&[(LAMP, PRICE_CENTS, 1)], token, &format!("buyer{number}@example.com"));
        Customer { arrives: Duration::ZERO, request: request["checkout"].take(), unservable: None }
    }

    /// What has to hold of its end and of its books, each with whether it does.
    pub fn claims(&self, sale: &Sale) -> Vec<(String, bool)> {
        let Self { buyers, pieces, .. } = *self;
        let sold = u32::try_from(sale.served).unwrap_or(u32::MAX);
        let all = sale.served + sale.refused + sale.declined;
        vec![
            (format!("never more than {pieces} charges in force"), sale.books.most_charges <= pieces as usize),
            ("nobody is charged for whom no piece is held".to_owned(), sale.books.most_without_goods == 0),
            ("at every step the pieces in stock and reserved are those there were".to_owned(), sale.books.balanced),
            ("as many orders and charges as served buyers".to_owned(), sale.orders_and_charges == (sold, sold)),
            ("every piece is sold, or back in stock after a declined card".to_owned(), sold + sale.stock == pieces),
            (
                format!("{pieces} are served, if no card is declined"),
                self.declined_every > 0 || sold == pieces.min(buyers),
            ),
            ("no hold is left".to_owned(), sale.holds == 0),
            ("all others are refused, and nothing is left behind".to_owned(), all == buyers as usize),
        ]
    }
}

impl Sale {
    fn of(checkouts: &[Checkout], world: &ShopWorld) -> Self {
        let (mut served, mut refused, mut declined, mut others) = (0, 0, 0, BTreeMap::new());
        for checkout in checkouts {
            let failed = |why: &str| checkout.end == End::Failed(why.to_owned()) && checkout.is_compensated();
            if checkout.is_whole() {
                served += 1;
            } else if failed(SOLD_OUT) {
                refused += 1;
            } else if failed("process_payment PAYMENT_DECLINED") {
                declined += 1;
            } else {
                *others.entry(format!("{:?}, {:?}", checkout.end, checkout.standing)).or_default() += 1;
            }
        }
        let sum = |which: fn(&Checkout) -> u32| checkouts.iter().map(which).sum();
        Self {
            served,
            refused,
            declined,
            others,
            stock: world.shop.stock_of(ProductId(LAMP)),
            holds: world.shop.holds().len(),
            orders_and_charges: (sum(|one| one.standing.orders), sum(|one| one.standing.charges)),
            met_failures: checkouts.iter().filter(|checkout| checkout.trouble.is_some()).count(),
            books: world.books(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More than the comparison's, so that a few buyers meet what thousands do there.
    const RATE: f64 = 0.15;

    fn broken(sale: &FlashSale) -> (Vec<String>, Sale) {
        let end = sale.run();
        (sale.claims(&end).into_iter().filter(|(_, holds)| !holds).map(|(claim, _)| claim).collect(), end)
    }

    #[test]
    fn nobody_is_charged_for_goods_that_are_gone() {
        for seed in 1..=5 {
            let sale = FlashSale { seed, buyers: 200, pieces: 10, rate: RATE, declined_every: 0 };
            let (broken, end) = broken(&sale);
            assert_eq!(broken, [""; 0], "seed {seed}: {end:?}");
            assert_eq!((end.served, end.refused, end.books.most_charges), (10, 190, 10), "seed {seed}");
            assert!(end.met_failures > 40, "nothing was put to the test: {end:?}");
        }
    }

    #[test]
    fn pieces_of_declined_cards_come_back() {
        let sale = FlashSale { seed: 7, buyers: 200, pieces: 10, rate: RATE, declined_every: 4 };
        let (broken, end) = broken(&sale);
        assert_eq!(broken, [""; 0], "{end:?}");
        assert!(end.declined > 0 && end.stock as usize == end.declined, "{end:?}");
    }
}
