//! What a run of the checker looks at: which graph, which faults, which operators, and which bug.

use super::state::{MAX_STEPS, Set};
use stepwell::core::{
    backoff::Backoff,
    plan::{Plan, StepPlan},
};

/// What may go wrong, and who may step in. What is switched on may happen any time and any number of times.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A worker dies between any two calls.
    pub crashes: bool,
    /// A worker lives on after its lease.
    pub slow_workers: bool,
    /// A message that is in a worker's hands is delivered to another one.
    pub duplicates: bool,
    /// A write takes effect, its answer is lost, and the SDK makes it again.
    pub lost_answers: bool,
    /// A message is lost, or was never sent by a client that died.
    pub lost_messages: bool,
    /// A message for any step comes from nowhere.
    pub stray_messages: bool,
    /// A handler fails with an error that may pass, with or without its effect in the world.
    pub retryable: bool,
    /// A handler fails with an error that will not pass.
    pub permanent: bool,
    /// An operator retries a failed task.
    pub retries: bool,
    /// An operator cancels the task.
    pub cancels: bool,
    /// An operator does a step, or a compensation, by hand.
    pub resolves: bool,
    /// SQS gives up on a message.
    pub dead_letters: bool,
}

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Self = Self {
        crashes: false,
        slow_workers: false,
        duplicates: false,
        lost_answers: false,
        lost_messages: false,
        stray_messages: false,
        retryable: false,
        permanent: false,
        retries: false,
        cancels: false,
        resolves: false,
        dead_letters: false,
    };

    /// Everything does.
    pub const ALL: Self = Self {
        crashes: true,
        slow_workers: true,
        duplicates: true,
        lost_answers: true,
        lost_messages: true,
        stray_messages: true,
        retryable: true,
        permanent: true,
        retries: true,
        cancels: true,
        resolves: true,
        dead_letters: true,
    };
}

/// A mistake built into the protocol, to see that the checker finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The message is deleted with the completion, before the hand-over.
    AcknowledgeBeforeHandOver,
    /// Outcomes are written whoever owns the step.
    NoFence,
    /// A step is taken over while its lease holds, and not when it is over.
    LeaseComparedTheWrongWay,
    /// A join counts arrivals, and sends when there are as many as it has dependencies.
    JoinCounted,
    /// A message is trusted to come when all dependencies are done.
    MessageTrusted,
    /// The task's status is not looked at before the handler runs.
    StatusNotChecked,
    /// A failed step does not fail its task.
    FailWithoutTask,
    /// Each attempt has an idempotency key of its own.
    KeyPerAttempt,
    /// A compensation refunds what it finds, and does not stop what is still on its way.
    RefundWithoutVoid,
    /// Compensations begin while steps are in flight.
    ClosedInFlight,
}

/// What one run of the checker looks at.
#[derive(Clone, Debug)]
pub struct Scope {
    /// What it is called.
    pub name: &'static str,
    /// How many steps there are, compensations left out. Those follow behind, in the same order.
    pub forward: usize,
    /// What each step waits for.
    pub depends_on: [Set; MAX_STEPS],
    /// What waits for each step.
    pub dependents: [Set; MAX_STEPS],
    /// Those that nothing waits for.
    pub leaves: Set,
    /// Those that wait for nothing.
    pub roots: Set,
    /// Whether each step has a compensation, that starts by itself when the task fails (`compensate: on_error`).
    pub compensated: bool,
    /// Attempts of each step in all.
    pub max_attempts: u8,
    /// What may go wrong.
    pub faults: Faults,
    /// Whether the watchdog looks.
    pub watchdog: bool,
    /// What is wrong with the protocol.
    pub bug: Option<Bug>,
}

impl Scope {
    /// Steps in a row.
    pub fn chain(name: &'static str, length: usize, faults: Faults) -> Self {
        let edges: Vec<Vec<usize>> = (0..length).map(|step| step.checked_sub(1).into_iter().collect()).collect();
        Self::new(name, &edges, faults)
    }

    /// One step, two that wait for it, one that waits for both.
    pub fn diamond(name: &'static str, faults: Faults) -> Self {
        Self::new(name, &[vec![], vec![0], vec![0], vec![1, 2]], faults)
    }

    /// One step, and two last ones that wait for it.
    pub fn fork(name: &'static str, faults: Faults) -> Self {
        Self::new(name, &[vec![], vec![0], vec![0]], faults)
    }

    /// The graph is the engine's own [`Plan`], turned into sets.
    fn new(name: &'static str, depends_on: &[Vec<usize>], faults: Faults) -> Self {
        let label = |step: &usize| format!("step_{step}");
        let step = |(number, depends_on): (usize, &Vec<usize>)| StepPlan {
            name: label(&number),
            depends_on: depends_on.iter().map(label).collect(),
            max_attempts: 1,
            timeout_seconds: 1,
            backoff: Backoff::default(),
            compensates: None,
        };
        let plan = Plan::new(depends_on.iter().enumerate().map(step).collect()).unwrap();
        let number = |name: &str| plan.steps().iter().position(|step| step.name == name).unwrap();
        let mut scope = Self {
            name,
            forward: plan.steps().len(),
            depends_on: [Set::default(); MAX_STEPS],
            dependents: [Set::default(); MAX_STEPS],
            leaves: plan.leaves().map(|step| number(&step.name)).collect(),
            roots: plan.roots().map(|step| number(&step.name)).collect(),
            compensated: false,
            max_attempts: 1,
            faults,
            watchdog: true,
            bug: None,
        };
        for (at, step) in plan.steps().iter().enumerate() {
            scope.depends_on[at] = step.depends_on.iter().map(|name| number(name)).collect();
            scope.dependents[at] = plan.dependents(&step.name).map(|step| number(&step.name)).collect();
        }
        scope
    }

    /// With a compensation for each step.
    pub fn compensated(self) -> Self {
        assert!(self.forward * 2 <= MAX_STEPS, "{} steps and as many compensations are too many", self.forward);
        Self { compensated: true, ..self }
    }

    /// With this many attempts in all.
    pub fn max_attempts(self, max_attempts: u8) -> Self {
        Self { max_attempts, ..self }
    }

    /// With nobody who looks after lost messages.
    pub fn without_watchdog(self) -> Self {
        Self { watchdog: false, ..self }
    }

    /// With a mistake in the protocol.
    pub fn with(self, bug: Bug) -> Self {
        Self { bug: Some(bug), ..self }
    }

    /// All steps, compensations included.
    pub fn steps(&self) -> std::ops::Range<usize> {
        0..self.forward * if self.compensated { 2 } else { 1 }
    }

    /// The steps of the plan itself.
    pub fn forward(&self) -> std::ops::Range<usize> {
        0..self.forward
    }

    /// Whether the step undoes another one.
    pub fn is_compensation(&self, step: usize) -> bool {
        step >= self.forward
    }
}

/// What actors do, and what the handlers do.
const PEOPLE: Faults = Faults { permanent: true, retries: true, cancels: true, ..Faults::NONE };
/// All that comes to a task from outside, and what the handlers do.
const OUTSIDE: Faults = Faults { dead_letters: true, resolves: true, ..PEOPLE };
const CRASHES: Faults = Faults { crashes: true, ..Faults::NONE };
const DUPLICATES: Faults = Faults { duplicates: true, ..Faults::NONE };
const LOST: Faults = Faults { lost_messages: true, ..Faults::NONE };

/// The scopes that the tests check, seconds each.
pub fn small_scopes() -> Vec<Scope> {
    let lost_and_people = Faults { lost_messages: true, retryable: true, ..PEOPLE };
    vec![
        Scope::chain("chain of 1: crashes, no watchdog", 1, CRASHES).without_watchdog(),
        Scope::chain("chain of 2: lost messages, failures, redrive, cancel", 2, lost_and_people).max_attempts(2),
        Scope::chain("chain of 2: crashes, duplicates", 2, Faults { crashes: true, ..DUPLICATES }),
        Scope::chain("chain of 2: crashes, dead letters", 2, Faults { dead_letters: true, ..CRASHES }),
        Scope::chain("chain of 2: dead letters, by hand, redrive, cancel", 2, OUTSIDE),
        Scope::chain("chain of 1, compensated: dead letters, by hand, redrive, cancel", 1, OUTSIDE).compensated(),
        Scope::fork("fork: lost messages", LOST),
        Scope::diamond("diamond: failures, redrive, cancel, no watchdog", PEOPLE).without_watchdog(),
        Scope::diamond("diamond: lost messages", LOST),
        Scope::diamond("diamond: duplicates, no watchdog", DUPLICATES).without_watchdog(),
    ]
}

/// Larger ones, for a release build.
pub fn large_scopes() -> Vec<Scope> {
    vec![
        Scope::chain("chain of 2: crashes, no watchdog", 2, CRASHES).without_watchdog(),
        Scope::chain("chain of 2: crashes", 2, CRASHES),
        Scope::chain("chain of 2: crashes, by hand", 2, Faults { resolves: true, ..CRASHES }),
        Scope::chain("chain of 2, compensated: failures, redrive, cancel", 2, PEOPLE).compensated(),
        Scope::fork("fork: crashes, no watchdog", CRASHES).without_watchdog(),
        Scope::fork("fork: failures, redrive, cancel", PEOPLE),
        Scope::fork("fork: dead letters, by hand", Faults { dead_letters: true, resolves: true, ..Faults::NONE }),
        Scope::diamond("diamond: crashes, no watchdog", CRASHES).without_watchdog(),
    ]
}
