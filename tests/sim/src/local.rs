//! The backend `local` on a file, for the simulation.

use futures::{FutureExt, future::BoxFuture};
use std::{collections::BTreeSet, fmt::Display, path::Path, time::Duration};
use stepwell::{
    TaskId, Timestamp,
    core::{
        index::{IndexEntry, Page},
        item::{Item, Key},
        message::{Outgoing, QueueName, StepQueue},
        settlement::{Settled, Settlement},
        snapshot::Loaded,
        transition::{Applied, Transition},
    },
    ports::{Deliveries, Queue, QueueError, Received, Store, TableError},
};
use stepwell_local::{File, Held, Local, SCHEMA};
use stepwell_simulation::sim::{
    SimulatedProcess,
    backend::{Backend, Delivered, Dies, Machine, Serving, Started, Undeliverable},
};
use tempfile::TempDir;

/// A file system in memory, where a commit waits for no disk.
const MEMORY: &str = "/dev/shm";

/// A file in a folder that is deleted with the value.
pub(crate) struct SqliteFile(TempDir);

impl SqliteFile {
    pub(crate) fn new() -> Self {
        let memory = Path::new(MEMORY);
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        Self(folder.expect("a folder"))
    }
}

/// The answer of a call that is made on the caller's thread.
fn now<T>(call: impl Future<Output = T>) -> T {
    call.now_or_never().expect("it waits for nothing")
}

fn told<T>(result: Result<T, impl Display>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

impl Machine for SqliteFile {
    fn start(&self, clock: SimulatedProcess, dies: Dies) -> Result<Started, String> {
        let file = told(File::open_on_caller(&self.0.path().join("stepwell.sqlite"), &[SCHEMA], dies))?;
        let taken_back = told(file.read(|tx| {
            let mut select = tx.prepare("SELECT body FROM messages WHERE receipt IS NOT NULL")?;
            let bodies = select.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
            Ok(bodies)
        }))?;
        let local = told(now(Local::new(file, clock)))?;
        Ok(Started { backend: Box::new(Running(local)), taken_back })
    }
}

/// A running process.
struct Running(Local<SimulatedProcess>);

impl Running {
    fn count(&self, table: &str) -> Result<u32, String> {
        let sql = format!("SELECT COUNT(*) FROM {table}");
        told(self.0.file().read(|tx| Ok(tx.prepare_cached(&sql)?.query_row([], |row| row.get(0))?)))
    }
}

fn delivered(held: Held) -> Delivered {
    Delivered {
        queue: held.queue.clone(),
        message: held.delivered.message.clone(),
        until: held.delivered.until,
        slot: Box::new(held),
    }
}

impl Backend for Running {
    fn apply(&self, transition: &Transition) -> Result<Applied, TableError> {
        now(Store::apply(&self.0, transition))
    }

    fn settle(&self, task: TaskId, settlement: Settlement) -> Result<Settled, TableError> {
        now(self.0.settle(task, settlement))
    }

    fn load(&self, task: TaskId, steps: &BTreeSet<&str>) -> Result<Loaded, TableError> {
        now(self.0.load(task, steps))
    }

    fn load_all(&self, task: TaskId) -> Result<Loaded, TableError> {
        now(self.0.load_all(task))
    }

    fn read(&self, key: &Key) -> Result<Item, TableError> {
        now(self.0.read(key))
    }

    fn list(&self, page: &Page<'_>) -> Result<Vec<IndexEntry>, TableError> {
        now(self.0.list(page))
    }

    fn range(&self, from: &Key, limit: u16) -> Result<Vec<Item>, TableError> {
        now(self.0.range(from, limit))
    }

    fn newest(&self, before: TaskId, limit: u16) -> Result<Vec<TaskId>, TableError> {
        now(self.0.newest(before, limit))
    }

    fn read_all(&self, keys: &[Key], attributes: &[&'static str]) -> Result<Vec<(Key, Item)>, TableError> {
        now(self.0.read_all(keys, attributes))
    }

    fn send(&self, outgoing: &Outgoing) -> Result<(), QueueError> {
        now(self.0.send(outgoing))
    }

    fn hide(&self, queue: &QueueName, receipt: &str, wait: Duration) -> Result<(), QueueError> {
        now(self.0.hide(queue, receipt, wait))
    }

    fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        now(self.0.reject(body, reason))
    }

    fn deliver(&self, queue: &StepQueue, on: bool) -> Result<(), QueueError> {
        now(self.0.deliver(queue, on))
    }

    fn serve(&self, Serving { queue, slots, time, claims }: &Serving) {
        let serving = stepwell_local::Serving { slots: *slots, time: *time, claims: *claims };
        self.0.serve(queue.clone(), serving);
    }

    fn receive(&self) -> Result<Option<Delivered>, String> {
        Ok(told(now(self.0.receive()))?.map(delivered))
    }

    fn take_held(&self) -> Option<Delivered> {
        self.0.take_held().map(delivered)
    }

    fn acknowledge(&self, message: &Received) -> Result<(), String> {
        told(now(self.0.acknowledge(message)))
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.0.next_due()
    }

    fn changed(&self) -> BoxFuture<'static, ()> {
        let local = self.0.clone();
        async move { local.changed().await }.boxed()
    }

    fn put(&self, queue: &StepQueue, body: &str) -> Result<(), String> {
        told(now(self.0.put(queue, body)))
    }

    fn items(&self) -> Result<u32, String> {
        self.count("items")
    }

    fn messages(&self) -> Result<u32, String> {
        self.count("messages")
    }

    fn undeliverable(&self) -> Result<Vec<Undeliverable>, String> {
        told(self.0.file().read(|tx| {
            let mut select = tx.prepare("SELECT body, reason FROM undeliverable")?;
            let rows = select.query_map([], |row| Ok(Undeliverable { body: row.get(0)?, reason: row.get(1)? }))?;
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            Ok(rows)
        }))
    }
}
