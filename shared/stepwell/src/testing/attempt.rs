//! One attempt of a handler, without a store and without a queue.

use crate::{
    core::{
        id::TaskId,
        plan::{Plan, StepPlan},
        timestamp::Timestamp,
    },
    runtime::{
        step::{Step, StepContext, StepError, TaskData},
        worker::run_handler,
    },
};
use std::time::Duration;

/// An attempt of a step that is run by itself: the handler gets what a worker would give it, and nothing is claimed or written.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// The task.
    pub task_id: TaskId,
    /// The time of the task's start.
    pub task_created_at: Timestamp,
    /// The task's plan.
    pub plan: &'a Plan,
    /// The step or compensation, of the plan.
    pub step: &'a StepPlan,
    /// The number of the attempt, from 1.
    pub number: u32,
    /// The time of its claim.
    pub started_at: Timestamp,
}

impl Attempt<'_> {
    /// Runs the handler once, as a worker does: under the step's timeout, with panics caught. Returns its result as JSON.
    ///
    /// # Errors
    /// The handler's error, without the secrets that it had.
    pub async fn run<S: Step>(self, handler: &S, data: &TaskData) -> Result<String, StepError> {
        let Self { task_id, task_created_at, plan, step, number, started_at } = self;
        let limit = Duration::from_secs(step.timeout_seconds.into());
        let context = StepContext::of_attempt((task_id, task_created_at), plan, step, (number, started_at), limit);
        run_handler(handler, data, &context).await
    }
}
