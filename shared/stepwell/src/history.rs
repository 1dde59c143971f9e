//! A task and its steps as one picture: what the API shows, and what operators decide by.

use crate::{
    plan::StepPlan,
    state::{StepState, TaskStatus},
    table::{Loaded, StepRecord, TaskRecord},
};

/// A task with all of its steps.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The task.
    pub task: TaskRecord,
    /// Its steps, in the plan's order; an untouched record for a step nothing has happened to.
    pub steps: Vec<StepRecord>,
}

/// How far a task has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Steps that are done.
    pub completed: usize,
    /// Steps in all.
    pub total: usize,
    /// The one in terms of the other, in whole percent, rounded down.
    pub percentage: usize,
}

impl History {
    /// The picture of what was read; `None` where there is no such task.
    pub(crate) fn new(loaded: Loaded) -> Option<Self> {
        let Loaded { task, mut steps } = loaded;
        let task = task?;
        let record = |step: &StepPlan| steps.remove(&step.name).unwrap_or_else(|| StepRecord::untouched(&step.name));
        let steps = task.plan.steps().iter().map(record).collect();
        Some(Self { task, steps })
    }

    /// The task's status, with `in_progress` for a pending task that has been begun.
    pub fn status(&self) -> TaskStatus {
        let begun = self.steps.iter().any(|step| step.state != StepState::Pending);
        if self.task.status == TaskStatus::Pending && begun { TaskStatus::InProgress } else { self.task.status }
    }

    /// The record of the step of this name.
    pub fn step(&self, name: &str) -> Option<&StepRecord> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// The first step in the plan's order that is not done. With parallel branches there can be others.
    pub fn current_step(&self) -> Option<&StepRecord> {
        self.steps.iter().find(|step| !step.state.is_done())
    }

    /// The steps that failed for good, in the plan's order.
    pub fn failed_steps(&self) -> Vec<&StepRecord> {
        self.steps.iter().filter(|step| step.state == StepState::Error).collect()
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        let completed = self.steps.iter().filter(|step| step.state.is_done()).count();
        let total = self.steps.len();
        Progress { completed, total, percentage: (completed * 100).checked_div(total).unwrap_or(100) }
    }
}
