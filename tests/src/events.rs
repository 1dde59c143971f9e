//! The events that Lambda makes of a queue's messages.

use aws_lambda_events::sqs::{SqsEvent, SqsMessage};

/// The attribute in which SQS counts how often it has handed out a message.
const RECEIVE_COUNT: &str = "ApproximateReceiveCount";

/// A batch of these messages.
pub fn batch(messages: Vec<SqsMessage>) -> SqsEvent {
    let mut event = SqsEvent::default();
    event.records = messages;
    event
}

/// A message as SQS hands it out for the first time.
pub fn message(id: &str, body: &str) -> SqsMessage {
    let mut message = SqsMessage::default();
    message.message_id = Some(id.to_owned());
    message.body = Some(body.to_owned());
    message.attributes.insert(RECEIVE_COUNT.to_owned(), "1".to_owned());
    message
}

/// The same batch, each of its messages handed out once more.
pub fn received_again(mut event: SqsEvent) -> SqsEvent {
    for message in &mut event.records {
        let count = message.attributes[RECEIVE_COUNT].parse::<u32>().expect("a number");
        message.attributes.insert(RECEIVE_COUNT.to_owned(), (count + 1).to_string());
    }
    event
}

/// The messages of these batches, the first of each, then the second of each, and so on.
pub(crate) fn one_by_one(batches: Vec<(String, SqsEvent)>) -> Vec<(String, SqsEvent)> {
    let mut messages: Vec<(usize, String, SqsMessage)> = Vec::new();
    for (step, event) in batches {
        messages.extend(event.records.into_iter().enumerate().map(|(place, message)| (place, step.clone(), message)));
    }
    messages.sort_by_key(|(place, ..)| *place);
    messages.into_iter().map(|(_, step, message)| (step, batch(vec![message]))).collect()
}

/// What SQS handed out, as Lambda passes it on.
pub(crate) fn record(message: aws_sdk_sqs::types::Message) -> SqsMessage {
    let mut record = SqsMessage::default();
    record.message_id = message.message_id;
    record.receipt_handle = message.receipt_handle;
    record.body = message.body;
    let attributes = message.attributes.unwrap_or_default().into_iter();
    record.attributes = attributes.map(|(name, value)| (name.as_str().to_owned(), value)).collect();
    record
}
