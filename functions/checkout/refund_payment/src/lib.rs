//! Gives back what `process_payment` charged, whether or not that step lived to say so, and rules out a charge that is
//! still on its way.

use checkout::{
    CheckoutRequest, ConfigError, Gateway, GatewayError, Money, Payment, Refund, RefundRequest, Shop, ShopCode,
};
use std::time::Duration;
use stepwell::{Context, ResultOf, Step, StepContext, StepError, StepResult};

#[cfg(test)]
mod tests;

/// The step on the ports of this shop.
///
/// # Errors
/// What is missing in the shop's configuration.
pub fn step<S: Shop>(shop: &S) -> Result<RefundPayment<S::Gateway>, ConfigError> {
    Ok(RefundPayment { gateway: shop.gateway()? })
}

/// Gives back what `process_payment` charged.
#[derive(Debug)]
pub struct RefundPayment<G> {
    gateway: G,
}

impl<G: Gateway> Step for RefundPayment<G> {
    // A result that somebody has put there by hand and that cannot be read does not keep the money from being returned.
    type Input = (Context<CheckoutRequest>, Result<Option<ResultOf<Payment>>, StepError>);
    type Output = Refund;

    async fn run(&self, (Context(request), payment): Self::Input, ctx: &StepContext) -> Result<Refund, StepError> {
        let idempotency_key = &ctx.idempotency_key_of(Payment::STEP);
        // A missing token stops no refund: the key alone says what was charged.
        let token = request.payment_info.token.as_ref();
        let request = RefundRequest { idempotency_key, token, at: ctx.started_at };
        let refund = Refund::from(self.gateway.refund(&request).await.map_err(step_error)?);
        match payment? {
            // The step was resolved by hand, so the money was taken outside of the gateway. Only people can return it. The
            // gateway may have charged as well, in an attempt whose answer was lost: that charge is given back by now.
            Some(ResultOf(payment))
                if payment.amount_charged > Money::ZERO && refund.payment_id.as_ref() != Some(&payment.payment_id) =>
            {
                let (id, amount, currency) = (payment.payment_id, payment.amount_charged, payment.currency);
                let message = format!(
                    "the gateway has no payment {id} for this task: refund its {amount} {currency} by hand, then resolve \
                     this step"
                );
                Err(StepError::new(ShopCode::NothingToRefund, message))
            }
            _ => Ok(refund),
        }
    }
}

/// Until a refund is made, somebody's money is with us for nothing. So whatever may pass is tried again, and only a
/// gateway that says no for good is left to people.
fn step_error(error: GatewayError) -> StepError {
    const RATE_LIMIT_WAIT: Duration = Duration::from_secs(30);
    let message = error.to_string();
    match error {
        GatewayError::Declined(reason) => {
            StepError::new(ShopCode::RefundDeclined, format!("the refund was declined: {reason}"))
        }
        GatewayError::RateLimited => StepError::new(ShopCode::GatewayRateLimited, message).retry_after(RATE_LIMIT_WAIT),
        GatewayError::Timeout => StepError::new(ShopCode::GatewayTimeout, message),
        GatewayError::TemporaryFailure => StepError::new(ShopCode::GatewayTemporaryFailure, message),
        GatewayError::Voided | GatewayError::UnknownStatus(_) => {
            StepError::new(ShopCode::GatewayUnknownStatus, message)
        }
    }
}
