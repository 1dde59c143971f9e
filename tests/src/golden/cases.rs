//! The cases: the writes that produce each kind of item. Ids and times are fixed, so that they produce the same items
//! each time.

use super::{START, at, id, plans};
use Do::*;
use std::{collections::BTreeSet, time::Duration};
use stepwell::{
    TaskId,
    core::{
        plan::{Compensate, Plan, StepPlan},
        record::{Action, ActionKind, AttemptRecord, Failure, KeyRecord, Lease, NewTask, Outcome, TaskRecord},
        state::End,
        step::{self as steps, Claim as Claimed, ClaimRequest},
        task::{self as tasks, Termination},
        transition::{Applied, Transition},
    },
    ports::Store,
};

/// The length of every lease.
const LEASE: Duration = Duration::from_secs(35);

/// A context that is hard to store: quotes, other alphabets, a number whose digits matter, an empty object.
pub(super) const CONTEXT: &str =
    r#"{"cart":[{"id":1,"price":12.50}],"note":"say \"hi\", Zoë 😀","empty":{},"none":null}"#;

/// A fixture, and the writes that produce its items.
#[derive(Debug)]
pub(super) struct Case {
    /// The number of its task, which is in the fixture. A new case takes a new one.
    number: u8,
    /// The fixture's name.
    pub(super) name: &'static str,
    /// The task's plan; `None` for steps without a task.
    plan: Option<Plan>,
    context: &'static str,
    deeds: Vec<Event>,
}

impl Case {
    pub(super) fn task(&self) -> TaskId {
        id(self.number)
    }

    /// The task at its start; `None` for steps without a task.
    pub(super) fn start(&self) -> Option<NewTask<'_>> {
        let (workflow, context) = ("shop/checkout@1.2.0".to_owned(), self.context);
        self.plan.as_ref().map(|plan| NewTask {
            correlation_id: None,
            id: self.task(),
            workflow,
            context,
            plan,
            created_at: START,
        })
    }
}

/// An event: the seconds after the start, the step (or `""` for the task), and what happens.
type Event = (u64, &'static str, Do);

/// What happens in an event. An attempt takes a second.
#[derive(Clone, Debug)]
enum Do {
    Claim,
    TakeOver,
    /// A claim is made and released.
    Release,
    Complete(&'static str),
    /// An attempt fails with a retryable error; the next one is due at this second.
    RetryLater(Failure, u64),
    /// An attempt fails with a permanent error.
    Fail,
    /// The last attempt fails with a retryable error.
    UseUp(Failure),
    Cancel,
    Resolve,
    DeadLetter,
    Redrive(Action),
    /// The step records that this dependency is done.
    Arrive(&'static str),
    /// The task records that this leaf is done.
    LeafArrive,
    Terminate(Termination, ActionKind),
    Order(&'static [&'static str]),
    /// The graph of the compensations, all of which run.
    #[cfg(test)]
    Graph,
    Finish,
    FinishCompensation(End),
    /// The id of its rerun is reserved.
    #[cfg(test)]
    Rerun,
}

/// All cases.
pub(super) fn all() -> Vec<Case> {
    tasks_in_every_state().into_iter().chain(steps_in_every_state()).collect()
}

/// A task of format 2, which completed without an optional step.
#[cfg(test)]
pub(super) fn with_warning() -> Case {
    let deeds = [
        (1, "charge", Complete(r#"{"charge":"ch_1"}"#)),
        (3, "mail", Fail),
        (4, "mail", LeafArrive),
        (5, "ship", Complete("null")),
        (6, "ship", LeafArrive),
        (7, "", Finish),
    ];
    task(45, "v2/task-complete-with-warning", plans::optional(), deeds)
}

/// A task of format 3 whose compensations form a graph: of the two that run side by side, one needs a person.
#[cfg(test)]
pub(super) fn with_graph() -> Case {
    let deeds = [
        (1, "reserve", Complete("{}")),
        (3, "charge", Complete(r#"{"charge":"ch_1"}"#)),
        (5, "ship", Fail),
        (7, "", Terminate(Termination::Compensate(End::Error), ActionKind::Compensate)),
        (8, "", Graph),
        (9, "call_back", Complete("{}")),
        (11, "release", Fail),
        (13, "refund", RetryLater(busy(), 15)),
    ];
    task(46, "v3/task-compensating-graph", plans::graph(), deeds)
}

/// A compensated task that was rerun.
#[cfg(test)]
pub(super) fn rerun() -> Case {
    let deeds = [
        (1, "reserve", Complete("{}")),
        (3, "charge", Fail),
        (5, "", Terminate(Termination::Compensate(End::Error), ActionKind::Compensate)),
        (6, "", Order(&["release"])),
        (7, "release", Complete(r#"{"released":2}"#)),
        (9, "", FinishCompensation(End::Error)),
        (11, "", Rerun),
    ];
    task(47, "v3/task-rerun", plans::compensated(), deeds)
}

/// The task that it was rerun as.
#[cfg(test)]
pub(super) const RERUN: u8 = 48;

fn task(number: u8, name: &'static str, plan: Plan, deeds: impl IntoIterator<Item = Event>) -> Case {
    Case { plan: Some(plan), ..steps_alone(number, name, deeds) }
}

fn steps_alone(number: u8, name: &'static str, deeds: impl IntoIterator<Item = Event>) -> Case {
    Case { number, name, plan: None, context: "{}", deeds: deeds.into_iter().collect() }
}

fn tasks_in_every_state() -> Vec<Case> {
    let compensate = |end| Terminate(Termination::Compensate(end), ActionKind::Compensate);
    let cancel = Terminate(Termination::Cancel, ActionKind::Cancel);
    let compensated = [
        (1, "reserve", Complete("{}")),
        (3, "charge", Fail),
        (5, "", compensate(End::Error)),
        (6, "", Order(&["release"])),
        (7, "release", Complete(r#"{"released":2}"#)),
        (9, "", FinishCompensation(End::Error)),
    ];
    let compensating = compensated[..3].to_vec();
    let failed = [&compensated[..4], &[(7, "release", Fail)]].concat();
    let ordered = [
        (1, "reserve", Complete("{}")),
        (3, "charge", Complete("{}")),
        (5, "ship", Fail),
        (7, "", compensate(End::Error)),
        (8, "", Order(&["refund", "release"])),
        (9, "refund", Complete("{}")),
        (11, "release", RetryLater(busy(), 13)),
    ];
    let nothing_to_compensate = [
        (1, "", Terminate(Termination::Compensate(End::Cancelled), ActionKind::Cancel)),
        (2, "reserve", Cancel),
        (2, "charge", Cancel),
        (3, "", Order(&[])),
        (4, "", FinishCompensation(End::Cancelled)),
    ];
    let complete = [
        (1, "charge", Complete(r#"{"charge":"ch_1"}"#)),
        (3, "mail", Complete(r#"{"sent":true}"#)),
        (4, "mail", LeafArrive),
        (5, "ship", Complete("null")),
        (6, "ship", LeafArrive),
        (7, "", Finish),
    ];
    let by_itself = Action { who: "stepwell".to_owned(), why: "restart 1 of 2".to_owned(), ..retry(62) };
    let restarts_due =
        [(1, "charge", UseUp(busy())), (62, "charge", Redrive(by_itself)), (63, "charge", UseUp(busy()))];
    let resolved = [(1, "charge", Fail), (3, "", Terminate(Termination::Resolve, ActionKind::Resolve))];
    // Every kind of action but the resolution of a task, which no other action can come before or after.
    let retries = (0..40).flat_map(|number| {
        let (failed, retried) = (10 * number + 1, 10 * number + 5);
        [(failed, "reserve", UseUp(busy())), (retried, "reserve", Redrive(retry(retried)))]
    });
    let many_actions = retries.chain([
        (1_000, "reserve", DeadLetter),
        (1_001, "reserve", Resolve),
        (1_002, "", cancel.clone()),
        (1_003, "", compensate(End::Cancelled)),
    ]);
    vec![
        task(1, "task-pending", plans::one_step(), []),
        Case { context: CONTEXT, ..task(2, "task-with-context", plans::one_step(), []) },
        task(3, "task-complete", plans::leaves(), complete),
        task(4, "task-error", plans::one_step(), [(1, "charge", Fail)]),
        task(5, "task-error-beside-other-steps", plans::roots(), [(1, "charge", Fail), (3, "reserve", Fail)]),
        task(6, "task-error-restarts-due", plans::redriving(), restarts_due),
        task(7, "task-compensating", plans::compensated(), compensating),
        task(8, "task-compensating-ordered", plans::twice_compensated(), ordered),
        task(9, "task-compensating-failed", plans::compensated(), failed),
        task(10, "task-compensated", plans::compensated(), compensated),
        task(11, "task-compensated-nothing", plans::compensated(), nothing_to_compensate),
        task(12, "task-cancelled", plans::compensated().compensating(Compensate::Manual, 0), [(1, "", cancel)]),
        task(13, "task-resolved-manually", plans::one_step(), resolved),
        task(14, "task-many-actions", plans::compensated(), many_actions),
        task(15, "plan-all-default", plans::all_default(), []),
        task(16, "plan-nothing-default", plans::nothing_default(), []),
    ]
}

fn steps_in_every_state() -> Vec<Case> {
    let one = plans::one_step;
    let later = || (1, "charge", RetryLater(busy(), 3));
    let joined = [(1, "ship", Arrive("reserve")), (2, "ship", Arrive("charge")), (3, "ship", Complete("{}"))];
    let redriven = [later(), (3, "charge", UseUp(busy())), (5, "charge", Redrive(retry(5)))];
    // As many attempts as a workflow file can ask for.
    let trail = (1..50).map(|number| (10 * number, "charge", RetryLater(longest_failure(), 10 * number + 10)));
    let full_trail = trail.chain([(500, "charge", UseUp(longest_failure()))]);
    vec![
        steps_alone(32, "step-pending-half-arrived", [(1, "ship", Arrive("charge"))]),
        steps_alone(33, "step-in-progress", [(1, "charge", Claim)]),
        steps_alone(34, "step-in-progress-taken-over", [(1, "charge", Claim), (37, "charge", TakeOver)]),
        steps_alone(35, "step-in-progress-retry", [later(), (3, "charge", Claim)]),
        steps_alone(36, "step-retrying", [later(), (3, "charge", RetryLater(declined(), 6))]),
        steps_alone(37, "step-complete", [later(), (3, "charge", Complete(CONTEXT))]),
        steps_alone(38, "step-complete-join", joined),
        steps_alone(39, "step-cancelled", [(1, "charge", Claim), (40, "charge", Cancel)]),
        task(40, "step-error-delivery-exhausted", one(), [(1, "charge", Claim), (40, "charge", DeadLetter)]),
        task(41, "step-resolved-manually", one(), [(1, "charge", Fail), (3, "charge", Resolve)]),
        steps_alone(42, "step-pending-released", [(1, "charge", Release)]),
        task(43, "step-pending-restarted", one(), redriven),
        task(44, "step-error-full-trail", one(), full_trail),
    ]
}

/// The longest error that is stored.
pub(super) fn longest_failure() -> Failure {
    Failure { code: "C".repeat(100), message: "é".repeat(500) }
}

pub(super) fn busy() -> Failure {
    Failure { code: "GATEWAY_BUSY".to_owned(), message: "try again later".to_owned() }
}

pub(super) fn declined() -> Failure {
    Failure { code: "CARD_DECLINED".to_owned(), message: "the card was declined".to_owned() }
}

pub(super) fn exhausted() -> Failure {
    Failure { code: "DELIVERY_EXHAUSTED".to_owned(), message: "SQS gave up on the message".to_owned() }
}

/// An operator's action.
pub(super) fn action(seconds: u64, what: ActionKind, step: Option<&str>) -> Action {
    let (who, why) = match what {
        ActionKind::DeadLetter => ("dead_letters", "SQS gave up on its message"),
        _ => ("Zoë", "the customer called"),
    };
    Action {
        at: at(seconds),
        what,
        step: step.map(str::to_owned),
        who: who.to_owned(),
        why: why.to_owned(),
        bulk: None,
        rerun_as: None,
    }
}

fn retry(seconds: u64) -> Action {
    action(seconds, ActionKind::Redrive, None)
}

/// The key of the fixture. Its text contains the separator of an item's key.
pub(super) fn idempotency_key() -> KeyRecord {
    KeyRecord {
        namespace: "shop".to_owned(),
        key: "order 4711/ü#1".to_owned(),
        task: id(1),
        request_hash: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        created_at: START,
        newer: None,
    }
}

// ---- Writing

/// Writes the items of every case. Answers with the names of the cases, which are those of their fixtures, and the
/// partitions of their items.
///
/// # Panics
/// A write is refused.
pub async fn write_all<T: Store>(table: &T) -> Vec<(&'static str, String)> {
    let mut cases = Vec::new();
    for case in all() {
        write(table, &case).await;
        cases.push((case.name, format!("TASK#{}", case.task())));
    }
    applied(table, tasks::reserve_key(&idempotency_key())).await;
    cases.push(("idempotency-key", "KEY#shop#order 4711/ü#1".to_owned()));
    cases
}

/// Writes the items of a case.
pub(super) async fn write<T: Store>(table: &T, case: &Case) {
    if let Some(start) = case.start() {
        applied(table, tasks::create(&start)).await;
    }
    for (seconds, step, what) in &case.deeds {
        Writer { table, task: case.task(), seconds: *seconds, step }.make(what).await;
    }
}

/// Makes a transition, which has to take effect.
async fn applied<T: Store>(table: &T, transition: Transition) -> Applied {
    let applied = table.apply(&transition).await.expect("a transition");
    assert!(applied.is_written(), "{transition:?}: {applied:?}");
    applied
}

/// Makes the writes of an event of a step or a task, at this second.
struct Writer<'a, T> {
    table: &'a T,
    task: TaskId,
    seconds: u64,
    step: &'static str,
}

impl<T: Store> Writer<'_, T> {
    async fn make(&self, what: &Do) {
        let (id, step, now) = (self.task, self.step, at(self.seconds));
        let loaded = self.table.load(id, &BTreeSet::from([step])).await.expect("a task and a step");
        let (record, task) = (&loaded.steps[step], || loaded.task.as_ref().expect("a task"));
        let action = |what, step| action(self.seconds, what, step);
        let transition = match what {
            Claim => return drop(self.claimed(steps::claim).await),
            TakeOver => return drop(self.claimed(|request| steps::take_over(request, record)).await),
            Release => steps::release(&self.claimed(steps::claim).await),
            Complete(result) => {
                let lease = self.claimed(steps::claim).await;
                steps::complete(&lease, &self.attempt(&lease, Outcome::Complete, None, None), result)
            }
            RetryLater(error, due) => {
                let lease = self.claimed(steps::claim).await;
                steps::retry_later(&lease, &self.attempt(&lease, Outcome::RetryableError, Some(error), Some(*due)))
            }
            Fail => self.failed(task(), Outcome::PermanentError, &declined()).await,
            UseUp(error) => self.failed(task(), Outcome::RetryableError, error).await,
            Cancel => tasks::cancel_step(id, record, now),
            Resolve => {
                let action = action(ActionKind::ResolveStep, Some(step));
                tasks::resolve_step(task(), record, r#"{"by":"hand"}"#, &action).expect("a resolution")
            }
            DeadLetter => {
                tasks::dead_letter_step(task(), record, &exhausted(), &action(ActionKind::DeadLetter, Some(step)))
            }
            Redrive(action) => tasks::redrive(task(), &[record], action).expect("a redrive"),
            Arrive(done) => steps::record_join_arrival(id, step, done, now),
            LeafArrive => tasks::record_leaf_arrival(id, step),
            Terminate(to, what) => tasks::close_or_compensate(id, *to, &action(*what, None)),
            #[cfg(test)]
            Graph => tasks::order_compensations(id, &task().plan.compensation_graph(|_| true), now),
            Order(names) => tasks::order_compensations(id, &one_after_another(&task().plan, names), now),
            Finish => tasks::finish(id, now),
            FinishCompensation(end) => tasks::finish_compensation(task(), &[], *end, now),
            #[cfg(test)]
            Rerun => {
                let action = Action { rerun_as: Some(super::id(RERUN)), ..action(ActionKind::Rerun, None) };
                let to = stepwell::core::record::RerunAs {
                    task: super::id(RERUN),
                    request_hash: idempotency_key().request_hash,
                };
                tasks::reserve_rerun(task(), &to, &action)
            }
        };
        applied(self.table, transition).await;
    }

    /// Makes a claim, or a take-over, which has to be granted.
    async fn claimed(&self, claim: impl FnOnce(&ClaimRequest<'_>) -> Transition) -> Lease {
        let (owner, now) = (format!("request-{}/message-{}", self.seconds, self.step), at(self.seconds));
        let request = ClaimRequest { task: self.task, step: self.step, owner: &owner, now, lease_until: now + LEASE };
        match Claimed::read(&request, applied(self.table, claim(&request)).await).expect("a step") {
            Claimed::Granted(lease) => lease,
            Claimed::Refused(found) => panic!("the claim is refused: {found:?}"),
        }
    }

    /// An attempt that took a second.
    fn attempt(&self, lease: &Lease, outcome: Outcome, error: Option<&Failure>, due: Option<u64>) -> AttemptRecord {
        AttemptRecord {
            number: lease.attempt,
            started_at: lease.started_at,
            finished_at: Some(at(self.seconds + 1)),
            outcome,
            error: error.cloned(),
            next_retry_at: due.map(at),
            request_id: format!("request-{}", self.seconds),
            throttled: false,
            refused: false,
        }
    }

    async fn failed(&self, task: &TaskRecord, outcome: Outcome, error: &Failure) -> Transition {
        let lease = self.claimed(steps::claim).await;
        steps::fail(task, &lease, &self.attempt(&lease, outcome, Some(error), None))
    }
}

/// The graph in which each of these compensations waits for the one before it.
fn one_after_another(plan: &Plan, names: &[&str]) -> Vec<StepPlan> {
    let before = [None].into_iter().chain(names.iter().map(|name| Some((*name).to_owned())));
    let node = |(name, before): (&&str, Option<String>)| {
        let compensation = plan.step(name).expect("a compensation").clone();
        StepPlan { depends_on: before.into_iter().collect(), ..compensation }
    };
    names.iter().zip(before).map(node).collect()
}
