//! The transitions of a task, and those of a step that are not made by its worker but by clients, operators, recovery or the
//! dead-letter handler.
//!
//! The latter are compare-and-set: they are applied only if the step is still as it was read, and no worker owns it.

use super::{
    codec::Unreadable,
    format::{RERUN, RUN_NOW, WRITES, v1},
    index::{FIRST_INSPECTION_AFTER, IndexPartition, IndexPosition, OVERDUE_AFTER},
    item::{Item, Key, attribute, set, stored, stored_text},
    parts::{is_state, lost_attempt, made, millis, rescheduled, stamp, stands_in, to_state},
    record::{
        Action, ActionKind, Failure, KEY_RETENTION, KeptResult, KeyRecord, NewTask, RETENTION, Refusal, RerunAs,
        StepRecord, TaskRecord,
    },
    timer::unlisted,
    transition::{Answer, Applied, Change, Condition, Effect, Transition, Write},
};
use crate::core::{
    id::{CorrelationId, TaskId},
    plan::{Plan, StepPlan, is_chain},
    state::{End, StepEvent, StepState, TaskEvent, TaskState},
    timestamp::Timestamp,
};
use serde_json::Value;
use std::collections::BTreeSet;

/// How a task is ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Termination {
    /// The task is cancelled without compensation.
    Cancel,
    /// The task is declared done.
    Resolve,
    /// Compensation begins, and the task ends in this way after it.
    Compensate(End),
}

impl Termination {
    /// The event of the task's state machine.
    pub const fn event(self) -> TaskEvent {
        match self {
            Self::Cancel => TaskEvent::Cancel,
            Self::Resolve => TaskEvent::Resolve,
            Self::Compensate(end) => TaskEvent::Compensate(end),
        }
    }
}

// ---- Starting and ending

/// Creates a task, unless it exists.
pub fn create(task: &NewTask<'_>) -> Transition {
    Transition::of("create", creation(task, TaskState::Running, task.created_at + FIRST_INSPECTION_AFTER, []))
}

/// Creates a task as the rerun of another one, unless it exists, with the results that it [keeps](super::rerun::kept). It stands as if it had done
/// their steps itself.
pub fn create_rerun(task: &NewTask<'_>, of: TaskId, kept: &[KeptResult]) -> Transition {
    let NewTask { id, plan, created_at, .. } = *task;
    let is_kept = |name: &str| kept.iter().any(|kept| kept.step == name);
    let arrived = |among: &[&str]| among.iter().filter(|name| is_kept(name)).map(|&name| name.to_owned()).collect();
    let arrivals = |among: Vec<&str>| {
        let arrived: Vec<String> = arrived(&among);
        let is_join = among.len() > 1;
        arrived.into_iter().filter(move |_| is_join).map(|name| Change::Include(attribute::DONE_DEPS, name))
    };
    let rerun_of = [Change::Set(attribute::RERUN_OF, of.to_string().into())];
    let leaves = arrivals(plan.leaves().map(|leaf| leaf.name.as_str()).collect());
    let listed_at = created_at + FIRST_INSPECTION_AFTER;
    let task = creation(task, TaskState::Running, listed_at, rerun_of.into_iter().chain(leaves));

    let create = |step: &str, changes: Vec<Change>| {
        let mut item = Item::new();
        changes.into_iter().chain(made(created_at)).for_each(|change| change.apply(&mut item));
        Write::new(Key::Step(id, step.to_owned()), Condition::NoItem, Effect::Create(item))
    };
    let steps = kept.iter().map(|KeptResult { step, result }| {
        let of = Change::Set(attribute::KEPT_FROM, of.to_string().into());
        let result = Change::Set(attribute::RESULT, result.as_str().into());
        create(step, vec![to_state(StepState::Complete), result, of, millis(attribute::FINISHED_AT, created_at)])
    });
    // One whose dependencies are all kept is sent its message at the start.
    let waits = |step: &&StepPlan| !is_kept(&step.name) && !step.depends_on.iter().all(|name| is_kept(name));
    let joins = plan.steps().iter().filter(waits).filter_map(|step| {
        let arrived: Vec<_> = arrivals(step.depends_on.iter().map(String::as_str).collect()).collect();
        (!arrived.is_empty()).then(|| create(&step.name, arrived))
    });
    Transition { name: "create", writes: [task].into_iter().chain(steps).chain(joins).collect() }
}

/// Makes sure that a task never starts, unless it exists: takes its place by a cancelled task without steps. A start of the
/// same id that is still under way is refused from then on.
pub fn rule_out(id: TaskId, workflow: String, created_at: Timestamp, action: &Action) -> Transition {
    let plan = Plan::without_steps();
    let task = NewTask { correlation_id: None, id, workflow, context: "{}", plan: &plan, created_at };
    let more = [millis(attribute::FINISHED_AT, action.at), in_trail(action)];
    Transition::of("rule_out", creation(&task, TaskState::Cancelled, action.at, more))
}

fn creation(
    task: &NewTask<'_>,
    state: TaskState,
    listed_at: Timestamp,
    more: impl IntoIterator<Item = Change>,
) -> Write {
    let mut item = Item::new();
    let attributes = [
        Change::Set(attribute::WORKFLOW, task.workflow.as_str().into()),
        enters(state),
        Change::Set(attribute::CONTEXT, task.context.into()),
        Change::Set(attribute::PLAN, stored_text(task.plan)),
        millis(attribute::CREATED_AT, task.created_at),
        Change::Set(attribute::EXPIRES_AT, (task.created_at + RETENTION).as_seconds().into()),
    ];
    let called = task.correlation_id.as_ref();
    let called = [
        called.map(|id| Change::Set(attribute::CORRELATION_ID, id.as_str().into())),
        called.and_then(CorrelationId::trace).map(|trace| Change::Set(attribute::TRACEPARENT, trace.as_str().into())),
    ];
    let listed = listed(task.id, IndexPartition::ended(state), listed_at);
    let attributes = attributes
        .into_iter()
        .chain(called.into_iter().flatten())
        .chain(more)
        .chain(listed)
        .chain(stamp(task.plan.format()));
    attributes.for_each(|change| change.apply(&mut item));
    Write::new(Key::Task(task.id), Condition::NoItem, Effect::Create(item))
}

/// Creates an idempotency key, unless it exists.
pub fn reserve_key(key: &KeyRecord) -> Transition {
    let mut item = Item::new();
    let attributes = [
        Change::Set(attribute::TASK_ID, key.task.to_string().into()),
        Change::Set(attribute::REQUEST_HASH, key.request_hash.as_str().into()),
        millis(attribute::CREATED_AT, key.created_at),
        Change::Set(attribute::EXPIRES_AT, (key.created_at + KEY_RETENTION).as_seconds().into()),
    ];
    attributes.into_iter().chain(stamp(WRITES)).for_each(|change| change.apply(&mut item));
    Transition::of("reserve_key", Write::new(key.key_of_item(), Condition::NoItem, Effect::Create(item)))
}

/// Gives an idempotency key another task, if its task is still the one as read.
pub fn repoint_key(key: &KeyRecord, to: TaskId, now: Timestamp) -> Transition {
    let task_is = |task: TaskId| Condition::Is(attribute::TASK_ID, task.to_string().into());
    let changes = vec![
        Change::Set(attribute::TASK_ID, to.to_string().into()),
        millis(attribute::CREATED_AT, now),
        Change::Set(attribute::EXPIRES_AT, (now + KEY_RETENTION).as_seconds().into()),
    ];
    let write = Write::update(key.key_of_item(), task_is(key.task), changes).made_before(task_is(to));
    Transition::of("repoint_key", write)
}

/// Reads the answer to [`reserve_key`] or [`repoint_key`]: this key, or the one that existed before.
///
/// # Errors
/// The existing item cannot be read.
pub fn reserved_key(asked: KeyRecord, applied: Applied) -> Result<KeyRecord, Unreadable> {
    match applied {
        Applied::Written(_) => Ok(asked),
        Applied::Refused(item) => KeyRecord::from_item(asked, item),
    }
}

/// Adds a done leaf to the set of a task with several leaves. The answer has the whole set.
pub fn record_leaf_arrival(task: TaskId, done: &str) -> Transition {
    let changes = vec![Change::Include(attribute::DONE_DEPS, done.to_owned())];
    let write = Write::update(Key::Task(task), Condition::Present(attribute::STATUS), changes);
    Transition::of("record_leaf_arrival", write.answering(Answer::Changed))
}

/// Completes a task whose steps are all done.
pub fn finish(task: TaskId, now: Timestamp) -> Transition {
    let to = TaskState::Completed;
    let mut changes = vec![enters(to), millis(attribute::FINISHED_AT, now)];
    changes.extend(listed(task, IndexPartition::ended(to), now));
    let write = Write::update(Key::Task(task), legal(TaskEvent::Finish, |after| after == to), changes);
    Transition::of("finish", write.on_task(TaskEvent::Finish))
}

/// Reads the answer to [`finish`]: the state of the task after it.
///
/// # Errors
/// The task does not exist, or its item cannot be read.
pub fn state_after_finish(task: TaskId, applied: Applied) -> Result<TaskState, Unreadable> {
    match applied {
        Applied::Written(_) => Ok(TaskState::Completed),
        Applied::Refused(item) if item.is_empty() => Err(gone(task)),
        Applied::Refused(item) => TaskRecord::from_item(task, item).map(|task| task.state),
    }
}

/// The error for a task that does not exist although one of its steps was done.
pub(crate) fn gone(task: TaskId) -> Unreadable {
    Unreadable::new(&Key::Task(task), "the task is gone")
}

// ---- Actions from outside

/// Redrives failed steps: gives them a fresh set of attempts and sets the task to running. If they are compensations, the
/// task stays `compensating`; if they are the optional steps of a completed task, it stays completed, and the watchdog
/// inspects it until they have ended. `None` if the task as read does not allow it.
pub fn redrive(task: &TaskRecord, failed: &[&StepRecord], action: &Action) -> Option<Transition> {
    let to = task.state.on(TaskEvent::Redrive)?;
    let names: BTreeSet<String> = failed.iter().map(|step| step.name.clone()).collect();
    // A running task must have no failed step, and an optional step runs again only after the task is completed.
    if to == TaskState::Running && !names.iter().eq(task.failed_required_steps()) {
        return None;
    }
    let mut writes: Vec<Write> = failed.iter().map(|step| fresh_attempts(task.id, step, StepState::Error)).collect();
    let mut changes = vec![enters(to), Change::Exclude(attribute::FAILED_STEPS, names), in_trail(action)];
    let partition = if to == TaskState::Completed {
        IndexPartition::Compensating
    } else {
        changes.push(Change::Remove(attribute::FINISHED_AT));
        IndexPartition::ended(to)
    };
    changes.extend(listed(task.id, partition, action.at + FIRST_INSPECTION_AFTER));
    let condition = legal(TaskEvent::Redrive, |after| after == to).and(still_failed(task));
    writes.push(Write::update(Key::Task(task.id), condition, changes).on_task(TaskEvent::Redrive));
    Some(Transition { name: "redrive", writes })
}

/// Makes steps that wait for their next attempt due at the time of this action, or when they are due if that is earlier. The number of
/// their attempts stays as it is. `None` if there is no step.
///
/// Only the entry in the audit trail tells this write from that of somebody else in the same millisecond.
pub fn run_now(task: &TaskRecord, waiting: &[&StepRecord], action: &Action) -> Option<Transition> {
    let due = |step: &StepRecord| step.next_retry_at.map_or(action.at, |at| at.min(action.at));
    let changes = [in_trail(action)].into_iter().chain(format_of_run_now(task)).collect();
    let condition = is_in(task.state).and(Condition::Lacks(attribute::ACTIONS, stored(action)));
    let of_task = Write::update(Key::Task(task.id), condition, changes).made_before(is_in_trail(action));
    let of_steps = waiting.iter().map(|step| rescheduled(task.id, step, due(step)));
    let writes = [of_task].into_iter().chain(of_steps).collect();
    (!waiting.is_empty()).then_some(Transition { name: "run_now", writes })
}

/// Redrives failed steps as the engine has planned to do later.
pub fn redrive_now(task: &TaskRecord, failed: &[&StepRecord], action: &Action) -> Option<Transition> {
    let mut redrive = redrive(task, failed, action)?;
    if let Some(Write { effect: Effect::Change(changes), .. }) = redrive.writes.last_mut() {
        changes.extend(format_of_run_now(task));
    }
    Some(redrive)
}

/// Redrives failed steps as an operator does: the task has its whole time to the deadline once more.
pub fn redrive_with_new_deadline(task: &TaskRecord, failed: &[&StepRecord], action: &Action) -> Option<Transition> {
    let mut redrive = redrive(task, failed, action)?;
    if let Some(Write { effect: Effect::Change(changes), .. }) = redrive.writes.last_mut() {
        changes.extend(new_deadline(task, action));
    }
    Some(redrive)
}

/// The deadline of the task, if it has one, counts from this action on. A clock that is behind does not move it back.
fn new_deadline(task: &TaskRecord, action: &Action) -> Option<Change> {
    task.plan.deadline().map(|_| millis(attribute::DEADLINE_FROM, action.at.max(task.deadline_counts_from())))
}

/// The deadline counts from the same time as in the task as read.
fn deadline_stands(task: &TaskRecord) -> Condition {
    match task.deadline_from {
        Some(from) => Condition::Is(attribute::DEADLINE_FROM, from.as_millis().into()),
        None => Condition::Absent(attribute::DEADLINE_FROM),
    }
}

fn in_state(steps: &[StepRecord], state: StepState) -> impl Iterator<Item = &StepRecord> {
    steps.iter().filter(move |step| step.state == state)
}

/// Gives a failed or closed step a fresh set of attempts.
fn fresh_attempts(task: TaskId, step: &StepRecord, from: StepState) -> Write {
    let changes = vec![
        to_state(StepState::Pending),
        Change::Set(attribute::UNCOUNTED_ATTEMPTS, step.attempt.into()),
        Change::Remove(attribute::ERROR),
        Change::Remove(attribute::FINISHED_AT),
    ];
    let changes = changes.into_iter().chain(unlisted()).collect();
    let key = Key::Step(task, step.name.clone());
    Write::update(key, stands_in(from, step.attempt), changes).on_step(StepEvent::Redrive)
}

/// Resolves a step with this result, JSON as text, and removes the step from the task's failed steps. As by an operator's redrive
/// the task has its whole time to the deadline once more. `None` if the task as read does not allow it.
pub fn resolve_step(task: &TaskRecord, step: &StepRecord, result: &str, action: &Action) -> Option<Transition> {
    let others_failed = task.failed_required_steps().any(|failed| *failed != step.name);
    let (event, partition) = match task.state {
        // The task stays failed because of the other steps. This step's dependents go on, and the engine may now redrive the
        // others, so the watchdog has to inspect the task.
        TaskState::Failed if others_failed => (TaskEvent::Fail, Some(IndexPartition::Compensating)),
        _ => (TaskEvent::Mend, None),
    };
    let to = task.state.on(event)?;
    let mut changes = vec![enters(to), in_trail(action)];
    changes.extend(new_deadline(task, action));
    // A completed task stays as it is: it waits for none of its steps.
    if to != TaskState::Completed {
        let partition = partition.unwrap_or(IndexPartition::ended(to));
        changes.extend(listed(task.id, partition, action.at + FIRST_INSPECTION_AFTER));
        if event == TaskEvent::Mend {
            changes.push(Change::Remove(attribute::FINISHED_AT));
        }
    }
    if task.failed_steps.contains(&step.name) {
        changes.push(Change::Exclude(attribute::FAILED_STEPS, BTreeSet::from([step.name.clone()])));
    }
    let condition = legal(event, |after| after == to).and(still_failed(task));
    let of_task = Write::update(Key::Task(task.id), condition, changes).on_task(event);

    let more = [
        Change::Set(attribute::RESULT, result.into()),
        Change::Remove(attribute::ERROR),
        Change::Remove(attribute::NEXT_RETRY_AT),
    ];
    let of_step = ends_step(task.id, step, (StepEvent::Resolve, StepState::ResolvedManually), action.at, more);
    Some(Transition { name: "resolve_step", writes: vec![of_step, of_task] })
}

/// Fails a step that no worker owns, and its task with it, because SQS gave up on the step's message.
pub fn dead_letter_step(task: &TaskRecord, step: &StepRecord, failure: &Failure, action: &Action) -> Transition {
    let more = left().into_iter().chain([Change::Set(attribute::ERROR, stored(failure))]);
    let of_step = ends_step(task.id, step, (StepEvent::DeadLetter, StepState::Error), action.at, more);
    let of_task = failed(task, &step.name, action.at, Some(action));
    Transition { name: "dead_letter_step", writes: [of_step].into_iter().chain(of_task).collect() }
}

/// Fails a step that was never attempted and that no worker owns, and its task with it, because the task's deadline is over.
/// Without a claim it does not count as attempted, so it is not compensated. It is refused if the deadline was moved meanwhile.
pub fn miss_deadline(task: &TaskRecord, step: &StepRecord, failure: &Failure, now: Timestamp) -> Transition {
    let more = left().into_iter().chain([Change::Set(attribute::ERROR, stored(failure))]);
    let of_step = ends_step(task.id, step, (StepEvent::MissDeadline, StepState::Error), now, more);
    let of_step = of_step.made_before(stands_in(StepState::Error, step.attempt));
    let of_task = failed(task, &step.name, now, None).map(|write| {
        let condition = write.condition.clone().and(deadline_stands(task));
        Write { condition, ..write }
    });
    Transition { name: "miss_deadline", writes: [of_step].into_iter().chain(of_task).collect() }
}

/// Closes a step that is not done and that no worker owns, so that it never starts again.
pub fn cancel_step(task: TaskId, step: &StepRecord, now: Timestamp) -> Transition {
    let write = ends_step(task, step, (StepEvent::Cancel, StepState::Cancelled), now, left());
    Transition::of("cancel_step", write)
}

/// Cancels, resolves or begins to compensate a task.
pub fn close_or_compensate(task: TaskId, to: Termination, action: &Action) -> Transition {
    let ended = millis(attribute::FINISHED_AT, action.at);
    let (state, at, more) = match to {
        Termination::Cancel => (TaskState::Cancelled, action.at, ended),
        Termination::Resolve => (TaskState::Resolved, action.at, ended),
        Termination::Compensate(end) => {
            let ends_as = Change::Set(attribute::ENDS_AS, end.stored_word().into());
            (TaskState::Compensating(end), action.at + FIRST_INSPECTION_AFTER, ends_as)
        }
    };
    let mut changes = vec![enters(state), in_trail(action), more];
    changes.extend(listed(task, IndexPartition::ended(state), at));
    let condition = legal(to.event(), |after| after == state);
    let write = Write::update(Key::Task(task), condition, changes).on_task(to.event());
    Transition::of("close_or_compensate", write.made_before(is_in_trail(action)))
}

/// Reserves the id of the new task that a task is rerun as: of all reruns of the task, only that one may start. Nothing of the task may
/// still run, as the [rules](super::rerun::check) say. It stays so without any further condition: the task is closed, or it is complete and
/// each of its steps is done, which no event changes. A complete task can be cancelled all the same, which only gives back.
///
/// An id that was reserved before is replaced. The caller has to have [ruled it out](rule_out).
pub fn reserve_rerun(task: &TaskRecord, to: &RerunAs, action: &Action) -> Transition {
    let reserved = |id: TaskId| Condition::Is(attribute::RERUN_AS, id.to_string().into());
    let as_read = match &task.rerun_as {
        Some(before) => reserved(before.task),
        None => Condition::Absent(attribute::RERUN_AS),
    };
    let format = task.plan.format().max(RERUN);
    let mut changes = vec![
        Change::Set(attribute::RERUN_AS, to.task.to_string().into()),
        Change::Set(attribute::REQUEST_HASH, to.request_hash.as_str().into()),
        in_trail(action),
    ];
    changes.extend([attribute::V, attribute::NEEDS].map(|name| Change::Set(name, format.into())));
    let write = Write::update(Key::Task(task.id), is_in(task.state).and(as_read), changes);
    Transition::of("reserve_rerun", write.made_before(reserved(to.task)))
}

/// Writes the graph of the compensations of a task, sorted topologically, unless it is written. A chain needs no more than its
/// order.
pub fn order_compensations(task: TaskId, graph: &[StepPlan], now: Timestamp) -> Transition {
    let condition = is_any(TaskState::is_compensating).and(Condition::Absent(attribute::COMPENSATIONS));
    let names: Vec<&str> = graph.iter().map(|compensation| compensation.name.as_str()).collect();
    let mut changes = vec![Change::Set(attribute::COMPENSATIONS, names.into())];
    if !is_chain(graph) {
        let waiting = graph.iter().filter(|compensation| !compensation.depends_on.is_empty());
        let waits_for = waiting.map(|waiting| (waiting.name.clone(), waiting.depends_on.clone().into()));
        changes.push(Change::Set(attribute::WAITS_FOR, Value::Object(waits_for.collect())));
    }
    changes.extend(listed(task, IndexPartition::Compensating, now + FIRST_INSPECTION_AFTER));
    Transition::of("order_compensations", Write::update(Key::Task(task), condition, changes))
}

/// Completes a task again whose compensations have refused before anything was undone. Those that have refused get a fresh set of
/// attempts, for another cancellation, and so do the optional steps that the cancellation has closed. The other compensations must
/// be unclaimed, and stay pending or parked. `None` if no compensation has refused.
pub fn reinstate(
    task: &TaskRecord,
    steps: &[StepRecord],
    compensations: &[StepRecord],
    now: Timestamp,
) -> Option<Transition> {
    let (to, event) = (TaskState::Completed, TaskEvent::Reinstate);
    let refused = in_state(compensations, StepState::Error).find(|step| !task.plan.is_optional(&step.name))?;
    let refusal = Refusal { at: now, step: refused.name.clone(), error: refused.error.clone()? };
    let closed = || in_state(steps, StepState::Cancelled);
    let fresh = in_state(compensations, StepState::Error).chain(closed());
    let fresh = fresh.map(|step| fresh_attempts(task.id, step, step.state));
    let unclaimed =
        [StepState::Pending, StepState::Retrying].into_iter().flat_map(|state| in_state(compensations, state));
    let unclaimed = unclaimed
        .map(|step| Write::update(Key::Step(task.id, step.name.clone()), as_read(step, now), made(now).collect()));
    let mut writes: Vec<Write> = unclaimed.chain(fresh).collect();

    let mut changes = vec![enters(to), Change::Append(attribute::REFUSALS, stored(&refusal))];
    changes.extend([attribute::ENDS_AS, attribute::COMPENSATIONS, attribute::WAITS_FOR].map(Change::Remove));
    let failed: Vec<&String> = in_state(steps, StepState::Error).map(|step| &step.name).collect();
    changes.push(match failed.is_empty() {
        true => Change::Remove(attribute::FAILED_STEPS),
        false => Change::Set(attribute::FAILED_STEPS, set(failed)),
    });
    let ended_at = task.finished_at.unwrap_or(now);
    changes.push(millis(attribute::FINISHED_AT, ended_at));
    changes.extend(match closed().next() {
        Some(_) => listed(task.id, IndexPartition::Compensating, now + FIRST_INSPECTION_AFTER),
        None => listed(task.id, IndexPartition::ended(to), ended_at),
    });
    let condition = legal(event, |after| after == to).and(Condition::Present(attribute::COMPENSATIONS));
    writes.push(Write::update(Key::Task(task.id), condition.and(still_failed(task)), changes).on_task(event));
    Some(Transition { name: "reinstate", writes })
}

/// Ends a task whose compensations are all done, or optional and failed. From now on it lists the latter among its failed steps.
pub fn finish_compensation(task: &TaskRecord, compensations: &[StepRecord], end: End, now: Timestamp) -> Transition {
    let (to, event) = (TaskState::Compensated(end), TaskEvent::Compensated);
    let mut condition = legal(event, |after| after == to).and(Condition::Present(attribute::COMPENSATIONS));
    let mut changes = vec![enters(to), millis(attribute::FINISHED_AT, now)];
    let mut failed = in_state(compensations, StepState::Error).map(|step| &step.name).peekable();
    if failed.peek().is_some() {
        condition = condition.and(still_failed(task));
        changes.push(Change::Set(attribute::FAILED_STEPS, set(failed.chain(&task.failed_steps))));
    }
    changes.extend(listed(task.id, IndexPartition::ended(to), now));
    Transition::of("finish_compensation", Write::update(Key::Task(task.id), condition, changes).on_task(event))
}

// ---- Shared parts

/// The task is in this state. The two attributes distinguish all states.
fn is_in(state: TaskState) -> Condition {
    let ends_as = match state.ends_as() {
        Some(end) => Condition::Is(attribute::ENDS_AS, end.stored_word().into()),
        None => Condition::Absent(attribute::ENDS_AS),
    };
    Condition::All(vec![Condition::Is(attribute::STATUS, state.stored_word().into()), ends_as])
}

/// The task is in one of these states.
fn is_any(fits: impl Fn(TaskState) -> bool) -> Condition {
    Condition::Any(TaskState::ALL.into_iter().filter(|state| fits(*state)).map(is_in).collect())
}

/// The task's state allows the event, and leads to one of these states.
fn legal(event: TaskEvent, leads_to: impl Fn(TaskState) -> bool) -> Condition {
    is_any(|state| state.on(event).is_some_and(&leads_to))
}

fn enters(state: TaskState) -> Change {
    Change::Set(attribute::STATUS, state.stored_word().into())
}

fn listed(task: TaskId, partition: IndexPartition, at: Timestamp) -> [Change; 2] {
    IndexPosition { task, step: None, partition, at }.changes()
}

/// The format of a task that somebody had run now.
fn format_of_run_now(task: &TaskRecord) -> [Change; 2] {
    let format = task.plan.format().max(RUN_NOW);
    [attribute::V, attribute::NEEDS].map(|name| Change::Set(name, format.into()))
}

fn in_trail(action: &Action) -> Change {
    Change::Append(attribute::ACTIONS, stored(action))
}

fn is_in_trail(action: &Action) -> Condition {
    Condition::Contains(attribute::ACTIONS, stored(action))
}

/// The failed steps are still those of the task as read.
fn still_failed(task: &TaskRecord) -> Condition {
    match task.failed_steps.is_empty() {
        true => Condition::Absent(attribute::FAILED_STEPS),
        false => Condition::Is(attribute::FAILED_STEPS, set(&task.failed_steps)),
    }
}

/// The task's part of the failure of a step, if it has one. If the step is a compensation, the task stays `compensating`; if it is
/// optional, the task keeps its state. What a compensating task lists as failed needs a person, so it lists an optional
/// compensation only [at its end](finish_compensation).
pub(super) fn failed(task: &TaskRecord, step: &str, at: Timestamp, action: Option<&Action>) -> Option<Write> {
    let is_compensation = task.plan.is_compensation(step);
    if is_compensation && task.plan.is_optional(step) {
        let changes = vec![in_trail(action?)];
        return Some(Write::update(Key::Task(task.id), is_any(TaskState::is_compensating), changes));
    }
    if task.plan.is_optional(step) {
        let changes =
            [Change::Include(attribute::FAILED_STEPS, step.to_owned())].into_iter().chain(action.map(in_trail));
        let write = Write::update(Key::Task(task.id), legal(TaskEvent::Warn, |_| true), changes.collect());
        return Some(write.on_task(TaskEvent::Warn));
    }
    let mut changes = vec![Change::Include(attribute::FAILED_STEPS, step.to_owned())];
    if !is_compensation {
        changes.push(enters(TaskState::Failed));
        changes.push(millis(attribute::FINISHED_AT, at));
        changes.extend(match task.plan.inspection_after_failure() {
            Some(wait) => {
                // A compensation that begins at the deadline would be overdue then.
                let overdue = task.deadline_of(step).map(|deadline| deadline.max(at) + OVERDUE_AFTER);
                let inspected_at = overdue.map_or(at + wait, |overdue| overdue.min(at + wait));
                listed(task.id, IndexPartition::Compensating, inspected_at)
            }
            // Nothing inspects the task any more. A dead letter is nobody's decision, so it has to be told at once.
            None if action.is_some_and(|action| action.what == ActionKind::DeadLetter) => {
                listed(task.id, IndexPartition::NeedsPerson, at)
            }
            None => listed(task.id, IndexPartition::Error, at),
        });
    }
    changes.extend(action.map(in_trail));
    let condition = legal(TaskEvent::Fail, |after| after.is_compensating() == is_compensation);
    Some(Write::update(Key::Task(task.id), condition, changes).on_task(TaskEvent::Fail))
}

/// Ends a step without its worker, if it is still as it was read and no worker owns it.
fn ends_step(
    task: TaskId,
    step: &StepRecord,
    (event, to): (StepEvent, StepState),
    at: Timestamp,
    more: impl IntoIterator<Item = Change>,
) -> Write {
    let mut changes = vec![
        to_state(to),
        millis(attribute::FINISHED_AT, at),
        Change::SetIfAbsent(attribute::ATTEMPT, v1::ATTEMPT.into()),
    ];
    changes.extend(made(at));
    if step.state == StepState::InProgress {
        changes.extend(lost_attempt(step));
    }
    changes.extend(unlisted());
    changes.extend(more);
    Write::update(Key::Step(task, step.name.clone()), as_read(step, at), changes).on_step(event)
}

/// The step is still as it was read, and no worker owns it.
pub(super) fn as_read(step: &StepRecord, now: Timestamp) -> Condition {
    match step.state {
        StepState::InProgress => {
            let over = Condition::Below(attribute::LEASE_UNTIL, now.as_millis());
            stands_in(StepState::InProgress, step.attempt).and(over)
        }
        // The item may be missing, or may have no state yet.
        StepState::Pending => {
            let attempt = Condition::Is(attribute::ATTEMPT, step.attempt.into());
            Condition::All(vec![
                Condition::Any(vec![Condition::Absent(attribute::STATE), is_state(StepState::Pending)]),
                Condition::Any(vec![Condition::Absent(attribute::ATTEMPT), attempt]),
            ])
        }
        state => stands_in(state, step.attempt),
    }
}

/// No worker owns the step any more.
fn left() -> [Change; 3] {
    [attribute::OWNER, attribute::LEASE_UNTIL, attribute::NEXT_RETRY_AT].map(Change::Remove)
}
