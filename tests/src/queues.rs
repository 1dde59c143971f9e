//! Queues with SQS's semantics in virtual time, and the clock of a simulated run.

use crate::lock;
use futures::future::{Either, select};
use std::{
    collections::{BTreeMap, HashMap},
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};
use stepwell::{
    Runtime, TaskId, Timestamp,
    core::message::{Outgoing, QueueName},
    ports::{Queue, QueueError, Received},
    testing::VirtualClock,
};
use tokio::{sync::Notify, time::sleep};
use uuid::Uuid;

/// Time, random numbers and task ids of a run.
#[derive(Clone, Debug)]
pub struct Clock {
    clock: VirtualClock,
    rng: Arc<Mutex<fastrand::Rng>>,
}

impl Clock {
    /// A clock that starts now, with the random numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self { clock: VirtualClock::new(), rng: Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))) }
    }
}

impl Runtime for Clock {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn random(&self) -> f64 {
        lock(&self.rng).f64()
    }

    fn new_task_id(&self) -> TaskId {
        TaskId::from(Uuid::from_u128(lock(&self.rng).u128(..)))
    }
}

/// Queues with SQS's semantics. Clones share them.
#[derive(Clone, Debug)]
pub struct Sqs {
    clock: Clock,
    state: Arc<Mutex<Messages>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Messages {
    queues: BTreeMap<QueueName, BTreeMap<(Timestamp, u64), Held>>,
    /// Where the message of a receipt stands.
    received: HashMap<String, (QueueName, (Timestamp, u64))>,
    numbers: u64,
}

#[derive(Clone, Debug)]
struct Held {
    body: String,
    receives: u32,
    sent_at: Timestamp,
}

impl Sqs {
    /// Empty queues that follow this clock.
    pub fn new(clock: Clock) -> Self {
        Self { clock, state: Arc::default(), changed: Arc::default() }
    }

    /// Receives a message, with the time since which it was due.
    pub fn receive(&self, queue: &QueueName, visibility: Duration) -> Option<(Received, Timestamp)> {
        let (now, mut state) = (self.clock.now(), lock(&self.state));
        let messages = state.queues.get_mut(queue)?;
        let entry = messages.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((due, number), mut held) = entry.remove_entry();
        held.receives += 1;
        let place = (now + visibility, number);
        let receipt = format!("{number}/{}", held.receives);
        let received = Received {
            id: number.to_string(),
            body: held.body.clone(),
            receipt: Some(receipt.clone()),
            receives: Some(held.receives),
            sent_at: Some(held.sent_at),
            ..Received::default()
        };
        messages.insert(place, held);
        state.received.insert(receipt, (queue.clone(), place));
        Some((received, due))
    }

    /// Waits until a message of this queue is due.
    pub async fn due(&self, queue: &QueueName) {
        loop {
            let changed = pin!(self.changed.notified());
            let next = lock(&self.state).queues.get(queue).and_then(|messages| Some(messages.first_key_value()?.0.0));
            match next.map(|due| due.since(self.clock.now())) {
                Some(Duration::ZERO) => return,
                Some(wait) => match select(changed, pin!(sleep(wait))).await {
                    Either::Left(((), _)) | Either::Right(((), _)) => {}
                },
                None => changed.await,
            }
        }
    }

    /// Deletes the message of this receipt.
    ///
    /// # Panics
    /// The receipt is of no queue.
    pub fn delete(&self, receipt: &str) {
        let mut state = lock(&self.state);
        if let Some((queue, place)) = state.received.remove(receipt) {
            state.queues.get_mut(&queue).expect("a queue").remove(&place);
        }
    }

    /// Whether a queue has no message at all.
    pub fn is_empty(&self, queue: &QueueName) -> bool {
        lock(&self.state).queues.get(queue).is_none_or(BTreeMap::is_empty)
    }

    /// The messages that are received and not visible, by queue.
    pub fn in_flight(&self) -> BTreeMap<QueueName, u64> {
        let (now, state) = (self.clock.now(), lock(&self.state));
        let in_flight = |queue: &BTreeMap<(Timestamp, u64), Held>| {
            queue.range((now + Duration::from_millis(1), 0)..).filter(|(_, held)| held.receives > 0).count() as u64
        };
        state.queues.iter().map(|(name, queue)| (name.clone(), in_flight(queue))).collect()
    }
}

impl Queue for Sqs {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), QueueError> {
        let body = serde_json::to_string(&outgoing.message).expect("a message is JSON");
        let (sent_at, mut state) = (self.clock.now(), lock(&self.state));
        state.numbers += 1;
        let place = (sent_at + outgoing.delay, state.numbers);
        let held = Held { body, receives: 0, sent_at };
        state.queues.entry(outgoing.queue()).or_default().insert(place, held);
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    async fn hide(&self, _: &QueueName, receipt: &str, wait: Duration) -> Result<(), QueueError> {
        let mut state = lock(&self.state);
        let due = self.clock.now() + wait;
        if let Some((queue, place)) = state.received.remove(receipt) {
            let messages = state.queues.get_mut(&queue).expect("a queue");
            if let Some(held) = messages.remove(&place) {
                messages.insert((due, place.1), held);
            }
        }
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    async fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        panic!("{reason}: {body}")
    }
}
