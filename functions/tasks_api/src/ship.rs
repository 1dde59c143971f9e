//! `POST /orders/{order_id}/ship`: says that an order was handed over. From then on it cannot be cancelled.

use crate::{
    error::ApiError,
    operator::Operator,
    orders::{self, Desk, OrderDesk, is_settled, no_order},
};
use axum::{Extension, Json, body::Body, extract::State, http::request::Parts};
use checkout::{Mailer, OrderStatus, Orders, ShipError, Shipping};
use http_api::{Fields, Segment};
use serde::Serialize;
use stepwell::{
    Runtime, TaskId, Timestamp,
    ports::{Queue, Store},
};

/// The answer for a shipped order.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct Shipped {
    success: bool,
    order_id: TaskId,
    /// When it was shipped first: a repeated request does not change it.
    shipped_at: Timestamp,
}

/// Marks an order as shipped, with who says so and why. It is refused if the order was cancelled, and as long as its checkout
/// may still be undone: it runs, has failed, or is being cancelled.
pub(crate) async fn ship<O: Orders, M: Mailer, S: Store, Q: Queue, A: Runtime>(
    State(desk): Desk<O, M, S, Q, A>,
    Extension(operator): Extension<Operator>,
    segment: Segment,
    request: Parts,
    body: Body,
) -> Result<Json<Shipped>, ApiError> {
    let order_id = orders::order_id(segment)?;
    let actor = orders::actor(&operator, Fields::of_body(&request, body).await?)?;
    let (who, why) = (actor.who().to_owned(), actor.why().to_owned());
    let OrderDesk { orders, engine, .. } = &*desk;
    let checkout = orders::checkout(engine, order_id).await?;
    if let Some(unsettled) = checkout.filter(|snapshot| !is_settled(snapshot)) {
        let status = unsettled.status();
        let why = format!("Cannot ship the order: its checkout is {status}, so the order may still be undone");
        return Err(ApiError::Illegal { why, status: Some(status.as_str()) });
    }
    let shipping = Shipping { at: engine.now(), who, why };
    let shipped_at = orders.ship(order_id, &shipping).await?;
    tracing::info!(%order_id, who = shipping.who, why = shipping.why, %shipped_at, "order shipped");
    Ok(Json(Shipped { success: true, order_id, shipped_at }))
}

impl From<ShipError> for ApiError {
    fn from(error: ShipError) -> Self {
        match error {
            ShipError::NotFound => no_order(),
            ShipError::Cancelled(_) => {
                Self::Illegal { why: error.to_string(), status: Some(OrderStatus::Cancelled.as_str()) }
            }
            ShipError::Store(error) => error.into(),
        }
    }
}
