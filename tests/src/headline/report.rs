//! What came of the checkouts, in figures.

use super::world::Standing;
use serde::Serialize;
use std::{fmt, time::Duration};

/// What came of one checkout.
#[derive(Clone, Copy, Debug)]
pub struct Checkout {
    /// Whether the customer could be served at all.
    pub servable: bool,
    /// Whether the customer was told of an order.
    pub ordered: bool,
    /// Whether it stands where nothing moves it any more, though it is not at its end.
    pub stuck: bool,
    /// What stands for it in the world.
    pub standing: Standing,
    /// When it first met a failure that a client's own tries did not mend, since the start.
    pub trouble: Option<Duration>,
    /// When it came to its end, since the start.
    pub ended: Option<Duration>,
}

impl Checkout {
    /// Whether all is as it should be: one charge, one reservation, one order and a letter.
    fn whole(&self) -> bool {
        let Standing { charges, reservations, orders, letters } = self.standing;
        self.ordered && (charges, reservations, orders) == (1, 1, 1) && letters > 0
    }

    fn charged_without_order(&self) -> bool {
        self.standing.charges > self.standing.orders
    }

    fn stock_without_order(&self) -> bool {
        self.standing.reservations > self.standing.orders
    }

    fn order_without_letter(&self) -> bool {
        self.standing.orders > 0 && self.standing.letters == 0
    }

    /// Whether somebody has to look after it.
    fn needs_hands(&self) -> bool {
        self.stuck
            || self.charged_without_order()
            || self.stock_without_order()
            || self.order_without_letter()
            || self.standing.orders > 1
            || self.standing.charges < self.standing.orders
            || self.standing.reservations < self.standing.orders
            || (!self.ordered && self.standing.orders > 0)
    }
}

/// What came of all checkouts written in one way.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// How many checkouts there were.
    pub checkouts: usize,
    /// Of these, those whose customer was not told of an order.
    pub failed: usize,
    /// Of the failed ones, those whose customer could not be served in any case.
    pub unservable: usize,
    /// A customer has paid for more orders than there are.
    pub charged_without_order: usize,
    /// Stock was taken for more orders than there are.
    pub stock_without_order: usize,
    /// There is an order, and the customer has had no letter.
    pub order_without_letter: usize,
    /// Somebody has to look after it: any of the three above, one that is stuck, an order that nobody was told of.
    pub needing_hands: usize,
    /// Met a failure, other than one that a client's own tries mended.
    pub met_failures: usize,
    /// Of these, those that came out whole by themselves: one charge, stock taken once, one order, a letter.
    pub recovered: usize,
    /// How long that took from the first failure, in seconds: the half of them, 99 in 100, and all of them.
    pub seconds_to_recover: Option<Spread>,
}

/// How a set of durations is spread, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Half of them are no longer.
    pub p50: f64,
    /// 99 in 100 are no longer.
    pub p99: f64,
    /// None is longer.
    pub longest: f64,
}

impl Figures {
    /// Counts.
    pub fn of(checkouts: &[Checkout]) -> Self {
        let count = |which: fn(&Checkout) -> bool| checkouts.iter().filter(|&checkout| which(checkout)).count();
        let recovered = checkouts.iter().filter(|checkout| checkout.whole());
        let recovered: Vec<Duration> =
            recovered.filter_map(|checkout| Some(checkout.ended?.saturating_sub(checkout.trouble?))).collect();
        Self {
            checkouts: checkouts.len(),
            failed: count(|checkout| !checkout.ordered),
            unservable: count(|checkout| !checkout.ordered && !checkout.servable),
            charged_without_order: count(Checkout::charged_without_order),
            stock_without_order: count(Checkout::stock_without_order),
            order_without_letter: count(Checkout::order_without_letter),
            needing_hands: count(Checkout::needs_hands),
            met_failures: count(|checkout| checkout.trouble.is_some()),
            recovered: recovered.len(),
            seconds_to_recover: spread(recovered),
        }
    }
}

fn spread(mut durations: Vec<Duration>) -> Option<Spread> {
    durations.sort_unstable();
    let at = |part: f64| Some(durations.get((durations.len().checked_sub(1)? as f64 * part).ceil() as usize)?.as_secs_f64());
    Some(Spread { p50: at(0.5)?, p99: at(0.99)?, longest: at(1.0)? })
}
