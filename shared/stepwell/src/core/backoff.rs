//! The backoff: how long a step waits between two attempts.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest wait, in seconds: 12 hours. The message is the timer, and this is SQS's limit for a visibility timeout. The
/// message is hidden once more for the last minutes of so long a wait.
pub const LONGEST_DELAY_SECONDS: u32 = 12 * 60 * 60;

/// The waits before attempts 2 to 7, in units of `base_seconds`.
const FIRST_WAITS: [u32; 6] = [1, 2, 4, 8, 16, 32];

/// A step's backoff: 1, 2, 4, 8, 16, 32 times `base_seconds`, then `attempt ^ multiplier x base_seconds`, but never less
/// than the wait before it. Waits are capped at `max_seconds` and spread by ±`jitter`.
///
/// The curve is Tasker's. A wait is a whole number of seconds, like SQS's visibility timeouts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backoff {
    /// The first wait, in seconds. Default 1.
    pub base_seconds: u32,
    /// The exponent from the seventh wait on. Default 2.
    pub multiplier: f64,
    /// The longest wait, in seconds. It also caps an error's own `retry_after`. Default 300, at most 43,200 (12 hours).
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
    /// `retry_after` is the wait that the error asked for. It replaces the curve and has no jitter. `random` is a random
    /// number in `0.0..1.0`. It is a parameter so that this stays a pure function.
    ///
    /// ```
    /// # use stepwell::core::backoff::Backoff;
    /// # use std::time::Duration;
    /// let backoff = Backoff::default();
    /// let middle = 0.5;
    /// assert_eq!(backoff.delay(1, None, middle), Duration::from_secs(1));
    /// assert_eq!(backoff.delay(6, None, middle), Duration::from_secs(32));
    /// assert_eq!(backoff.delay(7, None, middle), Duration::from_secs(49));
    /// assert_eq!(backoff.delay(99, None, middle), Duration::from_secs(300));
    /// assert_eq!(backoff.delay(1, Some(Duration::from_secs(60)), middle), Duration::from_secs(60));
    /// ```
    pub fn delay(&self, attempt: u32, retry_after: Option<Duration>, random: f64) -> Duration {
        let cap = f64::from(self.max_seconds.min(LONGEST_DELAY_SECONDS));
        let seconds = match retry_after {
            Some(asked) => asked.as_secs_f64().ceil(),
            None => self.curve(attempt).min(cap) * (1.0 + self.jitter * (2.0 * random - 1.0)),
        };
        Duration::from_secs_f64(seconds.round().clamp(0.0, cap))
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
                "max_seconds is {}, but SQS can hide a message for at most {LONGEST_DELAY_SECONDS}",
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
        let waits: Vec<u64> = (1..=18).map(|n| Backoff::default().delay(n, None, 0.5).as_secs()).collect();
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
            let middle = backoff.delay(attempt, None, 0.5).as_secs_f64();
            prop_assert!(delay <= f64::from(max));
            prop_assert!((delay - middle).abs() <= middle * jitter + 1.0);
        }

        #[test]
        fn wait_is_never_shorter_than_the_one_before(attempt in 1u32..500, multiplier in 0.0f64..10.0) {
            let backoff = Backoff { multiplier, jitter: 0.0, ..Backoff::default() };
            prop_assert!(backoff.delay(attempt + 1, None, 0.5) >= backoff.delay(attempt, None, 0.5));
        }

        #[test]
        fn retry_after_replaces_the_curve_up_to_the_cap(asked in 0u64..100_000, attempt in 1u32..50, random in 0.0f64..1.0) {
            let delay = Backoff::default().delay(attempt, Some(Duration::from_secs(asked)), random);
            prop_assert_eq!(delay.as_secs(), asked.min(300));
        }
    }
}
