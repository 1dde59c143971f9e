//! The queues that this process serves: how many deliveries of each may be in flight, and when its next message is due.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use stepwell::{Timestamp, core::message::QueueName};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::messages::Delivered;

/// A delivery that this process holds. It takes one of its queue's slots until it is dropped.
#[derive(Debug)]
pub struct Held {
    /// The queue.
    pub queue: QueueName,
    /// The message.
    pub delivered: Delivered,
    _slot: Slot,
}

impl Held {
    pub(crate) const fn new(queue: QueueName, delivered: Delivered, slot: Slot) -> Self {
        Self { queue, delivered, _slot: slot }
    }
}

/// One of the deliveries of a queue that may be in flight. Whoever waits for work is woken when it is free again.
pub(crate) struct Slot {
    permit: Option<OwnedSemaphorePermit>,
    queues: Arc<Queues>,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").finish_non_exhaustive()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.permit = None;
        self.queues.changed.notify_one();
    }
}

/// The queues that this process serves, and the deliveries that wait for a worker.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    served: Mutex<BTreeMap<QueueName, Served>>,
    /// Those whose steps are paused: they deliver nothing, whether or not they are served.
    stopped: Mutex<BTreeSet<QueueName>>,
    held: Mutex<VecDeque<Held>>,
    changed: Notify,
    /// Part of every receipt handle of this process; no earlier process had it.
    process: u64,
    receipts: AtomicU64,
}

/// How a queue is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serving {
    /// The most deliveries in flight.
    pub slots: usize,
    /// The longest time of a delivery. After it the message is delivered again.
    pub time: Duration,
    /// Whether the step is claimed in the transaction that delivers its message, which saves a commit. Not where the worker may hold
    /// the message back without an attempt, as it does while a service is out: it would find the step claimed already.
    pub claims: bool,
}

#[derive(Debug)]
struct Served {
    slots: Arc<Semaphore>,
    serving: Serving,
    /// No message of the queue is due earlier.
    earliest: Option<Timestamp>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queues {
    pub(crate) fn new(process: u64) -> Self {
        Self { process, ..Self::default() }
    }

    /// Serves a queue. A message of it may be due at any time.
    pub(crate) fn serve(&self, queue: QueueName, serving: Serving) {
        let slots = Arc::new(Semaphore::new(serving.slots.min(Semaphore::MAX_PERMITS)));
        let earliest = Some(Timestamp::from_millis(0));
        lock(&self.served).insert(queue, Served { slots, serving, earliest });
        self.changed.notify_one();
    }

    /// Serves no queue any more.
    pub(crate) fn serve_none(&self) {
        lock(&self.served).clear();
    }

    /// Stops the deliveries of a queue, or lets them go on.
    pub(crate) fn deliver(&self, queue: QueueName, on: bool) {
        let mut stopped = lock(&self.stopped);
        if on {
            stopped.remove(&queue);
            self.changed.notify_one();
        } else {
            stopped.insert(queue);
        }
    }

    fn is_stopped(&self, queue: &QueueName) -> bool {
        lock(&self.stopped).contains(queue)
    }

    /// Takes a slot of a queue, if it is served, delivers, and has a free one.
    pub(crate) fn slot(self: &Arc<Self>, queue: &QueueName) -> Option<(Slot, Serving)> {
        if self.is_stopped(queue) {
            return None;
        }
        let served = lock(&self.served);
        let served = served.get(queue)?;
        let permit = served.slots.clone().try_acquire_owned().ok()?;
        Some((Slot { permit: Some(permit), queues: self.clone() }, served.serving))
    }

    /// A receipt handle that no other delivery has.
    pub(crate) fn new_receipt(&self) -> String {
        format!("{}.{}", self.process, self.receipts.fetch_add(1, Relaxed))
    }

    /// Notes that a message of a queue is due at this time.
    pub(crate) fn due(&self, queue: &QueueName, at: Timestamp) {
        if let Some(served) = lock(&self.served).get_mut(queue) {
            served.earliest = Some(served.earliest.map_or(at, |earliest| earliest.min(at)));
            self.changed.notify_one();
        }
    }

    /// Notes that no message of a queue is due before this time, unless another was noted since it had this `earliest`.
    pub(crate) fn none_before(&self, queue: &QueueName, was: Timestamp, at: Option<Timestamp>) {
        if let Some(served) = lock(&self.served).get_mut(queue)
            && served.earliest == Some(was)
        {
            served.earliest = at;
        }
    }

    /// The queues that deliver and have a free slot, of which a message may be due by now, each with that time.
    pub(crate) fn ready(&self, now: Timestamp) -> Vec<(QueueName, Timestamp)> {
        let served = lock(&self.served);
        let ready = served.iter().filter(|(queue, served)| self.may_deliver(queue, served));
        let due = ready.filter_map(|(queue, served)| Some((queue.clone(), served.earliest.filter(|due| *due <= now)?)));
        due.collect()
    }

    /// When a message may be due next of a queue that delivers and has a free slot.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        let served = lock(&self.served);
        let ready = served.iter().filter(|(queue, served)| self.may_deliver(queue, served));
        ready.filter_map(|(_, served)| served.earliest).min()
    }

    fn may_deliver(&self, queue: &QueueName, served: &Served) -> bool {
        served.slots.available_permits() > 0 && !self.is_stopped(queue)
    }

    /// Keeps deliveries for the workers.
    pub(crate) fn hold(&self, deliveries: impl IntoIterator<Item = Held>) {
        lock(&self.held).extend(deliveries);
        self.changed.notify_one();
    }

    pub(crate) fn take_held(&self) -> Option<Held> {
        lock(&self.held).pop_front()
    }

    /// Returns when a delivery, a message or a free slot has come since the last call.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }
}
