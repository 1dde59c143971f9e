//! SQS in memory: standard queues, which deliver at least once and in no order. In a run whose settlements are whole, the
//! messages of a store that holds them itself.

use super::{fault::Fault, oracle::Recorder, scheduler::Scheduler};
use crate::{graph, locked::Locked};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};
use stepwell::{
    CallError, FailureKind,
    core::{
        message::{DEAD_LETTERS, Message, Outgoing, QueueName, StepQueue, UNDELIVERABLE},
        settlement::{Delivery, Disposition},
    },
    ports::{Queue, QueueError, Received},
};
use tokio::sync::Notify;

/// A message that belongs to no step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Undeliverable {
    /// Its body.
    pub(super) body: String,
    /// Why it is there.
    pub(super) reason: String,
}

#[derive(Debug)]
struct Held {
    id: u64,
    body: Arc<str>,
    received: u32,
    /// The last receipt. There is none before the first delivery.
    receipt: Option<u64>,
    old_receipts: Vec<u64>,
    visible_after: Duration,
}

#[derive(Debug, Default)]
struct Messages {
    messages: Vec<Held>,
    arrival: Arc<Notify>,
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
    /// No queues yet: each is there when it is first spoken of. The recorder takes down what is sent.
    pub(super) fn new(scheduler: &Arc<Scheduler>, recorder: Option<Arc<Recorder>>) -> Self {
        Self(Arc::new(Queues {
            scheduler: scheduler.clone(),
            recorder,
            queues: Locked::default(),
            undeliverable: Locked::default(),
            numbers: Locked::new(0),
        }))
    }

    /// Puts a message into a queue, whatever it says.
    pub(super) fn put(&self, queue: &str, body: &str) {
        let scheduler = &self.0.scheduler;
        let id = self.next();
        let twice = !scheduler.odds().is_whole() && scheduler.strikes(Fault::Duplicate);
        for _ in 0..if twice { 2 } else { 1 } {
            let delay = if scheduler.strikes(Fault::Delay) { scheduler.up_to(30_000) } else { 0 };
            self.hold(queue, id, Arc::from(body), Duration::from_millis(delay));
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

    /// Waits until a queue has a message to hand out.
    pub(super) async fn arrival(&self, queue: &str) {
        loop {
            let (soonest, arrival) = {
                let mut queues = self.0.queues.lock();
                let queue = queues.entry(queue.to_owned()).or_default();
                (queue.messages.iter().map(|held| held.visible_after).min(), queue.arrival.clone())
            };
            match soonest.map(|soonest| soonest.saturating_sub(self.0.scheduler.elapsed())) {
                Some(Duration::ZERO) => return,
                Some(wait) => drop(tokio::time::timeout(wait, arrival.notified()).await),
                None => arrival.notified().await,
            }
        }
    }

    /// Hands out a batch, in any order, and hides its messages for a while.
    pub(super) fn receive(&self, queue: &str, most: usize, hidden: Duration) -> Vec<Received> {
        let now = self.0.scheduler.elapsed();
        // A letter that cannot be worked is kept trying: there is no other queue behind that one.
        let most_receives = if queue == DEAD_LETTERS { u32::MAX } else { self.0.scheduler.odds().most_receives() };
        let mut batch = Vec::new();
        let mut queues = self.0.queues.lock();
        let messages = &mut queues.entry(queue.to_owned()).or_default().messages;
        let mut visible: Vec<usize> = (0..messages.len()).filter(|&at| messages[at].visible_after <= now).collect();
        while !visible.is_empty() && batch.len() < most {
            let last = u64::try_from(visible.len() - 1).expect("few messages");
            let pick = usize::try_from(self.0.scheduler.up_to(last)).expect("a place in the list");
            let held = &mut messages[visible.swap_remove(pick)];
            held.received += 1;
            held.old_receipts.extend(held.receipt.replace(self.next()));
            held.visible_after = now + self.hidden_for(hidden);
            if held.received <= most_receives {
                batch.push(handed_out(held));
            }
        }
        let (kept, spent): (Vec<Held>, Vec<Held>) =
            std::mem::take(messages).into_iter().partition(|held| held.received <= most_receives);
        *messages = kept;
        drop(queues);
        for held in spent {
            self.0.scheduler.note(|| format!("SQS gives up on message {}", held.id));
            self.hold(DEAD_LETTERS, held.id, held.body, Duration::ZERO);
        }
        batch
    }

    /// How long a message is hidden that is to be hidden so long. A store that holds it hands it out twice in that the first
    /// delivery's time is over too early.
    fn hidden_for(&self, hidden: Duration) -> Duration {
        let scheduler = &self.0.scheduler;
        match scheduler.odds().is_whole() && scheduler.strikes(Fault::Duplicate) {
            true => hidden.mul_f64(scheduler.random()),
            false => hidden,
        }
    }

    /// Acknowledges a message. With an old receipt nothing happens, as a rule.
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

    /// Puts a message into the queue of its step, from which it is not lost.
    pub(super) fn put_message(&self, outgoing: &Outgoing) -> Result<(), QueueError> {
        let queue = outgoing.queue();
        self.put(existing("SendMessage", &queue)?, &text(&queue, &outgoing.message)?);
        Ok(())
    }

    /// Ends a delivery in a transaction. Where the message has been delivered again since, nothing happens.
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

    /// Whether no queue holds a message, hidden or not. What is undeliverable is apart.
    pub(super) fn are_empty(&self) -> bool {
        self.0.queues.lock().values().all(|queue| queue.messages.is_empty())
    }

    /// What belongs to no step.
    pub(super) fn undeliverable(&self) -> Vec<Undeliverable> {
        self.0.undeliverable.lock().clone()
    }

    fn next(&self) -> u64 {
        self.0.numbers.set(self.0.numbers.get() + 1);
        self.0.numbers.get()
    }
}

fn handed_out(held: &Held) -> Received {
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

/// What a run calls this queue. It has those of one workflow.
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
            self.put(name, &body);
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
        let letter = Undeliverable { body: body.to_owned(), reason: reason.to_owned() };
        self.0.scheduler.note(|| format!("kept: {letter:?}"));
        self.0.undeliverable.lock().push(letter);
        Ok(())
    }
}
