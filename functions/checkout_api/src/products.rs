//! `GET /products`: shows the catalogue, page by page.
//!
//! Anybody may ask, at any rate, and the table is the one that checkouts need. So an instance of the function reads it at most
//! once in [`KEPT_FOR`], and caches on the way to the customer may keep a page as long.

use crate::error::ApiError;
use axum::{
    Json,
    extract::State,
    http::{HeaderValue, header, request::Parts},
    response::IntoResponse,
};
use checkout::{Product, StoreError, Storefront};
use http_api::Fields;
use serde::Serialize;
use std::{fmt, sync::Arc, time::Duration};
use stepwell::Timestamp;
use tokio::sync::Mutex;

/// How old the prices and the stock shown may be. A checkout reads its own, so no order is made at an old price.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// The same for caches between the function and the customer.
const CACHED: HeaderValue = HeaderValue::from_static("public, max-age=10");

/// How old they may be while the table gives no answer: customers see an old catalogue rather than none.
const KEPT_IN_AN_OUTAGE: Duration = Duration::from_secs(300);

/// The products on a page: if the request does not say, and at most.
const LIMIT: (usize, usize) = (100, 500);

/// The catalogue, as it was read a moment ago.
pub(crate) struct Catalogue<S> {
    shop: Arc<S>,
    now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// Locked while the table is read, so that requests that come meanwhile wait for the same answer.
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    read_at: Timestamp,
    products: Arc<[Product]>,
}

impl<S: Storefront> Catalogue<S> {
    pub(crate) fn new(shop: Arc<S>, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { shop, now: Box::new(now), kept: Mutex::new(None) }
    }

    /// All products, by number.
    pub(crate) async fn products(&self) -> Result<Arc<[Product]>, StoreError> {
        let mut kept = self.kept.lock().await;
        let now = (self.now)();
        let within =
            |limit| kept.as_ref().filter(|kept| now.since(kept.read_at) < limit).map(|kept| kept.products.clone());
        if let Some(products) = within(KEPT_FOR) {
            return Ok(products);
        }
        match self.shop.all_products().await {
            Ok(read) => {
                let products: Arc<[Product]> = read.into();
                *kept = Some(Kept { read_at: now, products: products.clone() });
                Ok(products)
            }
            Err(error) => within(KEPT_IN_AN_OUTAGE).ok_or(error),
        }
    }
}

impl<S> fmt::Debug for Catalogue<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalogue").finish_non_exhaustive()
    }
}

/// A page of the catalogue.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Page<'a> {
    products: &'a [Product],
    /// The `next` of the request for the page after this one; missing on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Shows products with price and stock, by number: the first `limit`, or those after the page whose answer had this `next`.
pub(crate) async fn products<S: Storefront>(
    State(catalogue): State<Arc<Catalogue<S>>>,
    request: Parts,
) -> Result<impl IntoResponse, ApiError> {
    let mut fields = Fields::of_query(&request);
    let limit = fields.count("limit", LIMIT.1).unwrap_or(LIMIT.0);
    let after: Option<u32> = fields.text("next", |text| text.parse().map_err(|_| "is not what a page before said"));
    fields.finish()?;
    let all = catalogue.products().await?;
    let begin = after.map_or(0, |after| all.partition_point(|product| product.id.0 <= after));
    let rest = all.get(begin..).unwrap_or_default();
    let products = rest.get(..limit).unwrap_or(rest);
    let next = products.last().filter(|_| rest.len() > limit).map(|last| last.id.to_string());
    Ok(([(header::CACHE_CONTROL, CACHED)], Json(Page { products, next })).into_response())
}
