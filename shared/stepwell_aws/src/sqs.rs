//! The engine's port [`Queue`] on SQS.

use crate::error::call_failed;
use aws_sdk_sqs::types::MessageAttributeValue;
use std::time::Duration;
use stepwell::{
    CallError, FailureKind,
    core::{
        backoff::LONGEST_DELAY_SECONDS,
        message::{Outgoing, QueueName},
        timer::LONGEST_DELAY,
    },
    ports::{Queue, QueueError},
};

/// The attribute of an undeliverable message that has the reason.
pub const REASON_ATTRIBUTE: &str = "reason";

/// Converts a wait to a visibility timeout in whole seconds.
///
/// SQS refuses more than 12 hours from the delivery of the message, which may be as long ago as a function can run. A
/// worker that receives a message before its time hides it again for the rest.
fn visibility_timeout(wait: Duration) -> i32 {
    const LONGEST_RUN_SECONDS: u32 = 15 * 60;
    const LONGEST: u32 = LONGEST_DELAY_SECONDS - LONGEST_RUN_SECONDS;
    let seconds = wait.as_millis().div_ceil(1_000).min(LONGEST.into());
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

/// Converts a delay to whole seconds, at most as many as SQS allows. `None` if there is none, which is the queue's default.
fn delay_seconds(delay: Duration) -> Option<i32> {
    let seconds = delay.min(LONGEST_DELAY).as_millis().div_ceil(1_000);
    i32::try_from(seconds).ok().filter(|seconds| *seconds > 0)
}

/// The engine's queues on SQS.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: aws_sdk_sqs::Client,
    url_prefix: String,
}

impl SqsQueue {
    /// Makes the port. The URL of a queue is `url_prefix` and the queue's [name](QueueName).
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
        let call = self.client.send_message().queue_url(self.url(&queue)).message_body(body);
        let call = call.set_delay_seconds(delay_seconds(outgoing.delay));
        call.send().await.map(drop).map_err(|error| failed(call_failed(OPERATION, error)))
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
        // SQS refuses an empty body.
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
    fn delay_is_rounded_up_and_within_the_limit_of_sqs() {
        let delay = |millis: u64| delay_seconds(Duration::from_millis(millis));
        assert_eq!(
            [0, 1, 121_000, 899_001, 900_000, 900_001].map(delay),
            [None, Some(1), Some(121), Some(900), Some(900), Some(900)]
        );
    }

    #[test]
    fn visibility_timeout_is_rounded_up_and_within_the_limit_of_sqs() {
        let timeout = |millis: u64| visibility_timeout(Duration::from_millis(millis));
        assert_eq!([0, 1, 1_000, 1_001].map(timeout), [0, 1, 1, 2]);
        // The message may have been delivered up to 15 minutes before.
        let longest = u64::from(LONGEST_DELAY_SECONDS) * 1_000;
        assert_eq!([longest, u64::MAX].map(timeout), [43_200 - 900; 2]);
    }
}
