//! Snapshots: a task and its steps as read from the store. The API shows them, and recovery, inspection and operators'
//! actions decide by them.

use crate::core::{
    codec::Unreadable,
    format::NewerFormat,
    id::{BulkId, BulkPage, TaskId},
    item::{Item, Key},
    message::{Message, Outgoing},
    plan::StepPlan,
    record::{Failure, StepRecord, TaskRecord},
    state::{StepState, TaskState, TaskStatus},
    timestamp::Timestamp,
};
use std::collections::BTreeMap;

/// A task and some of its steps, as read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// The task; `None` if it does not exist.
    pub task: Option<TaskRecord>,
    /// The requested steps; an untouched record for a step without an item.
    pub steps: BTreeMap<String, StepRecord>,
}

impl Loaded {
    /// The start of a read: no task yet, and untouched records of these steps.
    pub fn untouched<'a>(steps: impl IntoIterator<Item = &'a str>) -> Self {
        let steps = steps.into_iter().map(|name| (name.to_owned(), StepRecord::untouched(name)));
        Self { task: None, steps: steps.collect() }
    }

    /// Adds an item of the task's partition, by its sort key. An item of an unknown kind is ignored.
    ///
    /// # Errors
    /// The item cannot be read.
    pub fn insert(&mut self, task: TaskId, sort_key: &str, item: Item) -> Result<(), Unreadable> {
        match Key::of_task(task, sort_key) {
            Some(Key::Step(_, name)) => {
                let record = StepRecord::from_item(task, &name, item)?;
                self.steps.insert(name, record);
            }
            Some(_) => self.task = Some(TaskRecord::from_item(task, item)?),
            None => {}
        }
        Ok(())
    }
}

impl Loaded {
    /// The item that needs a newer reader, if there is one. Then this version may not act on the task.
    pub fn newer(&self) -> Option<&NewerFormat> {
        newer(self.task.as_ref(), self.steps.values())
    }
}

fn newer<'a>(task: Option<&'a TaskRecord>, mut steps: impl Iterator<Item = &'a StepRecord>) -> Option<&'a NewerFormat> {
    task.and_then(|task| task.newer.as_ref()).or_else(|| steps.find_map(|step| step.newer.as_ref()))
}

/// A task with all of its steps.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskSnapshot {
    /// The task's own record.
    pub task: TaskRecord,
    /// The steps, in the plan's order; an untouched record for a step without an item.
    pub steps: Vec<StepRecord>,
    /// The compensations, each after those that it waits for; empty before their graph is written.
    pub compensations: Vec<StepRecord>,
}

/// A warning: an optional step or compensation failed for good, and its task went on without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warning<'a> {
    /// The step.
    pub step: &'a str,
    /// Its error.
    pub error: Option<&'a Failure>,
}

/// The progress of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The number of steps that the task does not wait for any more: done, or optional and failed.
    pub completed: usize,
    /// The number of all steps.
    pub total: usize,
    /// The share of done steps, in whole percent, rounded down.
    pub percentage: usize,
}

impl TaskSnapshot {
    /// The page on which this bulk action has acted on the task; `None` if it has not.
    pub(crate) fn acted_on_by(&self, bulk: BulkId) -> Option<BulkPage> {
        self.task.actions.iter().find_map(|action| action.bulk.filter(|page| page.id == bulk))
    }

    /// The message of a step, or of a compensation whose graph is written. It names what the step waits for.
    pub(crate) fn message(&self, name: &str) -> Outgoing {
        let step = self.task.plan.step(name);
        let waits_for = step.and_then(|step| self.task.waits_for(step)).unwrap_or_default();
        let load = waits_for.into_iter().map(str::to_owned).collect();
        self.task.outgoing(Message { load, ..Message::new(self.task.id, name) })
    }

    /// Makes a snapshot of what was read; `None` if the task does not exist.
    pub(crate) fn new(loaded: Loaded) -> Option<Self> {
        let Loaded { task, mut steps } = loaded;
        let task = task?;
        let mut record = |name: &str| steps.remove(name).unwrap_or_else(|| StepRecord::untouched(name));
        let compensations = task.compensations.iter().flatten().map(|step| record(&step.name)).collect();
        let steps = task.plan.steps().iter().map(|step| record(&step.name)).collect();
        Some(Self { task, steps, compensations })
    }

    /// The item that needs a newer reader, if there is one. Then this version may show the task but not act on it.
    pub fn newer(&self) -> Option<&NewerFormat> {
        newer(Some(&self.task), self.steps.iter().chain(&self.compensations))
    }

    /// The status of the task: that of its state, or `in_progress` for a running task that has begun. It is derived from
    /// the steps and never stored, which saves a write at the first claim.
    pub fn status(&self) -> TaskStatus {
        let begun = self.steps.iter().any(|step| step.state != StepState::Pending);
        match self.task.state {
            TaskState::Running if begun => TaskStatus::InProgress,
            state => state.status(),
        }
    }

    /// The record of the step or compensation of this name. A compensation is found only after their graph is written.
    pub fn step(&self, name: &str) -> Option<&StepRecord> {
        self.steps.iter().chain(&self.compensations).find(|step| step.name == name)
    }

    /// Whether the step can run: the task's state allows it, and everything it waits for is done.
    pub fn is_ready(&self, step: &StepPlan) -> bool {
        self.missing(step).is_some_and(|missing| missing.is_empty())
    }

    /// What this step still waits for; `None` if the task's state does not let it run at all.
    pub fn missing<'a>(&'a self, step: &'a StepPlan) -> Option<Vec<&'a str>> {
        let mut waits_for = self.task.waits_for(step)?;
        waits_for.retain(|name| !self.step(name).is_some_and(|record| record.state.is_done()));
        Some(waits_for)
    }

    /// Whether the task does not wait for this step or compensation any more: it is done, or it is optional and has failed or the
    /// task is completed.
    pub(crate) fn is_settled(&self, step: &StepRecord) -> bool {
        let passed = || step.state == StepState::Error || self.task.state == TaskState::Completed;
        step.state.is_done() || (self.task.plan.is_optional(&step.name) && passed())
    }

    /// The first step in the plan's order that the task waits for. With parallel branches there can be others.
    pub fn current_step(&self) -> Option<&StepRecord> {
        self.steps.iter().find(|step| !self.is_settled(step))
    }

    /// The steps and compensations that a worker owns at this time, each with the end of its lease.
    pub fn leased_at(&self, now: Timestamp) -> impl Iterator<Item = (&StepRecord, Timestamp)> {
        let in_flight = |step: &&StepRecord| step.state == StepState::InProgress;
        let leased = self.steps.iter().chain(&self.compensations).filter(in_flight);
        leased.filter_map(move |step| Some((step, step.lease_until.filter(|until| *until > now)?)))
    }

    /// A step or a compensation that may still run, or be made to. None means that it stays so as long as the task's item has the same state
    /// and nobody redrives or resolves what the task lists as failed: each other step is done, or was closed for good.
    pub(crate) fn may_still_run(&self) -> Option<&StepRecord> {
        let closed = self.task.state.is_closed();
        self.steps.iter().chain(&self.compensations).find(|step| match step.state {
            StepState::Complete | StepState::ResolvedManually => false,
            // Of a step and its task that were read at different times, one may be from before a redrive.
            StepState::Error => !closed && !self.task.failed_steps.contains(&step.name),
            // A complete task that was reinstated has none.
            StepState::Cancelled => !closed,
            StepState::Pending | StepState::InProgress | StepState::Retrying => true,
        })
    }

    /// The steps that failed for good, in the plan's order, optional ones included.
    pub fn failed_steps(&self) -> Vec<&StepRecord> {
        self.steps.iter().filter(|step| step.state == StepState::Error).collect()
    }

    /// The failed steps that are not optional, in the plan's order.
    pub fn failed_required_steps(&self) -> Vec<&StepRecord> {
        let mut failed = self.failed_steps();
        failed.retain(|step| !self.task.plan.is_optional(&step.name));
        failed
    }

    /// A warning for each optional step that failed for good, in the plan's order, and for each optional compensation.
    pub fn warnings(&self) -> Vec<Warning<'_>> {
        let failed = self.steps.iter().chain(&self.compensations).filter(|step| step.state == StepState::Error);
        let optional = failed.filter(|step| self.task.plan.is_optional(&step.name));
        optional.map(|step| Warning { step: &step.name, error: step.error.as_ref() }).collect()
    }

    /// The steps that a redrive of this task concerns: the failed steps, in a completed task the failed optional steps, in a
    /// compensating task the failed compensations that are not optional.
    pub fn to_redrive(&self) -> Vec<&StepRecord> {
        let (steps, optional) = match self.task.state {
            TaskState::Compensating(_) => (&self.compensations, false),
            state => (&self.steps, state == TaskState::Completed),
        };
        let concerned = |step: &&StepRecord| self.task.plan.is_optional(&step.name) == optional;
        let failed = steps.iter().filter(|step| self.task.failed_steps.contains(&step.name));
        failed.filter(concerned).collect()
    }

    /// The steps and compensations that wait for their next attempt, and for nothing else.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &StepRecord> {
        let plan = &self.task.plan;
        let is_ready = |step: &&StepRecord| plan.step(&step.name).is_some_and(|step| self.is_ready(step));
        let retrying = |step: &&StepRecord| step.state == StepState::Retrying && step.next_retry_at.is_some();
        self.steps.iter().chain(&self.compensations).filter(retrying).filter(is_ready)
    }

    /// The compensations that the task waits for, and that wait for nothing any more. A failed one is among them unless it is
    /// optional: it needs a person.
    pub fn open_compensations(&self) -> Vec<&StepRecord> {
        let graph = self.task.compensations.iter().flatten();
        let open = graph.zip(&self.compensations).filter(|(plan, step)| !self.is_settled(step) && self.is_ready(plan));
        open.map(|(_, step)| step).collect()
    }

    /// The first failed compensation that is not optional. It needs a person, unless it has refused and the task is to be complete
    /// again.
    pub(crate) fn failed_compensation(&self) -> Option<&StepRecord> {
        self.compensations.iter().find(|step| step.state == StepState::Error && !self.is_settled(step))
    }

    /// Whether a compensation needs a person, because it has failed for good, or one that it waits for, directly or not.
    pub fn is_held_up(&self, compensation: &str) -> bool {
        let graph = self.task.compensations.as_deref().unwrap_or_default();
        let waits_for = graph.iter().find(|other| other.name == compensation).map(|found| &found.depends_on);
        let failed =
            self.step(compensation).is_some_and(|step| step.state == StepState::Error && !self.is_settled(step));
        failed || waits_for.into_iter().flatten().any(|before| self.is_held_up(before))
    }

    /// The time of the last event that its items record.
    pub fn last_event(&self) -> Timestamp {
        let steps = self.steps.iter().chain(&self.compensations);
        let of_steps = steps.flat_map(|step| [step.started_at, step.finished_at]).flatten();
        let of_task = self.task.actions.iter().map(|action| action.at).chain(self.task.finished_at);
        of_steps.chain(of_task).fold(self.task.created_at, Timestamp::max)
    }

    /// The number of steps that the task does not wait for any more, and of all.
    pub fn progress(&self) -> Progress {
        let completed = self.steps.iter().filter(|step| self.is_settled(step)).count();
        let total = self.steps.len();
        Progress { completed, total, percentage: (completed * 100).checked_div(total).unwrap_or(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::{
            record::{Action, ActionKind, NewTask},
            state::End,
            task,
            transition::Effect,
        },
        testing::fixtures::{at, compensation, snapshot, with_optional},
    };

    /// A chain of three steps, of which the first has a compensation.
    fn chain() -> TaskSnapshot {
        snapshot(&[&[], &[0], &[1]], &[0])
    }

    #[test]
    fn item_is_read_by_its_sort_key() {
        let chain = chain().task;
        let (id, plan) = (chain.id, &chain.plan);
        let new = NewTask {
            correlation_id: None,
            id,
            workflow: chain.workflow.clone(),
            context: "{}",
            plan,
            created_at: at(0),
        };
        let Effect::Create(item) = task::create(&new).writes.remove(0).effect else { panic!("it is created") };
        let mut loaded = Loaded::untouched(["s0", "s1"]);
        assert_eq!(loaded.steps["s1"], StepRecord::untouched("s1"));
        loaded.insert(id, "STEP#s1", [("attempt".to_owned(), 4.into())].into_iter().collect()).unwrap();
        loaded.insert(id, "TASK", item).unwrap();
        loaded.insert(id, "LATER", Item::new()).unwrap();
        assert_eq!((loaded.task.unwrap(), loaded.steps.len(), loaded.steps["s1"].attempt), (chain, 2, 4));
        loaded = Loaded::default();
        loaded.insert(id, "TASK", Item::new()).unwrap_err();
    }

    #[test]
    fn running_task_is_in_progress_after_the_first_claim() {
        let mut snapshot = chain();
        assert_eq!(snapshot.status(), TaskStatus::Pending);
        snapshot.steps[0].state = StepState::InProgress;
        assert_eq!(snapshot.status(), TaskStatus::InProgress);
        for state in TaskState::ALL.into_iter().filter(|state| *state != TaskState::Running) {
            snapshot.task.state = state;
            assert_eq!(snapshot.status(), state.status());
        }
    }

    #[test]
    fn current_step_and_progress_follow_from_the_done_steps() {
        let mut snapshot = chain();
        let seen = |snapshot: &TaskSnapshot| {
            let Progress { completed, total, percentage } = snapshot.progress();
            (snapshot.current_step().map(|step| step.name.clone()), completed, total, percentage)
        };
        assert_eq!(seen(&snapshot), (Some("s0".to_owned()), 0, 3, 0));
        snapshot.steps[0].state = StepState::ResolvedManually;
        assert_eq!(seen(&snapshot), (Some("s1".to_owned()), 1, 3, 33));
        (snapshot.steps[1].state, snapshot.steps[2].state) = (StepState::Complete, StepState::Complete);
        assert_eq!(seen(&snapshot), (None, 3, 3, 100));
    }

    #[test]
    fn step_is_ready_when_its_dependencies_are_done_and_its_task_is_open() {
        let mut snapshot = chain();
        let plan = snapshot.task.plan.clone();
        let second = plan.step("s1").unwrap();
        assert_eq!((snapshot.missing(second), snapshot.is_ready(second)), (Some(vec!["s0"]), false));
        snapshot.steps[0].state = StepState::Complete;
        assert_eq!((snapshot.missing(second), snapshot.is_ready(second)), (Some(vec![]), true));
        snapshot.task.state = TaskState::Cancelled;
        assert_eq!((snapshot.missing(second), snapshot.is_ready(second)), (None, false));
    }

    #[test]
    fn redrive_concerns_the_failed_steps_recorded_in_the_task() {
        let names =
            |snapshot: &TaskSnapshot| snapshot.to_redrive().iter().map(|step| step.name.clone()).collect::<Vec<_>>();
        let mut snapshot = chain();
        snapshot.steps[1].state = StepState::Error;
        assert_eq!(names(&snapshot), [""; 0]);
        snapshot.task.failed_steps.insert("s1".to_owned());
        assert_eq!(names(&snapshot), ["s1"]);
        snapshot.task.state = TaskState::Compensating(End::Error);
        snapshot.compensations = vec![StepRecord::untouched(&compensation(0))];
        assert_eq!(names(&snapshot), [""; 0]);
        snapshot.task.failed_steps.insert(compensation(0));
        assert_eq!(names(&snapshot), [compensation(0)]);
    }

    /// A fork whose first leaf is optional and has failed.
    fn with_warning() -> TaskSnapshot {
        let mut fork = with_optional(snapshot(&[&[], &[0], &[0]], &[]), &["s1"]);
        fork.steps[0].state = StepState::Complete;
        fork.steps[1].state = StepState::Error;
        fork.steps[1].error = Some(Failure::new("NO", "never"));
        fork.task.failed_steps.insert("s1".to_owned());
        fork
    }

    #[test]
    fn failed_optional_step_is_a_warning_and_the_task_waits_for_the_others() {
        let mut fork = with_warning();
        let error = Failure::new("NO", "never");
        assert_eq!(fork.warnings(), [Warning { step: "s1", error: Some(&error) }]);
        assert_eq!(fork.current_step().map(|step| step.name.as_str()), Some("s2"));
        assert_eq!((fork.failed_steps().len(), fork.failed_required_steps().len()), (1, 0));
        fork.steps[2].state = StepState::Complete;
        assert_eq!((fork.current_step(), fork.progress().percentage), (None, 100));
        fork.task.state = TaskState::Completed;
        (fork.steps[1].state, fork.steps[1].error) = (StepState::Retrying, None);
        assert_eq!(
            (fork.current_step(), fork.progress().percentage, fork.warnings().len()),
            (None, 100, 0),
            "redriven"
        );
    }

    #[test]
    fn optional_steps_are_redriven_and_run_in_a_completed_task_only() {
        for (state, redriven, runs) in [
            (TaskState::Running, 0, true),
            (TaskState::Completed, 1, true),
            (TaskState::Failed, 0, true),
            (TaskState::Cancelled, 0, false),
        ] {
            let mut fork = with_warning();
            fork.task.state = state;
            assert_eq!(fork.to_redrive().len(), redriven, "{state:?}");
            let ready = |step: &str| fork.is_ready(fork.task.plan.step(step).unwrap());
            assert_eq!((ready("s1"), ready("s2")), (runs, runs && state != TaskState::Completed), "{state:?}");
        }
    }

    #[test]
    fn last_event_is_the_latest_recorded_time() {
        let mut snapshot = chain();
        assert_eq!(snapshot.last_event(), at(0));
        snapshot.steps[1].started_at = Some(at(3));
        assert_eq!(snapshot.last_event(), at(3));
        snapshot.steps[0].finished_at = Some(at(5));
        assert_eq!(snapshot.last_event(), at(5));
        let (who, why) = ("somebody".to_owned(), "a test".to_owned());
        snapshot.task.actions.push(Action {
            at: at(8),
            what: ActionKind::Redrive,
            step: None,
            who,
            why,
            bulk: None,
            rerun_as: None,
        });
        assert_eq!(snapshot.last_event(), at(8));
        snapshot.task.finished_at = Some(at(7));
        assert_eq!(snapshot.last_event(), at(8));
        snapshot.compensations =
            vec![StepRecord { started_at: Some(at(9)), ..StepRecord::untouched(&compensation(0)) }];
        assert_eq!(snapshot.last_event(), at(9));
    }
}
