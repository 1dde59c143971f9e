//! Compensation of `send_confirmation`: tells the customer by e-mail that the order was cancelled, and what was given back.
//!
//! It runs only if a confirmation was attempted, or at least claimed, and sends nothing if there was no order. Nobody else was
//! told of one: until then a checkout is `processing`, and a card that was declined has its answer in the checkout's status.

use checkout::{Cancellation, CancelledOrder, CheckoutRequest, ConfigError, CreatedOrder, Email, Mailer, Refund, Shop};
use stepwell::{Context, ResultOf, Step, StepContext, StepError};

#[cfg(test)]
mod tests;

/// Makes the step with the shop's ports.
///
/// # Errors
/// The shop's configuration is incomplete or invalid.
pub fn step<S: Shop>(shop: &S) -> Result<SendCancellation<S::Mailer>, ConfigError> {
    Ok(SendCancellation { mailer: shop.mailer()? })
}

/// Sends the cancellation e-mail.
#[derive(Debug)]
pub struct SendCancellation<M> {
    mailer: M,
}

impl<M: Mailer> Step for SendCancellation<M> {
    /// The refund of an order is made by now, and its result says how much was given back, also if somebody gave it back by hand.
    type Input = (
        Context<CheckoutRequest>,
        Option<ResultOf<CreatedOrder>>,
        Result<Option<ResultOf<CancelledOrder>>, StepError>,
        Result<ResultOf<Refund>, StepError>,
    );
    type Output = Cancellation;

    async fn run(
        &self,
        (Context(request), order, cancelled, refund): Self::Input,
        ctx: &StepContext,
    ) -> Result<Cancellation, StepError> {
        let Some(ResultOf(order)) = order else { return Ok(Cancellation::default()) };
        let ResultOf(refund) = refund?;
        // An operator may have corrected the order's address. Without a readable result of `cancel_order` the request's is left.
        let corrected = cancelled.ok().flatten().and_then(|ResultOf(cancelled)| cancelled.customer_email?.parse().ok());
        let recipient = corrected.map_or_else(|| request.customer_info.recipient(), Ok)?;
        let message = Email::cancellation(recipient, &order, &refund);
        let message_id = self.mailer.send(&message).await?;
        let recipient = Some(message.to.to_string());
        Ok(Cancellation { email_sent: true, recipient, message_id: Some(message_id), sent_at: Some(ctx.started_at) })
    }
}
