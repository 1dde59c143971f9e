//! Holds the queues of the steps to the pauses that operators have written ([`core::pause`](crate::core::pause) has the rules). Whoever pauses a step
//! tells its queue at once. The keeper makes up for whoever could not.

use crate::{
    core::{
        message::StepQueue,
        pause::{self, Pauses, StepPauses},
    },
    ports::{Deliveries, Queue, Runtime, Store, TableError},
    runtime::{engine::Engine, error::EngineError},
};
use futures::{StreamExt, stream};

/// The log message of a step that is paused, each minute.
pub const STEP_IS_PAUSED: &str = "step is paused";

/// How many queues are told concurrently.
const CONCURRENCY: usize = 5;

/// How often a queue is told whose step was paused or resumed meanwhile. Few people do that at the same time.
const TRIES: u32 = 5;

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

    /// Reads the pauses, and logs the steps that are paused.
    ///
    /// # Errors
    /// The pauses cannot be read.
    pub async fn read(&self) -> Result<Pauses, TableError> {
        let (pauses, now) = (self.engine.pauses().await?, self.engine.now());
        for pauses in &pauses.known {
            let StepPauses { workflow, step, .. } = pauses;
            for pause in pauses.reasons() {
                let minutes = now.since(pause.at).as_secs() / 60;
                tracing::info!(workflow, step, since = %pause.at, minutes, who = pause.who, why = pause.why, "{STEP_IS_PAUSED}");
            }
        }
        Ok(pauses)
    }

    /// Tells the queue of each step that is paused, or was until lately, how the step stands. A queue that cannot be told is logged and told by the next
    /// run. It may take long, if the queues do not answer, and may be left at any time.
    pub async fn tell(&self, pauses: &Pauses) {
        let now = self.engine.now();
        // In a list, because the compiler cannot tell that a stream which still has this closure is `Send`.
        let told: Vec<_> = pauses
            .known
            .iter()
            .filter(|pauses| pauses.is_told(now))
            .map(|pauses| self.tell_one(pauses.queue()))
            .collect();
        stream::iter(told).buffer_unordered(CONCURRENCY).collect::<Vec<()>>().await;
    }

    async fn tell_one(&self, queue: StepQueue) {
        let told = tell(&self.engine, &self.deliveries, &queue).await;
        let StepQueue { workflow, step } = queue;
        match told {
            Ok(Some(_)) => {}
            Ok(None) => tracing::error!(workflow, step, "the step is paused and resumed all the time"),
            Err(error) => {
                tracing::error!(workflow, step, %error, "the queue of a step could not be told whether the step is paused");
            }
        }
    }
}

/// Tells a queue how its step stands, and returns that; `None` if others change it all the time. It reads the step anew before and after: whoever is the last to tell a queue tells it what was
/// written last, so that nobody undoes with an old answer what somebody else has done meanwhile.
pub(crate) async fn tell<T: Store, Q: Queue, A: Runtime>(
    engine: &Engine<T, Q, A>,
    deliveries: &impl Deliveries,
    queue: &StepQueue,
) -> Result<Option<StepPauses>, EngineError> {
    let mut stands = engine.pauses_of(queue).await?;
    for _ in 0..TRIES {
        let goes_on = stands.in_force().is_none();
        deliveries.deliver(queue, goes_on).await?;
        stands = engine.pauses_of(queue).await?;
        if stands.in_force().is_none() == goes_on {
            if goes_on && stands.told_at.is_none() && !stands.trail.is_empty() {
                engine.apply(&pause::note_told(&stands, engine.now())).await?;
            }
            return Ok(Some(stands));
        }
    }
    Ok(None)
}
