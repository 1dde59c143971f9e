//! One state of the whole system: task, steps, queues, workers, world.
//!
//! It is small and exact. Attempt numbers, for one, rise without end, but all that the protocol ever asks of them is
//! whether a worker's number is still the step's last one; so that is what is kept ([`Worker::current`]).

use std::{
    fmt,
    ops::{BitAnd, BitOr, Not},
};
use stepwell::core::state::{StepState, TaskState};

/// The most steps a scope may have, compensations included.
pub(super) const MAX_STEPS: usize = 6;

/// The workers of a scope.
pub(super) const WORKERS: usize = 2;

/// The most messages in a queue that differ in anything: one in each worker's hands, and one of each kind that nobody holds.
const SLOTS: usize = WORKERS + 2;

/// A set of steps. The model keeps millions of states with few steps, so its sets are a byte each. A simulated run has few
/// tasks with many steps.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Set<B = u8>(pub B);

/// What a set of steps is kept in.
pub trait Bits: Copy + Default + Eq + Not<Output = Self> + BitAnd<Output = Self> + BitOr<Output = Self> {
    /// The bit of a step.
    fn of(step: usize) -> Self;

    /// How many bits there are below the lowest one that is set; more than there are steps where none is.
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

    /// Whether all of `other` is in it.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What is in either of the two.
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

    /// Whether there is none.
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
pub struct Task<B: Bits = u8> {
    /// Its state.
    pub state: TaskState,
    /// Whether the order of its compensations is stored.
    pub ordered: bool,
    /// The last steps that have arrived; only where there is more than one.
    pub arrived: Set<B>,
}

impl<B: Bits> Task<B> {
    /// A task that was just written.
    pub fn started() -> Self {
        Self { state: TaskState::Running, ordered: false, arrived: Set::default() }
    }

    /// Whether it is being compensated, and whether the order is known.
    pub fn compensating(&self) -> Option<bool> {
        self.state.is_compensating().then_some(self.ordered)
    }
}

/// A step's item.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Item<B: Bits = u8> {
    /// Its state.
    pub state: StepState,
    /// How many claims count against the maximum of attempts.
    pub counted: u8,
    /// Whether it has ever been claimed.
    pub attempted: bool,
    /// Whether what it waits for is over: the lease of a step in progress, the backoff of one that is retrying.
    pub over: bool,
    /// Which of its dependencies have arrived; only where there is more than one.
    pub arrived: Set<B>,
    /// How often a result was written, 2 for more.
    pub results: u8,
}

/// What the world knows under the idempotency key of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Effect {
    /// How often it was charged, 2 for more.
    pub charged: u8,
    /// Whether it was refunded.
    pub refunded: bool,
    /// Whether a compensation has made sure that it is not charged any more.
    pub voided: bool,
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Message {
    /// From a first hand-over, a client or the watchdog.
    Plain,
    /// From a hand-over made again, and not received yet. Once it is received it is like any other.
    Repeat,
}

/// What a worker's load found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seen {
    /// Whether the task lets this step run.
    pub open: bool,
    /// Whether all that this step waits for is done.
    pub ready: bool,
}

impl Seen {
    /// Whether the step may be run now.
    pub fn is_its_turn(self) -> bool {
        self.open && self.ready
    }
}

/// How far a worker's claim has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asked {
    /// Not made, or not answered.
    Claim,
    /// Refused by a lease that is over: the second write is to be made.
    TakeOver,
    /// Granted.
    Granted,
    /// Refused: by a step that is done, by one that has ended otherwise, by one that somebody else will see to.
    Refused(ClaimRefusal),
}

/// What a refused claim says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClaimRefusal {
    /// The step is done.
    Done,
    /// It has failed or is cancelled.
    Ended,
    /// It is in progress or waits out its backoff.
    Busy,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The handler returned.
    Complete,
    /// It failed, and another attempt follows.
    RetryLater,
    /// It failed for good.
    Fail,
}

/// What a worker is about to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum At {
    /// It waits for a message.
    #[default]
    Idle,
    /// Claim and load, side by side.
    Calling(Asked, Option<Seen>),
    /// Put the step back, and then look once more whether it is ready.
    Releasing {
        /// Whether to look once more.
        look_again: bool,
    },
    /// Look once more.
    LookingAgain,
    /// Run the handler.
    Running,
    /// Write how it went.
    Writing(Outcome),
    /// Find out which dependents a repeated hand-over has to wake.
    FindingOut,
    /// Hand over.
    HandingOver {
        /// Where the step is to be added to the done dependencies.
        arrive: Set,
        /// What is to be sent a message.
        send: Set,
        /// Whether the hand-over may have been made before.
        again: bool,
    },
    /// Add the step to the task's done last steps.
    ArrivingAtTask,
    /// End the task.
    Finishing,
    /// Have the message deleted.
    Acknowledging,
}

/// One worker, with the message in its hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Worker {
    /// What it does next.
    pub at: At,
    /// The step whose message it holds.
    pub step: u8,
    /// Where in the queue that message is, while it is there.
    pub slot: Option<u8>,
    /// Whether it is a second copy that was received for the first time.
    pub first_of_repeat: bool,
    /// Whether a claim of this delivery took effect.
    pub own: bool,
    /// Whether the attempt's number that it knows (its own, or the one it is to take over) is still the step's last.
    pub current: bool,
}

/// The queue of a step. It is no more than a set: what differs in nothing is kept once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Queue(pub [Option<Message>; SLOTS]);

/// What must not happen but cannot be read off a state; noted when it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Wrongs {
    /// A step or the task moved in a way that the table of states does not have.
    pub illegal_move: bool,
    /// A handler began before all that it waits for was done.
    pub too_early: bool,
    /// A handler began in a task that its own load had found closed.
    pub after_end: bool,
    /// Something was written that its rule does not allow.
    pub unruled: bool,
}

/// The whole system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The task's item.
    pub task: Task,
    /// The steps' items.
    pub items: [Item; MAX_STEPS],
    /// What the world knows of each step.
    pub effects: [Effect; MAX_STEPS],
    /// The queues.
    pub queues: [Queue; MAX_STEPS],
    /// What a client (a start, a redrive, a recovery) has still to send.
    pub owed: Set,
    /// The workers.
    pub workers: [Worker; WORKERS],
    /// What went wrong on the way.
    pub wrongs: Wrongs,
}

impl State {
    /// A task that was just written.
    pub fn started(roots: Set) -> Self {
        Self {
            task: Task::started(),
            items: [Item::default(); MAX_STEPS],
            effects: [Effect::default(); MAX_STEPS],
            queues: [Queue::default(); MAX_STEPS],
            owed: roots,
            workers: [Worker::default(); WORKERS],
            wrongs: Wrongs::default(),
        }
    }

    /// Whether a worker has the message in its hands.
    pub fn held(&self, step: usize, slot: usize) -> bool {
        self.workers.iter().any(|worker| worker.holds(step, slot))
    }

    /// Whether there is a plain message that nobody holds.
    pub fn has_message(&self, step: usize) -> bool {
        self.messages(step).any(|(slot, message)| message == Message::Plain && !self.held(step, slot))
    }

    /// The messages in a queue.
    pub fn messages(&self, step: usize) -> impl Iterator<Item = (usize, Message)> + '_ {
        self.queues[step].0.iter().enumerate().filter_map(|(slot, message)| Some((slot, (*message)?)))
    }

    /// Whether the worker of the step's last attempt lives.
    pub fn is_led(&self, step: usize) -> bool {
        let leads = |worker: &Worker| usize::from(worker.step) == step && worker.own && worker.current;
        self.workers.iter().any(leads)
    }

    /// Whether the queue of a step is empty, with nothing of it in anybody's hands either.
    pub fn has_no_message(&self, step: usize) -> bool {
        self.queues[step] == Queue::default()
    }

    /// Whether every queue is empty and nobody is at work.
    pub fn is_quiet(&self) -> bool {
        let idle = self.workers.iter().all(|worker| worker.at == At::Idle);
        idle && self.owed.is_empty() && self.queues.iter().all(|queue| *queue == Queue::default())
    }

    /// Puts a message into a queue. A second one that differs in nothing from one that nobody holds is not kept: since
    /// an acknowledgement can be lost any time, one message can do all that two can.
    pub fn send(&mut self, step: usize, message: Message) {
        let there = self.messages(step).any(|(slot, found)| found == message && !self.held(step, slot));
        if !there {
            let free = self.queues[step].0.iter().position(Option::is_none);
            self.queues[step].0[free.expect("there are as many slots as there can be different messages")] =
                Some(message);
        }
    }

    /// Takes a message out of a queue, whoever else has it in their hands.
    pub fn delete(&mut self, step: usize, slot: usize) {
        self.queues[step].0[slot] = None;
        for worker in self.workers.iter_mut().filter(|worker| worker.holds(step, slot)) {
            worker.slot = None;
        }
    }

    /// The step has a new attempt: every number that was known is old.
    pub fn new_attempt(&mut self, step: usize) {
        for worker in self.workers.iter_mut().filter(|worker| usize::from(worker.step) == step) {
            worker.current = false;
        }
    }

    /// The same state with workers and messages in one fixed order, since neither has a name, and with messages that
    /// differ in nothing kept once.
    ///
    /// What nothing depends on any more is forgotten: how often a step was tried that has come to its end, and which
    /// number a worker knows of it.
    pub fn canonical(mut self) -> Self {
        for item in &mut self.items {
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
            let mut order: Vec<(Message, Vec<Worker>, usize)> = self
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
        self.at != At::Idle && usize::from(self.step) == step && self.slot.map(usize::from) == Some(slot)
    }
}
