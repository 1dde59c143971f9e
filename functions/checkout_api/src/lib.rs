//! The checkout's HTTP API: start a checkout, follow it, retry it; the orders and the catalogue.
//!
//! Each route has a module of its own. What is around all of them is in [`http_api`].

mod checkouts;
mod details;
mod error;
mod retry;
mod shop;
mod start;
mod status;
#[cfg(test)]
mod tests;
mod violations;

use axum::{
    Router,
    routing::{get, post},
};
use checkout::Storefront;
use checkouts::Checkouts;
use std::{error::Error, sync::Arc, time::Duration};
use stepwell::{
    Actor, Client, Runtime,
    ports::{Queue, Store},
};

/// A little less than the function's own timeout in the template, so that a client gets an answer that says something.
const TIME_LIMIT: Duration = Duration::from_secs(9);

/// The API over this engine and this shop.
///
/// # Errors
/// None, unless the workflow file was changed for the worse; a test reads it.
pub fn router<T, Q, A, S>(engine: Client<T, Q, A>, shop: S) -> Result<Router, Box<dyn Error + Send + Sync>>
where
    T: Store + 'static,
    Q: Queue + 'static,
    A: Runtime + 'static,
    S: Storefront + 'static,
{
    let customer = Actor::new("customer", "POST /retry_checkout")?;
    let checkouts = Checkouts { workflow: checkout::workflow()?, engine, customer };
    let of_checkouts = Router::new()
        .route("/checkout", post(start::start::<T, Q, A>))
        .route("/order_status/{task_id}", get(status::status::<T, Q, A>))
        .route("/workflow_details/{task_id}", get(details::details::<T, Q, A>))
        .route("/retry_checkout/{task_id}", post(retry::retry::<T, Q, A>))
        .with_state(Arc::new(checkouts));
    let of_the_shop = Router::new()
        .route("/orders/{order_id}", get(shop::order::<S>))
        .route("/products", get(shop::products::<S>))
        .with_state(Arc::new(shop));
    Ok(http_api::complete(of_checkouts.merge(of_the_shop), TIME_LIMIT))
}
