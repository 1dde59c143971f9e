//! Holds the queues of the steps to the pauses that operators have written ([`core::pause`](crate::core::pause) has the rules). Whoever pauses a step
//! tells its queue at once. This makes up for whoever could not.

use crate::{
    core::{
        message::StepQueue,
        pause::{PausedSteps, StepPauses},
        timestamp::Timestamp,
    },
    ports::{Deliveries, Queue, Runtime, Store, TableError},
    runtime::engine::Engine,
};
use futures::{StreamExt, stream};

/// The log message of a step that is paused, each minute.
pub const STEP_IS_PAUSED: &str = "step is paused";

/// How many queues are told concurrently.
const CONCURRENCY: usize = 5;

/// Holds the queues to the pauses of a store.
#[derive(Clone, Debug)]
pub struct PauseKeeper<T, Q, D, A> {
    engine: Engine<T, Q, A>,
    deliveries: D,
}

impl<T: Store, Q: Queue, D: Deliveries, A: Runtime> PauseKeeper<T, Q, D, A> {
    /// A keeper with this store, these queues, their deliveries and this clock.
    pub fn new(table: T, queue: Q, deliveries: D, runtime: A) -> Self {
        Self { engine: Engine::new(table, queue, runtime), deliveries }
    }

    /// Tells the queue of each step that is paused, or was until lately, how the step stands; as many as can be told until then. Logs the paused
    /// steps, and returns them. A queue that cannot be told is logged and told by the next run.
    ///
    /// # Errors
    /// The pauses cannot be read.
    pub async fn run(&self, until: Timestamp) -> Result<PausedSteps, TableError> {
        let (pauses, now) = (self.engine.pauses().await?, self.engine.now());
        for pauses in &pauses {
            if let Some(pause) = pauses.in_force() {
                let StepPauses { workflow, step, .. } = pauses;
                let minutes = now.since(pause.at).as_secs() / 60;
                tracing::info!(workflow, step, since = %pause.at, minutes, who = pause.who, why = pause.why, "{STEP_IS_PAUSED}");
            }
        }
        // In a list, because the compiler cannot tell that a stream which still has this closure is `Send`.
        let told: Vec<_> = pauses
            .iter()
            .filter(|pauses| pauses.is_told(now))
            .map(|pauses| self.tell(pauses.queue(), pauses.in_force().is_none(), until))
            .collect();
        stream::iter(told).buffer_unordered(CONCURRENCY).collect::<Vec<()>>().await;
        Ok(PausedSteps::of(&pauses))
    }

    async fn tell(&self, queue: StepQueue, on: bool, until: Timestamp) {
        if self.engine.now() >= until {
            return;
        }
        if let Err(error) = self.deliveries.deliver(&queue, on).await {
            let StepQueue { workflow, step } = queue;
            tracing::error!(workflow, step, %error, "the queue of a step could not be told whether the step is paused");
        }
    }
}
