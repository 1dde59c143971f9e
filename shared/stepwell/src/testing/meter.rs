//! Counts what the engine's calls would use of DynamoDB and SQS.

use crate::core::{
    index::IndexPosition,
    item::{Item, Key, attribute},
};
use serde_json::Value;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How long a metered call takes, in virtual time. The time of a delivery tells its calls in sequence.
pub(super) const CALL: Duration = Duration::from_millis(10);

/// The bytes of an entry of the index `by_start`: the keys of a task and its partition.
pub(super) const START_ENTRY: usize = 70;

/// The size of an item in bytes, by DynamoDB's published rules. The attributes of its key count as any other.
pub fn item_bytes(item: &Item) -> usize {
    let value = |name: &str, value: &Value| match value {
        Value::Array(members) if attribute::is_set(name) => {
            members.iter().filter_map(Value::as_str).map(str::len).sum()
        }
        other => value_bytes(other),
    };
    item.iter().map(|(name, of)| name.len() + value(name, of)).sum()
}

fn value_bytes(value: &Value) -> usize {
    // A list or a map takes three more bytes, and each of its entries one.
    const CONTAINER: usize = 3;
    const ENTRY: usize = 1;
    match value {
        Value::String(text) => text.len(),
        // Two digits take a byte, and the number one more.
        Value::Number(number) => number.to_string().trim_start_matches('-').len().div_ceil(2) + 1,
        Value::Bool(_) | Value::Null => 1,
        Value::Array(list) => CONTAINER + list.iter().map(|entry| ENTRY + value_bytes(entry)).sum::<usize>(),
        Value::Object(map) => {
            CONTAINER + map.iter().map(|(name, value)| ENTRY + name.len() + value_bytes(value)).sum::<usize>()
        }
    }
}

/// The units of a consistent read of this many bytes: one per 4 KB, and one for nothing.
pub fn read_units(bytes: usize) -> usize {
    bytes.div_ceil(4 * 1024).max(1)
}

/// The units of a write: one per 1 KB of the larger of the item before and after it.
fn write_units(before: usize, after: usize) -> usize {
    before.max(after).div_ceil(1024).max(1)
}

/// The size of a stored item with its key; 0 if there is none.
pub fn stored_bytes(key: &Key, item: &Item) -> usize {
    const KEY_NAMES: usize = "pk".len() + "sk".len();
    if item.is_empty() { 0 } else { KEY_NAMES + key.partition().len() + key.sort().len() + item_bytes(item) }
}

/// The capacity units that DynamoDB charges for on demand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// Write units on the table.
    pub table_writes: usize,
    /// Write units on its index `by_status`.
    pub index_writes: usize,
    /// Write units on its index `by_start`.
    pub start_writes: usize,
    /// Halves of a read unit: an eventually consistent read takes half of one.
    pub half_reads: usize,
}

impl Units {
    /// All write units: each costs the same, on the table and on its indexes.
    pub const fn writes(&self) -> usize {
        self.table_writes + self.index_writes + self.start_writes
    }
}

/// One delivery of a message to a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeteredDelivery {
    /// The step.
    pub step: String,
    /// The calls to the store and the queues that the worker made one after another. Concurrent calls count as one.
    pub calls_in_sequence: u32,
}

/// What has been counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metered {
    /// DynamoDB's units.
    pub units: Units,
    /// SQS requests of the engine itself: sends and changes of a visibility timeout. Lambda receives and deletes.
    pub sqs_requests: usize,
    /// The deliveries to workers, in order.
    pub deliveries: Vec<MeteredDelivery>,
}

/// A count of calls. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Mutex<Metered>>);

/// The size of one write.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteSize {
    /// Its units on the table.
    pub units: usize,
    /// Its units on the index `by_status`.
    pub index_units: usize,
    /// Its units on the index `by_start`.
    pub start_units: usize,
}

impl WriteSize {
    /// The size of a write that took effect.
    pub fn of(key: &Key, before: &Item, after: &Item) -> Self {
        let units = write_units(stored_bytes(key, before), stored_bytes(key, after));
        let index_units = match (IndexPosition::of(key, before), IndexPosition::of(key, after)) {
            (None, None) => 0,
            // An entry that moves is deleted and put.
            (Some(from), Some(to)) if from != to => 2,
            (Some(_), Some(_)) => usize::from(before != after),
            (Some(_), None) | (None, Some(_)) => 1,
        };
        // The task's id never changes, and nothing else is in that index.
        let start_units = usize::from(matches!(key, Key::Task(_)) && before.is_empty() != after.is_empty());
        Self { units, index_units, start_units }
    }
}

impl Meter {
    fn metered(&self) -> MutexGuard<'_, Metered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has been counted so far.
    pub fn so_far(&self) -> Metered {
        self.metered().clone()
    }

    /// Counts a transition of `asked` writes. A refused condition takes the units of a write, too. Each write of a transaction takes
    /// twice its units.
    pub(super) fn wrote(&self, asked: usize, writes: &[WriteSize]) {
        let factor = if asked > 1 { 2 } else { 1 };
        let refused = asked.saturating_sub(writes.len());
        let mut metered = self.metered();
        let units = writes.iter().map(|write| write.units).sum::<usize>() + refused;
        metered.units.table_writes += factor * units;
        metered.units.index_writes += factor * writes.iter().map(|write| write.index_units).sum::<usize>();
        metered.units.start_writes += factor * writes.iter().map(|write| write.start_units).sum::<usize>();
    }

    /// Counts consistent reads that are rounded up one by one.
    pub(super) fn read_each(&self, items: impl IntoIterator<Item = usize>) {
        self.metered().units.half_reads += items.into_iter().map(|bytes| 2 * read_units(bytes)).sum::<usize>();
    }

    /// Counts an eventually consistent read.
    pub(super) fn read_eventually(&self, bytes: usize) {
        self.metered().units.half_reads += read_units(bytes);
    }

    /// Counts a request to SQS.
    pub(super) fn asked_sqs(&self) {
        self.metered().sqs_requests += 1;
    }

    /// Counts a delivery to a worker that took this long.
    pub(super) fn delivered(&self, step: &str, took: Duration) {
        let delivery = MeteredDelivery { step: step.to_owned(), calls_in_sequence: Self::calls_in(took) };
        self.metered().deliveries.push(delivery);
    }

    /// The number of calls in sequence that take this long in virtual time.
    pub fn calls_in(took: Duration) -> u32 {
        u32::try_from(took.as_millis() / CALL.as_millis()).unwrap_or(u32::MAX)
    }
}

/// The bytes of an item of the store.
pub(super) fn bytes_in(store: &super::MemoryStore, key: &Key) -> usize {
    stored_bytes(key, &store.item(key))
}
