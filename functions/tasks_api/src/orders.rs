//! What the operators' actions on orders share.

use crate::{act::reason, error::ApiError, operator::Operator};
use axum::extract::State;
use checkout::CreatedOrder;
use http_api::{Fields, Segment};
use std::sync::Arc;
use stepwell::{
    Actor, Client, StepResult, TaskId,
    core::{snapshot::TaskSnapshot, state::TaskState},
};

/// The orders, the e-mail to their customers, and the tasks that made them.
pub(crate) struct OrderDesk<O, M, S, Q, A> {
    pub(crate) orders: O,
    pub(crate) mailer: M,
    pub(crate) engine: Arc<Client<S, Q, A>>,
}

/// The state that axum passes to a route of an order.
pub(crate) type Desk<O, M, S, Q, A> = State<Arc<OrderDesk<O, M, S, Q, A>>>;

/// Reads the order's id from the path.
pub(crate) fn order_id(segment: Segment) -> Result<TaskId, ApiError> {
    http_api::task_id(segment).ok_or_else(no_order)
}

/// Makes the answer for an order that does not exist.
pub(crate) fn no_order() -> ApiError {
    ApiError::NotFound("There is no such order".to_owned())
}

/// Takes the reason from the body, after all other fields, and makes the actor of the action.
pub(crate) fn actor(operator: &Operator, mut fields: Fields) -> Result<Actor, ApiError> {
    let reason = reason(&mut fields);
    fields.finish()?;
    operator.actor(reason)
}

/// Whether nothing undoes an order of this checkout any more, unless somebody cancels it.
pub(crate) fn is_settled(snapshot: &TaskSnapshot) -> bool {
    match snapshot.task.state {
        TaskState::Running => snapshot.step(CreatedOrder::STEP).is_some_and(|step| step.state.is_done()),
        TaskState::Failed | TaskState::Compensating(_) => false,
        // Whether the order was cancelled, its own item says.
        TaskState::Completed | TaskState::Resolved | TaskState::Cancelled | TaskState::Compensated(_) => true,
    }
}
