//! The steps that are paused, as the answers of several routes show them.

use crate::error::ApiError;
use serde::Serialize;
use stepwell::{
    Client, Runtime, Timestamp,
    core::{
        inspection::inspect_paused,
        message::StepQueue,
        pause::{PauseEntry, PausedSteps, StepPauses},
        snapshot::TaskSnapshot,
    },
    ports::{Queue, Store},
};

/// A pause in force.
#[derive(Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct PauseView {
    since: Timestamp,
    /// Who paused the step.
    by: String,
    reason: String,
    /// The further reasons, by others or later. The step is paused for all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also: Vec<ReasonView>,
}

/// A further reason for which a step is paused.
#[derive(Clone, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ReasonView {
    since: Timestamp,
    by: String,
    reason: String,
}

/// A step that is paused.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct PausedStep {
    workflow: String,
    step: String,
    #[serde(flatten)]
    pause: PauseView,
}

/// A step that may be paused: a newer version wrote its pauses, or something else that this one cannot read.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct UnknownPause {
    workflow: String,
    step: String,
}

impl From<&PauseEntry> for ReasonView {
    fn from(PauseEntry { at, who, why, .. }: &PauseEntry) -> Self {
        Self { since: *at, by: who.clone(), reason: why.clone() }
    }
}

impl PauseView {
    /// The pause of a step; `None` if it goes on.
    pub(crate) fn of(pauses: &StepPauses) -> Option<Self> {
        let mut reasons = pauses.reasons().iter().map(ReasonView::from);
        let ReasonView { since, by, reason } = reasons.next()?;
        Some(Self { since, by, reason, also: reasons.collect() })
    }
}

/// The pauses that were read.
pub(crate) struct Pauses(stepwell::core::pause::Pauses);

impl Pauses {
    /// Reads the pauses of all steps.
    pub(crate) async fn read<S: Store, Q: Queue, A: Runtime>(engine: &Client<S, Q, A>) -> Result<Self, ApiError> {
        Ok(Self(engine.pauses().await?))
    }

    /// The pause of a step that is in force.
    pub(crate) fn of(&self, workflow: &str, step: &str) -> Option<PauseView> {
        let is_it = |pauses: &&StepPauses| pauses.workflow == workflow && pauses.step == step;
        PauseView::of(self.0.known.iter().find(is_it)?)
    }

    /// Whether this step is paused, or may be.
    pub(crate) fn may_hold(&self, queue: &StepQueue) -> bool {
        self.0.held().holds(&queue.workflow, &queue.step)
    }

    /// The steps that are paused, the one that is for longest first.
    pub(crate) fn in_force(&self) -> Vec<PausedStep> {
        let paused = self.0.known.iter().filter_map(|pauses| {
            let StepPauses { workflow, step, .. } = pauses.clone();
            Some(PausedStep { workflow, step, pause: PauseView::of(pauses)? })
        });
        let mut paused: Vec<PausedStep> = paused.collect();
        paused.sort_by_key(|paused| paused.pause.since);
        paused
    }

    /// The steps whose pauses this version cannot read, so that it leaves them as they are.
    pub(crate) fn unknown(&self) -> Vec<UnknownPause> {
        let unknown = self.0.unknown.iter().cloned();
        unknown.map(|StepQueue { workflow, step }| UnknownPause { workflow, step }).collect()
    }

    /// The steps of this task that are due, and wait because they are paused.
    pub(crate) fn that_hold(&self, snapshot: &TaskSnapshot, now: Timestamp) -> Vec<PausedStep> {
        let waiting = inspect_paused(snapshot, &PausedSteps::of(&self.0.known), now).paused;
        let of_workflow = |paused: &PausedStep| paused.workflow == snapshot.task.workflow_name();
        let waits = |paused: &PausedStep| of_workflow(paused) && waiting.contains(&paused.step);
        self.in_force().into_iter().filter(waits).collect()
    }
}
