//! Pauses steps, and lets them go on ([`core::pause`](crate::core::pause) has the rules).

use super::{Actor, Client};
use crate::{
    core::{
        message::StepQueue,
        pause::{self, PauseAction, PauseEntry, Pauses, StepPauses},
        timestamp::Timestamp,
    },
    ports::{Deliveries, Queue, Runtime, Store, TableError},
    runtime::{error::EngineError, pauses::tell},
};

/// How often a write is tried that others' writes come before. Few people pause the same step at the same time.
const TRIES: u32 = 5;

/// How a step stands after it was paused or resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paused {
    /// The pauses of the step.
    pub pauses: StepPauses,
    /// Whether its queue was told. If not, the watchdog tells it within a minute.
    pub told: bool,
}

/// The reason why a step was not paused, or not resumed.
#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    /// Somebody paused the step after what the resuming person has seen. Nothing was done.
    #[error(
        "step `{step}` was paused meanwhile, {}; look at it, and resume it again if that is over, too",
        reasons(unseen)
    )]
    Unseen {
        /// The step.
        step: String,
        /// The pauses that were not seen, the earliest first.
        unseen: Vec<PauseEntry>,
    },
    /// Others pause and resume the step all the time.
    #[error("others pause and resume step `{0}` at the same time; nothing was done")]
    KeepsChanging(String),
    /// The store failed. If its write got no answer, it may have taken effect.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

fn reasons(entries: &[PauseEntry]) -> String {
    let told = entries.iter().map(|PauseEntry { at, who, why, .. }| format!("by {who} at {at}: {why}"));
    told.collect::<Vec<_>>().join(", and ")
}

impl From<TableError> for PauseError {
    fn from(error: TableError) -> Self {
        Self::Engine(error.into())
    }
}

impl<T: Store, Q: Queue, A: Runtime> Client<T, Q, A> {
    /// Pauses a step or a compensation: writes who, when and why, and stops the deliveries of its queue. After some seconds no attempt of it begins. One
    /// whose message was delivered before comes to its end. A step that is paused gets another reason, unless the same person has given it already; its
    /// queue is told again.
    ///
    /// # Errors
    /// See [`PauseError`]. A queue that cannot be told is no error: see [`Paused::told`].
    pub async fn pause(
        &self,
        deliveries: &impl Deliveries,
        queue: &StepQueue,
        actor: &Actor,
    ) -> Result<Paused, PauseError> {
        self.set_pause(deliveries, queue, (PauseAction::Pause, None), actor).await
    }

    /// Lets a step go on: writes who, when and why, and lets its queue deliver again. One that is not paused stays as it is; its queue is told
    /// again. All of its pauses end; with `seen`, the time of the newest one that the actor knows of, none that was made after it.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub async fn resume(
        &self,
        deliveries: &impl Deliveries,
        queue: &StepQueue,
        actor: &Actor,
        seen: Option<Timestamp>,
    ) -> Result<Paused, PauseError> {
        self.set_pause(deliveries, queue, (PauseAction::Resume, seen), actor).await
    }

    /// Reads the pauses of all steps that were paused in the last 90 days, consistently. What cannot be read is logged.
    ///
    /// # Errors
    /// The store failed.
    pub async fn pauses(&self) -> Result<Pauses, TableError> {
        self.engine.pauses().await
    }

    async fn set_pause(
        &self,
        deliveries: &impl Deliveries,
        queue: &StepQueue,
        what: (PauseAction, Option<Timestamp>),
        actor: &Actor,
    ) -> Result<Paused, PauseError> {
        let pauses = self.write_pause(queue, what, actor).await?;
        match tell(&self.engine, deliveries, queue).await {
            // Somebody else may have paused or resumed it meanwhile.
            Ok(Some(pauses)) => Ok(Paused { pauses, told: true }),
            Ok(None) => Ok(Paused { pauses, told: false }),
            Err(error) => {
                let StepQueue { workflow, step } = queue;
                tracing::warn!(workflow, step, %error, "the queue does not know yet how the step stands: the watchdog tells it");
                Ok(Paused { pauses, told: false })
            }
        }
    }

    async fn write_pause(
        &self,
        queue: &StepQueue,
        (what, seen): (PauseAction, Option<Timestamp>),
        actor: &Actor,
    ) -> Result<StepPauses, PauseError> {
        let StepQueue { workflow, step } = queue;
        let (who, why) = (actor.who(), actor.why());
        for _ in 0..TRIES {
            let read = self.engine.pauses_of(queue).await?;
            let unseen: Vec<PauseEntry> = seen.into_iter().flat_map(|seen| read.reasons_after(seen)).cloned().collect();
            if !unseen.is_empty() {
                return Err(PauseError::Unseen { step: step.clone(), unseen });
            }
            let entry = PauseEntry { at: self.engine.now(), what, who: who.to_owned(), why: why.to_owned() };
            let Some(next) = read.after(entry) else { return Ok(read) };
            if self.engine.apply(&pause::write(&read, &next)).await?.is_written() {
                match what {
                    PauseAction::Pause => tracing::warn!(workflow, step, who, why, "step paused"),
                    PauseAction::Resume => tracing::warn!(workflow, step, who, why, "step resumed"),
                }
                return Ok(next);
            }
        }
        Err(PauseError::KeepsChanging(step.clone()))
    }
}
