//! The port of the scenarios: what they need of a backend beyond HTTP, such as the charges of a card and the e-mails.

mod aws;
mod local;

pub(crate) use aws::Aws;
pub(crate) use local::Local;

use stepwell_tests::{api::Api, operators::Operator, shop::Product};

/// A shop on one of the backends, for one scenario. Dropping it ends or deletes what was made for the scenario.
pub(crate) trait Backend: Sized {
    /// The name of [`Self::operator`] in the audit trail.
    const OPERATOR: &'static str;

    /// Opens a shop with the sample products and with these: each has a price in cents and units in stock, and nobody else buys it.
    async fn open<const N: usize>(products: [(i64, i64); N]) -> (Self, [Product; N]);

    /// The customers' API, for the customers of all checkouts.
    fn api(&self) -> &Api;

    /// An operator.
    fn operator(&self) -> Operator;

    /// Somebody who is no operator, in every way that the backend tells apart, with the statuses of the answers that refuse them.
    fn strangers(&self) -> Vec<(Operator, &'static [u16])>;

    /// Sees to it that a sample product has this many units for the scenario.
    async fn provide(&self, sample: u32, units: i64);

    /// A product's units in stock.
    async fn stock(&self, product: u32) -> i64;

    /// How many tasks have this text in their context.
    async fn tasks_with(&self, text: &str) -> usize;

    /// The payments that the shop has recorded for a task: the cents that were charged and not refunded.
    async fn payments(&self, task: &str) -> Vec<Option<i64>>;

    /// The charges of a task's card that were not refunded, in cents.
    async fn charges(&self, task: &str) -> Vec<i64> {
        self.payments(task).await.into_iter().flatten().collect()
    }

    /// The card tokens that are kept for a task.
    async fn card_tokens(&self, task: &str) -> usize;

    /// A task's reservations.
    async fn reservations(&self, task: &str) -> Vec<Reservation>;

    /// A task's orders that were not cancelled.
    async fn orders(&self, task: &str) -> usize;

    /// The e-mails to an address, in the order of time.
    async fn emails_to(&self, address: &str) -> Vec<SentEmail>;

    /// What was logged in the last minutes.
    async fn logs(&self) -> String;
}

/// The state of a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reservation {
    /// The units are out of stock, for as long as the checkout runs.
    Held,
    /// The units are sold.
    Taken,
    /// The units were put back, or were never out of stock.
    Released,
}

/// An e-mail as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SentEmail {
    pub(crate) id: String,
    pub(crate) subject: String,
}
