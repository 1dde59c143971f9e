//! Compensation of `process_payment`: voids the record of the payment, so that a late attempt of that step charges
//! nothing, and refunds what was charged, even if the result of that step was lost.

use checkout::{
    CardTokens, ConfigError, Gateway, GatewayError, Money, Payment, PaymentError, PaymentRecords, Refund, Reversal,
    Shop, ShopCode,
};
use std::time::Duration;
use stepwell::{ResultOf, Step, StepContext, StepError, StepResult};

#[cfg(test)]
mod tests;

/// Makes the step with the shop's ports.
///
/// # Errors
/// The shop's configuration is incomplete or invalid.
pub fn step<S: Shop>(shop: &S) -> Result<impl Step<Output = Refund> + use<S>, ConfigError> {
    Ok(RefundPayment { gateway: shop.gateway()?, records: shop.payment_records()?, tokens: shop.card_tokens()? })
}

/// Refunds the charge of `process_payment`.
#[derive(Debug)]
pub struct RefundPayment<G, R, T> {
    gateway: G,
    records: R,
    tokens: T,
}

impl<G: Gateway, R: PaymentRecords, T: CardTokens> Step for RefundPayment<G, R, T> {
    // A `Result`, so that an unreadable result given by hand does not stop the refund.
    type Input = Result<Option<ResultOf<Payment>>, StepError>;
    type Output = Refund;

    async fn run(&self, payment: Self::Input, ctx: &StepContext) -> Result<Refund, StepError> {
        let key = &ctx.idempotency_key_of(Payment::STEP);
        let reversal = checkout::refund(&self.gateway, &self.records, key, ctx.started_at).await;
        if matches!(reversal, Ok(Reversal::Voided { .. })) {
            // Mostly there was no payment to ask the gateway about.
            ctx.do_without_service();
        }
        let refund = reversal.map(Refund::from).map_err(|error| match error {
            PaymentError::Gateway(error) => step_error(error),
            PaymentError::Records(error) => error.into(),
        })?;
        // Nothing can be charged under this key any more.
        self.tokens.forget(ctx.task_id).await;
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
    let error = match error {
        GatewayError::Declined(reason) => {
            StepError::new(ShopCode::RefundDeclined, format!("the refund was declined: {reason}"))
        }
        GatewayError::RateLimited => StepError::new(ShopCode::GatewayRateLimited, message).retry_after(RATE_LIMIT_WAIT),
        GatewayError::Timeout => StepError::new(ShopCode::GatewayTimeout, message),
        GatewayError::TemporaryFailure => StepError::new(ShopCode::GatewayTemporaryFailure, message),
        GatewayError::Voided | GatewayError::SuspectedFraud | GatewayError::UnknownStatus(_) => {
            StepError::new(ShopCode::GatewayUnknownStatus, message)
        }
    };
    error.from_service()
}
