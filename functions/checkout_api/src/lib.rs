//! The checkout's HTTP API: start a checkout, follow it, retry it; the orders and the catalogue.
//!
//! The routes are in `routes.rs`, and each has a module of its own. What is around all of them is in [`http_api`].

mod backend;
mod details;
mod error;
mod retry;
mod routes;
mod shop;
mod start;
mod status;
#[cfg(test)]
mod tests;
mod violations;

use axum::Router;
use backend::Deployed;
use checkout::Storefront;
use std::error::Error;
use stepwell::{
    Ambient, By, Client,
    ports::{Queue, Store},
};

/// The API over this engine and this shop.
///
/// # Errors
/// None, unless the workflow file was changed for the worse; a test reads it.
pub fn router<T, Q, A>(
    engine: Client<T, Q, A>,
    shop: impl Storefront + 'static,
) -> Result<Router, Box<dyn Error + Send + Sync>>
where
    T: Store + 'static,
    Q: Queue + 'static,
    A: Ambient + 'static,
{
    // Whom the audit trail names for a retry that a customer asks for.
    let customer = By::new("customer", "POST /retry_checkout")?;
    Ok(routes::router(Deployed { workflow: checkout::workflow()?, engine, shop, customer }))
}
