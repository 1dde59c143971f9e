//! Sends the customer an e-mail that confirms the order.

use checkout::{CheckoutRequest, ConfigError, Confirmation, CreatedOrder, Email, Mailer, Shop};
use stepwell::{Context, ResultOf, Step, StepContext, StepError};

#[cfg(test)]
mod tests;

/// Makes the step with the shop's ports.
///
/// # Errors
/// The shop's configuration is incomplete or invalid.
pub fn step<S: Shop>(shop: &S) -> Result<SendConfirmation<S::Mailer>, ConfigError> {
    Ok(SendConfirmation { mailer: shop.mailer()? })
}

/// Sends the confirmation e-mail.
#[derive(Debug)]
pub struct SendConfirmation<M> {
    mailer: M,
}

impl<M: Mailer> Step for SendConfirmation<M> {
    type Input = (Context<CheckoutRequest>, ResultOf<CreatedOrder>);
    type Output = Confirmation;

    async fn run(
        &self,
        (Context(request), ResultOf(order)): Self::Input,
        ctx: &StepContext,
    ) -> Result<Confirmation, StepError> {
        let message = Email::confirmation(request.customer_info.recipient()?, &order);
        let message_id = self.mailer.send(&message).await?;
        let recipient = message.to.to_string();
        Ok(Confirmation { email_sent: true, recipient, message_id, sent_at: ctx.started_at })
    }
}
