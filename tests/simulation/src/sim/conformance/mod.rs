//! Holds every write of a run to the protocol's model.
//!
//! The model says of each write when it may be made and what becomes of the items ([`crate::model::Write`]), and is checked
//! state by state. The simulation runs the engine's own transitions. What joins the two is here: every transition that
//! takes effect in a run has to be a step that the rule of its name allows, on exactly those items, with exactly that
//! outcome. So what is proved of the model is proved of what the engine writes.
//!
//! The model is smaller than what is stored, and what is stored is made as small as the model is
//! ([`Projection`](projection::Projection)):
//!
//! * A lease or a backoff is over or not, by the clock that the write itself shows: `started_at` of a claim, `finished_at`
//!   of what ends a step from outside. How long either lasts is not held.
//! * Of the fence the attempt's entry in the audit trail is seen, and that it is the last attempt's. Who writes a release
//!   cannot be seen.
//! * Of a result and of an error it is seen that there is one, of the order of the compensations that it is a possible one.
//! * Of the index it is seen that the task is listed as its status asks for, and that nothing else moves it. Neither the
//!   moment nor whether a failed task is looked after.
//! * The task's failed steps are not in the model, which reads them off the steps; they have to be the same.
//! * Texts and moments, the rest of the audit trails, `expires_at`, and what an idempotency key holds are not held.

mod projection;
#[cfg(test)]
mod tests;

use super::scheduler::Scheduler;
use crate::locked::Locked;
use crate::model::{Rule, Snapshot, Write};
use projection::{Bits, Projection, StepWritten, TaskWritten};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use stepwell::{
    TaskId, Timestamp,
    core::{item::Key, record::TaskRecord, state::TaskState},
    testing::{Records, Written},
};

/// The rules that a run is held to.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// This one is taken away.
    without: Option<Rule>,
    /// The rules that each write is a step of, where that is wanted. Only one of them has the write's name.
    explained: Option<Locked<BTreeSet<Vec<Rule>>>>,
}

/// Holds every write of a run to the rules.
#[derive(Debug)]
pub(super) struct Conformance {
    scheduler: Arc<Scheduler>,
    rules: Arc<Rules>,
    tasks: Locked<BTreeMap<TaskId, Projection>>,
}

/// What one transition has written.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// Whose items; `None` where it is an idempotency key's.
    of: Option<TaskId>,
    /// Whether an idempotency key was written, and was there before.
    key: Option<bool>,
    task: Option<TaskWritten>,
    steps: Vec<StepWritten>,
}

impl Conformance {
    pub(super) fn new(scheduler: &Arc<Scheduler>, rules: Arc<Rules>) -> Self {
        Self { scheduler: scheduler.clone(), rules, tasks: Locked::default() }
    }

    /// Sees one of a transition's writes.
    pub(super) fn see(&self, made: &mut Made, written: &Written<'_>) {
        if let Err(problem) = self.project(made, written) {
            self.scheduler.violated(|| format!("{:?} is nothing that the model has: {problem}", written.key));
        }
    }

    fn project(&self, made: &mut Made, written: &Written<'_>) -> Result<(), String> {
        let task = match written.key {
            Key::Task(task) | Key::Step(task, _) => *task,
            Key::IdempotencyKey { .. } => {
                made.key = Some(!written.before.is_empty());
                return Ok(());
            }
        };
        if made.of.replace(task).is_some_and(|other| other != task) {
            return Err("it is written together with another task's items".to_owned());
        }
        let mut tasks = self.tasks.lock();
        let projection = tasks.entry(task).or_default();
        match (written.key, written.records) {
            (Key::Task(_), Records::Task(_, after)) => {
                made.task = Some(projection.task_written(after, written.before, written.after)?);
            }
            (Key::Task(_), _) => {
                let new = TaskRecord::from_item(task, written.after.clone()).map_err(|error| error.to_string())?;
                made.task = Some(projection.task_written(&new, written.before, written.after)?);
            }
            (_, Records::Step(before, after)) => made.steps.push(projection.step_written(before, after)?),
            (Key::Step(_, name), _) => made.steps.push(projection.step_deleted(name)?),
            (Key::IdempotencyKey { .. }, _) => {}
        }
        Ok(())
    }

    /// All that a transition of this name has written is there to be judged.
    pub(super) fn judge(&self, name: &'static str, made: Made) {
        if made.of.is_none() && made.key.is_none() {
            return;
        }
        let mut tasks = self.tasks.lock();
        let mut nothing = Projection::default();
        let before = made.of.and_then(|task| tasks.get_mut(&task)).unwrap_or(&mut nothing);
        let judged = match rule_of(name, made.task.as_ref()) {
            Some(rule) => self.rules.judge(rule, before, &made),
            None => Err("it has no rule of this name".to_owned()),
        };
        let judged = judged
            .map_err(|problem| format!("{problem}\n  before: {}\n  after:  {}", before.told(&made), made.told(before)));
        let judged = judged.and_then(|()| before.apply(made.task, made.steps));
        if let Err(problem) = judged {
            let of = made.of.map_or_else(|| "an idempotency key".to_owned(), |task| format!("task {task}"));
            self.scheduler.violated(|| format!("`{name}` of {of} is nothing that the model allows: {problem}"));
        }
    }
}

impl Rules {
    /// Holds what was made to its rule.
    fn judge(&self, rule: Rule, before: &Projection, made: &Made) -> Result<(), String> {
        if let Some(explained) = &self.explained {
            let all = Rule::ALL.into_iter().filter(|other| made.is_a_step_of(*other, before).is_ok());
            explained.lock().insert(all.collect());
        }
        if self.without == Some(rule) {
            return Err(format!("there is no rule {rule:?}"));
        }
        made.is_a_step_of(rule, before)
    }
}

/// The rule of a transition's name.
fn rule_of(name: &str, task: Option<&TaskWritten>) -> Option<Rule> {
    Some(match name {
        "create" => Rule::Create,
        "reserve_key" => Rule::ReserveKey,
        "claim" => Rule::Claim,
        "take_over" => Rule::TakeOver,
        "release" | "abandon" => Rule::Release,
        "delete_orphan_claim" => Rule::DeleteOrphanClaim,
        "complete" => Rule::Complete,
        "retry_later" => Rule::RetryLater,
        "fail" => Rule::Fail,
        "record_join_arrival" => Rule::RecordJoinArrival,
        "record_leaf_arrival" => Rule::RecordLeafArrival,
        "finish" => Rule::Finish,
        "redrive" => Rule::Redrive,
        "resolve_step" => Rule::ResolveStep,
        "dead_letter_step" => Rule::DeadLetterStep,
        "cancel_step" => Rule::CancelStep,
        "close_or_compensate" => match task?.task.state {
            TaskState::Cancelled => Rule::Cancel,
            TaskState::Resolved => Rule::Resolve,
            TaskState::Compensating(_) => Rule::Compensate,
            _ => return None,
        },
        "order_compensations" => Rule::OrderCompensations,
        "finish_compensation" => Rule::FinishCompensation,
        "move_in_index" => Rule::MoveInIndex,
        _ => return None,
    })
}

impl Made {
    /// Whether this is a step of the rule, from how the task stood before.
    fn is_a_step_of(&self, rule: Rule, before: &Projection) -> Result<(), String> {
        let clock = self.clock(rule);
        let snapshot = before.at(clock);
        let write = self.as_write(rule, &snapshot).ok_or("it has not the items that its rule writes")?;
        if !write.takes_effect(&snapshot) {
            return Err(format!("by its rule {write:?} would be refused"));
        }
        if !write.is_due(&snapshot) {
            return Err(format!("by its rule {write:?} would take effect, but nobody may make it as things stand"));
        }
        let change = write.change(&snapshot).ok_or(format!("the tables of states do not have {write:?}"))?;
        if change.task != self.task.as_ref().map(|written| written.task) {
            return Err(format!("by its rule {write:?} the task would be left as {:?}", change.task));
        }
        let mut left = change.items;
        left.sort_unstable_by_key(|(step, _)| *step);
        let mut found: Vec<_> = self.steps.iter().map(|written| (written.step, written.item(clock))).collect();
        found.sort_unstable_by_key(|(step, _)| *step);
        if left != found {
            return Err(format!("by its rule {write:?} the steps would be left as {left:?}"));
        }
        let has_moved = self.task.as_ref().is_some_and(|task| task.has_moved);
        if has_moved && rule == Rule::RecordLeafArrival {
            return Err("it is listed elsewhere in the index".to_owned());
        }
        Ok(())
    }

    /// The moment of the write, by its writer's clock, where it shows. Only what is over or not by then asks for it.
    fn clock(&self, rule: Rule) -> Option<Timestamp> {
        let [step] = &self.steps[..] else { return None };
        match rule {
            Rule::Claim | Rule::TakeOver => step.started_at,
            Rule::ResolveStep | Rule::DeadLetterStep | Rule::CancelStep => step.finished_at,
            _ => None,
        }
    }

    /// The write of this rule that this could be, from the items that it has.
    fn as_write(&self, rule: Rule, before: &impl Snapshot<Bits = Bits>) -> Option<Write<'_>> {
        let step = self.steps.first();
        let fenced = step.map(|step| (step.step, step.fence));
        let task = self.task.as_ref();
        Some(match rule {
            Rule::Create => Write::Create,
            Rule::ReserveKey => Write::ReserveKey { is_taken: self.key? },
            Rule::Claim => Write::Claim(step?.step),
            Rule::TakeOver => fenced.map(|(step, fence)| Write::TakeOver(step, fence))?,
            Rule::Release => fenced.map(|(step, fence)| Write::Release(step, fence))?,
            Rule::DeleteOrphanClaim => fenced.map(|(step, fence)| Write::DeleteOrphanClaim(step, fence))?,
            Rule::Complete => fenced.map(|(step, fence)| Write::Complete(step, fence))?,
            Rule::RetryLater => fenced.map(|(step, fence)| Write::RetryLater(step, fence))?,
            Rule::Fail => fenced.map(|(step, fence)| Write::Fail(step, fence))?,
            Rule::RecordJoinArrival => {
                let (join, arrived) = (step?.step, step?.item(None).arrived);
                let known = before.item(join).arrived;
                // One that has been told before is told again.
                let done = arrived.iter().find(|other| !known.has(*other)).or_else(|| arrived.iter().next())?;
                Write::RecordJoinArrival { join, done }
            }
            Rule::RecordLeafArrival => {
                let (arrived, known) = (task?.task.arrived, before.task()?.arrived);
                let done = arrived.iter().find(|other| !known.has(*other)).or_else(|| arrived.iter().next())?;
                Write::RecordLeafArrival(done)
            }
            Rule::Finish => Write::Finish,
            Rule::Redrive => Write::Redrive,
            Rule::ResolveStep => Write::ResolveStep(step?.step),
            Rule::DeadLetterStep => Write::DeadLetterStep(step?.step),
            Rule::CancelStep => Write::CancelStep(step?.step),
            Rule::Cancel => Write::Cancel,
            Rule::Resolve => Write::Resolve,
            Rule::Compensate => match task?.task.state {
                TaskState::Compensating(end) => Write::Compensate(end),
                _ => return None,
            },
            Rule::OrderCompensations => Write::OrderCompensations(&task?.order),
            Rule::FinishCompensation => Write::FinishCompensation,
            Rule::MoveInIndex => Write::MoveInIndex,
        })
    }

    /// What was written, in the model's words.
    fn told(&self, names: &Projection) -> String {
        let task = self.task.as_ref().map(|written| format!("{:?}", written.task));
        let steps = self.steps.iter().map(|written| format!("{}: {:?}", names.name(written.step), written.item(None)));
        task.into_iter().chain(steps).collect::<Vec<_>>().join(", ")
    }
}

impl Projection {
    /// The items that were written, as they were before, in the model's words.
    fn told(&self, made: &Made) -> String {
        let before = self.at(None);
        let task = made.task.as_ref().map(|_| format!("{:?}", before.task()));
        let steps = made.steps.iter().map(|written| (self.name(written.step), before.item(written.step)));
        let steps = steps.map(|(name, item)| format!("{name}: {item:?}"));
        task.into_iter().chain(steps).collect::<Vec<_>>().join(", ")
    }
}
