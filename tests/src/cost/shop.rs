//! A shop whose services cost nothing, so that only the engine's own calls are counted. It takes and gives what the
//! deployed one would.

use crate::{checkout::products, each_checkout_step, poller::Poller};
use checkout::{
    ConfigError, Product,
    testing::{MemoryShop, steps},
};
use std::collections::BTreeMap;
use stepwell::{Input, Step, core::message::StepQueue};

/// With the steps of the checkout, in a shop that has as many of each product as anybody wants.
pub(super) fn with_checkout(mut poller: Poller<'_>) -> Poller<'_> {
    let shop = MemoryShop::selling(products().into_iter().map(|product| Product { stock: 100_000, ..product }));
    macro_rules! host {
        ($name:literal, $library:ident) => {
            let queue = StepQueue::new(&steps::workflow().id().name, $name);
            poller = poller.with(queue, $library::step(&shop).expect("a shop in memory has all ports"));
        };
    }
    each_checkout_step!(host);
    poller
}

/// The steps whose results each step takes.
pub(super) fn taken() -> BTreeMap<&'static str, Vec<&'static str>> {
    fn of<S: Step>(_: Result<S, ConfigError>) -> Vec<&'static str> {
        S::Input::wanted()
    }
    let shop = MemoryShop::default();
    let mut taken = BTreeMap::new();
    macro_rules! note {
        ($name:literal, $library:ident) => {
            taken.insert($name, of($library::step(&shop)));
        };
    }
    each_checkout_step!(note);
    taken
}
