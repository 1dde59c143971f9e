//! `GET /orders/{order_id}`: shows an order.

use crate::{access::Opened, error::ApiError};
use axum::{Json, extract::State};
use checkout::{Order, Storefront};
use std::sync::Arc;

/// Shows the order of a checkout. It has the checkout's id, and opens by the same key.
pub(crate) async fn order<S: Storefront>(
    State(shop): State<Arc<S>>,
    Opened(id): Opened,
) -> Result<Json<Order>, ApiError> {
    shop.find_order(&id.to_string()).await?.map(Json).ok_or(ApiError::NotFound)
}
