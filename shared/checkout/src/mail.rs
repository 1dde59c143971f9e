//! Mail to customers.

use crate::EmailAddress;
use serde::{Deserialize, Serialize};
use stepwell::{StepResult, Timestamp};

/// Something that sends mail.
pub trait Mailer: Send + Sync {
    /// Sends a email and answers with its message id.
    ///
    /// # Errors
    /// It was not sent, or its fate is not known.
    fn send(&self, email: &Email) -> impl Future<Output = Result<String, MailError>> + Send;
}

/// A email: plain text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    /// The address it goes to.
    pub to: EmailAddress,
    /// Its subject.
    pub subject: String,
    /// Its text.
    pub text: String,
}

/// Why a email was not sent. All of it may pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// Too many emails.
    #[error("the mail service asks for fewer emails")]
    RateLimited,
    /// The mail service is down or out of reach.
    #[error("the mail service is not available ({0})")]
    Unavailable(String),
    /// Anything else, by the service's word for it.
    #[error("the mail service did not take the email ({0})")]
    Unknown(String),
}

/// The result of `send_confirmation`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// That it was sent.
    pub email_sent: bool,
    /// To whom.
    pub recipient: String,
    /// The mail service's name for it.
    pub message_id: String,
    /// When.
    pub sent_at: Timestamp,
}

impl StepResult for Confirmation {
    const STEP: &'static str = "send_confirmation";
}
