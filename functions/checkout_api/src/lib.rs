//! The checkout's HTTP API: starts, shows, retries and cancels checkouts, and shows orders and the catalogue. It serves the shop's pages as well,
//! which ask it and nothing else.
//!
//! Each route has a module of its own. [`http_api`] has the code around all routes.

mod access;
mod brakes;
mod cancel;
mod checkouts;
mod details;
mod error;
#[cfg(test)]
mod openapi;
mod orders;
mod products;
mod quote;
mod retry;
mod shop_pages;
mod standing;
mod start;
mod status;
#[cfg(test)]
mod tests;
mod violations;

use axum::{
    Extension, Router,
    routing::{get, post},
};
use brakes::Brakes;
pub use brakes::Limits;
use checkout::{CardTokens, Counters, Pricing, Storefront};
pub use checkouts::OUT_FOR;
use checkouts::{Checkouts, Paying};
use http_api::TaskKeys;
use products::Catalogue;
use quote::Quotes;
use std::{error::Error, sync::Arc, time::Duration};
use stepwell::{
    Actor, Client, Runtime,
    ports::{Queue, Store},
    runtime::{backlog::BacklogView, breaker::ServiceBreaker},
};

/// The time to answer a request that does not ask to wait. A request that waits gets a little longer than its wait; both are
/// less than the function's timeout in the template, so that a slow request gets a proper error answer.
const TIME_LIMIT: Duration = Duration::from_secs(9);

/// The OpenAPI document, which a test writes.
const OPENAPI: &str = include_str!("../openapi.json");

/// Makes the API on this engine and this shop, with these keys for its checkouts, these limits, and the shop's rules for prices.
///
/// # Errors
/// The workflow file is invalid. A test reads it, so a released version returns no error.
pub fn router<T, Q, A, S>(
    engine: Client<T, Q, A>,
    shop: S,
    keys: TaskKeys,
    limits: Limits,
    pricing: Pricing,
) -> Result<Router, Box<dyn Error + Send + Sync>>
where
    T: Store + 'static,
    Q: Queue + 'static,
    A: Runtime + 'static,
    S: Storefront + CardTokens + Counters + 'static,
{
    let customer = |request: &str| Actor::new("customer", request);
    let (retries, cancellations) = (customer("POST /retry_checkout")?, customer("POST /cancel_checkout")?);
    let settlements = customer("GET /order_status found nothing")?;
    let workflow = checkout::workflow()?;
    let services = workflow.needed_services().into_iter().map(ServiceBreaker::new).collect();
    let keys_of = keys.clone();
    let backlog = BacklogView::default();
    let checkouts =
        Arc::new(Checkouts { workflow, engine, services, backlog, keys: keys_of, retries, cancellations, settlements });
    let (shop, clock) = (Arc::new(shop), checkouts.clone());
    let catalogue = Arc::new(Catalogue::new(shop.clone(), move || clock.engine.now()));
    let quotes = Quotes { catalogue: catalogue.clone(), pricing, workflow: checkout::workflow()? };
    let brakes = Brakes { counters: shop.clone(), keys: keys.clone(), limits };
    let paying = Arc::new(Paying { checkouts: checkouts.clone(), tokens: shop.clone(), brakes });
    let with_card = Router::new()
        .route("/checkout", post(start::start::<T, Q, A, S>))
        .route("/retry_checkout/{task_id}", post(retry::retry::<T, Q, A, S>))
        .with_state(paying);
    let of_checkouts = Router::new()
        .route("/order_status/{task_id}", get(status::status::<T, Q, A>))
        .route("/workflow_details/{task_id}", get(details::details::<T, Q, A>))
        .route("/cancel_checkout/{task_id}", post(cancel::cancel::<T, Q, A>))
        .with_state(checkouts);
    let of_orders = Router::new().route("/orders/{order_id}", get(orders::order::<S>)).with_state(shop);
    let of_all = Router::new().route("/openapi.json", http_api::document(OPENAPI));
    let of_products = Router::new().route("/products", get(products::products::<S>)).with_state(catalogue);
    let of_quotes = Router::new().route("/quote", post(quote::quote::<S>)).with_state(Arc::new(quotes));
    // `access` finds the keys there.
    let of_all = of_all.merge(of_orders).merge(of_products).merge(of_quotes).merge(shop_pages::router());
    Ok(http_api::complete(with_card.merge(of_checkouts).merge(of_all).layer(Extension(keys)), TIME_LIMIT))
}
