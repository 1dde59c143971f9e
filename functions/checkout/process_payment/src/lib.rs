//! Charges the cart's total, if the customer has agreed to that amount.

use checkout::{
    CURRENCY, CheckoutRequest, ConfigError, Gateway, GatewayError, Money, OpenRequest, Payment, PaymentError,
    PaymentRecords, Shop, ShopCode, ValidatedCart,
};
use std::time::Duration;
use stepwell::{Context, ResultOf, Step, StepContext, StepError};

#[cfg(test)]
mod tests;

/// Makes the step with the shop's ports.
///
/// # Errors
/// The shop's configuration is incomplete or invalid.
pub fn step<S: Shop>(shop: &S) -> Result<ProcessPayment<S::Gateway, S::PaymentRecords>, ConfigError> {
    Ok(ProcessPayment { gateway: shop.gateway()?, records: shop.payment_records()? })
}

/// Charges the cart's total.
#[derive(Debug)]
pub struct ProcessPayment<G, R> {
    gateway: G,
    records: R,
}

impl<G: Gateway, R: PaymentRecords> Step for ProcessPayment<G, R> {
    type Input = (Context<CheckoutRequest>, ResultOf<ValidatedCart>);
    type Output = Payment;

    async fn run(
        &self,
        (Context(request), ResultOf(cart)): Self::Input,
        ctx: &StepContext,
    ) -> Result<Payment, StepError> {
        let payment = &request.payment_info;
        let Some(token) = payment.token.as_ref().filter(|token| !token.is_empty()) else {
            return Err(StepError::new(ShopCode::MissingPaymentToken, "payment_info.token is missing"));
        };
        let currency = payment.currency.as_deref().unwrap_or(CURRENCY);
        if payment.amount != Some(cart.total) || currency != CURRENCY {
            let given = payment.amount.as_ref().map_or("no amount".to_owned(), Money::to_string);
            let message = format!("the cart comes to {} {CURRENCY}, the request says {given} {currency}", cart.total);
            return Err(StepError::new(ShopCode::PaymentAmountMismatch, message));
        }

        let request = OpenRequest { key: &ctx.opaque_key(), amount: cart.total, currency, at: ctx.started_at };
        let key = &ctx.idempotency_key();
        let charge = checkout::charge(&self.gateway, &self.records, key, token, &request).await;
        charge.map(Payment::from).map_err(|error| match error {
            PaymentError::Gateway(error) => step_error(error),
            PaymentError::Records(error) => error.into(),
        })
    }
}

fn step_error(error: GatewayError) -> StepError {
    const RATE_LIMIT_WAIT: Duration = Duration::from_secs(30);
    let message = error.to_string();
    match error {
        GatewayError::Declined(reason) => {
            StepError::new(ShopCode::PaymentDeclined, format!("the payment was declined: {reason}"))
        }
        GatewayError::SuspectedFraud => {
            StepError::new(ShopCode::PaymentSuspectedFraud, format!("the payment was declined: {message}"))
        }
        GatewayError::Voided => StepError::new(ShopCode::PaymentVoid, message),
        GatewayError::RateLimited => StepError::new(ShopCode::GatewayRateLimited, message).retry_after(RATE_LIMIT_WAIT),
        GatewayError::Timeout => StepError::new(ShopCode::GatewayTimeout, message),
        GatewayError::TemporaryFailure => StepError::new(ShopCode::GatewayTemporaryFailure, message),
        GatewayError::UnknownStatus(_) => StepError::new(ShopCode::GatewayUnknownStatus, message),
    }
}
