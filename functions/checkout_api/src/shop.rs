//! `GET /orders/{order_id}` and `GET /products`: show an order and the catalogue.

use crate::error::ApiError;
use axum::{
    Json,
    extract::{Path, State},
};
use checkout::{Order, Product, Storefront};
use http_api::Segment;
use serde::Serialize;
use std::sync::Arc;

/// Shows one order.
pub(crate) async fn order<S: Storefront>(
    State(shop): State<Arc<S>>,
    segment: Segment,
) -> Result<Json<Order>, ApiError> {
    let Path(id) = segment.map_err(|_| ApiError::NotFound)?;
    shop.find_order(&id).await?.map(Json).ok_or(ApiError::NotFound)
}

/// The answer with the catalogue. It is an object, so that fields can be added beside the list.
#[derive(Serialize)]
pub(crate) struct Products {
    products: Vec<Product>,
}

/// Shows all products, with price and stock.
pub(crate) async fn products<S: Storefront>(State(shop): State<Arc<S>>) -> Result<Json<Products>, ApiError> {
    Ok(Json(Products { products: shop.all_products().await? }))
}
