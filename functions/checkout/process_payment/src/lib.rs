//! Charges the cart's total, if the customer has agreed to that amount.

use checkout::{
    CURRENCY, CardTokens, CheckoutRequest, ConfigError, Gateway, GatewayError, Money, OpenRequest, Payment,
    PaymentError, PaymentRecords, Shop, ShopCode, ValidatedCart,
};
use std::time::Duration;
use stepwell::{Context, ResultOf, Step, StepContext, StepError};

#[cfg(test)]
mod tests;

/// Makes the step with the shop's ports.
///
/// # Errors
/// The shop's configuration is incomplete or invalid.
pub fn step<S: Shop>(shop: &S) -> Result<impl Step<Output = Payment> + use<S>, ConfigError> {
    Ok(ProcessPayment { gateway: shop.gateway()?, records: shop.payment_records()?, tokens: shop.card_tokens()? })
}

/// Charges the cart's total.
#[derive(Debug)]
pub struct ProcessPayment<G, R, T> {
    gateway: G,
    records: R,
    tokens: T,
}

impl<G: Gateway, R: PaymentRecords, T: CardTokens> Step for ProcessPayment<G, R, T> {
    type Input = (Context<CheckoutRequest>, ResultOf<ValidatedCart>);
    type Output = Payment;

    async fn run(
        &self,
        (Context(request), ResultOf(cart)): Self::Input,
        ctx: &StepContext,
    ) -> Result<Payment, StepError> {
        let payment = &request.payment_info;
        let currency = payment.currency.as_deref().unwrap_or(CURRENCY);
        if payment.amount != Some(cart.total) || currency != CURRENCY {
            let given = payment.amount.as_ref().map_or("no amount".to_owned(), Money::to_string);
            let message = format!("the cart comes to {} {CURRENCY}, the request says {given} {currency}", cart.total);
            return Err(StepError::new(ShopCode::PaymentAmountMismatch, message));
        }

        let request = OpenRequest { key: &ctx.opaque_key(), amount: cart.total, currency, at: ctx.started_at };
        let key = &ctx.idempotency_key();
        // The API keeps the token apart and leaves a fingerprint in the request. A task that was started in another way, or by a
        // version before that, has the token itself.
        let kept = self.tokens.kept(ctx.task_id, ctx.started_at).await?;
        let given = payment.token.as_ref().filter(|token| !token.is_empty() && !token.is_fingerprint());
        let token = kept.as_ref().or(given);
        let charge = checkout::charge(&self.gateway, &self.records, key, token, &request).await;
        let charge = charge.map_err(|error| match error {
            PaymentError::Gateway(error) => step_error(error),
            PaymentError::Records(error) => error.into(),
        })?;
        let Some(charge) = charge else { return Err(StepError::new(ShopCode::MissingPaymentToken, NO_TOKEN)) };
        if kept.is_some() {
            self.tokens.forget(ctx.task_id).await;
        }
        Ok(charge.into())
    }
}

const NO_TOKEN: &str = "there is no card to charge: the request has no payment_info.token, or it has expired";

fn step_error(error: GatewayError) -> StepError {
    const RATE_LIMIT_WAIT: Duration = Duration::from_secs(30);
    let message = error.to_string();
    let error = match error {
        GatewayError::Declined(reason) => {
            StepError::new(ShopCode::PaymentDeclined, format!("the payment was declined: {reason}"))
        }
        GatewayError::SuspectedFraud => {
            StepError::new(ShopCode::PaymentSuspectedFraud, format!("the payment was declined: {message}"))
        }
        // The shop's own record says so as well, without a call of the gateway.
        GatewayError::Voided => return StepError::new(ShopCode::PaymentVoid, message),
        GatewayError::RateLimited => StepError::new(ShopCode::GatewayRateLimited, message).retry_after(RATE_LIMIT_WAIT),
        GatewayError::Timeout => StepError::new(ShopCode::GatewayTimeout, message),
        GatewayError::TemporaryFailure => StepError::new(ShopCode::GatewayTemporaryFailure, message),
        GatewayError::UnknownStatus(_) => StepError::new(ShopCode::GatewayUnknownStatus, message),
    };
    error.from_service()
}
