//! `POST /orders/{order_id}/ship`: says that an order was handed over. From then on it cannot be cancelled.

use crate::{act::reason, error::ApiError, operator::Operator};
use axum::{Extension, Json, body::Body, extract::State, http::request::Parts};
use checkout::{Orders, ShipError, Shipping};
use http_api::{Fields, Segment};
use serde::Serialize;
use std::sync::Arc;
use stepwell::{TaskId, Timestamp};

/// The orders, and the time.
pub(crate) struct Warehouse<O, N> {
    pub(crate) orders: O,
    pub(crate) now: N,
}

/// The answer for a shipped order.
#[derive(Serialize)]
pub(crate) struct Shipped {
    success: bool,
    order_id: TaskId,
    /// When it was shipped first: a repeated request does not change it.
    shipped_at: Timestamp,
}

/// Marks an order as shipped, with who says so and why. It is refused if the order was cancelled.
pub(crate) async fn ship<O: Orders, N: Fn() -> Timestamp>(
    State(warehouse): State<Arc<Warehouse<O, N>>>,
    Extension(operator): Extension<Operator>,
    segment: Segment,
    request: Parts,
    body: Body,
) -> Result<Json<Shipped>, ApiError> {
    let order_id = http_api::task_id(segment).ok_or_else(no_order)?;
    let mut fields = Fields::of_body(&request, body).await?;
    let reason = reason(&mut fields);
    fields.finish()?;
    let actor = operator.actor(reason)?;
    let (who, why) = (actor.who().to_owned(), actor.why().to_owned());
    let shipping = Shipping { at: (warehouse.now)(), who, why };
    let shipped_at = warehouse.orders.ship(order_id, &shipping).await?;
    tracing::info!(%order_id, who = shipping.who, why = shipping.why, %shipped_at, "order shipped");
    Ok(Json(Shipped { success: true, order_id, shipped_at }))
}

fn no_order() -> ApiError {
    ApiError::NotFound("There is no such order".to_owned())
}

impl From<ShipError> for ApiError {
    fn from(error: ShipError) -> Self {
        match error {
            ShipError::NotFound => no_order(),
            ShipError::Cancelled(_) => Self::Illegal { why: error.to_string(), status: Some("cancelled") },
            ShipError::Store(error) => error.into(),
        }
    }
}
