//! Time that a test controls, and chance that always draws its middle.

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

/// A clock that follows tokio's. Under `start_paused` that one jumps to the next moment at which anything is due as soon
/// as nothing else can be done, so hours pass in no time. Clones share the clock.
///
/// Every random is 0.5: a jittered backoff is exactly its middle. Ids of tasks count from 1.
#[derive(Clone, Debug)]
pub struct VirtualClock {
    start: Instant,
    tasks: Arc<AtomicU64>,
}

impl VirtualClock {
    /// The moment at which every clock starts: 2023-11-14T22:13:20Z.
    pub const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    /// A clock that starts now.
    pub fn new() -> Self {
        Self { start: Instant::now(), tasks: Arc::default() }
    }

    /// Waits for this moment.
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
        TaskId::from(Uuid::from_u64_pair(0x0190_0000_0000_7000, 0x8000_0000_0000_0000 | number))
    }
}
