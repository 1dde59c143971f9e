//! `GET /orders/{order_id}`: shows an order.

use crate::error::ApiError;
use axum::{
    Json,
    extract::{Path, State},
};
use checkout::{Order, Storefront};
use http_api::Segment;
use std::sync::Arc;

/// Shows one order.
pub(crate) async fn order<S: Storefront>(
    State(shop): State<Arc<S>>,
    segment: Segment,
) -> Result<Json<Order>, ApiError> {
    let Path(id) = segment.map_err(|_| ApiError::NotFound)?;
    shop.find_order(&id).await?.map(Json).ok_or(ApiError::NotFound)
}
