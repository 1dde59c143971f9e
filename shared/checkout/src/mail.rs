//! E-mail to customers.

use crate::EmailAddress;
use serde::{Deserialize, Serialize};
use stepwell::{StepResult, Timestamp};

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
