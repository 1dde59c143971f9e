//! Compensation of `create_order`: cancels the order, even if the result of that step was lost. If there is no order,
//! it keeps a late attempt of that step from making one. It refuses an order that has been shipped.

use checkout::{CancelOrderError, CancelledOrder, ConfigError, CreatedOrder, Orders, Shop, ShopCode};
use stepwell::{ResultOf, Step, StepContext, StepError};

#[cfg(test)]
mod tests;

/// Makes the step with the shop's ports.
///
/// # Errors
/// The shop's configuration is incomplete or invalid.
pub fn step<S: Shop>(shop: &S) -> Result<CancelOrder<S::Orders>, ConfigError> {
    Ok(CancelOrder { orders: shop.orders()? })
}

/// Cancels the order of `create_order`.
#[derive(Debug)]
pub struct CancelOrder<O> {
    orders: O,
}

impl<O: Orders> Step for CancelOrder<O> {
    // A `Result`, so that an unreadable result given by hand does not stop the cancellation.
    type Input = Result<Option<ResultOf<CreatedOrder>>, StepError>;
    type Output = CancelledOrder;

    async fn run(&self, order: Self::Input, ctx: &StepContext) -> Result<CancelledOrder, StepError> {
        // Every other error than that the order was shipped is retryable, because an unpaid order must not stay confirmed.
        // The key of an order is its task's id, so there is no idempotency key to pass.
        let cancelled = self.orders.cancel(ctx.task_id, ctx.started_at).await.map_err(step_error)?;
        match order? {
            // The step was resolved by hand, so the order was made outside of the shop's table.
            Some(ResultOf(order)) if cancelled.order_id != Some(order.order_id) => {
                let message = format!(
                    "there is no order {} for this task: cancel {} by hand, then resolve this step",
                    order.order_id, order.order_number
                );
                Err(StepError::new(ShopCode::NothingToCancel, message))
            }
            _ => Ok(cancelled),
        }
    }
}

fn step_error(error: CancelOrderError) -> StepError {
    match error {
        CancelOrderError::Shipped(_) => StepError::new(ShopCode::OrderShipped, error.to_string()),
        CancelOrderError::Store(error) => error.into(),
    }
}
