//! Sends the customer an e-mail that confirms the order.

use checkout::{CURRENCY, CheckoutRequest, ConfigError, Confirmation, CreatedOrder, Email, EmailAddress, Mailer, Shop};
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
        let message = confirmation(request.customer_info.recipient()?, &order);
        let message_id = self.mailer.send(&message).await?;
        let recipient = message.to.to_string();
        Ok(Confirmation { email_sent: true, recipient, message_id, sent_at: ctx.started_at })
    }
}

/// The address may not be the buyer's own, so nothing that the buyer has written is in the e-mail, not even the name. A stranger
/// could otherwise send messages to others from the shop's address.
fn confirmation(to: EmailAddress, order: &CreatedOrder) -> Email {
    let number = &order.order_number;
    let delivery: String = order.estimated_delivery.to_string().chars().take("YYYY-MM-DD".len()).collect();
    let text = format!(
        "Hello,\n\n\
         thank you for your order {number}. We have charged {total} {CURRENCY}.\n\
         It should be with you by {delivery}.\n",
        total = order.total_amount,
    );
    Email { to, subject: format!("Your order {number} is confirmed"), text }
}
