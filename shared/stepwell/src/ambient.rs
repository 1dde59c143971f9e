//! Time and chance, which the engine takes from outside, so that a test can hand it its own.

use crate::{TaskId, Timestamp};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the engine gets the time and its random numbers from.
pub trait Ambient: Send + Sync {
    /// The moment it is.
    fn now(&self) -> Timestamp;

    /// A random number in `0.0..1.0`.
    fn draw(&self) -> f64;

    /// The id of a new task, which no other has.
    fn new_task_id(&self) -> TaskId {
        TaskId::new()
    }
}

/// The machine's clock and a random number generator seeded by it.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Ambient for System {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    fn draw(&self) -> f64 {
        fastrand::f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_spread_over_its_range() {
        let draws: Vec<f64> = (0..1_000).map(|_| System.draw()).collect();
        assert!(draws.iter().all(|draw| (0.0..1.0).contains(draw)));
        assert!(draws.iter().any(|draw| *draw < 0.1) && draws.iter().any(|draw| *draw > 0.9));
    }
}
