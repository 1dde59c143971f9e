//! The deadline of a task: the time after which its steps start no attempt any more.

use super::{Plan, PlanError, StepPlan};
use crate::core::spelling::Meant;
use std::time::Duration;

/// The deadline of a task, as its workflow file gives it.
///
/// After the deadline no step starts an attempt that leads to the point of no return, and neither does that step itself. An
/// attempt that began before comes to its end. A step that does not start fails with
/// [`DEADLINE_EXCEEDED`](crate::core::codes::EngineCode::DeadlineExceeded), and its task with it. Once the point of no return is
/// done, the rest of the task is finished, however long it takes. Compensations have no deadline.
///
/// An operator who redrives a failed task or resolves one of its steps gives it its whole time once more. Nobody else can move
/// the deadline: neither the engine's own redrives nor a customer's do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// The time from the task's start to its deadline, in seconds: 1 to [`Plan::LONGEST_DEADLINE_SECONDS`].
    pub complete_within_seconds: u32,
    /// The step that ends the deadline when it is done. Without one the deadline holds for every step.
    pub point_of_no_return: Option<String>,
}

impl Plan {
    /// The largest `complete_within_seconds`: 30 days, well within the retention of a task.
    pub const LONGEST_DEADLINE_SECONDS: u32 = 30 * 24 * 60 * 60;

    /// Sets the deadline of the task.
    ///
    /// # Errors
    /// The time is 0 or too long, or the point of no return is not a step that the task needs.
    pub fn with_deadline(self, deadline: Deadline) -> Result<Self, PlanError> {
        let seconds = deadline.complete_within_seconds;
        if !(1..=Self::LONGEST_DEADLINE_SECONDS).contains(&seconds) {
            return Err(PlanError::BadDeadline(seconds));
        }
        if let Some(point) = &deadline.point_of_no_return {
            let problem = match self.steps.iter().find(|step| step.name == *point) {
                Some(step) if step.optional => Some("is optional, so the task may complete without it".to_owned()),
                Some(_) => None,
                None => {
                    let meant = Meant::among(point, self.steps.iter().map(|step| step.name.as_str()));
                    Some(format!("is not a step of this workflow{meant}"))
                }
            };
            if let Some(problem) = problem {
                return Err(PlanError::BadPointOfNoReturn { step: point.clone(), problem });
            }
        }
        Ok(Self { deadline: Some(deadline), ..self })
    }

    /// The deadline, if tasks of this plan have one.
    pub const fn deadline(&self) -> Option<&Deadline> {
        self.deadline.as_ref()
    }

    /// The time from the task's start to the deadline that holds for this step. `None` for a step that no deadline holds for,
    /// and for a compensation.
    pub fn time_to_start(&self, step: &str) -> Option<Duration> {
        let Deadline { complete_within_seconds, point_of_no_return } = self.deadline.as_ref()?;
        let leads_to = |point: &StepPlan| point.name == step || self.ancestors(point).contains(step);
        let holds = match point_of_no_return.as_deref() {
            Some(point) => self.step(point).is_some_and(leads_to),
            None => !self.is_compensation(step),
        };
        holds.then(|| Duration::from_secs((*complete_within_seconds).into()))
    }
}
