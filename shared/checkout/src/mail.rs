//! E-mail to customers.

use crate::{CustomerInfo, EmailAddress, NotAnEmailAddress, ShopCode};
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

impl From<MailError> for StepError {
    fn from(error: MailError) -> Self {
        const RATE_LIMIT_WAIT: Duration = Duration::from_secs(60);
        let message = error.to_string();
        match error {
            MailError::RateLimited => Self::new(ShopCode::MailRateLimited, message).retry_after(RATE_LIMIT_WAIT),
            MailError::Unavailable(_) => Self::new(ShopCode::MailServiceUnavailable, message),
            MailError::Unknown(_) => Self::new(ShopCode::MailUnknownError, message),
        }
    }
}

impl CustomerInfo {
    /// The address that e-mails to the customer go to.
    ///
    /// # Errors
    /// `MISSING_CUSTOMER_EMAIL` or `INVALID_EMAIL`.
    pub fn recipient(&self) -> Result<EmailAddress, StepError> {
        let Some(email) = self.email.as_deref().filter(|email| !email.trim().is_empty()) else {
            return Err(StepError::new(ShopCode::MissingCustomerEmail, "customer_info.email is missing"));
        };
        email.parse().map_err(|problem: NotAnEmailAddress| {
            StepError::new(ShopCode::InvalidEmail, format!("customer_info.email {problem}"))
        })
    }
}

/// The result of `send_confirmation`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
