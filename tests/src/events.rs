//! Messages as a queue hands them out.

use aws_sdk_sqs::types::MessageSystemAttributeName;
use stepwell::ports::Received;

/// A message that is handed out for the first time.
pub fn message(id: &str, body: &str) -> Received {
    Received { id: id.to_owned(), body: body.to_owned(), receives: Some(1), ..Received::default() }
}

/// The messages of these batches, the first of each, then the second of each, and so on.
pub(crate) fn one_by_one<Q: Clone>(batches: Vec<(Q, Vec<Received>)>) -> Vec<(Q, Vec<Received>)> {
    let mut messages: Vec<(usize, Q, Received)> = Vec::new();
    for (queue, batch) in batches {
        messages.extend(batch.into_iter().enumerate().map(|(place, message)| (place, queue.clone(), message)));
    }
    messages.sort_by_key(|(place, ..)| *place);
    messages.into_iter().map(|(_, queue, message)| (queue, vec![message])).collect()
}

/// What SQS handed out, as the engine takes it.
pub(crate) fn record(message: aws_sdk_sqs::types::Message) -> Received {
    let count = message.attributes.as_ref();
    let count = count.and_then(|attributes| attributes.get(&MessageSystemAttributeName::ApproximateReceiveCount));
    Received {
        receives: count.and_then(|count| count.parse().ok()),
        id: message.message_id.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
        receipt: message.receipt_handle,
        ..Received::default()
    }
}
