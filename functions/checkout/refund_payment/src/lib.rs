//! Compensation of `process_payment`: refunds the charge, even if the result of that step was lost. If there is no
//! charge, it voids the idempotency key, so that a late attempt of that step charges nothing.

use checkout::{
    CheckoutRequest, ConfigError, Gateway, GatewayError, Money, Payment, Refund, RefundRequest, Shop, ShopCode,
};
use std::time::Duration;
use stepwell::{Context, ResultOf, Step, StepContext, StepError, StepResult};

#[cfg(test)]
mod tests;

/// Makes the step with the shop's ports.
///
/// # Errors
/// The shop's configuration is incomplete or invalid.
pub fn step<S: Shop>(shop: &S) -> Result<RefundPayment<S::Gateway>, ConfigError> {
    Ok(RefundPayment { gateway: shop.gateway()? })
}

/// Refunds the charge of `process_payment`.
#[derive(Debug)]
pub struct RefundPayment<G> {
    gateway: G,
}

impl<G: Gateway> Step for RefundPayment<G> {
    // A `Result`, so that an unreadable result given by hand does not stop the refund.
    type Input = (Context<CheckoutRequest>, Result<Option<ResultOf<Payment>>, StepError>);
    type Output = Refund;

    async fn run(&self, (Context(request), payment): Self::Input, ctx: &StepContext) -> Result<Refund, StepError> {
        let idempotency_key = &ctx.idempotency_key_of(Payment::STEP);
        // The idempotency key alone identifies the charge, so a missing token does not stop the refund.
        let token = request.payment_info.token.as_ref();
        let request = RefundRequest { idempotency_key, token, at: ctx.started_at };
        let refund = Refund::from(self.gateway.refund(&request).await.map_err(step_error)?);
        match payment? {
            // The step was resolved by hand, so the money was taken outside of the gateway. Only a person can return
            // it. The gateway may have charged, too, in an attempt whose answer was lost: that charge is refunded by
            // now.
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

/// Maps the gateway's errors. All but a declined refund are retryable, because the shop must not keep the money of a
/// failed checkout; a declined refund needs a person.
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
        GatewayError::Voided | GatewayError::SuspectedFraud | GatewayError::UnknownStatus(_) => {
            StepError::new(ShopCode::GatewayUnknownStatus, message)
        }
    }
}
