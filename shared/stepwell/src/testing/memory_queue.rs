//! Queues in memory.

use crate::{
    core::{
        id::TaskId,
        message::{Message, Outgoing, QueueName, StepQueue},
        settlement::{Delivery, Disposition},
        timestamp::Timestamp,
    },
    ports::{CallError, Deliveries, FailureKind, Queue, QueueError, Received, Runtime},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The number of deliveries after which a message becomes a dead letter.
pub const MAX_RECEIVES: u32 = 100;

/// Queues in memory, with SQS's semantics: a received message is hidden, and delivered again until it is deleted. Clones
/// share them.
#[derive(Clone, Debug)]
pub struct MemoryQueue<A> {
    runtime: A,
    state: Arc<Mutex<Queues>>,
}

/// A message that belongs to no step of any task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undeliverable {
    /// The message's text.
    pub body: String,
    /// The reason.
    pub reason: String,
}

#[derive(Debug, Default)]
struct Queues {
    /// The messages by number, in the order in which they were sent.
    held: BTreeMap<u64, Held>,
    numbers: u64,
    sent: Vec<Message>,
    undeliverable: Vec<Undeliverable>,
    /// Those that deliver nothing.
    stopped: BTreeSet<QueueName>,
}

#[derive(Debug)]
struct Held {
    queue: QueueName,
    body: String,
    sent_at: Timestamp,
    due: Timestamp,
    receives: u32,
    receipt: Option<String>,
    dead_letter_source: Option<String>,
}

impl Queues {
    fn next(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn by_receipt(&mut self, receipt: &str) -> Option<(u64, &mut Held)> {
        let mut held = self.held.iter_mut();
        held.find(|(_, held)| held.receipt.as_deref() == Some(receipt)).map(|(number, held)| (*number, held))
    }

    /// The message that is delivered first: its time and its number.
    fn first(&self) -> Option<(Timestamp, u64)> {
        let delivered = self.held.iter().filter(|(_, held)| !self.stopped.contains(&held.queue));
        delivered.map(|(number, held)| (held.due, *number)).min()
    }

    fn put(&mut self, queue: QueueName, body: String, now: Timestamp, delay: Duration) {
        let number = self.next();
        let due = now + delay;
        let held = Held { queue, body, sent_at: now, due, receives: 0, receipt: None, dead_letter_source: None };
        self.held.insert(number, held);
    }
}

impl<A: Runtime> MemoryQueue<A> {
    /// Empty queues that follow this clock.
    pub fn new(runtime: A) -> Self {
        Self { runtime, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, Queues> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message into a queue, whatever it says.
    pub fn put(&self, queue: impl Into<QueueName>, body: impl Into<String>) {
        self.state().put(queue.into(), body.into(), self.runtime.now(), Duration::ZERO);
    }

    /// Receives the message that is due first of the queues that deliver, if one is due, and hides it until the time that `until` gives for its queue.
    /// Returns the queue's name, too.
    pub fn receive(&self, until: impl Fn(&QueueName) -> Timestamp) -> Option<(QueueName, Received)> {
        let now = self.runtime.now();
        let mut state = self.state();
        let receipt = state.next();
        let (_, number) = state.first().filter(|(due, _)| *due <= now)?;
        let held = state.held.get_mut(&number)?;
        if held.receives >= MAX_RECEIVES && held.queue != QueueName::DeadLetters {
            held.dead_letter_source = Some(std::mem::replace(&mut held.queue, QueueName::DeadLetters).to_string());
            held.receives = 0;
        }
        held.receives += 1;
        held.receipt = Some(receipt.to_string());
        held.due = until(&held.queue);
        let received = Received {
            id: number.to_string(),
            body: held.body.clone(),
            receipt: held.receipt.clone(),
            receives: Some(held.receives),
            sent_at: Some(held.sent_at),
            dead_letter_source: held.dead_letter_source.clone(),
        };
        Some((held.queue.clone(), received))
    }

    /// Ends a delivery. If the message has been delivered again since, nothing happens.
    pub fn end(&self, delivery: &Delivery) {
        let mut state = self.state();
        let Some((number, held)) = state.by_receipt(&delivery.receipt) else { return };
        match delivery.disposition {
            Disposition::Acknowledge => drop(state.held.remove(&number)),
            Disposition::GiveBack { until } => held.due = until,
        }
    }

    /// The time at which the next message is delivered; `None` if there is none.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.state().first().map(|(due, _)| due)
    }

    /// Whether a queue holds a message of this task, hidden or not.
    pub fn holds_any_of(&self, task: TaskId) -> bool {
        let of_task =
            |held: &Held| serde_json::from_str(&held.body).is_ok_and(|message: Message| message.task_id == task);
        self.state().held.values().any(of_task)
    }

    /// Loses every message that is in a queue.
    pub fn purge(&self) {
        self.state().held.clear();
    }

    /// All messages sent to steps, in order.
    pub fn sent(&self) -> Vec<Message> {
        self.state().sent.clone()
    }

    /// All undeliverable messages, in the order in which they were rejected.
    pub fn undeliverable(&self) -> Vec<Undeliverable> {
        self.state().undeliverable.clone()
    }

    /// Puts a message into the queue of its step.
    ///
    /// # Errors
    /// The message cannot be written as JSON.
    pub fn put_message(&self, outgoing: &Outgoing) -> Result<(), QueueError> {
        let body = serde_json::to_string(&outgoing.message)
            .map_err(|error| QueueError::new(outgoing.queue(), CallError::new("send", FailureKind::Refused, error)))?;
        let mut state = self.state();
        state.put(outgoing.queue(), body, self.runtime.now(), outgoing.delay);
        state.sent.push(outgoing.message.clone());
        Ok(())
    }
}

impl<A: Runtime> Deliveries for MemoryQueue<A> {
    async fn deliver(&self, queue: &StepQueue, on: bool) -> Result<(), QueueError> {
        let (mut state, queue) = (self.state(), QueueName::from(queue.clone()));
        if on {
            state.stopped.remove(&queue);
        } else {
            state.stopped.insert(queue);
        }
        Ok(())
    }
}

impl<A: Runtime> Queue for MemoryQueue<A> {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), QueueError> {
        self.put_message(outgoing)
    }

    async fn hide(&self, queue: &QueueName, receipt: &str, wait: Duration) -> Result<(), QueueError> {
        let due = self.runtime.now() + wait;
        match self.state().by_receipt(receipt) {
            Some((_, held)) => held.due = due,
            None => {
                let error = CallError::new("hide", FailureKind::Refused, "the message is not in flight");
                return Err(QueueError::new(queue.clone(), error));
            }
        }
        Ok(())
    }

    async fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        let undeliverable = Undeliverable { body: body.to_owned(), reason: reason.to_owned() };
        self.state().undeliverable.push(undeliverable);
        Ok(())
    }
}
