//! A shop whose services cost nothing, so that only the engine's own calls are counted. It takes and gives what the
//! deployed one would.

use crate::{checkout::products, each_checkout_step, poller::Poller};
use checkout::{Product, testing::MemoryShop};
use stepwell::{Workflow, core::message::StepQueue};

/// With the steps of the checkout, in a shop that has as many of each product as anybody wants.
pub(super) fn with_checkout<'a>(mut poller: Poller<'a>, workflow: &Workflow) -> Poller<'a> {
    let shop = MemoryShop::selling(products().into_iter().map(|product| Product { stock: 100_000, ..product }));
    macro_rules! host {
        ($name:literal, $library:ident) => {
            let queue = StepQueue::new(&workflow.id().name, $name);
            poller = poller.with(queue, $library::step(&shop).expect("a shop in memory has all ports"));
        };
    }
    each_checkout_step!(host);
    poller
}
