//! The backend `local`: the engine's store and its queues in one file.

use crate::{
    error::FileError,
    file::{File, Schema},
    items,
    messages::{self, Delivery},
    queues::{Held, Queues, Serving, Slot},
    watches::Watches,
};
use rusqlite::Connection;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use stepwell::{
    CallError, FailureKind, Runtime, TaskId, Timestamp,
    core::{
        index::{IndexEntry, Page},
        item::{Item, Key},
        message::{Outgoing, QueueName, StepQueue},
        pause::{self, Pauses},
        settlement::{self, Disposition, Settled, Settlement},
        snapshot::Loaded,
        transition::{Applied, Transition},
    },
    ports::{Deliveries, Queue, QueueError, Received, Store, TableError},
};

/// The engine's tables. Each process that opens the file has a number of its own.
pub const SCHEMA: Schema = Schema { part: "engine", version: 1, sql: include_str!("schema.sql") };

/// The backend `local`. Clones share it.
///
/// A settlement is one transaction. In the same one it delivers the messages that it sends, as far as this process serves their
/// queues and has a free slot, and claims their steps: so a chain of five steps costs six commits.
#[derive(Clone, Debug)]
pub struct Local<A> {
    file: File,
    runtime: A,
    queues: Arc<Queues>,
    watches: Watches,
}

/// The transaction of a settlement.
struct Whole<'a> {
    tx: &'a Connection,
    queues: &'a Arc<Queues>,
    now: Timestamp,
    committed: Committed,
}

impl settlement::Transaction for Whole<'_> {
    type Error = FileError;

    fn apply(&mut self, transition: &Transition) -> Result<Applied, FileError> {
        let applied = items::apply(self.tx, transition)?;
        self.committed.written.extend(tasks_of(transition));
        Ok(applied)
    }

    fn send(&mut self, outgoing: &Outgoing) -> Result<(), FileError> {
        let queue = outgoing.queue();
        let id = messages::send(self.tx, outgoing, self.now)?;
        let slot = outgoing.delay.is_zero().then(|| self.queues.slot(&queue)).flatten();
        match slot {
            Some((slot, serving)) => self.deliver(id, queue, slot, serving),
            None => {
                self.committed.due.push((queue, self.now + outgoing.delay));
                Ok(())
            }
        }
    }

    fn end(&mut self, delivery: &settlement::Delivery) -> Result<(), FileError> {
        let queue = messages::end(self.tx, &delivery.receipt, delivery.disposition)?;
        if let (Some(queue), Disposition::GiveBack { until }) = (queue, delivery.disposition) {
            self.committed.due.push((queue, until));
        }
        Ok(())
    }
}

impl Whole<'_> {
    fn deliver(&mut self, id: i64, queue: QueueName, slot: Slot, serving: Serving) -> Result<(), FileError> {
        let (until, claims) = (self.now + serving.time, serving.claims);
        let delivery = Delivery { queue: &queue, receipt: self.queues.new_receipt(), now: self.now, until, claims };
        match messages::receive(self.tx, id, &delivery)? {
            Some(delivered) => {
                self.committed.due.push((queue.clone(), until));
                self.committed.held.push(Held::new(queue, delivered, slot));
            }
            None => self.committed.due.push((QueueName::DeadLetters, self.now)),
        }
        Ok(())
    }

    /// Delivers what is due of a queue, as long as it has a free slot.
    fn receive_due(&mut self, queue: &QueueName) -> Result<(), FileError> {
        while let Some((slot, serving)) = self.queues.slot(queue) {
            let Some(id) = messages::first_due(self.tx, queue, self.now)? else { return Ok(()) };
            self.deliver(id, queue.clone(), slot, serving)?;
        }
        Ok(())
    }
}

/// The tasks whose own items a transition writes.
fn tasks_of(transition: &Transition) -> impl Iterator<Item = TaskId> {
    transition.writes.iter().filter_map(|write| match write.key {
        Key::Task(task) => Some(task),
        _ => None,
    })
}

/// What is left to do once the transaction is committed.
#[derive(Default)]
struct Committed {
    held: Vec<Held>,
    /// When messages are due that are not delivered yet.
    due: Vec<(QueueName, Timestamp)>,
    /// The tasks whose own items are written.
    written: Vec<TaskId>,
}

impl Committed {
    fn carry_out(self, queues: &Queues, watches: &Watches) {
        for (queue, at) in self.due {
            queues.due(&queue, at);
        }
        queues.hold(self.held);
        watches.written(&self.written);
    }
}

/// Deletes the row of the last process. Returns false if there is none, because that was told to end.
fn forget_process(tx: &Connection) -> Result<bool, FileError> {
    Ok(tx.execute("DELETE FROM processes", [])? > 0)
}

impl<A: Runtime> Local<A> {
    /// The backend on this file, which [`File::open`] was given [`SCHEMA`] for. What a process held that died is given back. The queues of paused steps
    /// deliver nothing.
    ///
    /// # Errors
    /// The file cannot be read or written.
    pub async fn new(file: File, runtime: A) -> Result<Self, FileError> {
        let now = runtime.now();
        let (process, taken_back, pauses) = file
            .write(move |tx| {
                let died = forget_process(tx)?;
                let next = "INSERT INTO processes (started_at) VALUES (?)";
                let process = tx.prepare(next)?.insert([now.as_millis()])?;
                let pauses = items::range(tx, &pause::first_key(), pause::MOST_STEPS)?;
                Ok((process, messages::take_back(tx, died, now)?, pauses))
            })
            .await?;
        if taken_back > 0 {
            tracing::warn!(messages = taken_back, "an earlier process ended amid its work, which is begun anew");
        }
        let queues = Queues::new(process.unsigned_abs());
        for held in Pauses::from_items(pauses).held() {
            queues.deliver(held.into(), false);
        }
        Ok(Self { file, runtime, queues: Arc::new(queues), watches: Watches::default() })
    }

    /// The file.
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Notes that this process was told to end. Then it has not died of what it still holds at its end, however it ends.
    ///
    /// # Errors
    /// The commit failed.
    pub async fn told_to_end(&self) -> Result<(), FileError> {
        self.file.write(|tx| forget_process(tx).map(drop)).await
    }

    /// Serves a queue: from now on its messages are delivered.
    pub fn serve(&self, queue: impl Into<QueueName>, serving: Serving) {
        self.queues.serve(queue.into(), serving);
    }

    /// Delivers no more messages, but for those that [`receive`](Self::receive) holds already.
    pub fn serve_none(&self) {
        self.queues.serve_none();
    }

    /// The next delivery for a worker, if there is one: of a queue that is served and has a free slot. All that are due are delivered in
    /// one transaction.
    ///
    /// # Errors
    /// The commit failed.
    pub async fn receive(&self) -> Result<Option<Held>, FileError> {
        if let Some(held) = self.queues.take_held() {
            return Ok(Some(held));
        }
        let now = self.runtime.now();
        let ready = self.queues.ready(now);
        if ready.is_empty() {
            return Ok(None);
        }
        let queues = self.queues.clone();
        let received = move |tx: &Connection| {
            let mut whole = Whole { tx, queues: &queues, now, committed: Committed::default() };
            let mut next = Vec::new();
            for (queue, was) in ready {
                whole.receive_due(&queue)?;
                let due = messages::next_due(tx, &queue)?;
                next.push((queue, was, due));
            }
            Ok((whole.committed, next))
        };
        let (queues, watches) = (self.queues.clone(), self.watches.clone());
        let deliver = move |(committed, next): (Committed, Vec<(QueueName, Timestamp, Option<Timestamp>)>)| {
            for (queue, was, due) in next {
                queues.none_before(&queue, was, due);
            }
            committed.carry_out(&queues, &watches);
        };
        self.file.write_then(received, deliver).await?;
        Ok(self.queues.take_held())
    }

    /// Deletes a delivered message that is done with. If a settlement has done so, or it was delivered again, nothing happens. A message
    /// that a settlement has given back is deleted, too: its successor was sent since.
    ///
    /// # Errors
    /// The commit failed.
    pub async fn acknowledge(&self, message: &Received) -> Result<(), FileError> {
        // As a rule the settlement has deleted it. To see that takes no turn of the connection that writes.
        if !self.file.read(|tx| messages::was_last_delivered(tx, message))? {
            return Ok(());
        }
        let message = message.clone();
        self.file.write(move |tx| messages::acknowledge(tx, &message)).await
    }

    /// The next delivery that is held already: a settlement has made it, or the last call of [`receive`](Self::receive).
    #[cfg(feature = "testing")]
    pub fn take_held(&self) -> Option<Held> {
        self.queues.take_held()
    }

    /// Puts any text into the queue of a step, as another version of the program may have.
    ///
    /// # Errors
    /// The commit failed.
    #[cfg(feature = "testing")]
    pub async fn put(&self, queue: &StepQueue, body: &str) -> Result<(), QueueError> {
        let (queue, now, body) = (QueueName::from(queue.clone()), self.runtime.now(), body.to_owned());
        let name = messages::name(&queue);
        self.write_queue("put", &queue, now, move |tx| messages::put(tx, &name, &body, now, now).map(drop)).await
    }

    /// When the next message is due of a queue that is served and has a free slot. There may be none after all.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.queues.next()
    }

    /// Returns when there may be something to [`receive`](Self::receive) that there was not at the last call.
    pub async fn changed(&self) {
        self.queues.changed().await;
    }

    /// Deletes at most this many items that have expired. Returns how many it has deleted.
    ///
    /// # Errors
    /// The commit failed.
    pub async fn delete_expired(&self, most: u32) -> Result<usize, FileError> {
        let now = self.runtime.now();
        self.file.write(move |tx| items::delete_expired(tx, now, most)).await
    }

    fn read<R>(
        &self,
        operation: &'static str,
        job: impl FnOnce(&Connection) -> Result<R, FileError>,
    ) -> Result<R, TableError> {
        self.file.read(job).map_err(|error| error.of_call(operation))
    }

    /// Writes something after which a message of this queue is due at this time, also if the caller does not wait for the answer.
    async fn write_queue(
        &self,
        operation: &'static str,
        queue: &QueueName,
        due: Timestamp,
        job: impl FnOnce(&Connection) -> Result<(), FileError> + Send + 'static,
    ) -> Result<(), QueueError> {
        let (queues, of) = (self.queues.clone(), queue.clone());
        self.file.write_then(job, move |()| queues.due(&of, due)).await.map_err(|error| {
            let (kind, reason) = match error {
                FileError::Failed { kind, reason } => (kind, reason),
                FileError::Unreadable(unreadable) => (FailureKind::Refused, unreadable.to_string()),
            };
            QueueError::new(queue.clone(), CallError::new(operation, kind, reason))
        })
    }
}

impl<A: Runtime> Store for Local<A> {
    async fn apply(&self, transition: &Transition) -> Result<Applied, TableError> {
        // A claim that was made at the delivery is refused here. To see that takes no turn of the connection that writes.
        if let Some(refused) = self.read(transition.name, |tx| items::refused(tx, transition))? {
            return Ok(refused);
        }
        let (name, written) = (transition.name, tasks_of(transition).collect::<Vec<_>>());
        let (transition, watches) = (transition.clone(), self.watches.clone());
        let tell = move |applied| {
            watches.written(&written);
            applied
        };
        self.file.write_then(move |tx| items::apply(tx, &transition), tell).await.map_err(|error| error.of_call(name))
    }

    async fn settle(&self, task: TaskId, settlement: Settlement) -> Result<Settled, TableError> {
        let (now, queues) = (self.runtime.now(), self.queues.clone());
        let settle = move |tx: &Connection| {
            let mut whole = Whole { tx, queues: &queues, now, committed: Committed::default() };
            let settled = settlement.carry_out(task, &mut whole, now)?;
            Ok((settled, whole.committed))
        };
        let (queues, watches) = (self.queues.clone(), self.watches.clone());
        let deliver = move |(settled, committed): (Settled, Committed)| {
            committed.carry_out(&queues, &watches);
            settled
        };
        self.file.write_then(settle, deliver).await.map_err(|error| error.of_call("settle"))
    }

    async fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        self.read("load", |tx| items::load(tx, task, steps))
    }

    async fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        self.read("load_all", |tx| items::load_all(tx, task))
    }

    async fn read(&self, key: &Key) -> Result<Item, TableError> {
        self.read("read", |tx| items::read(tx, key))
    }

    async fn list(&self, page: &Page<'_>) -> Result<Vec<IndexEntry>, TableError> {
        self.read("list", |tx| items::list(tx, page))
    }

    async fn range(&self, from: &Key, limit: u16) -> Result<Vec<Item>, TableError> {
        self.read("range", |tx| items::range(tx, from, limit))
    }

    async fn newest(&self, before: TaskId, limit: u16) -> Result<Vec<TaskId>, TableError> {
        self.read("newest", |tx| items::newest(tx, before, limit))
    }

    async fn read_all(&self, keys: &[Key], attributes: &[&'static str]) -> Result<Vec<(Key, Item)>, TableError> {
        self.read("read_all", |tx| items::read_all(tx, keys, attributes))
    }

    fn changed(&self, task: TaskId) -> impl Future<Output = ()> + Send {
        self.watches.changed(task)
    }
}

impl<A: Runtime> Deliveries for Local<A> {
    async fn deliver(&self, queue: &StepQueue, on: bool) -> Result<(), QueueError> {
        self.queues.deliver(queue.clone().into(), on);
        Ok(())
    }
}

impl<A: Runtime> Queue for Local<A> {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), QueueError> {
        let (queue, now) = (outgoing.queue(), self.runtime.now());
        let (sent, due) = (outgoing.clone(), now + outgoing.delay);
        self.write_queue("send", &queue, due, move |tx| messages::send(tx, &sent, now).map(drop)).await
    }

    async fn hide(&self, queue: &QueueName, receipt_handle: &str, wait: Duration) -> Result<(), QueueError> {
        let (receipt, until) = (receipt_handle.to_owned(), self.runtime.now() + wait);
        let give_back = Disposition::GiveBack { until };
        self.write_queue("hide", queue, until, move |tx| messages::end(tx, &receipt, give_back).map(drop)).await
    }

    async fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        let (body, reason, now) = (body.to_owned(), reason.to_owned(), self.runtime.now());
        let reject = move |tx: &Connection| messages::reject(tx, &body, &reason, now);
        self.write_queue("reject", &QueueName::Undeliverable, now, reject).await
    }
}
