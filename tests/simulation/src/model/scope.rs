//! The scope of one check: its graph, the faults and operators' actions that are possible, and a built-in bug.

use super::state::{MAX_STEPS, Set};
use stepwell::core::{
    backoff::Backoff,
    plan::{Plan, StepPlan},
};

/// The faults and operators' actions of a scope. An enabled one may happen at any time and any number of times.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// A worker dies between any two calls.
    pub crashes: bool,
    /// A worker lives on after its lease has ended.
    pub slow_workers: bool,
    /// A message that a worker holds is delivered to another one.
    pub duplicates: bool,
    /// A write takes effect, its answer is lost, and the SDK repeats it.
    pub lost_answers: bool,
    /// A message is lost, or a client died before it sent it.
    pub lost_messages: bool,
    /// A message arrives for any step although nobody had to send it.
    pub stray_messages: bool,
    /// A handler fails with a retryable error, with or without its effect.
    pub retryable: bool,
    /// A handler is throttled.
    pub throttled: bool,
    /// A handler fails with a permanent error.
    pub permanent: bool,
    /// A compensation refuses to undo its step.
    pub refuses: bool,
    /// An operator redrives a failed task.
    pub redrives: bool,
    /// An operator cancels the task.
    pub cancels: bool,
    /// An operator sets the result of a step or of a compensation.
    pub resolves: bool,
    /// SQS makes a dead letter of a message.
    pub dead_letters: bool,
    /// The deadline of the task is over from some moment on.
    pub deadline: bool,
    /// The breaker of a service that all steps and compensations wait on is open whenever a message comes, or closed.
    pub breaker: bool,
}

impl Faults {
    /// No faults and no operators.
    pub const NONE: Self = Self {
        crashes: false,
        slow_workers: false,
        duplicates: false,
        lost_answers: false,
        lost_messages: false,
        stray_messages: false,
        retryable: false,
        throttled: false,
        permanent: false,
        refuses: false,
        redrives: false,
        cancels: false,
        resolves: false,
        dead_letters: false,
        deadline: false,
        breaker: false,
    };

    /// All faults and operators' actions.
    pub const ALL: Self = Self {
        crashes: true,
        slow_workers: true,
        duplicates: true,
        lost_answers: true,
        lost_messages: true,
        stray_messages: true,
        retryable: true,
        throttled: true,
        permanent: true,
        refuses: true,
        redrives: true,
        cancels: true,
        resolves: true,
        dead_letters: true,
        deadline: true,
        breaker: true,
    };
}

/// A bug built into the protocol, to prove that the checker finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The message is deleted with the completion, before the dispatch.
    AcknowledgeBeforeDispatch,
    /// An attempt's outcome is written without a fencing token.
    NoFence,
    /// The message of a failed step is acknowledged, and does not wait for the recovery of its task.
    RecoveryForgotten,
    /// A step is taken over while its lease holds, and not when the lease is over.
    LeaseComparisonInverted,
    /// A join counts arrivals instead of collecting which dependencies are done.
    JoinCounted,
    /// A message is taken as proof that all dependencies are done.
    MessageTrusted,
    /// The task's status is not checked before the handler runs.
    StatusNotChecked,
    /// A failed step does not fail its task.
    FailWithoutTask,
    /// An optional step that has failed does not arrive at the end of its task.
    OptionalFailureNotCounted,
    /// Each attempt has an idempotency key of its own.
    KeyPerAttempt,
    /// A compensation refunds a charge that exists, but does not void the key against a later charge.
    RefundWithoutVoid,
    /// The deadline is not checked before the handler runs.
    DeadlineNotChecked,
    /// A task is redriven after its deadline, without a new one.
    RedrivenAfterDeadline,
    /// Compensations begin while steps are in flight.
    ClosedInFlight,
    /// A compensation does not run while another one needs a person.
    SiblingWaits,
    /// A compensation is claimed after its load, which no longer holds.
    CompensationLoadedFirst,
    /// A step fails at the deadline without a claim, whether or not somebody else has claimed it meanwhile.
    DeadlineMissedInFlight,
}

/// The scope of one check.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Its name in the output.
    pub name: &'static str,
    /// The number of steps without compensations. The compensations follow, in the same order.
    pub forward: usize,
    /// The direct dependencies of each step.
    pub depends_on: [Set; MAX_STEPS],
    /// The direct dependents of each step.
    pub dependents: [Set; MAX_STEPS],
    /// The leaves: steps without dependents.
    pub leaves: Set,
    /// The steps whose results the task has kept: it is a rerun.
    pub kept: Set,
    /// The optional steps and compensations. Each is a leaf of its graph.
    pub optional: Set,
    /// Whether each step has a compensation that starts when the task fails (`compensate: on_error`).
    pub compensated: bool,
    /// The compensations that each compensation waits for.
    pub waits_for: [Set; MAX_STEPS],
    /// The steps after the point of no return, which no deadline holds for.
    pub past_deadline: Set,
    /// The attempts of each step, the first included.
    pub max_attempts: u8,
    /// The faults and operators' actions that are possible.
    pub faults: Faults,
    /// Whether there is a watchdog.
    pub watchdog: bool,
    /// The bug in the protocol, if any.
    pub bug: Option<Bug>,
}

impl Scope {
    /// A chain of steps.
    pub fn chain(name: &'static str, length: usize, faults: Faults) -> Self {
        let edges: Vec<Vec<usize>> = (0..length).map(|step| step.checked_sub(1).into_iter().collect()).collect();
        Self::new(name, &edges, faults)
    }

    /// A diamond: a root, two steps that depend on it, and a join of the two.
    pub fn diamond(name: &'static str, faults: Faults) -> Self {
        Self::new(name, &[vec![], vec![0], vec![0], vec![1, 2]], faults)
    }

    /// A fork: a root with two leaves.
    pub fn fork(name: &'static str, faults: Faults) -> Self {
        Self::new(name, &[vec![], vec![0], vec![0]], faults)
    }

    /// Builds the engine's own [`Plan`] of this graph, and turns it into sets.
    fn new(name: &'static str, depends_on: &[Vec<usize>], faults: Faults) -> Self {
        let label = |step: &usize| format!("step_{step}");
        let step = |(number, depends_on): (usize, &Vec<usize>)| StepPlan {
            name: label(&number),
            depends_on: depends_on.iter().map(label).collect(),
            max_attempts: 1,
            timeout_seconds: 1,
            backoff: Backoff::default(),
            compensates: None,
            after: None,
            optional: false,
        };
        let plan = Plan::new(depends_on.iter().enumerate().map(step).collect()).unwrap();
        let number = |name: &str| plan.steps().iter().position(|step| step.name == name).unwrap();
        let mut scope = Self {
            name,
            forward: plan.steps().len(),
            depends_on: [Set::default(); MAX_STEPS],
            dependents: [Set::default(); MAX_STEPS],
            leaves: plan.leaves().map(|step| number(&step.name)).collect(),
            kept: Set::default(),
            optional: Set::default(),
            compensated: false,
            waits_for: [Set::default(); MAX_STEPS],
            past_deadline: Set::default(),
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

    /// With a compensation for each step. It waits for those of the steps that depend on its step.
    pub fn compensated(self) -> Self {
        let dependents = self.dependents;
        self.compensated_after(|step| dependents[step])
    }

    /// With a compensation for each step, which waits for those of these steps.
    pub fn compensated_after(mut self, after: impl Fn(usize) -> Set) -> Self {
        assert!(self.forward * 2 <= MAX_STEPS, "{} steps and as many compensations are too many", self.forward);
        for step in self.forward() {
            self.waits_for[self.forward + step] = after(step).iter().map(|other| self.forward + other).collect();
        }
        Self { compensated: true, ..self }
    }

    /// As a rerun that keeps the results of these steps.
    pub fn keeping(self, kept: &[usize]) -> Self {
        Self { kept: kept.iter().copied().collect(), ..self }
    }

    /// The steps with which the task starts.
    pub fn first(&self) -> Set {
        self.forward().filter(|step| !self.kept.has(*step) && self.kept.contains(self.depends_on[*step])).collect()
    }

    /// With this leaf optional.
    pub fn optional(self, step: usize) -> Self {
        assert!(self.leaves.has(step), "step {step} has dependents");
        Self { optional: self.optional.with(step), ..self }
    }

    /// With the compensation of this step optional. No other waits for it.
    pub fn compensated_optionally(self, step: usize) -> Self {
        let compensation = self.forward + step;
        assert!(
            !self.waits_for.iter().any(|waits_for| waits_for.has(compensation)),
            "another one waits for that of {step}"
        );
        Self { optional: self.optional.with(compensation), ..self }
    }

    /// With this step behind the point of no return.
    pub fn past_deadline(self, step: usize) -> Self {
        Self { past_deadline: self.past_deadline.with(step), ..self }
    }

    /// With this many attempts of each step, the first included.
    pub fn max_attempts(self, max_attempts: u8) -> Self {
        Self { max_attempts, ..self }
    }

    /// Without a watchdog.
    pub fn without_watchdog(self) -> Self {
        Self { watchdog: false, ..self }
    }

    /// With a bug in the protocol.
    pub fn with(self, bug: Bug) -> Self {
        Self { bug: Some(bug), ..self }
    }

    /// All steps, compensations included.
    pub fn steps(&self) -> std::ops::Range<usize> {
        0..self.forward * if self.compensated { 2 } else { 1 }
    }

    /// All steps without compensations.
    pub fn forward(&self) -> std::ops::Range<usize> {
        0..self.forward
    }

    /// Whether the number is a compensation's.
    pub fn is_compensation(&self, step: usize) -> bool {
        step >= self.forward
    }
}

/// Operators, and handlers that fail for good.
const OPERATORS: Faults = Faults { permanent: true, redrives: true, cancels: true, ..Faults::NONE };
/// The same with dead letters and operators who set results.
const OUTSIDE: Faults = Faults { dead_letters: true, resolves: true, ..OPERATORS };
/// Compensations that refuse a cancellation.
const REFUSED: Faults = Faults { refuses: true, cancels: true, ..Faults::NONE };
const CRASHES: Faults = Faults { crashes: true, ..Faults::NONE };
const DUPLICATES: Faults = Faults { duplicates: true, ..Faults::NONE };
const DEADLINE: Faults = Faults { deadline: true, ..Faults::NONE };
const BREAKER: Faults = Faults { breaker: true, ..Faults::NONE };
const LOST: Faults = Faults { lost_messages: true, ..Faults::NONE };

/// These faults, and handlers that fail for good and are redriven.
const fn failing(faults: Faults) -> Faults {
    Faults { permanent: true, redrives: true, ..faults }
}

/// The scopes of the test run. Each takes seconds.
pub fn small_scopes() -> Vec<Scope> {
    let lost_and_operators = Faults { lost_messages: true, retryable: true, throttled: true, ..OPERATORS };
    vec![
        Scope::chain("chain of 1: crashes, no watchdog", 1, CRASHES).without_watchdog(),
        Scope::chain("chain of 2: lost messages, failures, throttling, redrive, cancel", 2, lost_and_operators)
            .max_attempts(2),
        Scope::chain("chain of 2: crashes, duplicates", 2, Faults { crashes: true, ..DUPLICATES }),
        Scope::chain("chain of 2: crashes, dead letters", 2, Faults { dead_letters: true, ..CRASHES }),
        Scope::chain("chain of 2: dead letters, by hand, redrive, cancel", 2, OUTSIDE),
        Scope::chain("chain of 1, compensated: dead letters, by hand, redrive, cancel", 1, OUTSIDE).compensated(),
        Scope::chain(
            "chain of 1, compensated: crashes, failures, no watchdog",
            1,
            Faults { permanent: true, ..CRASHES },
        )
        .compensated()
        .without_watchdog(),
        Scope::chain("chain of 2, compensated: deadline, redrive", 2, failing(DEADLINE)).compensated(),
        Scope::chain(
            "chain of 2 with a point of no return: deadline, lost messages, failures",
            2,
            Faults { lost_messages: true, permanent: true, ..DEADLINE },
        )
        .past_deadline(1),
        Scope::chain(
            "chain of 2: breaker, crashes, lost messages",
            2,
            Faults { crashes: true, lost_messages: true, ..BREAKER },
        ),
        Scope::chain(
            "chain of 1, compensated: breaker, deadline, redrive",
            1,
            failing(Faults { deadline: true, ..BREAKER }),
        )
        .compensated(),
        Scope::chain(
            "chain of 2, compensated side by side: breaker, refusals, cancel",
            2,
            Faults { breaker: true, ..REFUSED },
        )
        .compensated_after(|_| Set::default()),
        Scope::chain("chain of 2, compensated: failures, redrive", 2, failing(Faults::NONE)).compensated(),
        Scope::chain("chain of 2, compensated side by side: failures, redrive", 2, failing(Faults::NONE))
            .compensated_after(|_| Set::default()),
        Scope::chain("chain of 1, compensated: crashes, refusals, cancel", 1, Faults { crashes: true, ..REFUSED })
            .compensated(),
        Scope::chain("chain of 2, last optional, compensated: refusals, cancel", 2, REFUSED).optional(1).compensated(),
        Scope::chain(
            "chain of 1, compensated optionally: crashes, failures, refusals, cancel",
            1,
            Faults { crashes: true, permanent: true, ..REFUSED },
        )
        .compensated()
        .compensated_optionally(0),
        Scope::chain("chain of 1, compensated optionally: dead letters, by hand, redrive, cancel", 1, OUTSIDE)
            .compensated()
            .compensated_optionally(0),
        Scope::chain(
            "chain of 2, compensated side by side, one optionally: failures, redrive",
            2,
            failing(Faults::NONE),
        )
        .compensated_after(|_| Set::default())
        .compensated_optionally(1),
        Scope::fork("fork, compensated: cancel", Faults { cancels: true, ..Faults::NONE }).compensated(),
        Scope::fork("fork: lost messages", LOST),
        Scope::chain("chain of 1, optional: crashes, failures, redrive", 1, failing(CRASHES)).optional(0),
        Scope::chain("chain of 2, last optional: lost messages, failures, redrive", 2, failing(LOST)).optional(1),
        Scope::chain("chain of 2, last optional: dead letters, by hand, redrive, cancel", 2, OUTSIDE).optional(1),
        Scope::chain("chain of 1, optional, compensated: by hand, redrive, cancel", 1, OUTSIDE)
            .optional(0)
            .compensated(),
        Scope::fork("fork, one leaf optional: failures, redrive", failing(Faults::NONE)).optional(2),
        Scope::diamond("diamond: failures, redrive, cancel, no watchdog", OPERATORS).without_watchdog(),
        Scope::diamond("diamond: lost messages", LOST),
        Scope::diamond("diamond: duplicates, no watchdog", DUPLICATES).without_watchdog(),
        Scope::diamond("diamond, a rerun from one branch: lost messages, failures, redrive", failing(LOST))
            .keeping(&[0, 1]),
        Scope::fork("fork, a rerun from one leaf: crashes, lost messages", Faults { lost_messages: true, ..CRASHES })
            .keeping(&[0, 1]),
    ]
}

/// Larger scopes, which take minutes.
pub fn large_scopes() -> Vec<Scope> {
    vec![
        Scope::chain("chain of 2: crashes, no watchdog", 2, CRASHES).without_watchdog(),
        Scope::chain("chain of 2: crashes", 2, CRASHES),
        Scope::chain("chain of 2: crashes, by hand", 2, Faults { resolves: true, ..CRASHES }),
        Scope::chain("chain of 2, compensated: failures, redrive, cancel", 2, OPERATORS).compensated(),
        Scope::chain("chain of 2, compensated side by side: failures, redrive, cancel", 2, OPERATORS)
            .compensated_after(|_| Set::default()),
        Scope::chain("chain of 3, the last undone first: failures", 3, Faults { permanent: true, ..Faults::NONE })
            .compensated_after(|step| if step < 2 { Set::default().with(2) } else { Set::default() }),
        Scope::fork("fork: crashes, no watchdog", CRASHES).without_watchdog(),
        Scope::fork("fork: failures, redrive, cancel", OPERATORS),
        Scope::fork("fork, one leaf optional: failures, redrive, cancel", OPERATORS).optional(2),
        Scope::fork("fork: dead letters, by hand", Faults { dead_letters: true, resolves: true, ..Faults::NONE }),
        Scope::diamond("diamond: crashes, no watchdog", CRASHES).without_watchdog(),
    ]
}
