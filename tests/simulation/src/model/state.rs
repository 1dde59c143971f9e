//! One state of the whole system: the task, its steps, the queues, the workers and the outside services.
//!
//! A state holds only what the protocol reads. Attempt numbers, for example, grow without bound, but the protocol only
//! compares a worker's number with the step's last one; so the state keeps the result of that comparison
//! ([`Worker::current`]).

use std::{
    fmt,
    ops::{BitAnd, BitOr, Not},
};
use stepwell::core::state::{End, StepState, TaskState};

/// The most steps a scope may have, compensations included.
pub(super) const MAX_STEPS: usize = 6;

/// The workers of a scope.
pub(super) const WORKERS: usize = 2;

/// The largest number of different messages in a queue: one held by each worker, and one of each kind that no worker
/// holds.
const SLOTS: usize = WORKERS + 2;

/// A set of steps. The model holds millions of states with few steps, so its sets are one byte each. A simulated run
/// has few tasks with many steps.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set<B = u8>(pub B);

/// The integer that stores a set of steps.
pub trait Bits: Copy + Default + Eq + Not<Output = Self> + BitAnd<Output = Self> + BitOr<Output = Self> {
    /// The bit of a step.
    fn of(step: usize) -> Self;

    /// The lowest bit that is set; without one a number larger than any step's.
    fn lowest(self) -> usize;
}

impl Bits for u8 {
    fn of(step: usize) -> Self {
        1 << step
    }

    fn lowest(self) -> usize {
        self.trailing_zeros() as usize
    }
}

impl Bits for u128 {
    fn of(step: usize) -> Self {
        1 << step
    }

    fn lowest(self) -> usize {
        self.trailing_zeros() as usize
    }
}

impl<B: Bits> Set<B> {
    /// The set with this step in it.
    pub fn with(self, step: usize) -> Self {
        Self(self.0 | B::of(step))
    }

    /// The set without this step.
    pub fn without(self, step: usize) -> Self {
        Self(self.0 & !B::of(step))
    }

    /// Whether the step is in it.
    pub fn has(self, step: usize) -> bool {
        self.0 & B::of(step) != B::default()
    }

    /// Whether it contains all of `other`.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// The union of the two sets.
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The steps in it, lowest first.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self;
        std::iter::from_fn(move || {
            let lowest = left.0.lowest();
            (!left.is_empty()).then(|| left = left.without(lowest)).map(|()| lowest)
        })
    }

    /// Whether it is empty.
    pub fn is_empty(self) -> bool {
        self.0 == B::default()
    }
}

impl<B: Bits> FromIterator<usize> for Set<B> {
    fn from_iter<I: IntoIterator<Item = usize>>(steps: I) -> Self {
        steps.into_iter().fold(Self::default(), Self::with)
    }
}

impl<B: Bits> fmt::Debug for Set<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The task's item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ModelTask<B: Bits = u8> {
    /// Its state.
    pub state: TaskState,
    /// Whether the order of its compensations is stored.
    pub ordered: bool,
    /// The leaves whose completion, or failure of an optional one, is recorded, where the task has more than one.
    pub arrived: Set<B>,
    /// Whether an id is reserved for its rerun.
    pub rerun: bool,
}

impl<B: Bits> ModelTask<B> {
    /// A task that has just been created.
    pub fn started() -> Self {
        Self { state: TaskState::Running, ordered: false, arrived: Set::default(), rerun: false }
    }

    /// Whether the order of the compensations is stored; `None` for a task that is not being compensated.
    pub fn compensating(&self) -> Option<bool> {
        self.state.is_compensating().then_some(self.ordered)
    }
}

/// A step's item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ModelItem<B: Bits = u8> {
    /// Its state.
    pub state: StepState,
    /// The claims that count towards the limit of attempts.
    pub counted: u8,
    /// Whether it has ever been claimed.
    pub attempted: bool,
    /// Whether the wait has ended: the lease of a step in progress, or the backoff of one that is retrying.
    pub over: bool,
    /// The dependencies whose completion is recorded, where the step is a join.
    pub arrived: Set<B>,
    /// How many results were written; 2 stands for more.
    pub results: u8,
    /// Of a compensation: whether its last attempt has ended otherwise than by a refusal, so that it may have undone something.
    pub may_have_acted: bool,
}

/// The effect that an outside service keeps under a step's idempotency key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Effect {
    /// How often it was charged; 2 stands for more.
    pub charged: u8,
    /// Whether it was refunded.
    pub refunded: bool,
    /// Whether a compensation has voided the key, so that it is never charged again.
    pub voided: bool,
}

/// A message in a step's queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ModelMessage {
    /// From a first dispatch, a client or the watchdog.
    Plain,
    /// From a repeated dispatch, and not received yet. Once received it is like any other.
    Repeat,
}

/// The result of a worker's load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadResult {
    /// Whether the task's status lets this step run.
    pub open: bool,
    /// Whether all dependencies of this step are done.
    pub ready: bool,
}

impl LoadResult {
    /// Whether the step may be run now.
    pub fn is_its_turn(self) -> bool {
        self.open && self.ready
    }
}

/// The progress of a worker's claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClaimProgress {
    /// The claim has not been made, or not been answered.
    Claim,
    /// Refused by a lease that is over: the take-over is the next write.
    TakeOver,
    /// Granted.
    Granted,
    /// Refused.
    Refused(ClaimRefusal),
}

/// Why a claim was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClaimRefusal {
    /// The step is done.
    Done,
    /// It is optional and has failed.
    Passed,
    /// It has failed or is cancelled.
    Ended,
    /// It is in progress or waits out its backoff.
    Busy,
}

/// The outcome of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ModelOutcome {
    /// The handler returned.
    Complete,
    /// It failed with a retryable error, and attempts are left.
    RetryLater,
    /// It was throttled, so it does not count.
    RetryThrottled,
    /// It failed for good.
    Fail,
    /// It is a compensation, and refused.
    Refuse,
}

/// What a worker does next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkerState {
    /// It waits for a message.
    #[default]
    Idle,
    /// It claims and loads, concurrently.
    Calling(ClaimProgress, Option<LoadResult>),
    /// It releases the claim, and may then load once more to see whether the step is ready.
    Releasing {
        /// Whether it loads once more.
        reload: bool,
    },
    /// It loads once more.
    Reloading,
    /// It runs the handler.
    Running,
    /// It writes the outcome of the attempt.
    Writing(ModelOutcome),
    /// It reads which dependents a repeated dispatch has to send to.
    FindingDependents,
    /// It dispatches.
    Dispatching {
        /// The joins at which the step's completion is still to be recorded.
        arrivals: Set,
        /// The dependents that are still to be sent a message.
        send: Set,
        /// Whether the dispatch may have been made before.
        again: bool,
    },
    /// It records the leaf's completion at the task.
    RecordingLeafArrival,
    /// It ends the task.
    Finishing,
    /// It acknowledges the message.
    Acknowledging,
}

/// One worker, with the message that it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Worker {
    /// What it does next.
    pub at: WorkerState,
    /// The step whose message it holds.
    pub step: u8,
    /// The message's slot in the queue, while the message is in it.
    pub slot: Option<u8>,
    /// Whether the message comes from a repeated dispatch and is received for the first time.
    pub first_of_repeat: bool,
    /// Whether a claim of this delivery took effect.
    pub own: bool,
    /// Whether the attempt number that it knows (its own, or that of the attempt to take over) is still the step's
    /// last.
    pub current: bool,
}

/// The queue of a step: a set, in which equal messages are kept once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Queue(pub [Option<ModelMessage>; SLOTS]);

/// Violations that no single state shows. They are recorded when they happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Violations {
    /// A step or the task made a transition that its state machine does not have.
    pub illegal_move: bool,
    /// A handler began before all dependencies were done.
    pub too_early: bool,
    /// A handler began although its own load had found the task closed.
    pub after_end: bool,
    /// A handler began after the deadline.
    pub after_deadline: bool,
    /// A write was made that its rule does not allow.
    pub unruled: bool,
}

/// The whole system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ModelState {
    /// The task's item.
    pub task: ModelTask,
    /// The steps' items.
    pub items: [ModelItem; MAX_STEPS],
    /// The effects of each step at the outside services.
    pub effects: [Effect; MAX_STEPS],
    /// The queues.
    pub queues: [Queue; MAX_STEPS],
    /// Whether the deadline is over.
    pub overdue: bool,
    /// The messages that a client (a start, a redrive, a recovery) still has to send.
    pub owed: Set,
    /// The workers.
    pub workers: [Worker; WORKERS],
    /// The violations so far.
    pub violations: Violations,
}

impl ModelState {
    /// A task that has just been created.
    pub fn started(roots: Set) -> Self {
        Self {
            task: ModelTask::started(),
            items: [ModelItem::default(); MAX_STEPS],
            effects: [Effect::default(); MAX_STEPS],
            queues: [Queue::default(); MAX_STEPS],
            overdue: false,
            owed: roots,
            workers: [Worker::default(); WORKERS],
            violations: Violations::default(),
        }
    }

    /// Whether a worker holds the message.
    pub fn held(&self, step: usize, slot: usize) -> bool {
        self.workers.iter().any(|worker| worker.holds(step, slot))
    }

    /// Whether there is a plain message that no worker holds.
    pub fn has_message(&self, step: usize) -> bool {
        self.messages(step).any(|(slot, message)| message == ModelMessage::Plain && !self.held(step, slot))
    }

    /// The messages in a queue.
    pub fn messages(&self, step: usize) -> impl Iterator<Item = (usize, ModelMessage)> + '_ {
        self.queues[step].0.iter().enumerate().filter_map(|(slot, message)| Some((slot, (*message)?)))
    }

    /// Whether the worker of the step's last attempt is alive.
    pub fn is_led(&self, step: usize) -> bool {
        let leads = |worker: &Worker| usize::from(worker.step) == step && worker.own && worker.current;
        self.workers.iter().any(leads)
    }

    /// Whether the queue of a step is empty, and no worker holds a message of it.
    pub fn has_no_message(&self, step: usize) -> bool {
        self.queues[step] == Queue::default()
    }

    /// Whether every queue is empty and every worker idle.
    pub fn is_quiet(&self) -> bool {
        let idle = self.workers.iter().all(|worker| worker.at == WorkerState::Idle);
        idle && self.owed.is_empty() && self.queues.iter().all(|queue| *queue == Queue::default())
    }

    /// Puts a message into a queue. A message equal to one that no worker holds is not added: an acknowledgement can be
    /// lost at any time, so one message can do all that two can.
    pub fn send(&mut self, step: usize, message: ModelMessage) {
        let there = self.messages(step).any(|(slot, found)| found == message && !self.held(step, slot));
        if !there {
            let free = self.queues[step].0.iter().position(Option::is_none);
            self.queues[step].0[free.expect("there are as many slots as there can be different messages")] =
                Some(message);
        }
    }

    /// Takes a message out of a queue, also where other workers hold it.
    pub fn delete(&mut self, step: usize, slot: usize) {
        self.queues[step].0[slot] = None;
        for worker in self.workers.iter_mut().filter(|worker| worker.holds(step, slot)) {
            worker.slot = None;
        }
    }

    /// Records a new attempt of the step: every attempt number that workers know is old.
    pub fn new_attempt(&mut self, step: usize) {
        for worker in self.workers.iter_mut().filter(|worker| usize::from(worker.step) == step) {
            worker.current = false;
        }
    }

    /// The canonical form of the state: workers and messages are sorted, since they have no identity, and equal
    /// messages are kept once.
    ///
    /// It drops what no later action reads: the attempt count of a step that has ended, the attempt numbers that workers know of it,
    /// and whether a compensation may have acted where that cannot be what keeps the task from being reinstated.
    pub fn canonical(mut self) -> Self {
        let has_failed = self.task.state.ends_as() == Some(End::Error);
        for item in &mut self.items {
            item.may_have_acted &= !has_failed && !item.state.is_done();
            match item.state {
                StepState::Pending | StepState::InProgress | StepState::Retrying => {}
                StepState::Error => item.counted = 0,
                _ => (item.counted, item.arrived) = (0, Set::default()),
            }
        }
        for step in 0..MAX_STEPS {
            if self.queues[step] == Queue::default() {
                continue;
            }
            let mut order: Vec<(ModelMessage, Vec<Worker>, usize)> = self
                .messages(step)
                .map(|(slot, message)| {
                    let holders = self.workers.iter().filter(|worker| worker.holds(step, slot));
                    let mut holders: Vec<Worker> = holders.map(|worker| Worker { slot: None, ..*worker }).collect();
                    holders.sort_unstable();
                    (message, holders, slot)
                })
                .collect();
            order.sort_unstable();
            order.dedup_by(|a, b| a.0 == b.0 && a.1.is_empty() && b.1.is_empty());
            let before = self.workers;
            self.queues[step] = Queue::default();
            for (new, (message, _, old)) in order.into_iter().enumerate() {
                self.queues[step].0[new] = Some(message);
                for (worker, was) in self.workers.iter_mut().zip(before) {
                    if was.holds(step, old) {
                        worker.slot = u8::try_from(new).ok();
                    }
                }
            }
        }
        self.workers.sort_unstable();
        self
    }
}

impl Worker {
    fn holds(&self, step: usize, slot: usize) -> bool {
        self.at != WorkerState::Idle && usize::from(self.step) == step && self.slot.map(usize::from) == Some(slot)
    }
}
