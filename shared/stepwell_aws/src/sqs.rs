//! [`Queue`] on SQS.

use crate::error::call_failed;
use aws_sdk_sqs::types::MessageAttributeValue;
use std::time::Duration;
use stepwell::{
    CallError, FailureKind,
    core::{
        backoff::LONGEST_DELAY_SECONDS,
        message::{Outgoing, QueueName},
    },
    ports::{Queue, QueueError},
};

/// The attribute of an undeliverable message that says why it is one.
pub const REASON_ATTRIBUTE: &str = "reason";

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

/// The queues in SQS.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: aws_sdk_sqs::Client,
    url_prefix: String,
}

impl SqsQueue {
    /// A queue is at `url_prefix` and its [name](QueueName).
    pub fn new(client: aws_sdk_sqs::Client, url_prefix: impl Into<String>) -> Self {
        Self { client, url_prefix: url_prefix.into() }
    }

    fn url(&self, queue: &QueueName) -> String {
        format!("{}{queue}", self.url_prefix)
    }
}

impl Queue for SqsQueue {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), QueueError> {
        const OPERATION: &str = "SendMessage";
        let queue = outgoing.queue();
        let failed = |error| QueueError::new(queue.clone(), error);
        let body = serde_json::to_string(&outgoing.message);
        let body = body.map_err(|error| failed(CallError::new(OPERATION, FailureKind::Refused, error)))?;
        let call = self.client.send_message().queue_url(self.url(&queue)).message_body(body).send();
        call.await.map(drop).map_err(|error| failed(call_failed(OPERATION, error)))
    }

    async fn hide(&self, queue: &QueueName, receipt_handle: &str, wait: Duration) -> Result<(), QueueError> {
        let call = self
            .client
            .change_message_visibility()
            .queue_url(self.url(queue))
            .receipt_handle(receipt_handle)
            .visibility_timeout(visibility_timeout(wait))
            .send();
        call.await
            .map(drop)
            .map_err(|error| QueueError::new(queue.clone(), call_failed("ChangeMessageVisibility", error)))
    }

    async fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        const OPERATION: &str = "SendMessage";
        let failed = |error| QueueError::new(QueueName::Undeliverable, error);
        let reason = MessageAttributeValue::builder().data_type("String").string_value(reason).build();
        let reason = reason.map_err(|error| failed(CallError::new(OPERATION, FailureKind::Refused, error)))?;
        // SQS takes no empty body.
        let body = if body.is_empty() { "(empty)" } else { body };
        let call = self.client.send_message().queue_url(self.url(&QueueName::Undeliverable)).message_body(body);
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
