//! E-mail to customers.

use crate::{CURRENCY, CreatedOrder, CustomerInfo, EmailAddress, Money, NotAnEmailAddress, Refund, ShopCode};
use redaction::Secret;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use stepwell::{StepError, StepResult, Timestamp};

/// The port that sends e-mail.
pub trait Mailer: Send + Sync {
    /// Sends an e-mail and returns its message id.
    ///
    /// # Errors
    /// The e-mail was not sent, or the service did not say whether it was.
    fn send(&self, email: &Email) -> impl Future<Output = Result<String, MailError>> + Send;
}

/// An e-mail in plain text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    /// The recipient's address.
    pub to: EmailAddress,
    /// The subject, one line.
    pub subject: String,
    /// The body, plain text.
    pub text: String,
}

/// The texts of the shop. An address may not be the buyer's own, so nothing that the buyer has written is in them, not even the name. A
/// stranger could otherwise send messages to others from the shop's address.
impl Email {
    /// Makes the e-mail that confirms an order.
    pub fn confirmation(to: EmailAddress, order: &CreatedOrder) -> Self {
        let number = &order.order_number;
        let delivery: String = order.estimated_delivery.to_string().chars().take("YYYY-MM-DD".len()).collect();
        let text = format!(
            "Hello,\n\n\
             thank you for your order {number}. We have charged {total} {CURRENCY}.\n\
             It should be with you by {delivery}.\n",
            total = order.total_amount,
        );
        Self { to, subject: format!("Your order {number} is confirmed"), text }
    }

    /// Makes the e-mail that tells of the cancellation of an order, and of what was given back.
    pub fn cancellation(to: EmailAddress, order: &CreatedOrder, refund: &Refund) -> Self {
        let number = &order.order_number;
        let given_back = match refund.amount_refunded {
            Money::ZERO => "You have not been charged.".to_owned(),
            amount => format!("We have refunded {amount} {CURRENCY}. Your bank may take some days to show it."),
        };
        let text = format!("Hello,\n\nyour order {number} was cancelled. {given_back}\n");
        Self { to, subject: format!("Your order {number} was cancelled"), text }
    }
}

/// The reason why an e-mail was not sent. All of these are worth a retry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// The service throttles the sender.
    #[error("the e-mail service asks for fewer e-mails")]
    RateLimited,
    /// The service is down or out of reach.
    #[error("the e-mail service is not available ({0})")]
    Unavailable(String),
    /// Any other error, with the service's error code.
    #[error("the e-mail service did not take the e-mail ({0})")]
    Unknown(String),
}

impl MailError {
    /// Returns the error's code.
    pub fn code(&self) -> ShopCode {
        match self {
            Self::RateLimited => ShopCode::MailRateLimited,
            Self::Unavailable(_) => ShopCode::MailServiceUnavailable,
            Self::Unknown(_) => ShopCode::MailUnknownError,
        }
    }
}

impl From<MailError> for StepError {
    fn from(error: MailError) -> Self {
        const RATE_LIMIT_WAIT: Duration = Duration::from_secs(60);
        let failed = Self::new(error.code(), error.to_string());
        match error {
            MailError::RateLimited => failed.retry_after(RATE_LIMIT_WAIT),
            MailError::Unavailable(_) | MailError::Unknown(_) => failed,
        }
    }
}

impl CustomerInfo {
    /// The address that e-mails to the customer go to.
    ///
    /// # Errors
    /// `MISSING_CUSTOMER_EMAIL` or `INVALID_EMAIL`.
    pub fn recipient(&self) -> Result<EmailAddress, StepError> {
        let Some(email) = self.email.as_ref().map(Secret::expose).filter(|email| !email.trim().is_empty()) else {
            return Err(StepError::new(ShopCode::MissingCustomerEmail, "customer_info.email is missing"));
        };
        email.parse().map_err(|problem: NotAnEmailAddress| {
            StepError::new(ShopCode::InvalidEmail, format!("customer_info.email {problem}"))
        })
    }
}

/// The result of `send_confirmation`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Confirmation {
    /// Always `true`.
    pub email_sent: bool,
    /// The address that the e-mail was sent to.
    pub recipient: String,
    /// The e-mail service's id of the message.
    pub message_id: String,
    /// When the step sent the e-mail.
    pub sent_at: Timestamp,
}

impl StepResult for Confirmation {
    const STEP: &'static str = "send_confirmation";
}

/// The result of `send_cancellation`. Without an order there is no e-mail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Cancellation {
    /// Whether an e-mail was sent.
    pub email_sent: bool,
    /// The address that the e-mail was sent to.
    pub recipient: Option<String>,
    /// The e-mail service's id of the message.
    pub message_id: Option<String>,
    /// When the step sent the e-mail.
    pub sent_at: Option<Timestamp>,
}

impl StepResult for Cancellation {
    const STEP: &'static str = "send_cancellation";
}
