//! Cancels what `create_order` made, whether or not that step lived to say so, and rules out an order that is still on
//! its way.

use checkout::{CancelledOrder, ConfigError, CreatedOrder, Orders, Shop, ShopCode};
use stepwell::{ResultOf, Step, StepContext, StepError};

#[cfg(test)]
mod tests;

/// The step on the ports of this shop.
///
/// # Errors
/// What is missing in the shop's configuration.
pub fn step<S: Shop>(shop: &S) -> Result<CancelOrder<S::Orders>, ConfigError> {
    Ok(CancelOrder { orders: shop.orders()? })
}

/// Cancels what `create_order` made.
#[derive(Debug)]
pub struct CancelOrder<O> {
    orders: O,
}

impl<O: Orders> Step for CancelOrder<O> {
    // A result that somebody has put there by hand and that cannot be read does not keep the order.
    type Input = Result<Option<ResultOf<CreatedOrder>>, StepError>;
    type Output = CancelledOrder;

    async fn run(&self, order: Self::Input, ctx: &StepContext) -> Result<CancelledOrder, StepError> {
        // Only the table can fail here, and that passes: an order that is not paid is not left to be sent for it.
        // An order's key is its task's id, not an idempotency key.
        let cancelled = self.orders.cancel(ctx.task_id, ctx.started_at).await?;
        match order? {
            // The step was resolved by hand, so the order was made somewhere else.
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
