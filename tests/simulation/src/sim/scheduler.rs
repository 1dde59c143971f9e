//! Time, chance and the record of one run: everything in a run that is not the engine's own doing comes from here, and
//! so from the seed.

use super::fault::{Fault, Odds};
use crate::locked::Locked;
use fastrand::Rng;
use std::{fmt::Write, time::Duration};
use stepwell::Timestamp;
use tokio::time::Instant;

/// When every run begins, by the true clock.
const BEGINNING: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// No run makes more calls, unless it goes in circles: about a hundred times what a long one makes.
const MOST_CALLS: u64 = 300_000;

/// What one run goes by.
#[derive(Debug)]
pub(super) struct Scheduler {
    rng: Locked<Rng>,
    begin: Instant,
    odds: Odds,
    struck: Locked<[u64; Fault::COUNT]>,
    calls: Locked<u64>,
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
            trace: traced.then(Locked::default),
            violation: Locked::default(),
        }
    }

    /// How long the run has lasted, in its own time.
    pub(super) fn elapsed(&self) -> Duration {
        self.begin.elapsed()
    }

    /// The true time.
    pub(super) fn now(&self) -> Timestamp {
        BEGINNING + self.elapsed()
    }

    /// A number in `0..=most`.
    pub(super) fn up_to(&self, most: u64) -> u64 {
        self.rng.lock().u64(0..=most)
    }

    /// A number in `0.0..1.0`.
    pub(super) fn random(&self) -> f64 {
        self.rng.lock().f64()
    }

    /// 128 bits.
    pub(super) fn bits(&self) -> u128 {
        self.rng.lock().u128(..)
    }

    /// Whether it happens, once in `times`.
    pub(super) fn one_in(&self, times: u64) -> bool {
        self.up_to(times - 1) == 0
    }

    /// A moment's wait, in milliseconds from 0 to `most`.
    pub(super) async fn wait(&self, most_millis: u64) {
        let millis = self.up_to(most_millis);
        if millis > 0 {
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
    }

    /// Whether this fault happens here and now. None does after the time of trouble, so that every run can end.
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

    /// The odds of the run's faults.
    pub(super) fn odds(&self) -> &Odds {
        &self.odds
    }

    /// Whether a message can have got lost in this run, other than by the engine's fault.
    pub(super) fn may_lose_messages(&self) -> bool {
        let losing = [Fault::LostMessage, Fault::StaleAck];
        // An operator who dies between the write and the sends leaves a task without its messages, but for a whole one.
        let by_operators = !self.odds.is_whole() && self.has_struck(Fault::Operator);
        by_operators || losing.into_iter().any(|fault| self.has_struck(fault)) || self.odds.gives_up()
    }

    /// Whether a fault has struck at all.
    pub(super) fn has_struck(&self, fault: Fault) -> bool {
        self.struck.lock()[fault as usize] > 0
    }

    /// How often each fault has struck.
    pub(super) fn struck(&self) -> [u64; Fault::COUNT] {
        *self.struck.lock()
    }

    /// Counts a call; one too many is a violation.
    pub(super) fn call(&self) {
        self.calls.set(self.calls.get() + 1);
        if self.calls.get() == MOST_CALLS {
            self.violated(|| format!("{MOST_CALLS} calls have been made, and no end is in sight"));
        }
    }

    /// How many calls have been made.
    pub(super) fn calls(&self) -> u64 {
        self.calls.get()
    }

    /// Enters a line into the trace, where there is one.
    pub(super) fn note(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &self.trace {
            let at = self.elapsed();
            // Writing to a String cannot fail.
            let _ = writeln!(trace.lock(), "{:>9.3} s  {}", at.as_secs_f64(), line());
        }
    }

    /// Something happened that never may. Only the first is kept: it is the cause of the others.
    pub(super) fn violated(&self, what: impl FnOnce() -> String) {
        let mut violation = self.violation.lock();
        if violation.is_none() {
            let what = what();
            self.note(|| format!("VIOLATION: {what}"));
            *violation = Some(what);
        }
    }

    /// What happened that never may.
    pub(super) fn violation(&self) -> Option<String> {
        self.violation.lock().clone()
    }

    /// The trace, where there is one.
    pub(super) fn trace(&self) -> String {
        self.trace.as_ref().map(|trace| trace.lock().clone()).unwrap_or_default()
    }
}
