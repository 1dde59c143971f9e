//! The only process of a machine. Everything of a run is done in it, and dies with it. Then the machine starts another one.
//!
//! The table in memory is a mirror: what a transaction has written is written there too, where it is audited and held to the model, and
//! each answer and each written item has to be the same.

use super::{
    backend::{Backend, Delivered, Machine, Serving, Started, Undeliverable},
    fault::Fault,
    process::SimulatedProcess,
    scheduler::Scheduler,
    table::MemoryTable,
    version::Version,
};
use crate::{graph, locked::Locked};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::pending,
    sync::Arc,
    time::Duration,
};
use stepwell::{
    Runtime, TaskId, Timestamp,
    core::{
        index::{IndexEntry, Page},
        item::{Item, Key},
        message::{Message, Outgoing, QueueName, StepQueue},
        settlement::{self, Settled, Settlement},
        snapshot::Loaded,
        step::{self, ClaimRequest},
        transition::{Applied, Transition},
    },
    ports::{QueueError, Received, Store, TableError},
};
use tokio::sync::Notify;

/// How many deliveries of a queue are in flight at most: at least and at most. With fewer, the tasks of a long outage wait for slots and
/// not for the service.
const SLOTS: (u64, u64) = (4, 12);

/// How many processes in a row may die of a message before it is given up.
const MAX_DEATHS: u64 = 5;

/// The processes of a machine, one after the other.
pub(super) struct Host {
    scheduler: Arc<Scheduler>,
    machine: Box<dyn Machine>,
    mirror: MemoryTable,
    /// The served queues. Each process draws how many slots they have.
    served: Vec<Serving>,
    running: Locked<Option<Running>>,
    /// Whether the process may die at the commit that is being made.
    is_mortal: Arc<Locked<bool>>,
    /// The deliveries that wait for their workers.
    delivered: Locked<Vec<Delivered>>,
    /// How often each message of a step was delivered, by its id. It keeps its id as a dead letter, and its count begins anew.
    receives: Locked<BTreeMap<String, u64>>,
    started: Notify,
}

struct Running {
    process: SimulatedProcess,
    backend: Box<dyn Backend>,
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

/// Writes to the mirror what a transaction has written, and notes the keys.
struct Mirrored<'a> {
    mirror: &'a MemoryTable,
    keys: BTreeSet<Key>,
}

impl<'a> Mirrored<'a> {
    const fn new(mirror: &'a MemoryTable) -> Self {
        Self { mirror, keys: BTreeSet::new() }
    }

    fn make(&mut self, transition: &Transition) -> Result<Applied, TableError> {
        self.keys.extend(transition.writes.iter().map(|write| write.key.clone()));
        self.mirror.make(transition)
    }
}

impl settlement::Transaction for Mirrored<'_> {
    type Error = TableError;

    fn apply(&mut self, transition: &Transition) -> Result<Applied, TableError> {
        self.make(transition)
    }

    fn send(&mut self, _: &Outgoing) -> Result<(), TableError> {
        Ok(())
    }

    fn end(&mut self, _: &settlement::Delivery) -> Result<(), TableError> {
        Ok(())
    }
}

impl Host {
    /// The processes of this machine, which serve these queues. None runs yet.
    pub(super) fn new(
        scheduler: &Arc<Scheduler>,
        machine: Box<dyn Machine>,
        mirror: MemoryTable,
        served: Vec<Serving>,
    ) -> Self {
        Self {
            scheduler: scheduler.clone(),
            machine,
            mirror,
            served,
            running: Locked::default(),
            is_mortal: Arc::new(Locked::new(true)),
            delivered: Locked::default(),
            receives: Locked::default(),
            started: Notify::new(),
        }
    }

    // ---- The process

    /// Starts a process; `None` if it dies at once.
    pub(super) fn start(&self, name: String) -> Option<SimulatedProcess> {
        let process = SimulatedProcess::new(&self.scheduler, name, Version::Shipped);
        let (dying, is_mortal) = (process.clone(), self.is_mortal.clone());
        let dies = move || {
            let dies = is_mortal.get() && dying.strikes(Fault::Crash);
            if dies {
                dying.die();
            }
            dies
        };
        let Started { backend, taken_back } = match self.machine.start(process.clone(), Box::new(dies)) {
            Ok(started) => started,
            Err(_) if process.is_dead() => return None,
            Err(problem) => {
                self.scheduler.violated(|| format!("no process can start: {problem}"));
                return None;
            }
        };
        process.note(|| format!("starts, and takes back {} messages", taken_back.len()));
        for body in taken_back {
            let Ok(Message { task_id, step, .. }) = serde_json::from_str(&body) else { continue };
            let held = self.mirror.step(task_id, &step);
            self.mirrored(self.mirror.make(&step::abandon(task_id, &held, process.now())));
        }
        for serving in &self.served {
            let (least, most) = SLOTS;
            let slots = usize::try_from(least + self.scheduler.up_to(most - least)).expect("a small number");
            backend.serve(&Serving { slots, ..serving.clone() });
        }
        *self.running.lock() = Some(Running { process: process.clone(), backend });
        self.compare_all();
        self.started.notify_waiters();
        Some(process)
    }

    /// Closes what the dead process had open.
    pub(super) fn close(&self) {
        self.delivered.take();
        self.running.take();
    }

    fn running(&self) -> Option<SimulatedProcess> {
        let running = self.running.lock();
        running.as_ref().map(|running| running.process.clone()).filter(|process| !process.is_dead())
    }

    /// Waits until a process runs.
    pub(super) async fn up(&self) -> SimulatedProcess {
        loop {
            let started = self.started.notified();
            match self.running() {
                Some(process) => return process,
                None => started.await,
            }
        }
    }

    /// Waits until this process may make a call. A dead one makes no more, and one that never dies is none of the machine's own.
    async fn reach(&self, by: &SimulatedProcess) {
        if !by.is_mortal() {
            self.up().await;
        } else if by.is_dead() {
            pending().await
        }
    }

    /// Makes a call to the backend, whose commits this process may die at.
    fn call<R>(&self, is_mortal: bool, call: impl FnOnce(&dyn Backend) -> R) -> R {
        self.is_mortal.set(is_mortal);
        let running = self.running.lock();
        let result = call(&*running.as_ref().expect("a process runs").backend);
        self.is_mortal.set(true);
        result
    }

    /// Makes a call that nobody waits for. It fails only if the process dies.
    fn call_of_host<R>(&self, call: impl FnOnce(&dyn Backend) -> Result<R, String>) -> Option<R> {
        match self.call(true, call) {
            Ok(result) => Some(result),
            Err(problem) => {
                if self.running().is_some() {
                    self.scheduler.violated(|| format!("a call fails: {problem}"));
                }
                None
            }
        }
    }

    fn now(&self) -> Timestamp {
        self.running.lock().as_ref().map_or(self.scheduler.now(), |running| running.process.now())
    }

    // ---- The mirror

    fn mirrored<R>(&self, answer: Result<R, TableError>) -> Option<R> {
        if let Err(error) = &answer {
            self.scheduler.violated(|| format!("the mirror cannot make a write that was made: {error}"));
        }
        answer.ok()
    }

    fn agree<R: PartialEq + fmt::Debug>(&self, what: impl fmt::Display, found: &R, expected: &R) {
        if found != expected {
            self.scheduler.violated(|| format!("{what} answers {found:?}, and not {expected:?}"));
        }
    }

    /// These items have to be as they are in the mirror.
    fn compare(&self, keys: impl IntoIterator<Item = Key>) {
        for key in keys {
            match self.call(false, |backend| backend.read(&key)) {
                Ok(item) => self.agree(format!("after a write {key}"), &item, &self.mirror.item(&key)),
                Err(error) => self.scheduler.violated(|| format!("{key} cannot be read: {error}")),
            }
        }
    }

    /// All items have to be as they are in the mirror.
    pub(super) fn compare_all(&self) {
        self.compare(self.mirror.keys());
        let items = self.call(false, |backend| backend.items());
        self.agree("the number of items", &items, &Ok(u32::try_from(self.mirror.count()).expect("few items")));
    }

    /// Takes what a transaction has delivered, and claimed after all other writes.
    fn delivered(&self, delivered: Vec<Delivered>, mut mirrored: Mirrored<'_>) {
        for delivery in &delivered {
            if delivery.queue == QueueName::DeadLetters {
                self.scheduler.gave_up();
                if !self.has_reason_to_give_up(&delivery.message.id) {
                    self.scheduler.violated(|| format!("message {} is given up without reason", delivery.message.id));
                }
            } else {
                let receives = delivery.message.receives.unwrap_or_default().into();
                self.receives.lock().insert(delivery.message.id.clone(), receives);
            }
            let Delivered { queue: QueueName::Step(queue), message, until, .. } = delivery else { continue };
            let claims = self.served.iter().any(|serving| serving.queue == delivery.queue && serving.claims);
            let Ok(Message { task_id, step, .. }) = serde_json::from_str(&message.body) else { continue };
            if claims && step == queue.step {
                let owner = step::owner(message.receipt.as_deref().unwrap_or_default(), &message.id);
                let (now, lease_until) = (self.now(), *until);
                let claim = ClaimRequest { task: task_id, step: &step, owner: &owner, now, lease_until };
                self.mirrored(mirrored.make(&step::claim(&claim)));
            }
        }
        self.compare(mirrored.keys);
        self.delivered.lock().extend(delivered);
    }

    /// Whether a message may be given up: processes died of it, or it was delivered too often. A process that dies at a delivery hides it
    /// from the count.
    fn has_reason_to_give_up(&self, message: &str) -> bool {
        let crashes = self.scheduler.struck()[Fault::Crash as usize];
        let receives = self.receives.lock().get(message).copied().unwrap_or_default();
        crashes >= MAX_DEATHS || receives + crashes >= self.scheduler.odds().max_receives().into()
    }

    fn held(&self) -> Vec<Delivered> {
        self.call(false, |backend| std::iter::from_fn(|| backend.take_held()).collect())
    }

    // ---- The engine's store, as this process reaches it

    pub(super) async fn apply(&self, by: &SimulatedProcess, transition: &Transition) -> Result<Applied, TableError> {
        self.reach(by).await;
        let applied = self.call(by.is_mortal(), |backend| backend.apply(transition))?;
        let mut mirrored = Mirrored::new(&self.mirror);
        if let Some(expected) = self.mirrored(mirrored.make(transition)) {
            self.agree(transition.name, &applied, &expected);
        }
        self.compare(mirrored.keys);
        Ok(applied)
    }

    pub(super) async fn settle(
        &self,
        by: &SimulatedProcess,
        task: TaskId,
        settlement: Settlement,
    ) -> Result<Settled, TableError> {
        self.reach(by).await;
        let settled = self.call(by.is_mortal(), |backend| backend.settle(task, settlement.clone()))?;
        let mut mirrored = Mirrored::new(&self.mirror);
        if let Some(expected) = self.mirrored(settlement.carry_out(task, &mut mirrored, self.now())) {
            self.agree("a settlement", &settled, &expected);
        }
        self.delivered(self.held(), mirrored);
        Ok(settled)
    }

    async fn read_both<R: PartialEq + fmt::Debug>(
        &self,
        by: &SimulatedProcess,
        what: &str,
        found: impl FnOnce(&dyn Backend) -> Result<R, TableError>,
        expected: impl Future<Output = Result<R, TableError>>,
    ) -> Result<R, TableError> {
        self.reach(by).await;
        let found = self.call(by.is_mortal(), found)?;
        self.agree(what, &found, &expected.await?);
        Ok(found)
    }

    pub(super) async fn load(
        &self,
        by: &SimulatedProcess,
        task: TaskId,
        steps: &BTreeSet<&str>,
    ) -> Result<Loaded, TableError> {
        self.read_both(by, "load", |backend| backend.load(task, steps), self.mirror.load(task, steps)).await
    }

    pub(super) async fn load_all(&self, by: &SimulatedProcess, task: TaskId) -> Result<Loaded, TableError> {
        self.read_both(by, "load_all", |backend| backend.load_all(task), self.mirror.load_all(task)).await
    }

    pub(super) async fn read(&self, by: &SimulatedProcess, key: &Key) -> Result<Item, TableError> {
        self.read_both(by, "read", |backend| backend.read(key), self.mirror.read(key)).await
    }

    pub(super) async fn list(&self, by: &SimulatedProcess, page: &Page<'_>) -> Result<Vec<IndexEntry>, TableError> {
        self.read_both(by, "list", |backend| backend.list(page), self.mirror.list(page)).await
    }

    pub(super) async fn range(&self, by: &SimulatedProcess, from: &Key, limit: u16) -> Result<Vec<Item>, TableError> {
        self.read_both(by, "range", |backend| backend.range(from, limit), self.mirror.range(from, limit)).await
    }

    pub(super) async fn newest(
        &self,
        by: &SimulatedProcess,
        before: TaskId,
        limit: u16,
    ) -> Result<Vec<TaskId>, TableError> {
        self.read_both(by, "newest", |backend| backend.newest(before, limit), self.mirror.newest(before, limit)).await
    }

    pub(super) async fn read_all(
        &self,
        by: &SimulatedProcess,
        keys: &[Key],
        attributes: &[&'static str],
    ) -> Result<Vec<(Key, Item)>, TableError> {
        let expected = self.mirror.read_all(keys, attributes);
        self.read_both(by, "read_all", |backend| backend.read_all(keys, attributes), expected).await
    }

    // ---- The messages

    pub(super) async fn send(&self, by: &SimulatedProcess, outgoing: &Outgoing) -> Result<(), QueueError> {
        self.write_queue(by, |backend| backend.send(outgoing)).await
    }

    pub(super) async fn hide(
        &self,
        by: &SimulatedProcess,
        queue: &QueueName,
        receipt: &str,
        wait: Duration,
    ) -> Result<(), QueueError> {
        self.write_queue(by, |backend| backend.hide(queue, receipt, wait)).await
    }

    pub(super) async fn deliver(&self, by: &SimulatedProcess, queue: &StepQueue, on: bool) -> Result<(), QueueError> {
        self.write_queue(by, |backend| backend.deliver(queue, on)).await
    }

    pub(super) async fn reject(&self, by: &SimulatedProcess, body: &str, reason: &str) -> Result<(), QueueError> {
        self.write_queue(by, |backend| backend.reject(body, reason)).await
    }

    async fn write_queue(
        &self,
        by: &SimulatedProcess,
        write: impl FnOnce(&dyn Backend) -> Result<(), QueueError>,
    ) -> Result<(), QueueError> {
        self.reach(by).await;
        self.call(by.is_mortal(), write)
    }

    /// Puts any text into the queue of a step, while a process runs.
    pub(super) fn put(&self, step: &str, body: &str) {
        let put = self.call(false, |backend| backend.put(&StepQueue::new(graph::WORKFLOW, step), body));
        self.agree("somebody who puts a message", &put, &Ok(()));
    }

    /// Acknowledges a message, unless the process is dead.
    pub(super) fn acknowledge(&self, message: &Received) {
        if self.running().is_some() {
            self.call_of_host(|backend| backend.acknowledge(message));
        }
    }

    /// Whether there is no message, but for the rejected ones. While no process runs, nobody knows.
    pub(super) fn has_no_messages(&self) -> bool {
        self.running().is_some() && self.call_of_host(|backend| backend.messages()) == Some(0)
    }

    /// The rejected messages.
    pub(super) fn undeliverable(&self) -> Vec<Undeliverable> {
        self.call_of_host(|backend| backend.undeliverable()).unwrap_or_default()
    }

    /// Delivers what is due.
    pub(super) fn receive(&self) -> Vec<Delivered> {
        if let Some(Some(first)) = self.call_of_host(|backend| backend.receive()) {
            self.delivered([first].into_iter().chain(self.held()).collect(), Mirrored::new(&self.mirror));
        }
        self.delivered.take()
    }

    /// Waits until there may be something to receive.
    pub(super) async fn next(&self, process: &SimulatedProcess) {
        let (changed, due) = self.call(true, |backend| (backend.changed(), backend.next_due()));
        match due {
            Some(due) => drop(tokio::time::timeout(due.since(process.now()), changed).await),
            None => changed.await,
        }
        self.scheduler.wait(20).await;
    }
}
