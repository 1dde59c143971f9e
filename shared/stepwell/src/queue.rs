//! The queues: one for each step, one for what SQS gave up on, one for what no step can use.

pub use crate::core::message::Message;
use crate::{CallError, FailureKind, aws_error::call_failed, backoff::LONGEST_DELAY_SECONDS};
use aws_sdk_sqs::types::MessageAttributeValue;
use std::time::Duration;

/// The name of the queue of messages that SQS gave up on, next to the steps' names.
pub const DEAD_LETTERS: &str = "dead_letters";

/// The name of the queue that keeps messages which belong to no step of any task.
pub const UNDELIVERABLE: &str = "undeliverable";

/// The attribute of an undeliverable message that says why it is one.
pub const REASON_ATTRIBUTE: &str = "reason";

/// The longest reason that goes with a rejected message, in characters.
const MAX_REASON_LENGTH: usize = 250;

/// A reason as it can be logged and sent: it may quote a message that nobody vouches for, SQS takes neither control
/// characters nor attributes without end, and a message that cannot even be rejected would go round for days.
pub(crate) fn printable(reason: &str) -> String {
    let fits = |c: &char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    reason.chars().filter(fits).take(MAX_REASON_LENGTH).collect()
}

/// How long to tell SQS to hide a message, in seconds.
///
/// SQS refuses more than 12 hours, counted from when it delivered the message, which is as long ago as a function may run.
/// Who gets a message before its time hides it again for what is left.
fn visibility_timeout(wait: Duration) -> i32 {
    const LONGEST_RUN_SECONDS: u32 = 15 * 60;
    const LONGEST: u32 = LONGEST_DELAY_SECONDS - LONGEST_RUN_SECONDS;
    let seconds = wait.as_millis().div_ceil(1_000).min(LONGEST.into());
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

/// A queue that did not take what it was given.
#[derive(Debug, thiserror::Error)]
#[error("the queue of `{queue}`: {source}")]
pub struct QueueError {
    /// The queue: a step's name, or one of the engine's own.
    pub queue: String,
    /// What went wrong.
    pub source: CallError,
}

impl QueueError {
    /// A failure of a call to this queue.
    pub fn new(queue: impl Into<String>, source: CallError) -> Self {
        Self { queue: queue.into(), source }
    }
}

/// What a worker and a client need of the queues.
#[allow(async_fn_in_trait, reason = "callers are generic, so the futures of SqsQueue stay Send where they are")]
pub trait Queue {
    /// Sends a message to the queue of its step.
    async fn send(&self, message: &Message) -> Result<(), QueueError>;

    /// Hides a message that was received, for this long from now, in whole seconds.
    async fn hide(&self, step: &str, receipt_handle: &str, wait: Duration) -> Result<(), QueueError>;

    /// Keeps a message that belongs to no step of any task in the queue [`UNDELIVERABLE`], with the reason.
    async fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError>;
}

/// The queues in SQS.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: aws_sdk_sqs::Client,
    url_prefix: String,
}

impl SqsQueue {
    /// A step's queue is at `url_prefix` and the step's name.
    pub fn new(client: aws_sdk_sqs::Client, url_prefix: impl Into<String>) -> Self {
        Self { client, url_prefix: url_prefix.into() }
    }

    fn url(&self, queue: &str) -> String {
        format!("{}{queue}", self.url_prefix)
    }
}

impl Queue for SqsQueue {
    async fn send(&self, message: &Message) -> Result<(), QueueError> {
        const OPERATION: &str = "SendMessage";
        let failed = |error| QueueError::new(&message.step, error);
        let body = serde_json::to_string(message);
        let body = body.map_err(|error| failed(CallError::new(OPERATION, FailureKind::Refused, error)))?;
        let call = self.client.send_message().queue_url(self.url(&message.step)).message_body(body).send();
        call.await.map(drop).map_err(|error| failed(call_failed(OPERATION, error)))
    }

    async fn hide(&self, step: &str, receipt_handle: &str, wait: Duration) -> Result<(), QueueError> {
        let call = self
            .client
            .change_message_visibility()
            .queue_url(self.url(step))
            .receipt_handle(receipt_handle)
            .visibility_timeout(visibility_timeout(wait))
            .send();
        call.await.map(drop).map_err(|error| QueueError::new(step, call_failed("ChangeMessageVisibility", error)))
    }

    async fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        const OPERATION: &str = "SendMessage";
        let failed = |error| QueueError::new(UNDELIVERABLE, error);
        let reason = MessageAttributeValue::builder().data_type("String").string_value(reason).build();
        let reason = reason.map_err(|error| failed(CallError::new(OPERATION, FailureKind::Refused, error)))?;
        // SQS takes no empty body.
        let body = if body.is_empty() { "(empty)" } else { body };
        let call = self.client.send_message().queue_url(self.url(UNDELIVERABLE)).message_body(body);
        let call = call.message_attributes(REASON_ATTRIBUTE, reason).send();
        call.await.map(drop).map_err(|error| failed(call_failed(OPERATION, error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_hidden_to_the_second_and_never_beyond_what_sqs_takes() {
        let timeout = |millis: u64| visibility_timeout(Duration::from_millis(millis));
        assert_eq!([0, 1, 1_000, 1_001].map(timeout), [0, 1, 1, 2]);
        // It was delivered up to 15 minutes before.
        let longest = u64::from(LONGEST_DELAY_SECONDS) * 1_000;
        assert_eq!([longest, u64::MAX].map(timeout), [43_200 - 900; 2]);
    }
}
