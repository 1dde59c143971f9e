//! Mail to customers.

use crate::{ConfigError, config};
use aws_sdk_sesv2::{
    Client,
    error::{BuildError, ProvideErrorMetadata, SdkError},
    operation::send_email::SendEmailError,
    types::{Body, Content, Destination, EmailContent, Message},
};
use serde::{Deserialize, Serialize};
use stepwell::{SdkConfig, StepResult, Timestamp};

/// Something that sends mail.
#[allow(async_fn_in_trait, reason = "a Lambda function runs on one thread, so no future has to be Send")]
pub trait Mailer {
    /// Sends a letter and answers with its message id.
    ///
    /// # Errors
    /// It was not sent, or its fate is not known.
    async fn send(&self, letter: &Letter) -> Result<String, MailError>;
}

/// A letter: plain text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// The address it goes to.
    pub to: String,
    /// Its subject.
    pub subject: String,
    /// Its text.
    pub text: String,
}

/// Why a letter was not sent. All of it may pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MailError {
    /// Too many letters.
    #[error("the mail service asks for fewer letters")]
    RateLimited,
    /// The mail service is down or out of reach.
    #[error("the mail service is not available ({0})")]
    Unavailable(String),
    /// Anything else, by the service's word for it.
    #[error("the mail service did not take the letter ({0})")]
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

/// Whether this is an address that mail can be sent to: ASCII, as SES has it, `name@domain` with a dot in the domain,
/// at most 254 characters, and no quoting, which nobody uses but those who probe. The schema's rule is the same.
pub fn is_email_address(text: &str) -> bool {
    let Some((name, domain)) = text.rsplit_once('@') else { return false };
    let dotted = |part: &str| part.split('.').all(|label| !label.is_empty());
    let in_name = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~.-".contains(c);
    let in_domain = |c: char| c.is_ascii_alphanumeric() || ".-".contains(c);
    let hyphens = domain.split('.').any(|label| label.starts_with('-') || label.ends_with('-') || label.len() > 63);
    text.len() <= 254
        && name.len() <= 64
        && dotted(name)
        && dotted(domain)
        && name.chars().all(in_name)
        && domain.chars().all(in_domain)
        && domain.contains('.')
        && !hyphens
}

/// Mail through SES, from the address in `SHOP_MAIL_SENDER`.
///
/// SES has no idempotency key: where its answer is lost, the next attempt sends the letter again. A second confirmation
/// is the lesser evil than none.
#[derive(Clone, Debug)]
pub struct SesMailer {
    client: Client,
    sender: String,
}

impl SesMailer {
    /// Mail from this sender, which SES has to know as a verified identity.
    pub fn new(config: &SdkConfig, sender: impl Into<String>) -> Self {
        Self { client: Client::new(config), sender: sender.into() }
    }

    /// Mail from `SHOP_MAIL_SENDER`.
    ///
    /// # Errors
    /// The variable is not set or holds no address.
    pub fn from_env(config: &SdkConfig) -> Result<Self, ConfigError> {
        const SENDER: &str = "SHOP_MAIL_SENDER";
        let sender = config::required(SENDER)?;
        if is_email_address(&sender) {
            Ok(Self::new(config, sender))
        } else {
            Err(ConfigError::new(SENDER, format!("`{sender}` is not an address")))
        }
    }
}

impl Mailer for SesMailer {
    async fn send(&self, letter: &Letter) -> Result<String, MailError> {
        let content = content(letter).map_err(|error| MailError::Unknown(error.to_string()))?;
        let request = self
            .client
            .send_email()
            .from_email_address(&self.sender)
            .destination(Destination::builder().to_addresses(&letter.to).build())
            .content(EmailContent::builder().simple(content).build());
        let sent = request.send().await.map_err(|error| mail_error(&error))?;
        sent.message_id.ok_or_else(|| MailError::Unknown("no message id".to_owned()))
    }
}

fn content(letter: &Letter) -> Result<Message, BuildError> {
    let utf8 = |text: &str| Content::builder().charset("UTF-8").data(text).build();
    let body = Body::builder().text(utf8(&letter.text)?).build();
    Ok(Message::builder().subject(utf8(&letter.subject)?).body(body).build())
}

fn mail_error(error: &SdkError<SendEmailError>) -> MailError {
    let code = error.code().unwrap_or("no code");
    tracing::warn!(code, message = error.message(), "SES did not send a letter");
    let status = error.raw_response().map(|response| response.status().as_u16());
    match error {
        SdkError::TimeoutError(_) => MailError::Unavailable("timeout".to_owned()),
        SdkError::DispatchFailure(_) => MailError::Unavailable("no connection".to_owned()),
        _ if matches!(code, "TooManyRequestsException" | "LimitExceededException" | "ThrottlingException")
            || status == Some(429) =>
        {
            MailError::RateLimited
        }
        _ if status.is_some_and(|status| status >= 500) => MailError::Unavailable(code.to_owned()),
        _ => MailError::Unknown(code.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("test@example.com")]
    #[test_case("first.last+tag@mail.example.co.uk")]
    #[test_case("o'brien@example.com")]
    fn an_address(text: &str) {
        assert!(is_email_address(text));
    }

    #[test_case("")]
    #[test_case("test")]
    #[test_case("@example.com")]
    #[test_case("test@"; "no domain")]
    #[test_case("test@localhost"; "no dot")]
    #[test_case("test@example..com"; "two dots")]
    #[test_case(".test@example.com"; "a dot first")]
    #[test_case("te st@example.com"; "a space")]
    #[test_case("a@b@example.com"; "two ats")]
    #[test_case("\"a b\"@example.com"; "quoted")]
    #[test_case("tëst@example.com"; "not ASCII")]
    #[test_case("test@example.com\r\nBcc: all@example.com"; "another header")]
    #[test_case("test@-example.com"; "a hyphen first")]
    fn not_an_address(text: &str) {
        assert!(!is_email_address(text));
    }

    #[test]
    fn an_address_has_a_length() {
        assert!(is_email_address(&format!("{}@example.com", "a".repeat(64))));
        assert!(!is_email_address(&format!("{}@example.com", "a".repeat(65))));
        assert!(!is_email_address(&format!("a@{}com", "example.".repeat(40))));
    }
}
