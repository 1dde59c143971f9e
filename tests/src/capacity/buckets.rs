//! Token buckets: what a service takes in a second, and what it keeps of the seconds before.

use std::time::Duration;
use stepwell::{Timestamp, testing::VirtualClock};

/// For how long a bucket keeps what was not used. DynamoDB keeps up to five minutes of it, as best it can, and nobody should rely on that. The
/// smallest scale needs one, so that single calls which stand for a thousand do not look like peaks.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// What a bucket of this rate keeps.
pub(super) fn kept(rate: f64) -> f64 {
    rate * KEPT_FOR.as_secs_f64()
}

/// A token bucket. The rate is given with each call, because that of a table on demand grows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    left: f64,
    at: Timestamp,
    /// All that was taken.
    pub(super) taken: f64,
}

impl Default for Bucket {
    fn default() -> Self {
        Self { left: f64::INFINITY, at: VirtualClock::START, taken: 0.0 }
    }
}

impl Bucket {
    /// Whether anything is left. What is taken may go below zero: a call is not divided.
    pub(super) fn has_some(&mut self, rate: f64, most: f64, now: Timestamp) -> bool {
        let refilled = self.left + rate * now.since(self.at).as_secs_f64();
        (self.left, self.at) = (refilled.min(most), now);
        self.left > 0.0
    }

    /// Takes so much.
    pub(super) fn take(&mut self, much: f64) {
        self.left -= much;
        self.taken += much;
    }
}

/// A table or an index on demand: what it takes in a second grows with what it took before.
#[derive(Debug)]
pub(super) struct OnDemand {
    pub(super) bucket: Bucket,
    warm: f64,
    quota: f64,
    growth: f64,
    growth_minutes: usize,
    /// What it took in each minute so far.
    minutes: Vec<f64>,
}

impl OnDemand {
    pub(super) fn new(warm: f64, quota: f64, growth: f64, growth_minutes: usize) -> Self {
        Self { bucket: Bucket::default(), warm, quota, growth, growth_minutes, minutes: Vec::new() }
    }

    /// What it takes in a second now.
    pub(super) fn rate(&self, now: Timestamp) -> f64 {
        let before = (minute(now) + 1).saturating_sub(self.growth_minutes);
        let peak = self.minutes.iter().take(before).copied().fold(0.0, f64::max) / 60.0;
        (peak * self.growth).max(self.warm).min(self.quota)
    }

    pub(super) fn has_some(&mut self, now: Timestamp) -> bool {
        let rate = self.rate(now);
        self.bucket.has_some(rate, kept(rate), now)
    }

    pub(super) fn take(&mut self, much: f64, now: Timestamp) {
        self.bucket.take(much);
        let minute = minute(now);
        if self.minutes.len() <= minute {
            self.minutes.resize(minute + 1, 0.0);
        }
        self.minutes[minute] += much;
    }
}

fn minute(now: Timestamp) -> usize {
    (now.since(VirtualClock::START).as_secs() / 60) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        VirtualClock::START + Duration::from_secs(seconds)
    }

    #[test]
    fn bucket_gives_its_rate_and_what_a_minute_has_left() {
        let mut bucket = Bucket::default();
        assert!(bucket.has_some(10.0, kept(10.0), at(0)), "it begins full");
        bucket.take(600.0);
        assert!(!bucket.has_some(10.0, kept(10.0), at(0)));
        bucket.take(50.0);
        assert!(!bucket.has_some(10.0, kept(10.0), at(5)), "what was taken too much is paid back first");
        assert!(bucket.has_some(10.0, kept(10.0), at(6)));
        assert!((bucket.taken - 650.0).abs() < f64::EPSILON);
    }

    #[test]
    fn table_on_demand_takes_twice_the_peak_of_half_an_hour_ago() {
        let mut table = OnDemand::new(4_000.0, 40_000.0, 2.0, 30);
        (0..60).for_each(|second| table.take(3_000.0, at(second)));
        let rates = [0, 1_799, 1_800].map(|second| table.rate(at(second)));
        assert_eq!(rates, [4_000.0, 4_000.0, 6_000.0]);
        (1_800..1_860).for_each(|second| table.take(30_000.0, at(second)));
        assert_eq!(table.rate(at(3_600)), 40_000.0, "the quota of the table");
    }
}
