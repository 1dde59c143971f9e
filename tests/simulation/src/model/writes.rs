//! The rules: one for each write of the protocol. A rule says when the write takes effect, what its writer has checked
//! before, and how the items change.
//!
//! The model's actions write by these rules (`store.rs`), so the checker verifies them state by state. Every write of
//! every simulated run is checked against them (`../sim/conformance/`): each write of the engine is a step of this
//! model, or the run fails.
//!
//! A rule reads a task and its steps as a [`Snapshot`], and describes their change as a [`Change`]. It does not cover
//! audit trails, the index and times; the conformance check lists what that leaves out.

use super::state::{Bits, LoadResult, ModelItem, ModelTask, Set};
use std::{fmt::Debug, ops::Range};
use stepwell::core::state::{End, StepEvent, StepState, TaskEvent, TaskState};

/// A task and its steps, as the rules read them.
///
/// Steps are numbered in the plan's order, each after all of its dependencies. A compensation's number is the number of
/// its step plus [`Self::forward`].
pub trait Snapshot {
    /// The integer that stores a set of its steps.
    type Bits: Bits + Debug;

    /// The task; `None` where there is none.
    fn task(&self) -> Option<ModelTask<Self::Bits>>;

    /// A step; the default where it has no item.
    fn item(&self, step: usize) -> ModelItem<Self::Bits>;

    /// The number of steps, compensations left out.
    fn forward(&self) -> usize;

    /// The direct dependencies of a step. Those of a compensation are other compensations, by the stored graph.
    fn depends_on(&self, step: usize) -> Set<Self::Bits>;

    /// The steps without dependents.
    fn leaves(&self) -> Set<Self::Bits>;

    /// The optional steps and compensations.
    fn optional(&self) -> Set<Self::Bits>;

    /// The steps that have a compensation.
    fn compensated(&self) -> Set<Self::Bits>;

    /// Whether a task that is cancelled is compensated.
    fn compensates_cancellation(&self) -> bool;

    /// The steps that start no attempt any more, because the deadline holds for them and is over. A completed task has met it.
    fn overdue(&self) -> Set<Self::Bits>;

    /// How many attempts the step has, or the compensation, if it has a last one.
    fn max_attempts(&self, step: usize) -> u8;

    /// Whether it has no last attempt: it is a compensation, and is not optional.
    fn has_no_last_attempt(&self, step: usize) -> bool {
        self.is_compensation(step) && !self.optional().has(step)
    }

    /// Whether the attempt of this number may run.
    fn allows_attempt(&self, step: usize, counted: u8) -> bool {
        self.has_no_last_attempt(step) || counted <= self.max_attempts(step)
    }

    /// The compensations of the stored graph; none before it is stored.
    fn to_run(&self) -> Set<Self::Bits>;

    /// The compensations that this one waits for by the plan, if all steps were attempted.
    fn waits_for(&self, compensation: usize) -> Set<Self::Bits>;

    /// The leaves of the graph that the step belongs to: the plan's, or that of the compensations.
    fn leaves_beside(&self, step: usize) -> Set<Self::Bits> {
        if !self.is_compensation(step) {
            return self.leaves();
        }
        let waited_for = self.to_run().iter().fold(Set::default(), |all, step| self.depends_on(step).union(all));
        self.to_run().iter().filter(|step| !waited_for.has(*step)).collect()
    }

    /// The compensations that the task waits for, and that wait for nothing any more.
    fn open_compensations(&self) -> impl Iterator<Item = usize> {
        self.to_run().iter().filter(|step| !self.has_passed(*step) && self.load(*step).is_its_turn())
    }

    /// The steps, without the compensations.
    fn forward_steps(&self) -> Range<usize> {
        0..self.forward()
    }

    /// Whether the number is a compensation's.
    fn is_compensation(&self, step: usize) -> bool {
        step >= self.forward()
    }

    /// Whether the step is done.
    fn is_done(&self, step: usize) -> bool {
        self.item(step).state.is_done()
    }

    /// Whether the task's end does not wait for the step any more: it is done, or is optional and has failed.
    fn has_passed(&self, step: usize) -> bool {
        let state = self.item(step).state;
        state.is_done() || state == StepState::Error && self.optional().has(step)
    }

    /// The result of loading the task and the step's dependencies.
    fn load(&self, step: usize) -> LoadResult {
        let all_done = self.depends_on(step).iter().all(|other| self.is_done(other));
        if self.is_compensation(step) {
            let open = self.task().and_then(|task| task.compensating()) == Some(true);
            return LoadResult { open, ready: all_done && self.to_run().has(step) };
        }
        let completed = |task: &ModelTask<_>| task.state == TaskState::Completed && self.optional().has(step);
        let open = self.task().is_some_and(|task| task.state.lets_steps_run() || completed(&task));
        LoadResult { open, ready: all_done }
    }

    /// The steps that a redrive restarts: the failed ones that are not optional, the failed optional ones of a completed
    /// task, or the failed compensations that are not optional of a task that is being compensated.
    fn failed(&self) -> impl Iterator<Item = usize> {
        let compensating = self.task().is_some_and(|task| task.compensating().is_some());
        let completed = self.task().is_some_and(|task| task.state == TaskState::Completed);
        let numbers = if compensating { self.forward()..2 * self.forward() } else { self.forward_steps() };
        let failed = numbers.filter(|step| self.item(*step).state == StepState::Error);
        failed.filter(move |step| self.optional().has(*step) == completed)
    }
}

/// Whether the fencing token of a write is that of the step's last attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// The writer owns the last attempt.
    Current,
    /// A newer attempt owns the step.
    Stale,
}

/// A write: one atomic change of some items. It names steps by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write<'a> {
    /// A client creates a task: one that keeps the results of these steps, if it is a rerun.
    Create(&'a [usize]),
    /// A client writes an idempotency key.
    ReserveKey {
        /// Whether the key exists already.
        is_taken: bool,
    },
    /// A client or a worker writes a search key. No action of the model writes one: no decision depends on it.
    PutSearchKey {
        /// Whether it exists already.
        is_taken: bool,
    },
    /// A worker opens the breaker of a service. No action of the model writes a breaker.
    OpenBreaker {
        /// Whether it is open already.
        is_open: bool,
    },
    /// A worker claims the probe of a breaker.
    ClaimProbe {
        /// Whether the breaker is open.
        is_open: bool,
    },
    /// A worker closes a breaker.
    CloseBreaker {
        /// Whether it is open.
        is_open: bool,
    },
    /// A worker claims a step that is pending, or whose backoff is over.
    Claim(usize),
    /// A worker takes over a step whose lease is over. The fencing token is the number of the lost attempt.
    TakeOver(usize, Fence),
    /// A worker parks a step that is ready, because the breaker of a service is open.
    Park(usize),
    /// A worker fails a step that was never attempted, because the deadline is over.
    MissDeadline(usize),
    /// A worker releases its claim.
    Release(usize, Fence),
    /// A process releases the claim of a worker that it knows to be dead, and that may have acted. No action of the model makes this write:
    /// its workers share no process with a store.
    Abandon(usize, Fence),
    /// A worker deletes its claim of a step whose task does not exist.
    DeleteOrphanClaim(usize, Fence),
    /// A worker completes the step.
    Complete(usize, Fence),
    /// A worker records a failed attempt, after which another one follows.
    RetryLater(usize, Fence),
    /// The same of an attempt that was throttled, which does not count.
    RetryThrottled(usize, Fence),
    /// The next attempt of a step becomes due before its backoff is over. No action of the model makes this write: it does what
    /// the end of the backoff does.
    Reschedule(usize),
    /// The same of all steps that wait for their next attempt, by an operator. No action of the model makes this write either.
    RunNow(&'a [usize]),
    /// A worker fails the step for good.
    Fail(usize, Fence),
    /// The same of a compensation that refuses to undo its step.
    Refuse(usize, Fence),
    /// A join records that one of its dependencies is done.
    RecordJoinArrival {
        /// The join.
        join: usize,
        /// The dependency that is done.
        done: usize,
    },
    /// A task with several leaves records that this one is done.
    RecordLeafArrival(usize),
    /// A worker ends a task whose steps are all done.
    Finish,
    /// The failed steps get a fresh set of attempts. If an operator does it, the deadline counts from then on.
    Redrive {
        /// Whether an operator does it.
        moves_deadline: bool,
    },
    /// An operator sets the result of a step. The deadline counts from then on.
    ResolveStep(usize),
    /// A step fails because its message became a dead letter. That of a compensation without a last attempt is sent again.
    DeadLetterStep(usize),
    /// Compensation cancels a step that no worker owns.
    CancelStep(usize),
    /// An operator cancels a task that is not compensated. The model allows it only where no step has a compensation.
    Cancel,
    /// An operator declares a task resolved. No action of the model makes this write.
    Resolve,
    /// A task begins to be compensated, and ends in this state afterwards.
    Compensate(End),
    /// The graph of the compensations is stored: each compensation, with those that it waits for.
    OrderCompensations(&'a [(usize, Vec<usize>)]),
    /// A task ends whose compensations are all done, or optional and failed.
    FinishCompensation,
    /// A task is complete again whose compensations have refused before anything was undone.
    Reinstate,
    /// An operator makes sure that a task never starts. No action of the model makes this write, nor the next one: a rerun is a task of its
    /// own, and of the old one nothing runs any more.
    RuleOut,
    /// An operator reserves the id of the task's rerun.
    ReserveRerun,
    /// A task moves in the index, which the model does not have.
    MoveInIndex,
    /// A step that waits, or has failed, gets a timer in the index in the place of its message, or the timer feeder takes it off.
    MoveTimer(usize),
}

/// The rule of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the write of the same name")]
pub enum Rule {
    Create,
    ReserveKey,
    PutSearchKey,
    OpenBreaker,
    ClaimProbe,
    CloseBreaker,
    Claim,
    TakeOver,
    Park,
    MissDeadline,
    Release,
    Abandon,
    DeleteOrphanClaim,
    Complete,
    RetryLater,
    RetryThrottled,
    Reschedule,
    RunNow,
    Fail,
    Refuse,
    RecordJoinArrival,
    RecordLeafArrival,
    Finish,
    Redrive,
    ResolveStep,
    DeadLetterStep,
    CancelStep,
    Cancel,
    Resolve,
    Compensate,
    OrderCompensations,
    FinishCompensation,
    Reinstate,
    RuleOut,
    ReserveRerun,
    MoveInIndex,
    MoveTimer,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 37] = [
        Self::Create,
        Self::ReserveKey,
        Self::PutSearchKey,
        Self::OpenBreaker,
        Self::ClaimProbe,
        Self::CloseBreaker,
        Self::Claim,
        Self::TakeOver,
        Self::Park,
        Self::MissDeadline,
        Self::Release,
        Self::Abandon,
        Self::DeleteOrphanClaim,
        Self::Complete,
        Self::RetryLater,
        Self::RetryThrottled,
        Self::Reschedule,
        Self::RunNow,
        Self::Fail,
        Self::Refuse,
        Self::RecordJoinArrival,
        Self::RecordLeafArrival,
        Self::Finish,
        Self::Redrive,
        Self::ResolveStep,
        Self::DeadLetterStep,
        Self::CancelStep,
        Self::Cancel,
        Self::Resolve,
        Self::Compensate,
        Self::OrderCompensations,
        Self::FinishCompensation,
        Self::Reinstate,
        Self::RuleOut,
        Self::ReserveRerun,
        Self::MoveInIndex,
        Self::MoveTimer,
    ];
}

/// The items that a write changes, as they are afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<B: Bits> {
    /// The task, where the write changes it.
    pub task: Option<ModelTask<B>>,
    /// The steps that the write changes. The default stands for a step without an item.
    pub items: Vec<(usize, ModelItem<B>)>,
}

impl<B: Bits> Change<B> {
    const NONE: Self = Self { task: None, items: Vec::new() };

    fn of_task(task: ModelTask<B>) -> Self {
        Self { task: Some(task), ..Self::NONE }
    }

    fn of_step(step: usize, item: ModelItem<B>) -> Self {
        Self { items: vec![(step, item)], ..Self::NONE }
    }
}

/// A new task in which these steps are done. They have arrived where others are waited for as well.
fn created<S: Snapshot>(before: &S, kept: &Set<S::Bits>) -> Change<S::Bits> {
    let arrived = |among: Set<S::Bits>| {
        let is_join = among.iter().count() > 1;
        among.iter().filter(|step| is_join && kept.has(*step)).collect::<Set<_>>()
    };
    let done = ModelItem { state: StepState::Complete, attempted: true, results: 1, ..ModelItem::default() };
    let waits = |step: &usize| !kept.has(*step) && !kept.contains(before.depends_on(*step));
    let joins = before.forward_steps().filter(waits);
    let joins =
        joins.map(|step| (step, ModelItem { arrived: arrived(before.depends_on(step)), ..ModelItem::default() }));
    let items = kept.iter().map(|step| (step, done)).chain(joins.filter(|(_, item)| !item.arrived.is_empty()));
    let task = ModelTask { arrived: arrived(before.leaves()), ..ModelTask::started() };
    Change { task: Some(task), items: items.collect() }
}

impl Write<'_> {
    /// Whether the write's own condition holds. Otherwise the store refuses the write, and nothing changes.
    pub fn takes_effect(&self, before: &impl Snapshot) -> bool {
        let task_goes = |event: TaskEvent| before.task().is_some_and(|task| task.state.on(event).is_some());
        let compensating = || before.task().and_then(|task| task.compensating());
        // Whether no worker owns the step, and it has not ended.
        let waits = |step: usize| {
            let item = before.item(step);
            match item.state {
                StepState::InProgress => item.over,
                state => matches!(state, StepState::Pending | StepState::Retrying),
            }
        };
        let is_led_by =
            |step: usize, fence: Fence| fence == Fence::Current && before.item(step).state == StepState::InProgress;
        match *self {
            Self::Create(_) | Self::RuleOut => before.task().is_none(),
            Self::ReserveKey { is_taken } | Self::PutSearchKey { is_taken } => !is_taken,
            Self::OpenBreaker { is_open } => !is_open,
            Self::ClaimProbe { is_open } | Self::CloseBreaker { is_open } => is_open,
            Self::Park(step) => matches!(before.item(step).state, StepState::Pending | StepState::Retrying),
            Self::MissDeadline(step) => {
                let ModelItem { state, attempted, .. } = before.item(step);
                let unclaimed = !attempted && matches!(state, StepState::Pending | StepState::Retrying);
                unclaimed && before.overdue().has(step) && fails(before, step).is_some()
            }
            Self::Claim(step) => {
                let item = before.item(step);
                item.state == StepState::Pending || item.state == StepState::Retrying && item.over
            }
            Self::Reschedule(step) => {
                let item = before.item(step);
                item.state == StepState::Retrying && !item.over
            }
            Self::RunNow(steps) => {
                let waits = |step: &usize| before.item(*step).state == StepState::Retrying;
                before.task().is_some() && steps.iter().all(waits)
            }
            // A dead letter fails a step that was never attempted, and its message waits like that of any other.
            Self::MoveTimer(step) => before.item(step).attempted || before.item(step).state == StepState::Error,
            Self::TakeOver(step, fence) => is_led_by(step, fence) && before.item(step).over,
            Self::Release(step, fence)
            | Self::Abandon(step, fence)
            | Self::DeleteOrphanClaim(step, fence)
            | Self::Complete(step, fence)
            | Self::RetryLater(step, fence)
            | Self::RetryThrottled(step, fence)
            | Self::Fail(step, fence)
            | Self::Refuse(step, fence) => is_led_by(step, fence),
            Self::RecordJoinArrival { .. } => true,
            Self::RecordLeafArrival(_) | Self::MoveInIndex => before.task().is_some(),
            Self::Finish => task_goes(TaskEvent::Finish),
            Self::Redrive { .. } => task_goes(TaskEvent::Redrive) && before.failed().next().is_some(),
            Self::ResolveStep(step) => {
                let state = before.item(step).state;
                let waits = matches!(state, StepState::Pending | StepState::Retrying | StepState::Error);
                waits && task_goes(TaskEvent::Mend)
            }
            Self::DeadLetterStep(step) => {
                !before.has_no_last_attempt(step) && waits(step) && after_dead_letter(before, step).is_some()
            }
            Self::CancelStep(step) => waits(step),
            Self::Cancel => task_goes(TaskEvent::Cancel),
            Self::Resolve => task_goes(TaskEvent::Resolve),
            Self::Compensate(end) => task_goes(TaskEvent::Compensate(end)),
            Self::OrderCompensations(_) => compensating() == Some(false),
            Self::FinishCompensation => compensating() == Some(true),
            Self::Reinstate => task_goes(TaskEvent::Reinstate) && compensating() == Some(true),
            Self::ReserveRerun => {
                before.task().is_some_and(|task| matches!(task.state, TaskState::Completed | TaskState::Compensated(_)))
            }
        }
    }

    /// Whether the deadline counts from this write on.
    pub const fn moves_deadline(&self) -> bool {
        matches!(self, Self::Redrive { moves_deadline: true } | Self::ResolveStep(_))
    }

    /// Whether the writer may make the write at all, by what it has read or been told before. These facts are final, so
    /// no condition repeats them.
    pub fn is_due(&self, before: &impl Snapshot) -> bool {
        let task = before.task();
        match *self {
            // Two tasks never stand on what one of them may undo, and something is left to run. A plan with compensations keeps nothing.
            Self::Create(kept) => {
                let kept: Set<_> = kept.iter().copied().collect();
                let whole = |step: usize| kept.contains(before.depends_on(step)) && before.compensated().is_empty();
                kept.iter().all(whole) && before.forward_steps().any(|step| !kept.has(step))
            }
            Self::RuleOut
            | Self::ReserveKey { .. }
            | Self::PutSearchKey { .. }
            | Self::OpenBreaker { .. }
            | Self::ClaimProbe { .. }
            | Self::CloseBreaker { .. }
            | Self::Claim(_)
            | Self::TakeOver(..)
            | Self::Release(..)
            | Self::Abandon(..)
            | Self::Reschedule(_)
            | Self::Resolve
            | Self::MoveTimer(_)
            | Self::MoveInIndex => true,
            // The task may have been reinstated since the compensation was ready.
            Self::Park(step) => before.is_compensation(step) || before.load(step).ready,
            Self::DeleteOrphanClaim(..) => task.is_none(),
            Self::Redrive { moves_deadline } => {
                moves_deadline || !before.failed().any(|step| before.overdue().has(step))
            }
            // The handler has run, so the step was ready and an attempt was left.
            Self::Complete(step, _) | Self::RetryThrottled(step, _) => {
                before.load(step).ready && before.allows_attempt(step, before.item(step).counted)
            }
            Self::RetryLater(step, _) => {
                before.load(step).ready && before.allows_attempt(step, before.item(step).counted.saturating_add(1))
            }
            Self::Fail(step, _) | Self::Refuse(step, _) => before.load(step).ready,
            Self::RecordJoinArrival { join, done } => {
                let waits_for = before.depends_on(join);
                waits_for.has(done) && waits_for.iter().count() > 1 && before.is_done(done)
            }
            Self::RecordLeafArrival(done) => {
                let last = before.leaves_beside(done);
                // It may be recorded again after an optional step was redriven.
                let again = task.is_some_and(|task| task.arrived.has(done)) && before.optional().has(done);
                last.has(done) && last.iter().count() > 1 && (before.has_passed(done) || again)
            }
            Self::Finish => {
                let last = before.leaves();
                let one = last.iter().count() == 1 && last.iter().all(|step| before.has_passed(step));
                one || task.is_some_and(|task| task.arrived.contains(last))
            }
            Self::MissDeadline(step) | Self::ResolveStep(step) | Self::DeadLetterStep(step) => {
                before.load(step).is_its_turn()
            }
            Self::RunNow(steps) => !steps.is_empty() && steps.iter().all(|step| before.load(*step).is_its_turn()),
            Self::CancelStep(step) => {
                !before.is_compensation(step) && task.is_some_and(|task| task.compensating() == Some(false))
            }
            Self::Cancel => !before.compensates_cancellation(),
            Self::Compensate(End::Error) => true,
            Self::Compensate(End::Cancelled) => {
                before.compensates_cancellation() || task.is_some_and(|task| task.state == TaskState::Cancelled)
            }
            Self::OrderCompensations(graph) => {
                before.forward_steps().all(|step| is_settled(before.item(step).state)) && is_graph(before, graph)
            }
            Self::FinishCompensation => before.to_run().iter().all(|step| before.has_passed(step)),
            // Nothing of the task can be claimed any more, nor be made to.
            Self::ReserveRerun => match task.is_some_and(|task| task.state == TaskState::Completed) {
                true => before.forward_steps().all(|step| before.is_done(step)),
                false => {
                    before.forward_steps().all(|step| is_settled(before.item(step).state))
                        && before.to_run().iter().all(|step| before.has_passed(step))
                }
            },
            Self::Reinstate => {
                let complete = |step: usize| before.is_done(step) || before.optional().has(step);
                let refused = |step: usize| before.item(step).state == StepState::Error;
                let undone_nothing = |step: usize| {
                    let ModelItem { state, may_have_acted, .. } = before.item(step);
                    !may_have_acted && matches!(state, StepState::Error | StepState::Pending | StepState::Retrying)
                };
                let to_run = || before.to_run().iter();
                let vetoes = |step: usize| refused(step) && !before.optional().has(step);
                before.forward_steps().all(complete) && to_run().any(vetoes) && to_run().all(undone_nothing)
            }
        }
    }

    /// The items after the write; `None` where a state machine has no such transition.
    pub fn change<S: Snapshot>(&self, before: &S) -> Option<Change<S::Bits>> {
        let step_goes = |step: usize, event: StepEvent| {
            let item = before.item(step);
            // Every event of a step ends its lease or backoff, or begins a new one.
            Some(ModelItem { state: item.state.on(event)?, over: false, ..item })
        };
        // After the end of an attempt, of which a compensation may have acted.
        let ended = |step: usize, event: StepEvent| {
            Some(ModelItem { may_have_acted: before.is_compensation(step), ..step_goes(step, event)? })
        };
        let fresh = |step: usize| Some((step, ModelItem { counted: 0, ..step_goes(step, StepEvent::Redrive)? }));
        let task_goes = |event: TaskEvent| {
            let task = before.task()?;
            Some(ModelTask { state: task.state.on(event)?, ..task })
        };
        Some(match *self {
            Self::Create(kept) => created(before, &kept.iter().copied().collect()),
            Self::ReserveKey { .. }
            | Self::PutSearchKey { .. }
            | Self::OpenBreaker { .. }
            | Self::ClaimProbe { .. }
            | Self::CloseBreaker { .. } => Change::NONE,
            Self::MoveInIndex => Change::of_task(before.task()?),
            Self::ReserveRerun => Change::of_task(ModelTask { rerun: true, ..before.task()? }),
            Self::RuleOut => Change::of_task(ModelTask { state: TaskState::Cancelled, ..ModelTask::started() }),
            Self::Claim(step) | Self::TakeOver(step, _) => {
                let item = step_goes(step, StepEvent::Claim)?;
                let lost = matches!(self, Self::TakeOver(..));
                let item =
                    ModelItem { may_have_acted: item.may_have_acted || lost && before.is_compensation(step), ..item };
                // Without a last attempt nothing depends on their number.
                let counts = !before.has_no_last_attempt(step);
                let counted = item.counted.saturating_add(counts.into());
                Change::of_step(step, ModelItem { attempted: true, counted, ..item })
            }
            Self::Park(step) => Change::of_step(step, step_goes(step, StepEvent::Park)?),
            Self::MissDeadline(step) => {
                let item = step_goes(step, StepEvent::MissDeadline)?;
                Change { task: fails(before, step), ..Change::of_step(step, item) }
            }
            Self::Release(step, _) | Self::Abandon(step, _) => {
                let item = step_goes(step, StepEvent::Release)?;
                let lost = matches!(self, Self::Abandon(..)) && before.is_compensation(step);
                let item = ModelItem { may_have_acted: item.may_have_acted || lost, ..item };
                Change::of_step(step, ModelItem { counted: item.counted.saturating_sub(1), ..item })
            }
            Self::DeleteOrphanClaim(step, _) => Change::of_step(step, ModelItem::default()),
            Self::Complete(step, _) => {
                let item = ended(step, StepEvent::Complete)?;
                Change::of_step(step, ModelItem { results: item.results + 1, ..item })
            }
            Self::RetryLater(step, _) => Change::of_step(step, ended(step, StepEvent::RetryLater)?),
            Self::RetryThrottled(step, _) => {
                let item = ended(step, StepEvent::RetryLater)?;
                Change::of_step(step, ModelItem { counted: item.counted.saturating_sub(1), ..item })
            }
            Self::Reschedule(step) => Change::of_step(step, ModelItem { over: true, ..before.item(step) }),
            Self::RunNow(steps) => {
                let items = steps.iter().map(|step| (*step, ModelItem { over: true, ..before.item(*step) }));
                Change { task: Some(before.task()?), items: items.collect() }
            }
            Self::MoveTimer(step) => Change::of_step(step, before.item(step)),
            // A task that is neither running nor compensating keeps its state, and so does that of an optional step.
            Self::Fail(step, _) => {
                Change { task: fails(before, step), ..Change::of_step(step, ended(step, StepEvent::Fail)?) }
            }
            Self::Refuse(step, _) => {
                let item = ModelItem { may_have_acted: false, ..step_goes(step, StepEvent::Fail)? };
                Change { task: fails(before, step), ..Change::of_step(step, item) }
            }
            Self::DeadLetterStep(step) => {
                let task = after_dead_letter(before, step);
                let lost = before.item(step).state == StepState::InProgress && before.is_compensation(step);
                let item = step_goes(step, StepEvent::DeadLetter)?;
                let item = ModelItem { may_have_acted: item.may_have_acted || lost, ..item };
                Change { task, ..Change::of_step(step, item) }
            }
            Self::RecordJoinArrival { join, done } => {
                let item = before.item(join);
                Change::of_step(join, ModelItem { arrived: item.arrived.with(done), ..item })
            }
            Self::RecordLeafArrival(done) => {
                let task = before.task()?;
                Change::of_task(ModelTask { arrived: task.arrived.with(done), ..task })
            }
            Self::Finish => Change::of_task(task_goes(TaskEvent::Finish)?),
            Self::Redrive { .. } => {
                let items = before.failed().map(fresh).collect::<Option<Vec<_>>>()?;
                Change { task: Some(task_goes(TaskEvent::Redrive)?), items }
            }
            Self::ResolveStep(step) => {
                let item = step_goes(step, StepEvent::Resolve)?;
                // A resolved step counts as attempted, so it is compensated too.
                let item = ModelItem { attempted: true, results: item.results + 1, ..item };
                let completed = before.task()?.state == TaskState::Completed;
                let others_failed = !completed && before.failed().any(|other| other != step);
                let task = if others_failed { before.task()? } else { task_goes(TaskEvent::Mend)? };
                Change { task: Some(task), ..Change::of_step(step, item) }
            }
            Self::CancelStep(step) => Change::of_step(step, step_goes(step, StepEvent::Cancel)?),
            Self::Cancel => Change::of_task(task_goes(TaskEvent::Cancel)?),
            Self::Resolve => Change::of_task(task_goes(TaskEvent::Resolve)?),
            Self::Compensate(end) => Change::of_task(task_goes(TaskEvent::Compensate(end))?),
            Self::OrderCompensations(_) => Change::of_task(ModelTask { ordered: true, ..before.task()? }),
            Self::FinishCompensation => Change::of_task(task_goes(TaskEvent::Compensated)?),
            Self::Reinstate => {
                let has_state = |step: &usize, state: StepState| before.item(*step).state == state;
                let closed = before.forward_steps().filter(|step| has_state(step, StepState::Cancelled));
                // Pending, or parked.
                let waits = |step: &usize| has_state(step, StepState::Pending) || has_state(step, StepState::Retrying);
                let unclaimed = before.to_run().iter().filter(waits);
                let refused = before.to_run().iter().filter(|step| has_state(step, StepState::Error));
                let items =
                    unclaimed.map(|step| Some((step, before.item(step)))).chain(refused.chain(closed).map(fresh));
                let items = items.collect::<Option<Vec<_>>>()?;
                Change { task: Some(ModelTask { ordered: false, ..task_goes(TaskEvent::Reinstate)? }), items }
            }
        })
    }

    /// Whether the write may be made and takes effect.
    pub fn is_allowed(&self, before: &impl Snapshot) -> bool {
        self.takes_effect(before) && self.is_due(before)
    }
}

/// The task after the failure of this step by a dead letter. That of an optional compensation only leaves an entry in its audit
/// trail.
fn after_dead_letter<S: Snapshot>(before: &S, step: usize) -> Option<ModelTask<S::Bits>> {
    let trail_only = before.is_compensation(step) && before.optional().has(step);
    let open = |task: &ModelTask<_>| task.state.is_compensating();
    if trail_only { before.task().filter(open) } else { fails(before, step) }
}

/// The task after one of its steps has failed; `None` where the failure does not change it.
fn fails<S: Snapshot>(before: &S, step: usize) -> Option<ModelTask<S::Bits>> {
    let task = before.task()?;
    if before.optional().has(step) && before.is_compensation(step) {
        return None;
    }
    if before.optional().has(step) {
        return Some(ModelTask { state: task.state.on(TaskEvent::Warn)?, ..task });
    }
    let to = task.state.on(TaskEvent::Fail)?;
    (to.is_compensating() == before.is_compensation(step)).then_some(ModelTask { state: to, ..task })
}

/// Whether a step in this state changes no more without an operator.
pub(super) fn is_settled(state: StepState) -> bool {
    !matches!(state, StepState::Pending | StepState::InProgress | StepState::Retrying)
}

/// Whether this is the graph of the compensations to run: each of an attempted step exactly once and after those that it waits
/// for. One waits for another, directly or not, exactly if it does by the plan, also if the plan's way leads over a compensation
/// that does not run.
fn is_graph<S: Snapshot>(before: &S, graph: &[(usize, Vec<usize>)]) -> bool {
    let attempted = before.compensated().iter().filter(|step| before.item(*step).attempted);
    let expected: Set<S::Bits> = attempted.map(|step| step + before.forward()).collect();
    let all: Set<S::Bits> = graph.iter().map(|(compensation, _)| *compensation).collect();
    if all != expected || all.iter().count() != graph.len() {
        return false;
    }
    // For each compensation so far, all that it waits for, directly or not.
    let mut earlier: Vec<(usize, Set<S::Bits>)> = Vec::new();
    for (compensation, waits_for) in graph {
        let mut lineage = Set::default();
        for direct in waits_for {
            let Some((_, more)) = earlier.iter().find(|(other, _)| other == direct) else { return false };
            lineage = lineage.with(*direct).union(*more);
        }
        let by_plan: Set<S::Bits> = all.iter().filter(|other| waits_by_plan(before, *compensation, *other)).collect();
        if lineage != by_plan {
            return false;
        }
        earlier.push((*compensation, lineage));
    }
    true
}

/// Whether a compensation waits for another one by the plan, directly or not.
fn waits_by_plan<S: Snapshot>(before: &S, compensation: usize, other: usize) -> bool {
    let direct = before.waits_for(compensation);
    direct.has(other) || direct.iter().any(|between| waits_by_plan(before, between, other))
}
