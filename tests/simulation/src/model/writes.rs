//! Every write of the protocol as one rule: when it takes effect, what its writer has made sure of before, and what becomes
//! of the items.
//!
//! The model's actions make their writes by these rules (`store.rs`), so they are what is checked state by state. And every
//! write of every simulated run is held to them (`../sim/conformance/`): what the engine does with its items is a step of
//! this model, or the run fails.
//!
//! A rule knows a task and its steps as a [`Snapshot`], and says what becomes of them as a [`Change`]. It knows nothing of
//! audit trails, of the index and of moments; see the conformance check for what that leaves out.

use super::state::{Bits, Item, Seen, Set, Task};
use std::{fmt::Debug, ops::Range};
use stepwell::core::state::{End, StepEvent, StepState, TaskEvent, TaskState};

/// A task and its steps as a rule looks at them.
///
/// The steps are numbered in the plan's order, each after all that it depends on. The number of a compensation is that of
/// the step that it undoes, and the number of steps more.
pub trait Snapshot {
    /// What a set of its steps is kept in.
    type Bits: Bits + Debug;

    /// The task; `None` where there is none.
    fn task(&self) -> Option<Task<Self::Bits>>;

    /// A step; an untouched one where there is no item.
    fn item(&self, step: usize) -> Item<Self::Bits>;

    /// How many steps there are, compensations left out.
    fn forward(&self) -> usize;

    /// What the step waits for. Nothing for a compensation, which waits for those before it in their order.
    fn depends_on(&self, step: usize) -> Set<Self::Bits>;

    /// Those that nothing waits for.
    fn leaves(&self) -> Set<Self::Bits>;

    /// Those that have a compensation.
    fn compensated(&self) -> Set<Self::Bits>;

    /// Whether a task that is cancelled is compensated.
    fn compensates_cancellation(&self) -> bool;

    /// How many attempts the step has.
    fn max_attempts(&self, step: usize) -> u8;

    /// The compensations that are to run, in their order, once that is known.
    fn order(&self) -> impl Iterator<Item = usize>;

    /// The steps, without the compensations.
    fn forward_steps(&self) -> Range<usize> {
        0..self.forward()
    }

    /// Whether the step undoes another one.
    fn is_compensation(&self, step: usize) -> bool {
        step >= self.forward()
    }

    /// Whether the step is done.
    fn is_done(&self, step: usize) -> bool {
        self.item(step).state.is_done()
    }

    /// What a load of the task and of what the step waits for finds.
    fn look(&self, step: usize) -> Seen {
        if self.is_compensation(step) {
            let open = self.task().and_then(|task| task.compensating()) == Some(true);
            let done_before = self.order().take_while(|other| *other != step).all(|other| self.is_done(other));
            return Seen { open, ready: done_before && self.order().any(|other| other == step) };
        }
        let open = self.task().is_some_and(|task| task.state.lets_steps_run());
        Seen { open, ready: self.depends_on(step).iter().all(|other| self.is_done(other)) }
    }

    /// What a redrive starts again: the failed steps, or the failed compensations of a task that is being compensated.
    fn failed(&self) -> impl Iterator<Item = usize> {
        let undoing = self.task().is_some_and(|task| task.compensating().is_some());
        let numbers = if undoing { self.forward()..2 * self.forward() } else { self.forward_steps() };
        numbers.filter(|step| self.item(*step).state == StepState::Error)
    }
}

/// Whether the attempt that a writer knows is still the last one of its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// It is.
    Current,
    /// A newer one owns the step.
    Stale,
}

/// A write: one atomic change of some items. The steps that it is about are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write<'a> {
    /// A client writes a new task.
    Create,
    /// A client writes an idempotency key.
    ReserveKey {
        /// Whether it is there already.
        is_taken: bool,
    },
    /// A worker claims a step that waits.
    Claim(usize),
    /// A worker takes a step over whose lease is over. The fence is the number of the attempt that was lost.
    TakeOver(usize, Fence),
    /// A worker puts a step back.
    Release(usize, Fence),
    /// A worker takes away its claim of a step whose task does not exist.
    DeleteOrphanClaim(usize, Fence),
    /// A worker writes that the handler returned.
    Complete(usize, Fence),
    /// A worker writes that the handler failed, and that another attempt follows.
    RetryLater(usize, Fence),
    /// A worker writes that the step failed for good.
    Fail(usize, Fence),
    /// A join hears that one of the steps that it depends on is done.
    RecordJoinArrival {
        /// The join.
        join: usize,
        /// What is done.
        done: usize,
    },
    /// A task with several last steps hears that this one is done.
    RecordLeafArrival(usize),
    /// A worker ends a task of which all is done.
    Finish,
    /// What has failed gets a fresh set of attempts.
    Redrive,
    /// An operator puts a result of their own in the place of a step's.
    ResolveStep(usize),
    /// A step fails because SQS gave up on its message.
    DeadLetterStep(usize),
    /// A step of a task that is to be compensated is closed.
    CancelStep(usize),
    /// An operator cancels a task, and nothing is undone. In the model only where there is nothing to undo.
    Cancel,
    /// An operator declares a task done. The model has nobody who does.
    Resolve,
    /// What a task has done is to be undone, and then it ends so.
    Compensate(End),
    /// The order of the compensations is settled.
    OrderCompensations(&'a [usize]),
    /// A task ends of which all is undone.
    FinishCompensation,
    /// A task is listed elsewhere in the index, which the model does not have.
    MoveInIndex,
}

/// Which rule a write is made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is the write of the same name")]
pub enum Rule {
    Create,
    ReserveKey,
    Claim,
    TakeOver,
    Release,
    DeleteOrphanClaim,
    Complete,
    RetryLater,
    Fail,
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
    MoveInIndex,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::Create,
        Self::ReserveKey,
        Self::Claim,
        Self::TakeOver,
        Self::Release,
        Self::DeleteOrphanClaim,
        Self::Complete,
        Self::RetryLater,
        Self::Fail,
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
        Self::MoveInIndex,
    ];
}

/// What becomes of the items by a write: of those that it writes, and of no others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<B: Bits> {
    /// What becomes of the task, where it is written.
    pub task: Option<Task<B>>,
    /// What becomes of steps. One without an item is an untouched one.
    pub items: Vec<(usize, Item<B>)>,
}

impl<B: Bits> Change<B> {
    const NONE: Self = Self { task: None, items: Vec::new() };

    fn of_task(task: Task<B>) -> Self {
        Self { task: Some(task), ..Self::NONE }
    }

    fn of_step(step: usize, item: Item<B>) -> Self {
        Self { items: vec![(step, item)], ..Self::NONE }
    }
}

impl Write<'_> {
    /// Whether a write that is made takes effect: what stands in its own condition. Otherwise the store refuses it, and
    /// nothing changes.
    pub fn takes_effect(&self, before: &impl Snapshot) -> bool {
        let task_goes = |event: TaskEvent| before.task().is_some_and(|task| task.state.on(event).is_some());
        let compensating = || before.task().and_then(|task| task.compensating());
        // Whether nobody is at the step, and it has not come to an end.
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
            Self::Create => before.task().is_none(),
            Self::ReserveKey { is_taken } => !is_taken,
            Self::Claim(step) => {
                let item = before.item(step);
                item.state == StepState::Pending || item.state == StepState::Retrying && item.over
            }
            Self::TakeOver(step, fence) => is_led_by(step, fence) && before.item(step).over,
            Self::Release(step, fence)
            | Self::DeleteOrphanClaim(step, fence)
            | Self::Complete(step, fence)
            | Self::RetryLater(step, fence)
            | Self::Fail(step, fence) => is_led_by(step, fence),
            Self::RecordJoinArrival { .. } => true,
            Self::RecordLeafArrival(_) | Self::MoveInIndex => before.task().is_some(),
            Self::Finish => task_goes(TaskEvent::Finish),
            Self::Redrive => task_goes(TaskEvent::Redrive) && before.failed().next().is_some(),
            Self::ResolveStep(step) => {
                let state = before.item(step).state;
                let waits = matches!(state, StepState::Pending | StepState::Retrying | StepState::Error);
                waits && task_goes(TaskEvent::Mend)
            }
            Self::DeadLetterStep(step) => waits(step) && fails(before, step).is_some(),
            Self::CancelStep(step) => waits(step),
            Self::Cancel => task_goes(TaskEvent::Cancel),
            Self::Resolve => task_goes(TaskEvent::Resolve),
            Self::Compensate(end) => task_goes(TaskEvent::Compensate(end)),
            Self::OrderCompensations(_) => compensating() == Some(false),
            Self::FinishCompensation => compensating() == Some(true),
        }
    }

    /// Whether the write may be made at all: what its writer has read before, or has been told, and what does not change
    /// any more. No condition says it once more.
    pub fn is_due(&self, before: &impl Snapshot) -> bool {
        let task = before.task();
        match *self {
            Self::Create
            | Self::ReserveKey { .. }
            | Self::Claim(_)
            | Self::TakeOver(..)
            | Self::Release(..)
            | Self::Redrive
            | Self::Resolve
            | Self::MoveInIndex => true,
            Self::DeleteOrphanClaim(..) => task.is_none(),
            // Its handler has run, so it was the step's turn, and there was an attempt left.
            Self::Complete(step, _) => {
                before.look(step).ready && before.item(step).counted <= before.max_attempts(step)
            }
            Self::RetryLater(step, _) => {
                before.look(step).ready && before.item(step).counted < before.max_attempts(step)
            }
            Self::Fail(step, _) => before.look(step).ready,
            Self::RecordJoinArrival { join, done } => {
                let waits_for = before.depends_on(join);
                waits_for.has(done) && waits_for.iter().count() > 1 && before.is_done(done)
            }
            Self::RecordLeafArrival(done) => {
                let last = before.leaves();
                last.has(done) && last.iter().count() > 1 && before.is_done(done)
            }
            Self::Finish => {
                let last = before.leaves();
                let one = last.iter().count() == 1 && last.iter().all(|step| before.is_done(step));
                one || task.is_some_and(|task| task.arrived.contains(last))
            }
            Self::ResolveStep(step) | Self::DeadLetterStep(step) => before.look(step).is_its_turn(),
            Self::CancelStep(step) => {
                !before.is_compensation(step) && task.is_some_and(|task| task.compensating() == Some(false))
            }
            Self::Cancel => !before.compensates_cancellation(),
            Self::Compensate(End::Error) => true,
            Self::Compensate(End::Cancelled) => {
                before.compensates_cancellation() || task.is_some_and(|task| task.state == TaskState::Cancelled)
            }
            Self::OrderCompensations(order) => {
                before.forward_steps().all(|step| is_settled(before.item(step).state)) && is_order(before, order)
            }
            Self::FinishCompensation => before.order().all(|step| before.is_done(step)),
        }
    }

    /// What becomes of the items; `None` where the tables of states have no such move.
    pub fn change<S: Snapshot>(&self, before: &S) -> Option<Change<S::Bits>> {
        let step_goes = |step: usize, event: StepEvent| {
            let item = before.item(step);
            // Whatever happens to a step is a new beginning, or an end: nothing waits any more for what it waited for.
            Some(Item { state: item.state.on(event)?, over: false, ..item })
        };
        let task_goes = |event: TaskEvent| {
            let task = before.task()?;
            Some(Task { state: task.state.on(event)?, ..task })
        };
        Some(match *self {
            Self::Create => Change::of_task(Task::started()),
            Self::ReserveKey { .. } => Change::NONE,
            Self::MoveInIndex => Change::of_task(before.task()?),
            Self::Claim(step) | Self::TakeOver(step, _) => {
                let item = step_goes(step, StepEvent::Claim)?;
                Change::of_step(step, Item { attempted: true, counted: item.counted.saturating_add(1), ..item })
            }
            Self::Release(step, _) => {
                let item = step_goes(step, StepEvent::Release)?;
                Change::of_step(step, Item { counted: item.counted.saturating_sub(1), ..item })
            }
            Self::DeleteOrphanClaim(step, _) => Change::of_step(step, Item::default()),
            Self::Complete(step, _) => {
                let item = step_goes(step, StepEvent::Complete)?;
                Change::of_step(step, Item { results: item.results + 1, ..item })
            }
            Self::RetryLater(step, _) => Change::of_step(step, step_goes(step, StepEvent::RetryLater)?),
            // Where the task has been brought out of its course, it is left as it is.
            Self::Fail(step, _) => {
                Change { task: fails(before, step), ..Change::of_step(step, step_goes(step, StepEvent::Fail)?) }
            }
            Self::DeadLetterStep(step) => {
                Change { task: fails(before, step), ..Change::of_step(step, step_goes(step, StepEvent::DeadLetter)?) }
            }
            Self::RecordJoinArrival { join, done } => {
                let item = before.item(join);
                Change::of_step(join, Item { arrived: item.arrived.with(done), ..item })
            }
            Self::RecordLeafArrival(done) => {
                let task = before.task()?;
                Change::of_task(Task { arrived: task.arrived.with(done), ..task })
            }
            Self::Finish => Change::of_task(task_goes(TaskEvent::Finish)?),
            Self::Redrive => {
                let fresh = |step: usize| Some((step, Item { counted: 0, ..step_goes(step, StepEvent::Redrive)? }));
                let items = before.failed().map(fresh).collect::<Option<Vec<_>>>()?;
                Change { task: Some(task_goes(TaskEvent::Redrive)?), items }
            }
            Self::ResolveStep(step) => {
                let item = step_goes(step, StepEvent::Resolve)?;
                // It counts among what is to be undone.
                let item = Item { attempted: true, results: item.results + 1, ..item };
                let others_failed = before.failed().any(|other| other != step);
                let task = if others_failed { before.task()? } else { task_goes(TaskEvent::Mend)? };
                Change { task: Some(task), ..Change::of_step(step, item) }
            }
            Self::CancelStep(step) => Change::of_step(step, step_goes(step, StepEvent::Cancel)?),
            Self::Cancel => Change::of_task(task_goes(TaskEvent::Cancel)?),
            Self::Resolve => Change::of_task(task_goes(TaskEvent::Resolve)?),
            Self::Compensate(end) => Change::of_task(task_goes(TaskEvent::Compensate(end))?),
            Self::OrderCompensations(_) => Change::of_task(Task { ordered: true, ..before.task()? }),
            Self::FinishCompensation => Change::of_task(task_goes(TaskEvent::Compensated)?),
        })
    }

    /// Whether the write may be made, and takes effect.
    pub fn is_allowed(&self, before: &impl Snapshot) -> bool {
        self.takes_effect(before) && self.is_due(before)
    }
}

/// The task after one of its steps has failed; `None` where that is nothing to it any more.
fn fails<S: Snapshot>(before: &S, step: usize) -> Option<Task<S::Bits>> {
    let task = before.task()?;
    let to = task.state.on(TaskEvent::Fail)?;
    (to.is_compensating() == before.is_compensation(step)).then_some(Task { state: to, ..task })
}

/// Whether a step in this state has nothing more to come of it by itself.
pub(super) fn is_settled(state: StepState) -> bool {
    !matches!(state, StepState::Pending | StepState::InProgress | StepState::Retrying)
}

/// Whether this is an order for the compensations: of each step that was attempted at all, once, and of none before one
/// that depends on it.
fn is_order<S: Snapshot>(before: &S, order: &[usize]) -> bool {
    let undone: Vec<usize> = order.iter().filter_map(|step| step.checked_sub(before.forward())).collect();
    let attempted = before.compensated().iter().filter(|step| before.item(*step).attempted).collect::<Set<S::Bits>>();
    let all = undone.iter().copied().collect::<Set<S::Bits>>();
    if undone.len() != order.len() || all.iter().count() != order.len() || all != attempted {
        return false;
    }
    // All that each step depends on, directly or not.
    let mut lineages: Vec<Set<S::Bits>> = Vec::new();
    for step in before.forward_steps() {
        let direct = before.depends_on(step);
        lineages.push(direct.iter().fold(direct, |lineage, other| lineage.union(lineages[other])));
    }
    let mut earlier = Set::<S::Bits>::default();
    undone.into_iter().all(|step| {
        earlier = earlier.with(step);
        !earlier.iter().any(|other| lineages[step].has(other))
    })
}
