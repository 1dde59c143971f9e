//! The shop's pages: files of the folder `assets`, which ask this API from the same origin.
//!
//! The API knows a customer by the key of a checkout, which a page sends as a header, and by no cookie. So a page of another site can do no
//! more than anybody.

use axum::{Router, response::Redirect, routing::get};
use checkout::test_card::SAMPLE_CARDS;
use pages::{Headers, Pages};

/// The routes of the pages, which are no part of the API.
#[cfg(test)]
pub(crate) const PATHS: [&str; 4] = ["/", "/shop", "/shop/", "/shop/{*path}"];

/// Serves the page at `/`, and below `/shop/` its files and its other addresses.
pub(crate) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let own = pages::files![
        "app.js"
        "cart.js"
        "confirm.js"
        "index.html"
        "order.js"
        "orders.js"
        "products.js"
        "shop.css"
        "shop.js"
    ];
    // Texts always serialize.
    let cards = serde_json::to_string(&SAMPLE_CARDS).unwrap_or_default();
    let pages = Pages::new(own.into_iter().chain([("cards.json", cards.into())]));
    let home = || get(async || Redirect::temporary("/"));
    let pages = pages.router(&["/"], "/shop").route("/shop", home()).route("/shop/", home());
    Headers::default().around(pages).with_state(())
}
