//! A plan as the table holds it: with short names, and without what has its usual value. It is part of every task's
//! item, which is paid for by the kilobyte.

use super::{Compensate, Plan, PlanError, StepPlan};
use crate::core::backoff::Backoff;
use serde::{Deserialize, Serialize};

/// The limit that is not written. Plans that have been stored are read by it, so it stays as it is.
const USUAL_LIMIT: u32 = 3;

/// The timeout that is not written, in seconds; the same holds for it.
const USUAL_TIMEOUT: u32 = 30;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    #[serde(rename = "s")]
    steps: Vec<Step>,
    #[serde(rename = "c", default, skip_serializing_if = "is_default")]
    compensate: Compensate,
    #[serde(rename = "a", default, skip_serializing_if = "is_default")]
    compensate_after_seconds: u32,
    #[serde(rename = "r", default, skip_serializing_if = "is_default")]
    restarts: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    #[serde(rename = "n")]
    name: String,
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<String>,
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    retry_limit: Option<u32>,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    timeout_seconds: Option<u32>,
    #[serde(rename = "b", default, skip_serializing_if = "is_default")]
    backoff: Backoff,
    /// The name of what undoes it, where that has the usual limit and backoff, and this step's timeout.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    usual_compensation: Option<String>,
    /// What undoes it, where that is anything else. An untagged choice in one field could not be read: serde would keep
    /// its numbers in a form that is no number any more.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    compensation: Option<Box<Step>>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Step {
    fn new(plan: StepPlan) -> Self {
        let StepPlan { name, depends_on, retry_limit, timeout_seconds, backoff, undoes: _ } = plan;
        let retry_limit = Some(retry_limit).filter(|&limit| limit != USUAL_LIMIT);
        let timeout_seconds = Some(timeout_seconds).filter(|&seconds| seconds != USUAL_TIMEOUT);
        let (usual_compensation, compensation) = (None, None);
        Self { name, depends_on, retry_limit, timeout_seconds, backoff, usual_compensation, compensation }
    }

    fn undone_by(self, undo: &StepPlan, timeout_seconds: u32) -> Self {
        if *undo == usual(undo.name.clone(), &self.name, timeout_seconds) {
            return Self { usual_compensation: Some(undo.name.clone()), ..self };
        }
        Self { compensation: Some(Box::new(Self::new(undo.clone()))), ..self }
    }

    /// This step and what undoes it.
    fn unpack(self, undoes: Option<String>) -> Vec<StepPlan> {
        let Self { name, depends_on, retry_limit, timeout_seconds, backoff, usual_compensation, compensation } = self;
        let timeout_seconds = timeout_seconds.unwrap_or(USUAL_TIMEOUT);
        let retry_limit = retry_limit.unwrap_or(USUAL_LIMIT);
        let usual = usual_compensation.map(|undo| usual(undo, &name, timeout_seconds));
        let other = compensation.into_iter().flat_map(|step| step.unpack(Some(name.clone())));
        let undo: Vec<StepPlan> = usual.into_iter().chain(other).collect();
        let step = StepPlan { name, depends_on, retry_limit, timeout_seconds, backoff, undoes };
        [step].into_iter().chain(undo).collect()
    }
}

/// The compensation of a step of which nothing but the name is written.
fn usual(name: String, undoes: &str, timeout_seconds: u32) -> StepPlan {
    StepPlan {
        name,
        depends_on: Vec::new(),
        retry_limit: Plan::COMPENSATION_RETRY_LIMIT,
        timeout_seconds,
        backoff: Backoff::default(),
        undoes: Some(undoes.to_owned()),
    }
}

impl TryFrom<Stored> for Plan {
    type Error = PlanError;

    fn try_from(stored: Stored) -> Result<Self, PlanError> {
        let steps = stored.steps.into_iter().flat_map(|step| step.unpack(None)).collect();
        let plan = Self::new(steps)?.compensating(stored.compensate, stored.compensate_after_seconds);
        Ok(plan.restarting(stored.restarts))
    }
}

impl From<Plan> for Stored {
    fn from(plan: Plan) -> Self {
        let Plan { steps, compensations, compensate, compensate_after_seconds, restarts } = plan;
        let pack = |step: StepPlan| {
            let undo = compensations.iter().find(|undo| undo.undoes.as_ref() == Some(&step.name));
            let timeout_seconds = step.timeout_seconds;
            let step = Step::new(step);
            match undo {
                Some(undo) => step.undone_by(undo, timeout_seconds),
                None => step,
            }
        };
        Self { steps: steps.into_iter().map(pack).collect(), compensate, compensate_after_seconds, restarts }
    }
}
