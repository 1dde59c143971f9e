//! The conformance check: every write of a run has to follow the protocol's model.
//!
//! The model has one rule for each write ([`crate::model::Write`]) and is verified state by state. The simulation runs
//! the engine's own transitions. This module joins the two: every transition that takes effect in a run has to be a
//! step that the rule of its name allows, on exactly those items, with exactly that result. So what is proved for the
//! model holds for what the engine writes.
//!
//! The model has fewer attributes than the store. The check projects stored items onto the model's
//! ([`Projection`](projection::Projection)):
//!
//! * A lease or a backoff is over or not, by the clock that the write itself shows: `started_at` of a claim,
//!   `finished_at` of a write that ends a step from outside, the new time of a step that becomes due earlier. The length of either is not checked.
//! * So is the deadline, by the time of a redrive, and what somebody has run now, by that time.
//! * The fence is seen in the audit trail: the entry has to be the last attempt's. The writer of a release cannot be
//!   seen.
//! * Results and errors are only present or absent. The graph of the compensations has to order those that run as the
//!   plan does.
//! * The task has to be in the index partition of its status, and nothing else may move it. The time in the index, and
//!   whether a failed task is watched, are not checked.
//! * The model reads failed steps off the steps; the task's own list has to be the same.
//! * The timers in the index are not checked: the model has no time. They change nothing else.
//! * Of a breaker, only whether it is open, and since when.
//! * A search key is written once and never changed, and before the start or the completion that it leads to.
//! * Bulk actions are not checked: what they do to a task is an operator's action like any other.
//! * Texts, times, the rest of the audit trails, `expires_at` and the content of an idempotency key are not checked.

mod projection;
#[cfg(test)]
mod tests;

use super::scheduler::Scheduler;
use crate::graph::{keys_of_completion, keys_of_start};
use crate::locked::Locked;
use crate::model::{Rule, Snapshot, Write};
use projection::{Bits, Projection, StepWritten, TaskWritten};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use stepwell::{
    SearchValue, TaskId, Timestamp,
    core::{breaker::Breaker, item::Key, record::TaskRecord, state::TaskState},
    testing::{Records, Written},
};

/// The rules that a run is checked against.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// A rule that is taken away.
    without: Option<Rule>,
    /// Records which rules each write follows, where that is wanted. Only one of them has the write's name.
    explained: Option<Locked<BTreeSet<Vec<Rule>>>>,
}

/// Checks every write of a run against the rules.
#[derive(Debug)]
pub(super) struct Conformance {
    scheduler: Arc<Scheduler>,
    rules: Arc<Rules>,
    tasks: Locked<BTreeMap<TaskId, Projection>>,
    searched: Locked<Searched>,
}

/// The search keys that are written, and the tasks that have to have some.
#[derive(Debug, Default)]
struct Searched {
    keys: BTreeSet<Key>,
    tasks: BTreeSet<TaskId>,
}

/// The writes of one transition.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// The task whose items were written; `None` for an idempotency key, a search key or a breaker.
    of: Option<TaskId>,
    /// Whether an idempotency key was written; if so, whether it existed before.
    key: Option<bool>,
    /// Whether a search key was written; if so, whether it existed before.
    search_key: Option<bool>,
    /// Whether the breaker of a service was written; if so, how it stood before and how it stands now.
    breaker: Option<(Breaker, Breaker)>,
    task: Option<TaskWritten>,
    steps: Vec<StepWritten>,
    /// The numbers of the written steps.
    numbers: Vec<usize>,
    /// Those of them that are done.
    kept: Vec<usize>,
}

impl Conformance {
    pub(super) fn new(scheduler: &Arc<Scheduler>, rules: Arc<Rules>) -> Self {
        Self { scheduler: scheduler.clone(), rules, tasks: Locked::default(), searched: Locked::default() }
    }

    /// Collects one write of a transition.
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
            Key::Find { .. } => {
                made.search_key = Some(!written.before.is_empty());
                self.searched.lock().keys.insert(written.key.clone());
                return Ok(());
            }
            Key::Breaker(_) => {
                made.breaker = Some((Breaker::of(written.before), Breaker::of(written.after)));
                return Ok(());
            }
            // The model has tasks. `check` looks at bulk actions at the end of the run, and no task depends on a note of the backlog. A pause lets no delivery begin,
            // and the model knows of no delivery that has to.
            Key::Backlog(_) | Key::Bulk(_) | Key::BulkResults(..) | Key::Pause(_) => return Ok(()),
        };
        if made.of.replace(task).is_some_and(|other| other != task) {
            return Err("it is written together with another task's items".to_owned());
        }
        self.searched.lock().check(written, task)?;
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
            (
                Key::IdempotencyKey { .. }
                | Key::Breaker(_)
                | Key::Backlog(_)
                | Key::Bulk(_)
                | Key::BulkResults(..)
                | Key::Pause(_)
                | Key::Find { .. },
                _,
            ) => {}
        }
        Ok(())
    }

    /// Checks the collected writes of a transition with this name.
    pub(super) fn judge(&self, name: &'static str, mut made: Made) {
        if made.of.is_none() && made.key.is_none() && made.search_key.is_none() && made.breaker.is_none() {
            return;
        }
        let mut tasks = self.tasks.lock();
        let mut nothing = Projection::default();
        let before = made.of.and_then(|task| tasks.get_mut(&task)).unwrap_or(&mut nothing);
        made.numbers = made.steps.iter().map(|step| step.step).collect();
        let done = made.steps.iter().filter(|step| step.item(None).state.is_done());
        made.kept = done.map(|step| step.step).collect();
        let judged = match rule_of(name, &made) {
            Some(rule) => self.rules.judge(rule, before, &made),
            None => Err("it has no rule of this name".to_owned()),
        };
        let judged = judged
            .map_err(|problem| format!("{problem}\n  before: {}\n  after:  {}", before.told(&made), made.told(before)));
        let judged = judged.and_then(|()| before.apply(made.task, made.steps));
        if let Err(problem) = judged {
            let of = made.of.map_or_else(|| "a key or a breaker".to_owned(), |task| format!("task {task}"));
            self.scheduler.violated(|| format!("`{name}` of {of} is nothing that the model allows: {problem}"));
        }
    }
}

impl Searched {
    /// Checks that the search keys are there which lead to what is written now.
    fn check(&mut self, written: &Written<'_>, task: TaskId) -> Result<(), String> {
        let values = match (written.key, written.records) {
            (Key::Task(_), Records::Other) => {
                let new = TaskRecord::from_item(task, written.after.clone()).map_err(|error| error.to_string())?;
                let values = keys_of_start(&new.plan, &new.context);
                self.tasks.extend((!values.is_empty()).then_some(task));
                values
            }
            (Key::Step(_, name), Records::Step(before, after)) if self.tasks.contains(&task) => {
                let new = after.result.as_deref().filter(|_| before.result != after.result);
                new.map(|result| keys_of_completion(name, result)).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let is_there = |value: &SearchValue| self.keys.contains(&value.key(task));
        if values.iter().all(is_there) { Ok(()) } else { Err("one of its search keys is not written yet".to_owned()) }
    }
}

impl Rules {
    /// Checks the writes against their rule.
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

/// Since when a breaker has been open.
fn since(breaker: &Breaker) -> Option<Timestamp> {
    match breaker {
        Breaker::Open(open) => Some(open.since),
        Breaker::Closed { .. } => None,
    }
}

fn is_open(breaker: &Breaker) -> bool {
    since(breaker).is_some()
}

/// The rule of a transition, by its name.
fn rule_of(name: &str, made: &Made) -> Option<Rule> {
    Some(match name {
        "create" => Rule::Create,
        "reserve_key" => Rule::ReserveKey,
        "put_search_key" => Rule::PutSearchKey,
        "open_breaker" => Rule::OpenBreaker,
        "claim_probe" => Rule::ClaimProbe,
        "close_breaker" => Rule::CloseBreaker,
        "claim" => Rule::Claim,
        "take_over" => Rule::TakeOver,
        "park" => Rule::Park,
        "miss_deadline" => Rule::MissDeadline,
        "release" => Rule::Release,
        "abandon" => Rule::Abandon,
        "delete_orphan_claim" => Rule::DeleteOrphanClaim,
        "complete" => Rule::Complete,
        "retry_later" if made.steps.first().is_some_and(|step| step.is_throttled) => Rule::RetryThrottled,
        "retry_later" => Rule::RetryLater,
        "reschedule" => Rule::Reschedule,
        "run_now" => Rule::RunNow,
        "fail" if made.steps.first().is_some_and(|step| step.is_refused) => Rule::Refuse,
        "fail" => Rule::Fail,
        "record_join_arrival" => Rule::RecordJoinArrival,
        "record_leaf_arrival" => Rule::RecordLeafArrival,
        "finish" => Rule::Finish,
        "redrive" => Rule::Redrive,
        "resolve_step" => Rule::ResolveStep,
        "dead_letter_step" => Rule::DeadLetterStep,
        "cancel_step" => Rule::CancelStep,
        "close_or_compensate" => match made.task.as_ref()?.task.state {
            TaskState::Cancelled => Rule::Cancel,
            TaskState::Resolved => Rule::Resolve,
            TaskState::Compensating(_) => Rule::Compensate,
            _ => return None,
        },
        "order_compensations" => Rule::OrderCompensations,
        "finish_compensation" => Rule::FinishCompensation,
        "reinstate" => Rule::Reinstate,
        "rule_out" => Rule::RuleOut,
        "reserve_rerun" => Rule::ReserveRerun,
        "move_in_index" => Rule::MoveInIndex,
        "set_timer" | "take_timer" => Rule::MoveTimer,
        _ => return None,
    })
}

impl Made {
    /// Whether the writes are a step of the rule, given the task before them.
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
        let moves_time = |step: &StepWritten| step.until() != before.until(step.step);
        if rule == Rule::MoveTimer && self.steps.iter().any(moves_time) {
            return Err("it is due at another time".to_owned());
        }
        if self.task.as_ref().is_some_and(|task| task.moves_deadline) && !write.moves_deadline() {
            return Err("its deadline is moved".to_owned());
        }
        let is_earlier = |step: &StepWritten| step.until() < before.until(step.step);
        if rule == Rule::Park && self.steps.iter().any(is_earlier) {
            return Err("it is due earlier than before".to_owned());
        }
        let is_later = |step: &StepWritten| step.until() > before.until(step.step);
        if rule == Rule::RunNow && self.steps.iter().any(is_later) {
            return Err("it is due later than before".to_owned());
        }
        let acted_at = self.task.as_ref().and_then(|task| task.acted_at);
        if rule == Rule::DeadLetterStep && acted_at != clock {
            return Err("the audit trail does not tell of the dead letter".to_owned());
        }
        let has_moved = self.task.as_ref().is_some_and(|task| task.has_moved);
        if has_moved && rule == Rule::RecordLeafArrival {
            return Err("it is listed elsewhere in the index".to_owned());
        }
        Ok(())
    }

    /// The time of the write by its writer's clock, where it shows. Only rules that depend on the end of a lease or
    /// backoff, or on the deadline, need it.
    fn clock(&self, rule: Rule) -> Option<Timestamp> {
        if matches!(rule, Rule::Redrive | Rule::RunNow) {
            return self.task.as_ref()?.acted_at;
        }
        let [step] = &self.steps[..] else { return None };
        match rule {
            Rule::Claim | Rule::TakeOver => step.started_at,
            Rule::MissDeadline | Rule::ResolveStep | Rule::DeadLetterStep | Rule::CancelStep => step.finished_at,
            // The step is due from the time that is written.
            Rule::Reschedule => step.until(),
            _ => None,
        }
    }

    /// The write of this rule that matches the written items.
    fn as_write(&self, rule: Rule, before: &impl Snapshot<Bits = Bits>) -> Option<Write<'_>> {
        let step = self.steps.first();
        let fenced = step.map(|step| (step.step, step.fence));
        let task = self.task.as_ref();
        Some(match rule {
            Rule::Create => Write::Create(&self.kept),
            Rule::RuleOut => Write::RuleOut,
            Rule::ReserveRerun => Write::ReserveRerun,
            Rule::ReserveKey => Write::ReserveKey { is_taken: self.key? },
            Rule::PutSearchKey => Write::PutSearchKey { is_taken: self.search_key? },
            Rule::OpenBreaker => match self.breaker? {
                (before, Breaker::Open(_)) => Write::OpenBreaker { is_open: is_open(&before) },
                _ => return None,
            },
            Rule::ClaimProbe => match self.breaker? {
                (before, Breaker::Open(after)) if since(&before).is_none_or(|since| since == after.since) => {
                    Write::ClaimProbe { is_open: is_open(&before) }
                }
                _ => return None,
            },
            Rule::CloseBreaker => match self.breaker? {
                (before, Breaker::Closed { reopened: Some(_) }) => Write::CloseBreaker { is_open: is_open(&before) },
                _ => return None,
            },
            Rule::Claim => Write::Claim(step?.step),
            Rule::TakeOver => fenced.map(|(step, fence)| Write::TakeOver(step, fence))?,
            Rule::Park => Write::Park(step?.step),
            Rule::MissDeadline => Write::MissDeadline(step?.step),
            Rule::Release => fenced.map(|(step, fence)| Write::Release(step, fence))?,
            Rule::Abandon => fenced.map(|(step, fence)| Write::Abandon(step, fence))?,
            Rule::DeleteOrphanClaim => fenced.map(|(step, fence)| Write::DeleteOrphanClaim(step, fence))?,
            Rule::Complete => fenced.map(|(step, fence)| Write::Complete(step, fence))?,
            Rule::RetryLater => fenced.map(|(step, fence)| Write::RetryLater(step, fence))?,
            Rule::RetryThrottled => fenced.map(|(step, fence)| Write::RetryThrottled(step, fence))?,
            Rule::Reschedule => Write::Reschedule(step?.step),
            Rule::RunNow => Write::RunNow(task.map(|_| &self.numbers[..])?),
            Rule::Fail => fenced.map(|(step, fence)| Write::Fail(step, fence))?,
            Rule::Refuse => fenced.map(|(step, fence)| Write::Refuse(step, fence))?,
            Rule::RecordJoinArrival => {
                let (join, arrived) = (step?.step, step?.item(None).arrived);
                let known = before.item(join).arrived;
                // A repeated arrival writes the same member again.
                let done = arrived.iter().find(|other| !known.has(*other)).or_else(|| arrived.iter().next())?;
                Write::RecordJoinArrival { join, done }
            }
            Rule::RecordLeafArrival => {
                let (arrived, known) = (task?.task.arrived, before.task()?.arrived);
                let done = arrived.iter().find(|other| !known.has(*other)).or_else(|| arrived.iter().next())?;
                Write::RecordLeafArrival(done)
            }
            Rule::Finish => Write::Finish,
            Rule::Redrive => Write::Redrive { moves_deadline: task?.moves_deadline },
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
            Rule::Reinstate => Write::Reinstate,
            Rule::MoveInIndex => Write::MoveInIndex,
            Rule::MoveTimer => Write::MoveTimer(step?.step),
        })
    }

    /// The written task and steps in the model's terms, for an error message.
    fn told(&self, names: &Projection) -> String {
        let task = self.task.as_ref().map(|written| format!("{:?}", written.task));
        let steps = self.steps.iter().map(|written| format!("{}: {:?}", names.name(written.step), written.item(None)));
        task.into_iter().chain(steps).collect::<Vec<_>>().join(", ")
    }
}

impl Projection {
    /// The same items before the write, in the model's terms.
    fn told(&self, made: &Made) -> String {
        let before = self.at(None);
        let task = made.task.as_ref().map(|_| format!("{:?}", before.task()));
        let steps = made.steps.iter().map(|written| (self.name(written.step), before.item(written.step)));
        let steps = steps.map(|(name, item)| format!("{name}: {item:?}"));
        task.into_iter().chain(steps).collect::<Vec<_>>().join(", ")
    }
}
