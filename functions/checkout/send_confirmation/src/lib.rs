//! Sends the customer an e-mail that confirms the order.

use checkout::{
    CURRENCY, CheckoutRequest, ConfigError, Confirmation, CreatedOrder, Email, EmailAddress, MailError, Mailer,
    NotAnEmailAddress, PersonName, Shop, ShopCode,
};
use std::time::Duration;
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
        let customer = request.customer_info;
        let Some(email) = customer.email.filter(|email| !email.trim().is_empty()) else {
            return Err(StepError::new(ShopCode::MissingCustomerEmail, "customer_info.email is missing"));
        };
        let recipient = email.parse().map_err(|problem: NotAnEmailAddress| {
            StepError::new(ShopCode::InvalidEmail, format!("customer_info.email {problem}"))
        })?;
        let message = confirmation(recipient, customer.name.as_ref(), &order);
        let message_id = self.mailer.send(&message).await.map_err(step_error)?;
        let recipient = message.to.to_string();
        Ok(Confirmation { email_sent: true, recipient, message_id, sent_at: ctx.started_at })
    }
}

fn confirmation(to: EmailAddress, name: Option<&PersonName>, order: &CreatedOrder) -> Email {
    let number = &order.order_number;
    let delivery: String = order.estimated_delivery.to_string().chars().take("YYYY-MM-DD".len()).collect();
    let name = name.and_then(PersonName::for_greeting).unwrap_or("there");
    let text = format!(
        "Hello {name},\n\n\
         thank you for your order {number}. We have charged {total} {CURRENCY}.\n\
         It should be with you by {delivery}.\n",
        total = order.total_amount,
    );
    Email { to, subject: format!("Your order {number} is confirmed"), text }
}

fn step_error(error: MailError) -> StepError {
    const RATE_LIMIT_WAIT: Duration = Duration::from_secs(60);
    let message = error.to_string();
    match error {
        MailError::RateLimited => StepError::new(ShopCode::MailRateLimited, message).retry_after(RATE_LIMIT_WAIT),
        MailError::Unavailable(_) => StepError::new(ShopCode::MailServiceUnavailable, message),
        MailError::Unknown(_) => StepError::new(ShopCode::MailUnknownError, message),
    }
}
