//! What a run has used, and what is left of each quota.

use super::{
    buckets::{Bucket, OnDemand, kept},
    setup::Setup,
};
use std::{collections::BTreeMap, time::Duration};
use stepwell::{
    Timestamp,
    core::index::IndexPosition,
    testing::{Units, WriteSize, Written},
};
use stepwell_cli::cost::MB_OF_A_CORE;

/// What was used, at full scale.
#[derive(Clone, Debug, Default)]
pub struct Used {
    /// DynamoDB's units.
    pub units: Units,
    /// Calls that DynamoDB throttled, and those of them that their client gave up on.
    pub throttled: u64,
    /// See `throttled`.
    pub given_up: u64,
    /// Requests to SQS, Lambda's receives and deletes included, a message alone.
    pub sqs_requests: u64,
    /// Requests to the API, those that it throttled left out.
    pub api_requests: u64,
    /// Invocations by function.
    pub invocations: BTreeMap<String, Invocations>,
}

/// The invocations of one function, a message alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Invocations {
    /// How many.
    pub count: u64,
    /// How long all of them took.
    pub took: Duration,
    /// Their megabyte-milliseconds. Lambda rounds each up to a millisecond.
    pub mb_ms: u64,
}

impl Used {
    /// What was used since `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let invocations = self.invocations.iter().map(|(function, now)| {
            let before = before.invocations.get(function).copied().unwrap_or_default();
            let since = Invocations {
                count: now.count - before.count,
                took: now.took - before.took,
                mb_ms: now.mb_ms - before.mb_ms,
            };
            (function.clone(), since)
        });
        Self {
            units: Units {
                table_writes: self.units.table_writes - before.units.table_writes,
                index_writes: self.units.index_writes - before.units.index_writes,
                start_writes: self.units.start_writes - before.units.start_writes,
                half_reads: self.units.half_reads - before.units.half_reads,
            },
            throttled: self.throttled - before.throttled,
            given_up: self.given_up - before.given_up,
            sqs_requests: self.sqs_requests - before.sqs_requests,
            api_requests: self.api_requests - before.api_requests,
            invocations: invocations.collect(),
        }
    }
}

/// The quotas of a run that is under way. One call of it stands for `scale` calls.
#[derive(Debug)]
pub(super) struct Meters {
    pub(super) scale: u64,
    pub(super) used: Used,
    pub(super) writes: OnDemand,
    pub(super) index: OnDemand,
    pub(super) reads: OnDemand,
    /// By partition of the index, such as `pending#3`.
    pub(super) shards: BTreeMap<String, Bucket>,
    partition_write_units: f64,
}

impl Meters {
    pub(super) fn new(setup: &Setup, scale: u64) -> Self {
        let quota = &setup.quotas.dynamodb;
        let on_demand = |warm, most| OnDemand::new(warm, most, quota.growth, quota.growth_minutes);
        Self {
            scale,
            used: Used::default(),
            writes: on_demand(setup.warm_write_units, quota.table_write_units),
            index: on_demand(setup.warm_index_units, quota.table_write_units),
            reads: on_demand(setup.warm_read_units, quota.table_read_units),
            shards: BTreeMap::new(),
            partition_write_units: quota.partition_write_units,
        }
    }

    /// Whether a write is not throttled that changes entries of these partitions of the index. An index that takes no more holds up the
    /// writes of its table.
    pub(super) fn admits_write(&mut self, shards: &[String], now: Timestamp) -> bool {
        let rate = self.partition_write_units;
        let mut has_some = |shard: &String| match self.shards.get_mut(shard) {
            Some(bucket) => bucket.has_some(rate, kept(rate), now),
            None => true,
        };
        shards.iter().all(&mut has_some) && self.writes.has_some(now) && (shards.is_empty() || self.index.has_some(now))
    }

    pub(super) fn admits_read(&mut self, now: Timestamp) -> bool {
        self.reads.has_some(now)
    }

    /// Counts a transition of `asked` writes. As the engine's own meter: a refused condition takes a unit, and a transaction twice all.
    pub(super) fn wrote(&mut self, asked: usize, written: &[(WriteSize, [Option<String>; 2])], now: Timestamp) {
        let factor = if asked > 1 { 2 } else { 1 };
        let refused = asked.saturating_sub(written.len());
        let units = factor * (written.iter().map(|(size, _)| size.units).sum::<usize>() + refused);
        let index_units = factor * written.iter().map(|(size, _)| size.index_units).sum::<usize>();
        let full = |units: usize| units as f64 * self.scale as f64;
        self.writes.take(full(units), now);
        self.index.take(full(index_units), now);
        for (size, places) in written {
            let named: Vec<_> = places.iter().flatten().collect();
            for shard in &named {
                // An entry that moves is deleted in one partition and put into another one, or both in the same.
                let share = factor * size.index_units / named.len();
                self.shards.entry((*shard).clone()).or_default().take(full(share));
            }
        }
        self.used.units.table_writes += units * self.scale as usize;
        self.used.units.index_writes += index_units * self.scale as usize;
        let start_units = factor * written.iter().map(|(size, _)| size.start_units).sum::<usize>();
        self.used.units.start_writes += start_units * self.scale as usize;
    }

    pub(super) fn read(&mut self, half_units: usize, now: Timestamp) {
        self.reads.take((half_units as u64 * self.scale) as f64 / 2.0, now);
        self.used.units.half_reads += half_units * self.scale as usize;
    }

    /// Counts an invocation that took so long, with the processor time that a function of this size needs for it.
    pub(super) fn invoked(&mut self, function: &str, took: Duration, cpu: Duration, memory_mb: u32) {
        let took = took + cpu * MB_OF_A_CORE / memory_mb;
        let ms = took.as_micros().div_ceil(1_000) as u64;
        let invocations = self.used.invocations.entry(function.to_owned()).or_default();
        invocations.count += self.scale;
        invocations.took += took * u32::try_from(self.scale).unwrap_or(u32::MAX);
        invocations.mb_ms += ms * u64::from(memory_mb) * self.scale;
    }
}

/// A write's size, and the partitions of the index that it changes an entry of.
pub(super) fn measured(written: &Written<'_>) -> (WriteSize, [Option<String>; 2]) {
    let size = WriteSize::of(written.key, written.before, written.after);
    let [from, to] = [written.before, written.after].map(|item| IndexPosition::of(written.key, item));
    let places = match (from, to) {
        (Some(from), Some(to)) if from == to => [Some(to.partition()), None],
        (from, to) => [from, to].map(|place| place.map(|place| place.partition())),
    };
    (size, places)
}
