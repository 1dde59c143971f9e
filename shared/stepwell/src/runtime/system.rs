//! The machine's clock and random numbers.

use crate::{
    core::{id::TaskId, timestamp::Timestamp},
    ports::Runtime,
};
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// The machine's clock and a random number generator seeded by it.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Runtime for System {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    fn random(&self) -> f64 {
        fastrand::f64()
    }

    fn new_task_id(&self) -> TaskId {
        TaskId::new()
    }
}

/// This is not in `core`, because it uses the machine's clock and random numbers, which the rules in `core` never do.
impl TaskId {
    /// A new, unique id.
    pub fn new() -> Self {
        Uuid::now_v7().into()
    }
}

impl Default for TaskId {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_are_spread_over_their_range() {
        let draws: Vec<f64> = (0..1_000).map(|_| System.random()).collect();
        assert!(draws.iter().all(|random| (0.0..1.0).contains(random)));
        assert!(draws.iter().any(|random| *random < 0.1) && draws.iter().any(|random| *random > 0.9));
    }
}
