//! `GET /orders/{order_id}` and `GET /products`: what the shop has made, and what it sells.

use crate::{backend::Backend, error::ApiError};
use axum::{
    Json,
    extract::{Path, State},
};
use checkout::{Order, Product};
use http_api::Segment;
use serde::Serialize;
use std::sync::Arc;

/// One order.
pub(crate) async fn order<B: Backend>(
    State(backend): State<Arc<B>>,
    segment: Segment,
) -> Result<Json<Order>, ApiError> {
    let Path(id) = segment.map_err(|_| ApiError::NotFound)?;
    backend.order(&id).await?.map(Json).ok_or(ApiError::NotFound)
}

/// The catalogue. An object, so that fields can be added beside the list.
#[derive(Serialize)]
pub(crate) struct Products {
    products: Vec<Product>,
}

/// All products, with price and stock.
pub(crate) async fn products<B: Backend>(State(backend): State<Arc<B>>) -> Result<Json<Products>, ApiError> {
    Ok(Json(Products { products: backend.products().await? }))
}
