//! The operators' HTTP API: find tasks, look into one, and bring on its way what does not get there by itself.
//!
//! The routes are in `routes.rs`, and each has a module of its own. Who may come in is in `operator.rs`. What is around all
//! of them is in [`http_api`].

mod act;
mod backend;
mod error;
mod fields;
mod filter;
mod list;
mod operator;
mod retry_all;
mod routes;
mod show;
#[cfg(test)]
mod tests;

use axum::Router;
use stepwell::{
    Ambient, Client,
    ports::{Queue, Store},
};

/// The API over this engine.
pub fn router<S, Q, A>(engine: Client<S, Q, A>) -> Router
where
    S: Store + 'static,
    Q: Queue + 'static,
    A: Ambient + 'static,
{
    routes::router(engine)
}
