//! Makes the order for a paid and reserved cart. Its id and number derive from the task, so a task makes only one
//! order.

use checkout::{
    CURRENCY, CheckoutRequest, ConfigError, CreateOrderError, CreatedOrder, Order, OrderStatus, Orders, Payment,
    ProductId, Reservation, Shop, ShopCode, ValidatedCart,
};
use std::collections::BTreeSet;
use stepwell::{Context, ResultOf, Step, StepContext, StepError};

#[cfg(test)]
mod tests;

/// Makes the step with the shop's ports.
///
/// # Errors
/// The shop's configuration is incomplete or invalid.
pub fn step<S: Shop>(shop: &S) -> Result<CreateOrder<S::Orders>, ConfigError> {
    Ok(CreateOrder { orders: shop.orders()? })
}

/// Makes the order for a paid and reserved cart.
#[derive(Debug)]
pub struct CreateOrder<O> {
    orders: O,
}

impl<O: Orders> Step for CreateOrder<O> {
    type Input =
        (Context<CheckoutRequest>, ResultOf<ValidatedCart>, Option<ResultOf<Payment>>, Option<ResultOf<Reservation>>);
    type Output = CreatedOrder;

    async fn run(
        &self,
        (Context(request), ResultOf(cart), payment, reservation): Self::Input,
        ctx: &StepContext,
    ) -> Result<CreatedOrder, StepError> {
        let Some(ResultOf(payment)) = payment else {
            return Err(StepError::new(ShopCode::MissingPaymentResult, "process_payment has left no result"));
        };
        let Some(ResultOf(reservation)) = reservation else {
            return Err(StepError::new(ShopCode::MissingInventoryResult, "update_inventory has left no result"));
        };
        check(&cart, &payment, &reservation)
            .map_err(|problem| StepError::new(ShopCode::OrderValidationFailed, problem))?;

        let order = Order {
            order_id: ctx.task_id,
            order_number: String::new(), // `Orders::create` sets a free one
            status: OrderStatus::Confirmed,
            items: cart.validated_items,
            subtotal: cart.subtotal,
            tax: cart.tax,
            shipping: cart.shipping,
            total_amount: cart.total,
            currency: payment.currency,
            payment_id: payment.payment_id,
            simulated: payment.simulated,
            // A missing address fails only the confirmation, because the paid cart has to be ordered.
            customer_email: request.customer_info.email.map(|email| email.expose().to_owned()),
            customer_name: request.customer_info.name.map(String::from),
            shipping_info: request.shipping_info,
            priority: request.priority,
            placed_at: ctx.task_created_at,
            created_at: ctx.started_at,
            estimated_delivery: ctx.started_at + request.priority.delivery_time(),
            cancelled_at: None,
            shipped_at: None,
        };
        let order = self.orders.create(order).await.map_err(|error| match error {
            CreateOrderError::Void => StepError::new(ShopCode::OrderVoid, error.to_string()),
            CreateOrderError::Store(error) => error.into(),
        })?;
        Ok(order.into())
    }
}

/// Checks that the charge and the reservation match the cart.
fn check(cart: &ValidatedCart, payment: &Payment, reservation: &Reservation) -> Result<(), String> {
    if payment.amount_charged != cart.total || payment.currency != CURRENCY {
        let (charged, currency) = (payment.amount_charged, &payment.currency);
        return Err(format!("{charged} {currency} was charged for a cart of {} {CURRENCY}", cart.total));
    }
    let ordered: BTreeSet<(ProductId, u32)> =
        cart.validated_items.iter().map(|line| (line.product_id, line.quantity)).collect();
    let reserved: BTreeSet<(ProductId, u32)> =
        reservation.updated_products.iter().map(|line| (line.product_id, line.quantity_reserved)).collect();
    if ordered.is_empty() || ordered != reserved {
        return Err("the items that were reserved are not those of the cart".to_owned());
    }
    Ok(())
}
