//! The oracle: what the simulation's runs write and send, as one hash a seed, held against those of an earlier version.
//!
//! A rewrite of the engine or of its stores that is meant to change no write has to leave every hash as it is. The hash of
//! a seed is made of its *entries*, one a line, in the order in which they happened:
//!
//! * `write KEY {before} -> {after}`: a write that took effect, with the item before it and after it, `none` where there
//!   is no item. One that leaves the item as it was is an entry, a refused one is none. The writes of one call are made
//!   together, so their order means nothing, and they are sorted by their keys.
//! * `send QUEUE after MILLIS BODY`: a message that is put into a queue, and how long it takes to get there.
//! * `lose QUEUE BODY`: a message that the engine sent, and SQS lost.
//! * `reject REASON BODY`: a message that was moved to the undeliverable ones.
//!
//! Items are in a canonical form (`item.rs`) with the names and values that DynamoDB stores, so that it does not matter how
//! a store keeps them.

mod item;

use crate::locked::Locked;
use item::canonical;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs, io,
    num::NonZero,
    ops::Range,
    sync::Arc,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};
use stepwell::core::item::{Item, Key};

/// The seeds whose hashes are kept.
pub const SEEDS: Range<u64> = 0..2_000;

/// How much of a hash is kept, in hexadecimal digits.
const DIGITS: usize = 16;

/// Where the hashes are kept.
const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/oracle/simulation.txt");

const HEADER: &str = "\
# What the simulation's runs write and send: `seed hash`. tests/README.md, \"The oracle\", says what is hashed.
# Only a stated change of what is stored, sent or simulated may change this file: `sim --write-oracle` rewrites it.
";

/// A write of one item.
#[derive(Debug)]
pub(crate) struct ItemWrite {
    /// Its keys: the partition's, a space, and its own.
    key: String,
    /// Empty where there is none.
    before: Item,
    after: Item,
}

impl ItemWrite {
    pub(crate) fn new(key: &Key, before: &Item, after: &Item) -> Self {
        let key = format!("{} {}", key.partition(), key.sort());
        Self { key, before: before.clone(), after: after.clone() }
    }
}

/// Takes down the entries of one run.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Locked<String>);

impl Recorder {
    /// The writes that one call made.
    pub(crate) fn written(&self, mut writes: Vec<ItemWrite>) {
        writes.sort_by(|one, other| one.key.cmp(&other.key));
        let shown = |item: &Item| if item.is_empty() { "none".to_owned() } else { canonical(item) };
        for ItemWrite { key, before, after } in &writes {
            self.enter(&format!("write {key} {} -> {}", shown(before), shown(after)));
        }
    }

    /// A message that was put into a queue.
    pub(crate) fn sent(&self, queue: &str, body: &str, delay: Duration) {
        self.enter(&format!("send {queue} after {} {}", delay.as_millis(), Value::from(body)));
    }

    /// A message that was sent, and lost.
    pub(crate) fn lost(&self, queue: &str, body: &str) {
        self.enter(&format!("lose {queue} {}", Value::from(body)));
    }

    /// A message that was moved to the undeliverable ones.
    pub(crate) fn rejected(&self, body: &str, reason: &str) {
        self.enter(&format!("reject {} {}", Value::from(reason), Value::from(body)));
    }

    fn enter(&self, entry: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.0.lock(), "{entry}");
    }
}

/// The entries of this seed's run, one a line, and what was wrong with the run.
pub fn entries(seed: u64) -> (String, Option<String>) {
    let recorder = Arc::new(Recorder::default());
    let report = super::run_recorded(seed, super::Mode::Split, false, Some(recorder.clone()), Arc::default());
    (recorder.0.take(), report.problem)
}

/// The hash of a run; of one that fails the problem.
type Hash = Result<String, String>;

/// The hash of each of these seeds, made on all processors.
fn hashes(seeds: Range<u64>) -> BTreeMap<u64, Hash> {
    let next = AtomicU64::new(seeds.start);
    let hashes = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    let (entries, problem) = entries(seed);
                    let hash = problem.map_or_else(|| Ok(hash(&entries)), Err);
                    hashes.lock().unwrap_or_else(PoisonError::into_inner).insert(seed, hash);
                }
            });
        }
    });
    hashes.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn hash(entries: &str) -> String {
    let mut hex: String = Sha256::digest(entries).iter().map(|byte| format!("{byte:02x}")).collect();
    hex.truncate(DIGITS);
    hex
}

/// The hashes that are kept.
fn kept() -> BTreeMap<u64, String> {
    let text = fs::read_to_string(FIXTURE).expect("the oracle's fixture");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (seed, hash) = line.split_once(' ').expect("`seed hash`");
            (seed.parse().expect("a seed"), hash.to_owned())
        })
        .collect()
}

/// Keeps the hashes of today's runs in the place of those that were kept; answers with how many seeds this changes.
///
/// # Errors
/// Where a run fails, because what a wrong engine writes is no standard; or where the fixture cannot be written.
pub fn rewrite() -> io::Result<usize> {
    let before = if fs::exists(FIXTURE)? { kept() } else { BTreeMap::new() };
    let mut today = BTreeMap::new();
    for (seed, hash) in hashes(SEEDS) {
        today.insert(seed, hash.map_err(|problem| io::Error::other(format!("seed {seed}: {problem}")))?);
    }
    let lines: String = today.iter().map(|(seed, hash)| format!("{seed} {hash}\n")).collect();
    fs::write(FIXTURE, format!("{HEADER}{lines}"))?;
    Ok(today.iter().filter(|(seed, hash)| before.get(seed) != Some(hash)).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of the seeds that differ are named.
    const NAMED: usize = 20;

    #[test]
    fn simulation_writes_and_sends_what_it_did_before() {
        let kept = kept();
        assert!(kept.keys().copied().eq(SEEDS), "the fixture has one hash for each of the seeds {SEEDS:?}");
        let today = hashes(SEEDS);
        let differing: Vec<u64> = SEEDS.filter(|seed| today[seed].as_ref() != Ok(&kept[seed])).collect();
        let Some(first) = differing.first() else { return };
        let named: Vec<String> = differing.iter().take(NAMED).map(u64::to_string).collect();
        panic!(
            "{} of {} runs write or send something else than before; the first of them: {}\n\
             {}Compare what both versions print:  cargo run -p stepwell-simulation --bin sim -- --seed {first} --writes\n\
             Where the change is meant and stated:  cargo run -p stepwell-simulation --bin sim -- --write-oracle",
            differing.len(),
            SEEDS.end - SEEDS.start,
            named.join(", "),
            today[first].as_ref().err().map_or_else(String::new, |problem| format!("Seed {first} fails: {problem}\n")),
        );
    }

    #[test]
    fn entries_of_a_seed_are_the_same_each_time() {
        for seed in 0..20 {
            let first = entries(seed);
            assert!(first.0.lines().count() > 5, "seed {seed} writes something");
            assert_eq!(first, entries(seed), "seed {seed}");
        }
    }

    #[test]
    fn order_of_the_writes_of_one_call_does_not_matter() {
        let write = |key: &str| ItemWrite { key: key.to_owned(), before: Item::new(), after: Item::new() };
        let [one, other] = [Recorder::default(), Recorder::default()];
        one.written(vec![write("a"), write("b")]);
        other.written(vec![write("b"), write("a")]);
        assert_eq!(one.0.take(), other.0.take());
    }
}
