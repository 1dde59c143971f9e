//! `POST /quote`: says what a cart costs, and starts nothing.

use crate::{error::ApiError, products::Catalogue};
use axum::{Json, body::Body, extract::State, http::HeaderMap};
use checkout::{CURRENCY, Cart, CheckoutRequest, LineItem, Money, PricedCart, Pricing, ShopCode, Storefront, Totals};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use stepwell::{StepError, Violation, Workflow, core::limits::MAX_CONTEXT_BYTES};

/// The field of the body, and of a checkout request.
const FIELD: &str = "cart_items";

/// What makes quotes: the catalogue of the page of products, and the rules and the schema that a checkout is held to.
#[derive(Debug)]
pub(crate) struct Quotes<S> {
    pub(crate) catalogue: Arc<Catalogue<S>>,
    pub(crate) pricing: Pricing,
    pub(crate) workflow: Workflow,
}

/// What a cart costs.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Quote {
    /// One line for each product, in the order of the cart.
    items: Vec<LineItem>,
    /// The sum of the lines, before tax and shipping.
    subtotal: Money,
    tax: Money,
    shipping: Money,
    /// The `amount` that a checkout of this cart has to agree to.
    total: Money,
    /// As ISO 4217 writes it.
    currency: &'static str,
}

/// Says what the cart costs, at prices and with stock that are as old as those of `GET /products`. It holds nothing: a checkout may
/// find other prices, or fewer units.
pub(crate) async fn quote<S: Storefront>(
    State(quotes): State<Arc<Quotes<S>>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Quote>, ApiError> {
    http_api::check_media_type(&headers)?;
    let body = http_api::read(body, MAX_CONTEXT_BYTES).await?;
    let request = cart_of(body, &quotes.workflow).map_err(ApiError::Invalid)?;
    let cart = Cart::of(&request.cart_items).map_err(ApiError::CannotBuy)?;
    let products = quotes.catalogue.products().await?;
    let products = products.iter().map(|product| (product.id, product.clone())).collect();
    let priced = cart.price(&products, &quotes.pricing).map_err(ApiError::CannotBuy)?;
    if let Some(lack) = priced.lack(&products) {
        return Err(ApiError::CannotBuy(StepError::new(ShopCode::InsufficientStock, lack.to_string())));
    }
    let PricedCart { items, totals: Totals { subtotal, tax, shipping, total }, .. } = priced;
    Ok(Json(Quote { items, subtotal, tax, shipping, total, currency: CURRENCY }))
}

/// Reads the cart out of the body. Its lines have to fit the schema of a checkout.
fn cart_of(body: Value, workflow: &Workflow) -> Result<CheckoutRequest, Vec<Violation>> {
    let violation = |path: String, message: String| vec![Violation { path, message }];
    let expected = || format!("an object with the field \"{FIELD}\" is expected here");
    let Value::Object(mut fields) = body else { return Err(violation(String::new(), expected())) };
    let Some(items) = fields.remove(FIELD) else { return Err(violation(String::new(), expected())) };
    if let Some(other) = fields.keys().next() {
        return Err(violation(http_api::pointer("", other), format!("only \"{FIELD}\" is expected here")));
    }
    let request = json!({FIELD: items});
    // The other parts of a checkout are missing by intent.
    let mut found = workflow.validate(&request).err().unwrap_or_default();
    found.retain(|violation| violation.path.starts_with(&http_api::pointer("", FIELD)));
    if !found.is_empty() {
        found.truncate(http_api::MOST_VIOLATIONS);
        return Err(found);
    }
    serde_json::from_value(request).map_err(|error| violation(http_api::pointer("", FIELD), error.to_string()))
}
