//! The checkout's HTTP API: starts, shows, retries and cancels checkouts, and shows orders and the catalogue.
//!
//! Each route has a module of its own. [`http_api`] has the code around all routes.

mod cancel;
mod checkouts;
mod details;
mod error;
mod retry;
mod shop;
mod standing;
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

/// A little less than the function's timeout in the template, so that a slow request gets a proper error answer.
const TIME_LIMIT: Duration = Duration::from_secs(9);

/// Makes the API on this engine and this shop.
///
/// # Errors
/// The workflow file is invalid. A test reads it, so a released version returns no error.
pub fn router<T, Q, A, S>(engine: Client<T, Q, A>, shop: S) -> Result<Router, Box<dyn Error + Send + Sync>>
where
    T: Store + 'static,
    Q: Queue + 'static,
    A: Runtime + 'static,
    S: Storefront + 'static,
{
    let customer = |request: &str| Actor::new("customer", request);
    let (retries, cancellations) = (customer("POST /retry_checkout")?, customer("POST /cancel_checkout")?);
    let checkouts = Checkouts { workflow: checkout::workflow()?, engine, retries, cancellations };
    let of_checkouts = Router::new()
        .route("/checkout", post(start::start::<T, Q, A>))
        .route("/order_status/{task_id}", get(status::status::<T, Q, A>))
        .route("/workflow_details/{task_id}", get(details::details::<T, Q, A>))
        .route("/retry_checkout/{task_id}", post(retry::retry::<T, Q, A>))
        .route("/cancel_checkout/{task_id}", post(cancel::cancel::<T, Q, A>))
        .with_state(Arc::new(checkouts));
    let of_the_shop = Router::new()
        .route("/orders/{order_id}", get(shop::order::<S>))
        .route("/products", get(shop::products::<S>))
        .with_state(Arc::new(shop));
    Ok(http_api::complete(of_checkouts.merge(of_the_shop), TIME_LIMIT))
}
