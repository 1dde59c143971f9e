//! Compensation of `send_confirmation`: tells the customer by e-mail that the order was cancelled, and what was given back.
//!
//! It runs only if a confirmation was attempted, or at least claimed, and sends nothing if there was no order. Nobody else was
//! told of one: until then a checkout is `processing`, and a card that was declined has its answer in the checkout's status.

use checkout::{
    CURRENCY, Cancellation, CheckoutRequest, ConfigError, CreatedOrder, Email, EmailAddress, Mailer, Money, Refund,
    Shop,
};
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
    type Input = (Context<CheckoutRequest>, Option<ResultOf<CreatedOrder>>, Result<ResultOf<Refund>, StepError>);
    type Output = Cancellation;

    async fn run(
        &self,
        (Context(request), order, refund): Self::Input,
        ctx: &StepContext,
    ) -> Result<Cancellation, StepError> {
        let Some(ResultOf(order)) = order else { return Ok(Cancellation::default()) };
        let ResultOf(refund) = refund?;
        let message = cancellation(request.customer_info.recipient()?, &order, &refund);
        let message_id = self.mailer.send(&message).await?;
        let recipient = Some(message.to.to_string());
        Ok(Cancellation { email_sent: true, recipient, message_id: Some(message_id), sent_at: Some(ctx.started_at) })
    }
}

/// As in the confirmation, nothing that the buyer has written is in the e-mail.
fn cancellation(to: EmailAddress, order: &CreatedOrder, refund: &Refund) -> Email {
    let number = &order.order_number;
    let given_back = match refund.amount_refunded {
        Money::ZERO => "You have not been charged.".to_owned(),
        amount => format!("We have refunded {amount} {CURRENCY}. Your bank may take some days to show it."),
    };
    let text = format!("Hello,\n\nyour order {number} was cancelled. {given_back}\n");
    Email { to, subject: format!("Your order {number} was cancelled"), text }
}
