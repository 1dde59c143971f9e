//! A shop without AWS, so that only the engine's own calls are counted. It takes and returns the same data as the
//! deployed shop.

use crate::{checkout::products, poller::Poller};
use checkout::{
    ConfigError, Product,
    testing::{MemoryShop, steps},
};
use std::collections::BTreeMap;
use stepwell::{Input, Step, core::message::StepQueue};

/// Adds the steps of the checkout, over a shop with plenty of each product.
pub(super) fn with_checkout(mut poller: Poller<'_>) -> Poller<'_> {
    let shop = MemoryShop::selling(products().into_iter().map(|product| Product { stock: 100_000, ..product }));
    macro_rules! host {
        ($name:literal, $($library:tt)+) => {
            let queue = StepQueue::new(&steps::workflow().id().name, $name);
            poller = poller.with(queue, $($library)+::step(&shop).expect("a shop in memory has all ports"));
        };
    }
    tasks_api::each_checkout_step!(host);
    poller
}

/// The steps whose results each step reads.
pub(super) fn taken() -> BTreeMap<&'static str, Vec<&'static str>> {
    fn of<S: Step>(_: Result<S, ConfigError>) -> Vec<&'static str> {
        S::Input::wanted()
    }
    let shop = MemoryShop::default();
    let mut taken = BTreeMap::new();
    macro_rules! note {
        ($name:literal, $($library:tt)+) => {
            taken.insert($name, of($($library)+::step(&shop)));
        };
    }
    tasks_api::each_checkout_step!(note);
    taken
}
