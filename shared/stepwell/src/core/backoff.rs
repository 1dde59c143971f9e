//! The backoff: how long a step waits between two attempts.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest wait, in seconds: 12 hours. It is also SQS's limit for a visibility timeout, which a message gets that cannot wait
/// in another way.
pub const LONGEST_DELAY_SECONDS: u32 = 12 * 60 * 60;

/// How much later than asked a step may come back, as a share of the wait that the called service asked for.
const RETRY_AFTER_JITTER: f64 = 0.5;

/// The waits before attempts 2 to 7, in units of `base_seconds`.
const FIRST_WAITS: [u32; 6] = [1, 2, 4, 8, 16, 32];

/// A step's backoff: 1, 2, 4, 8, 16, 32 times `base_seconds`, then `attempt ^ multiplier x base_seconds`, but never less
/// than the wait before it. Waits are spread by ±`jitter` and capped at `max_seconds`. Where the cap cuts off a part of the
/// spread, they are spread over the rest, so that tasks that failed together do not come back together at the cap.
///
/// The curve is Tasker's. A wait is a whole number of seconds, like SQS's visibility timeouts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backoff {
    /// The first wait, in seconds. Default 1.
    pub base_seconds: u32,
    /// The exponent from the seventh wait on. Default 2.
    pub multiplier: f64,
    /// The longest wait, in seconds. It also caps an error's own `retry_after`, before its jitter. Default 300, at most
    /// 43,200 (12 hours).
    pub max_seconds: u32,
    /// The random change of a wait, up or down, as a share of it: 0.1 is ±10 %. Default 0.1, at most 1.
    pub jitter: f64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { base_seconds: 1, multiplier: 2.0, max_seconds: 300, jitter: 0.1 }
    }
}

impl Backoff {
    /// The wait after the failure of attempt number `attempt`, counted from 1.
    ///
    /// `retry_after` is the wait that the error asked for. It replaces the curve, and its jitter goes upwards only: the step
    /// never comes back earlier than asked, and up to half as much later. `random` is a random number in `0.0..1.0`. It is a
    /// parameter so that this stays a pure function.
    ///
    /// ```
    /// # use stepwell::core::backoff::Backoff;
    /// # use std::time::Duration;
    /// let backoff = Backoff::default();
    /// let middle = 0.5;
    /// assert_eq!(backoff.delay(1, None, middle), Duration::from_secs(1));
    /// assert_eq!(backoff.delay(6, None, middle), Duration::from_secs(32));
    /// assert_eq!(backoff.delay(7, None, middle), Duration::from_secs(49));
    /// assert_eq!(backoff.delay(99, None, middle), Duration::from_secs(285));
    /// assert_eq!(backoff.delay(1, Some(Duration::from_secs(60)), 0.0), Duration::from_secs(60));
    /// assert_eq!(backoff.delay(1, Some(Duration::from_secs(60)), middle), Duration::from_secs(75));
    /// ```
    pub fn delay(&self, attempt: u32, retry_after: Option<Duration>, random: f64) -> Duration {
        let cap = f64::from(self.max_seconds.min(LONGEST_DELAY_SECONDS));
        let (least, most) = match retry_after {
            Some(asked) => {
                let asked = asked.as_secs_f64().ceil().min(cap);
                (asked, asked * (1.0 + RETRY_AFTER_JITTER))
            }
            None => {
                let wait = self.curve(attempt).min(cap);
                (wait * (1.0 - self.jitter), (wait * (1.0 + self.jitter)).min(cap))
            }
        };
        let seconds = least + (most - least) * random;
        Duration::from_secs_f64(seconds.round().clamp(0.0, LONGEST_DELAY_SECONDS.into()))
    }

    /// The same backoff with full jitter: a wait is anything from nothing to twice the curve's, up to the cap. It is for
    /// failures that meet many tasks at once.
    #[must_use]
    pub const fn with_full_jitter(self) -> Self {
        Self { jitter: 1.0, ..self }
    }

    fn curve(&self, attempt: u32) -> f64 {
        let base = f64::from(self.base_seconds);
        let step = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        match FIRST_WAITS.get(step) {
            Some(&wait) => f64::from(wait) * base,
            None => f64::from(attempt).powf(self.multiplier).max(32.0) * base,
        }
    }

    /// The reason why these numbers are invalid, if they are.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.max_seconds > LONGEST_DELAY_SECONDS {
            Some(format!(
                "max_seconds is {}, but no wait is longer than {LONGEST_DELAY_SECONDS} (12 hours)",
                self.max_seconds
            ))
        } else if !(0.0..=1.0).contains(&self.jitter) {
            Some(format!("jitter is {}, but has to lie between 0 and 1", self.jitter))
        } else if !(0.0..=10.0).contains(&self.multiplier) {
            Some(format!("multiplier is {}, but has to lie between 0 and 10", self.multiplier))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn default_curve_is_that_of_tasker() {
        let backoff = Backoff { jitter: 0.0, ..Backoff::default() };
        let waits: Vec<u64> = (1..=18).map(|n| backoff.delay(n, None, 0.5).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 49, 64, 81, 100, 121, 144, 169, 196, 225, 256, 289, 300]);
    }

    #[test]
    fn waits_are_multiples_of_base_seconds_spread_by_the_jitter() {
        let backoff = Backoff { base_seconds: 3, max_seconds: 1_000, ..Backoff::default() };
        let delay = |attempt, random| backoff.delay(attempt, None, random).as_secs();
        assert_eq!([1, 2, 6, 7].map(|attempt| delay(attempt, 0.5)), [3, 6, 96, 147]);
        assert_eq!([0.0, 0.5, 0.999].map(|random| delay(6, random)), [86, 96, 106]);
    }

    #[test]
    fn invalid_numbers_are_refused_with_the_reason() {
        let with = |change: fn(&mut Backoff)| {
            let mut backoff = Backoff::default();
            change(&mut backoff);
            backoff.problem()
        };
        assert_eq!(with(|_| {}), None);
        assert_eq!(with(|backoff| backoff.max_seconds = 43_200), None);
        assert!(with(|backoff| backoff.max_seconds = 43_201).is_some_and(|problem| problem.contains("43201")));
        assert_eq!(with(|backoff| backoff.jitter = 1.0), None);
        assert!(with(|backoff| backoff.jitter = 1.1).is_some_and(|problem| problem.contains("jitter is 1.1")));
        assert_eq!(with(|backoff| backoff.multiplier = 10.0), None);
        assert!(with(|backoff| backoff.multiplier = -1.0).is_some_and(|problem| problem.contains("multiplier is -1")));
    }

    proptest! {
        #[test]
        fn wait_is_never_above_the_cap_or_beyond_the_jitter(
            attempt in 1u32..1_000, base in 0u32..1_000, multiplier in 0.0f64..10.0, max in 0u32..=LONGEST_DELAY_SECONDS,
            jitter in 0.0f64..=1.0, random in 0.0f64..1.0,
        ) {
            let backoff = Backoff { base_seconds: base, multiplier, max_seconds: max, jitter };
            let delay = backoff.delay(attempt, None, random).as_secs_f64();
            let exact = Backoff { jitter: 0.0, ..backoff }.delay(attempt, None, 0.5).as_secs_f64();
            prop_assert!(delay <= f64::from(max));
            prop_assert!((delay - exact).abs() <= exact * jitter + 1.0);
        }

        #[test]
        fn wait_is_never_shorter_than_the_one_before(attempt in 1u32..500, multiplier in 0.0f64..10.0) {
            let backoff = Backoff { multiplier, jitter: 0.0, ..Backoff::default() };
            prop_assert!(backoff.delay(attempt + 1, None, 0.5) >= backoff.delay(attempt, None, 0.5));
        }

        #[test]
        fn retry_after_replaces_the_curve_up_to_the_cap(asked in 0u64..100_000, attempt in 1u32..50, random in 0.0f64..1.0) {
            let delay = Backoff::default().delay(attempt, Some(Duration::from_secs(asked)), random).as_secs();
            let capped = asked.min(300);
            prop_assert!((capped..=capped * 3 / 2 + 1).contains(&delay), "{delay} s after {asked} s");
        }
    }

    #[test]
    fn tasks_that_failed_together_do_not_come_back_together() {
        let share_of_most_frequent = |wait: &dyn Fn(f64) -> Duration| {
            let mut counts = std::collections::BTreeMap::new();
            (0..1_000).for_each(|n| *counts.entry(wait(f64::from(n) / 1_000.0)).or_insert(0) += 1);
            counts.into_values().max().unwrap()
        };
        let backoff = Backoff::default();
        let asked = Some(Duration::from_secs(30));
        let unequal: [&dyn Fn(f64) -> Duration; 4] = [
            &|random| backoff.delay(99, None, random),
            &|random| backoff.with_full_jitter().delay(99, None, random),
            &|random| backoff.with_full_jitter().delay(6, None, random),
            &|random| backoff.delay(1, asked, random),
        ];
        let most = unequal.map(share_of_most_frequent);
        assert!(most.iter().all(|most| *most <= 70), "of 1,000 tasks that many come back in the same second: {most:?}");
    }
}
