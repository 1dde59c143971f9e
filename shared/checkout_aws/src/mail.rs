//! The port [`Mailer`] on SES.

use aws_sdk_sesv2::{
    Client,
    config::{Builder, retry::RetryConfig, timeout::TimeoutConfig},
    error::{BuildError, ProvideErrorMetadata, SdkError},
    operation::send_email::SendEmailError,
    types::{Body, Content, Destination, EmailContent, Message},
};
use checkout::{ConfigError, Email, EmailAddress, MailError, Mailer, NotAnEmailAddress, config};
use std::time::Duration;
use stepwell_aws::SdkConfig;

/// Sends e-mail through SES.
///
/// SES has no idempotency key. If its answer is lost, the next attempt sends the e-mail again: two confirmations are
/// better than none. So that an SES that is only slow sends few, a call makes one try, which may take [`TIMEOUT`].
#[derive(Clone, Debug)]
pub struct SesMailer {
    client: Client,
    /// It is known to everybody, so it is no secret, as the address of a customer is.
    sender: String,
}

/// The longest time of one try. It is shorter than the time-out of the step that sends the e-mail, so that the step's error says
/// that SES did not answer.
pub const TIMEOUT: Duration = Duration::from_secs(8);

impl SesMailer {
    /// Makes a mailer with this sender, which has to be a verified identity of SES. The retries and time-outs of `config` do not
    /// apply.
    pub fn new(config: &SdkConfig, sender: &EmailAddress) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(1))
            .operation_timeout(TIMEOUT)
            .operation_attempt_timeout(TIMEOUT)
            .build();
        let once = Builder::from(config).retry_config(RetryConfig::disabled()).timeout_config(timeouts).build();
        Self { client: Client::from_conf(once), sender: sender.as_str().to_owned() }
    }

    /// Makes a mailer with the sender `SHOP_MAIL_SENDER`. It is an address without a display name, because the template
    /// derives the function's permissions from it.
    ///
    /// # Errors
    /// The variable is not set, or is not an e-mail address.
    pub fn from_env(config: &SdkConfig) -> Result<Self, ConfigError> {
        const SENDER: &str = "SHOP_MAIL_SENDER";
        let sender = config::required(SENDER)?;
        let problem = |error: NotAnEmailAddress| ConfigError::new(SENDER, format!("`{sender}` {error}"));
        Ok(Self::new(config, &sender.parse().map_err(problem)?))
    }
}

impl Mailer for SesMailer {
    async fn send(&self, email: &Email) -> Result<String, MailError> {
        let content = content(email).map_err(|error| MailError::Unknown(error.to_string()))?;
        let request = self
            .client
            .send_email()
            .from_email_address(&self.sender)
            .destination(Destination::builder().to_addresses(email.to.as_str()).build())
            .content(EmailContent::builder().simple(content).build());
        let sent = request.send().await.map_err(|error| mail_error(&error))?;
        sent.message_id.ok_or_else(|| MailError::Unknown("no message id".to_owned()))
    }
}

fn content(email: &Email) -> Result<Message, BuildError> {
    let utf8 = |text: &str| Content::builder().charset("UTF-8").data(text).build();
    let body = Body::builder().text(utf8(&email.text)?).build();
    Ok(Message::builder().subject(utf8(&email.subject)?).body(body).build())
}

fn mail_error(error: &SdkError<SendEmailError>) -> MailError {
    let code = error.code().unwrap_or("no code");
    // SES names an address that is not verified. The line shows the shop's, and no customer's, because that is a secret while somebody has it.
    let message = error.message();
    tracing::warn!(code, message, "SES did not send an e-mail");
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
