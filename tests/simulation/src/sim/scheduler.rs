//! The scheduler of one run: its time, its random numbers and its trace. Everything that is not the engine's own comes
//! from here, and so from the seed.

use super::fault::{Fault, Odds};
use crate::locked::Locked;
use fastrand::Rng;
use std::{fmt::Write, time::Duration};
use stepwell::Timestamp;
use tokio::time::Instant;

/// The true time at which every run begins.
const BEGINNING: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// The limit of calls, about a hundred times those of a long run. A run with more calls is in a loop.
const MAX_CALLS: u64 = 300_000;

/// The time, the random numbers and the trace of one run.
#[derive(Debug)]
pub(super) struct Scheduler {
    rng: Locked<Rng>,
    begin: Instant,
    odds: Odds,
    struck: Locked<[u64; Fault::COUNT]>,
    calls: Locked<u64>,
    gave_up: Locked<bool>,
    trace: Option<Locked<String>>,
    violation: Locked<Option<String>>,
}

impl Scheduler {
    /// The scheduler of a run that begins now.
    pub(super) fn new(rng: Rng, odds: Odds, traced: bool) -> Self {
        Self {
            rng: Locked::new(rng),
            begin: Instant::now(),
            odds,
            struck: Locked::new([0; Fault::COUNT]),
            calls: Locked::new(0),
            gave_up: Locked::new(false),
            trace: traced.then(Locked::default),
            violation: Locked::default(),
        }
    }

    /// The virtual time since the run began.
    pub(super) fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// The true time.
    pub(super) fn now(&self) -> Timestamp {
        BEGINNING + self.elapsed()
    }

    /// A random number in `0..=most`.
    pub(super) fn up_to(&self, most: u64) -> u64 {
        self.rng.lock().u64(0..=most)
    }

    /// A random number in `0.0..1.0`.
    pub(super) fn random(&self) -> f64 {
        self.rng.lock().f64()
    }

    /// 128 random bits.
    pub(super) fn bits(&self) -> u128 {
        self.rng.lock().u128(..)
    }

    /// True with a probability of one in `times`.
    pub(super) fn one_in(&self, times: u64) -> bool {
        self.up_to(times - 1) == 0
    }

    /// Waits for a random time of 0 to `most` milliseconds.
    pub(super) async fn wait(&self, most_millis: u64) {
        let millis = self.up_to(most_millis);
        if millis > 0 {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
    }

    /// Whether this fault happens here. No fault happens after the run's period of faults, so that every run can end.
    pub(super) fn strikes(&self, fault: Fault) -> bool {
        let odds = self.odds.of(fault);
        if odds == 0.0 || self.elapsed() > self.odds.trouble() || self.random() >= odds {
            return false;
        }
        self.struck.lock()[fault as usize] += 1;
        true
    }

    /// The clock error of a process, in milliseconds.
    pub(super) fn skew(&self) -> i64 {
        let most = self.odds.skew_millis();
        self.up_to(2 * most).cast_signed() - most.cast_signed()
    }

    /// The probabilities of the run's faults.
    pub(super) fn odds(&self) -> &Odds {
        &self.odds
    }

    /// Whether this run may lose a message through a fault.
    pub(super) fn may_lose_messages(&self) -> bool {
        let losing = [Fault::LostMessage, Fault::StaleAck];
        // An operator who dies between the write and the sends loses the task's messages, except in a whole run.
        let by_operators = !self.odds.is_whole() && self.has_struck(Fault::Operator);
        by_operators || losing.into_iter().any(|fault| self.has_struck(fault)) || self.gives_up()
    }

    /// Whether a message may become a dead letter in this run.
    pub(super) fn gives_up(&self) -> bool {
        self.odds.gives_up() || self.gave_up.get()
    }

    /// Records that a message has become a dead letter.
    pub(super) fn gave_up(&self) {
        self.gave_up.set(true);
    }

    /// Whether this fault has happened.
    pub(super) fn has_struck(&self, fault: Fault) -> bool {
        self.struck.lock()[fault as usize] > 0
    }

    /// How often each fault has happened.
    pub(super) fn struck(&self) -> [u64; Fault::COUNT] {
        *self.struck.lock()
    }

    /// Counts a call. Exceeding the limit is a violation.
    pub(super) fn call(&self) {
        self.calls.set(self.calls.get() + 1);
        if self.calls.get() == MAX_CALLS {
            self.violated(|| format!("{MAX_CALLS} calls have been made, and no end is in sight"));
        }
    }

    /// The number of calls.
    pub(super) fn calls(&self) -> u64 {
        self.calls.get()
    }

    /// Adds a line to the trace, if there is one.
    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            let at = self.elapsed();
            // Writing to a String cannot fail.
            let _ = writeln!(trace.lock(), "{:>9.3} s  {}", at.as_secs_f64(), line());
        }
    }

    /// Records a violation. Only the first is kept, because it causes the others.
    pub(super) fn violated(&self, what: impl FnOnce() -> String) {
        let mut violation = self.violation.lock();
        if violation.is_none() {
            let what = what();
            self.note(|| format!("VIOLATION: {what}"));
            *violation = Some(what);
        }
    }

    /// The first violation.
    pub(super) fn violation(&self) -> Option<String> {
        self.violation.lock().clone()
    }

    /// The trace; empty without one.
    pub(super) fn trace(&self) -> String {
        self.trace.as_ref().map(|trace| trace.lock().clone()).unwrap_or_default()
    }
}
