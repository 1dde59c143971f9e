//! `POST /orders/{order_id}/ship`: says that an order was handed over. From then on it cannot be cancelled.

use crate::{act::reason, error::ApiError, operator::Operator};
use axum::{Extension, Json, body::Body, extract::State, http::request::Parts};
use checkout::{CreatedOrder, Orders, ShipError, Shipping};
use http_api::{Fields, Segment};
use serde::Serialize;
use std::sync::Arc;
use stepwell::{
    Client, Runtime, StepResult, TaskId, Timestamp,
    core::{snapshot::TaskSnapshot, state::TaskState},
    ports::{Queue, Store},
};

/// The orders, and the tasks that made them.
pub(crate) struct Warehouse<O, S, Q, A> {
    pub(crate) orders: O,
    pub(crate) engine: Arc<Client<S, Q, A>>,
}

/// The answer for a shipped order.
#[derive(Serialize)]
pub(crate) struct Shipped {
    success: bool,
    order_id: TaskId,
    /// When it was shipped first: a repeated request does not change it.
    shipped_at: Timestamp,
}

/// Marks an order as shipped, with who says so and why. It is refused if the order was cancelled, and as long as its checkout
/// may still be undone: it runs, has failed, or is being cancelled.
pub(crate) async fn ship<O: Orders, S: Store, Q: Queue, A: Runtime>(
    State(warehouse): State<Arc<Warehouse<O, S, Q, A>>>,
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
    let Warehouse { orders, engine } = &*warehouse;
    let snapshot = engine.snapshot(order_id).await?;
    if let Some(unsettled) = snapshot.filter(|snapshot| !is_settled(snapshot)) {
        let status = unsettled.status();
        let why = format!("Cannot ship the order: its checkout is {status}, so the order may still be undone");
        return Err(ApiError::Illegal { why, status: Some(status.as_str()) });
    }
    let shipping = Shipping { at: engine.now(), who, why };
    let shipped_at = orders.ship(order_id, &shipping).await?;
    tracing::info!(%order_id, who = shipping.who, why = shipping.why, %shipped_at, "order shipped");
    Ok(Json(Shipped { success: true, order_id, shipped_at }))
}

/// Whether nothing undoes an order of this checkout any more, unless somebody cancels it.
fn is_settled(snapshot: &TaskSnapshot) -> bool {
    match snapshot.task.state {
        TaskState::Running => snapshot.step(CreatedOrder::STEP).is_some_and(|step| step.state.is_done()),
        TaskState::Failed | TaskState::Compensating(_) => false,
        // Whether the order was cancelled, its own item says.
        TaskState::Completed | TaskState::Resolved | TaskState::Cancelled | TaskState::Compensated(_) => true,
    }
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
