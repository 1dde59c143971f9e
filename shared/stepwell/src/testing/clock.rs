//! Virtual time, and constant random numbers.

use crate::{
    core::{id::TaskId, timestamp::Timestamp},
    ports::Runtime,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use tokio::time::Instant;
use uuid::Uuid;

/// A clock that follows tokio's. Under `start_paused` tokio's clock jumps to the next timer as soon as no task can go on, so
/// hours pass in no time. Clones share the clock.
///
/// Every random number is 0.5, so the jitter of a backoff is 0. Task ids count from 1.
#[derive(Clone, Debug)]
pub struct VirtualClock {
    start: Instant,
    tasks: Arc<AtomicU64>,
}

impl VirtualClock {
    /// The time at which every clock starts: 2023-11-14T22:13:20Z.
    pub const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    /// A clock that starts now.
    pub fn new() -> Self {
        Self { start: Instant::now(), tasks: Arc::default() }
    }

    /// Waits until this time.
    pub async fn wait_until(&self, moment: Timestamp) {
        tokio::time::sleep_until(self.start + moment.since(Self::START)).await;
    }
}

impl Default for VirtualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Runtime for VirtualClock {
    fn now(&self) -> Timestamp {
        Self::START + self.start.elapsed()
    }

    fn random(&self) -> f64 {
        0.5
    }

    fn new_task_id(&self) -> TaskId {
        let number = self.tasks.fetch_add(1, Relaxed) + 1;
        let millis = u64::try_from(self.now().as_millis()).unwrap_or_default();
        TaskId::from(Uuid::from_u64_pair((millis << 16) | 0x7000, 0x8000_0000_0000_0000 | number))
    }
}
