//! SQS in memory: standard queues, which deliver at least once and in any order. In a whole run these are the messages
//! of a store that holds them itself.

use super::{backend::Undeliverable, fault::Fault, oracle::Recorder, scheduler::Scheduler};
use crate::{graph, locked::Locked};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};
use stepwell::{
    CallError, FailureKind,
    core::{
        message::{DEAD_LETTERS, Message, Outgoing, QueueName, StepQueue, UNDELIVERABLE},
        settlement::{Delivery, Disposition},
    },
    ports::{Deliveries, Queue, QueueError, Received},
};
use tokio::sync::Notify;

#[derive(Debug)]
struct Held {
    id: u64,
    body: Arc<str>,
    received: u32,
    /// The last receipt handle; `None` before the first delivery.
    receipt: Option<u64>,
    old_receipts: Vec<u64>,
    visible_after: Duration,
}

#[derive(Debug, Default)]
struct Messages {
    messages: Vec<Held>,
    arrival: Arc<Notify>,
    /// Whether its mapping is disabled.
    is_stopped: bool,
}

struct Queues {
    scheduler: Arc<Scheduler>,
    recorder: Option<Arc<Recorder>>,
    queues: Locked<BTreeMap<String, Messages>>,
    undeliverable: Locked<Vec<Undeliverable>>,
    numbers: Locked<u64>,
}

/// The queues of a stack. Clones share them.
#[derive(Clone)]
pub(super) struct MemoryQueues(Arc<Queues>);

impl fmt::Debug for MemoryQueues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryQueues").finish_non_exhaustive()
    }
}

impl MemoryQueues {
    /// Makes a stack without queues: each is created at its first use. The recorder receives what is sent.
    pub(super) fn new(scheduler: &Arc<Scheduler>, recorder: Option<Arc<Recorder>>) -> Self {
        Self(Arc::new(Queues {
            scheduler: scheduler.clone(),
            recorder,
            queues: Locked::default(),
            undeliverable: Locked::default(),
            numbers: Locked::new(0),
        }))
    }

    /// Puts any text into a queue.
    pub(super) fn put(&self, queue: &str, body: &str) {
        self.put_later(queue, body, Duration::ZERO);
    }

    /// Puts any text into a queue, which holds it back for this long.
    fn put_later(&self, queue: &str, body: &str, held_back: Duration) {
        let scheduler = &self.0.scheduler;
        let id = self.next();
        let twice = !scheduler.odds().is_whole() && scheduler.strikes(Fault::Duplicate);
        for _ in 0..if twice { 2 } else { 1 } {
            let delay = if scheduler.strikes(Fault::Delay) { scheduler.up_to(30_000) } else { 0 };
            self.hold(queue, id, Arc::from(body), held_back + Duration::from_millis(delay));
        }
    }

    fn hold(&self, queue: &str, id: u64, body: Arc<str>, delay: Duration) {
        if let Some(recorder) = &self.0.recorder {
            recorder.sent(queue, &body, delay);
        }
        let visible_after = self.0.scheduler.elapsed() + delay;
        let mut queues = self.0.queues.lock();
        let queue = queues.entry(queue.to_owned()).or_default();
        let held = Held { id, body, received: 0, receipt: None, old_receipts: Vec::new(), visible_after };
        queue.messages.push(held);
        queue.arrival.notify_one();
    }

    /// Waits until a queue has a visible message.
    pub(super) async fn arrival(&self, queue: &str) {
        loop {
            let (soonest, arrival) = {
                let mut queues = self.0.queues.lock();
                let queue = queues.entry(queue.to_owned()).or_default();
                let delivered = queue.messages.iter().filter(|_| !queue.is_stopped);
                (delivered.map(|held| held.visible_after).min(), queue.arrival.clone())
            };
            match soonest.map(|soonest| soonest.saturating_sub(self.0.scheduler.elapsed())) {
                Some(Duration::ZERO) => return,
                Some(wait) => drop(tokio::time::timeout(wait, arrival.notified()).await),
                None => arrival.notified().await,
            }
        }
    }

    /// Receives a batch in any order, and hides its messages for the visibility timeout.
    pub(super) fn receive(&self, queue: &str, most: usize, hidden: Duration) -> Vec<Received> {
        let now = self.0.scheduler.elapsed();
        // A dead letter that cannot be handled is redelivered for ever, because its queue has no further dead-letter
        // queue.
        let max_receives = if queue == DEAD_LETTERS { u32::MAX } else { self.0.scheduler.odds().max_receives() };
        let mut batch = Vec::new();
        let mut queues = self.0.queues.lock();
        let queue = queues.entry(queue.to_owned()).or_default();
        if queue.is_stopped {
            return batch;
        }
        let messages = &mut queue.messages;
        let mut visible: Vec<usize> = (0..messages.len()).filter(|&at| messages[at].visible_after <= now).collect();
        while !visible.is_empty() && batch.len() < most {
            let last = u64::try_from(visible.len() - 1).expect("few messages");
            let pick = usize::try_from(self.0.scheduler.up_to(last)).expect("a place in the list");
            let held = &mut messages[visible.swap_remove(pick)];
            held.received += 1;
            held.old_receipts.extend(held.receipt.replace(self.next()));
            held.visible_after = now + self.hidden_for(hidden);
            if held.received <= max_receives {
                batch.push(received(held));
            }
        }
        let (kept, spent): (Vec<Held>, Vec<Held>) =
            std::mem::take(messages).into_iter().partition(|held| held.received <= max_receives);
        *messages = kept;
        drop(queues);
        for held in spent {
            self.0.scheduler.note(|| format!("SQS gives up on message {}", held.id));
            self.hold(DEAD_LETTERS, held.id, held.body, Duration::ZERO);
        }
        batch
    }

    /// Draws how long a message is really hidden. A store that holds it repeats a delivery by ending the visibility
    /// timeout too early.
    fn hidden_for(&self, hidden: Duration) -> Duration {
        let scheduler = &self.0.scheduler;
        match scheduler.odds().is_whole() && scheduler.strikes(Fault::Duplicate) {
            true => hidden.mul_f64(scheduler.random()),
            false => hidden,
        }
    }

    /// Acknowledges a message. An old receipt handle usually has no effect.
    pub(super) fn delete(&self, queue: &str, receipt_handle: &str) {
        let Ok(receipt) = receipt_handle.parse::<u64>() else { return };
        let mut queues = self.0.queues.lock();
        let messages = &mut queues.entry(queue.to_owned()).or_default().messages;
        let found = messages.iter().position(|held| {
            held.receipt == Some(receipt)
                || (held.old_receipts.contains(&receipt) && self.0.scheduler.strikes(Fault::StaleAck))
        });
        if let Some(found) = found {
            messages.remove(found);
        }
    }

    /// Puts a message into its step's queue. It cannot be lost.
    pub(super) fn put_message(&self, outgoing: &Outgoing) -> Result<(), QueueError> {
        let queue = outgoing.queue();
        self.put_later(existing("SendMessage", &queue)?, &text(&queue, &outgoing.message)?, outgoing.delay);
        Ok(())
    }

    /// Ends a delivery within a transaction. A message that has been delivered again since is left alone.
    pub(super) fn end(&self, delivery: &Delivery) {
        let Ok(receipt) = delivery.receipt.parse::<u64>() else { return };
        for queue in self.0.queues.lock().values_mut() {
            let found = queue.messages.iter().position(|held| held.receipt == Some(receipt));
            let Some(found) = found else { continue };
            match delivery.disposition {
                Disposition::Acknowledge => drop(queue.messages.remove(found)),
                Disposition::GiveBack { until } => {
                    queue.messages[found].visible_after =
                        self.0.scheduler.elapsed() + until.since(self.0.scheduler.now());
                    queue.arrival.notify_one();
                }
            }
        }
    }

    /// Whether no queue holds a message, visible or hidden. Rejected messages do not count.
    pub(super) fn are_empty(&self) -> bool {
        self.0.queues.lock().values().all(|queue| queue.messages.is_empty())
    }

    /// The rejected messages.
    pub(super) fn undeliverable(&self) -> Vec<Undeliverable> {
        self.0.undeliverable.lock().clone()
    }

    fn next(&self) -> u64 {
        self.0.numbers.set(self.0.numbers.get() + 1);
        self.0.numbers.get()
    }
}

fn received(held: &Held) -> Received {
    Received {
        id: held.id.to_string(),
        body: held.body.to_string(),
        receipt: held.receipt.map(|receipt| receipt.to_string()),
        receives: Some(held.received),
        ..Received::default()
    }
}

fn refused(operation: &'static str, queue: &QueueName, cause: &str) -> QueueError {
    QueueError::new(queue.clone(), CallError::new(operation, FailureKind::Refused, cause))
}

/// The queue's name in this run, which has the queues of one workflow.
fn existing<'a>(operation: &'static str, queue: &'a QueueName) -> Result<&'a str, QueueError> {
    match queue {
        QueueName::Step(StepQueue { workflow, step }) if workflow == graph::WORKFLOW => Ok(step),
        QueueName::Step(_) => Err(refused(operation, queue, "there is no such queue")),
        QueueName::DeadLetters => Ok(DEAD_LETTERS),
        QueueName::Undeliverable => Ok(UNDELIVERABLE),
    }
}

fn text(queue: &QueueName, message: &Message) -> Result<String, QueueError> {
    serde_json::to_string(message).map_err(|error| refused("SendMessage", queue, &error.to_string()))
}

impl Deliveries for MemoryQueues {
    async fn deliver(&self, queue: &StepQueue, on: bool) -> Result<(), QueueError> {
        let name = QueueName::from(queue.clone());
        let mut queues = self.0.queues.lock();
        let queue = queues.entry(existing("UpdateEventSourceMapping", &name)?.to_owned()).or_default();
        queue.is_stopped = !on;
        queue.arrival.notify_one();
        Ok(())
    }
}

impl Queue for MemoryQueues {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), QueueError> {
        let queue = outgoing.queue();
        let (name, body) = (existing("SendMessage", &queue)?, text(&queue, &outgoing.message)?);
        if self.0.scheduler.strikes(Fault::LostMessage) {
            self.0.scheduler.note(|| format!("SQS loses a message to {name}"));
            if let Some(recorder) = &self.0.recorder {
                recorder.lost(name, &body);
            }
        } else {
            self.put_later(name, &body, outgoing.delay);
        }
        Ok(())
    }

    async fn hide(&self, queue: &QueueName, receipt_handle: &str, wait: Duration) -> Result<(), QueueError> {
        const OPERATION: &str = "ChangeMessageVisibility";
        let now = self.0.scheduler.elapsed();
        let mut queues = self.0.queues.lock();
        let messages = queues.entry(existing(OPERATION, queue)?.to_owned()).or_default();
        let receipt = receipt_handle.parse().ok();
        let held = messages.messages.iter_mut().find(|held| held.receipt == receipt && held.visible_after > now);
        let held = held.ok_or_else(|| refused(OPERATION, queue, "the message is not in flight"))?;
        held.visible_after = now + Duration::from_secs(u64::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(0));
        messages.arrival.notify_one();
        Ok(())
    }

    async fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        let body = if body.is_empty() { "(empty)" } else { body };
        if let Some(recorder) = &self.0.recorder {
            recorder.rejected(body, reason);
        }
        let message = Undeliverable { body: body.to_owned(), reason: reason.to_owned() };
        self.0.scheduler.note(|| format!("kept: {message:?}"));
        self.0.undeliverable.lock().push(message);
        Ok(())
    }
}
