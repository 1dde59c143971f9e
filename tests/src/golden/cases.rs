//! The cases: for each kind of item the writes that bring it about. Ids and moments are fixed, so that the same items come
//! of it each time.

use super::{START, at, id, plans};
use std::{collections::BTreeSet, time::Duration};
use stepwell::{
    TaskId,
    core::{
        plan::{Compensate, Plan},
        record::{
            Action, ActionKind, AttemptRecord, Failure, KeyRecord, Lease, NewTask, Outcome, StepRecord, TaskRecord,
        },
        state::End,
        step::{self as steps, Claim, ClaimRequest},
        task::{self as tasks, Diversion},
        transition::{Applied, Transition},
    },
    ports::Store,
};

/// How long every lease lasts.
const LEASE: Duration = Duration::from_secs(35);

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

/// What was done to a task from outside.
pub(super) fn action(seconds: u64, what: ActionKind, step: Option<&str>) -> Action {
    let (who, why) = match what {
        ActionKind::GiveUp => ("dead_letters", "SQS gave up on its message"),
        _ => ("Zoë", "the customer called"),
    };
    Action { at: at(seconds), what, step: step.map(str::to_owned), who: who.to_owned(), why: why.to_owned() }
}

/// A retry of the engine's own.
pub(super) fn by_itself(seconds: u64) -> Action {
    Action { who: "stepwell".to_owned(), why: "restart 1 of 2".to_owned(), ..action(seconds, ActionKind::Retry, None) }
}

/// Writes the items of every case. Answers with the names of the cases, which are those of their fixtures, and the
/// partitions that their items are in.
///
/// # Panics
/// Where a write is refused.
pub async fn write_all<T: Store>(table: &T) -> Vec<(&'static str, String)> {
    let mut cases = Vec::new();
    let mut case = |name, number| {
        cases.push((name, format!("TASK#{}", id(number))));
        Task { table, id: id(number) }
    };
    // A task's number is in its fixture: new cases take new ones.
    pending(case("task-pending", 1)).await;
    with_context(case("task-with-context", 2)).await;
    complete(case("task-complete", 3)).await;
    error(case("task-error", 4)).await;
    error_beside_others(case("task-error-beside-other-steps", 5)).await;
    restarts_due(case("task-error-restarts-due", 6)).await;
    compensating(case("task-compensating", 7)).await;
    ordered(case("task-compensating-ordered", 8)).await;
    compensation_failed(case("task-compensating-failed", 9)).await;
    compensated(case("task-compensated", 10)).await;
    compensated_nothing(case("task-compensated-nothing", 11)).await;
    cancelled(case("task-cancelled", 12)).await;
    resolved(case("task-resolved-manually", 13)).await;
    many_actions(case("task-many-actions", 14)).await;
    plan(case("plan-all-default", 15), plans::all_default()).await;
    plan(case("plan-nothing-default", 16), plans::nothing_default()).await;

    half_arrived(case("step-pending-half-arrived", 32)).await;
    in_progress(case("step-in-progress", 33)).await;
    taken_over(case("step-in-progress-taken-over", 34)).await;
    in_progress_again(case("step-in-progress-retry", 35)).await;
    retrying(case("step-retrying", 36)).await;
    step_complete(case("step-complete", 37)).await;
    joined(case("step-complete-join", 38)).await;
    step_cancelled(case("step-cancelled", 39)).await;
    given_up(case("step-error-delivery-exhausted", 40)).await;
    by_hand(case("step-resolved-manually", 41)).await;
    released(case("step-pending-released", 42)).await;
    restarted(case("step-pending-restarted", 43)).await;
    full_trail(case("step-error-full-trail", 44)).await;

    let key = idempotency_key();
    assert!(table.apply(&tasks::reserve_key(&key)).await.expect("a key").is_written());
    cases.push(("idempotency-key", "KEY#shop#order 4711/ü#1".to_owned()));
    cases
}

/// The key of the fixture. Its text may hold what also separates the parts of an item's key.
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

// ---- Tasks

async fn pending<T: Store>(task: Task<'_, T>) {
    task.create(&plans::one_step(), "{}").await;
}

async fn with_context<T: Store>(task: Task<'_, T>) {
    task.create(&plans::one_step(), CONTEXT).await;
}

/// A context with what may go wrong on its way: quotes, other alphabets, a number whose digits matter, an empty object.
pub(super) const CONTEXT: &str =
    r#"{"cart":[{"id":1,"price":12.50}],"note":"say \"hi\", Zoë 😀","empty":{},"none":null}"#;

async fn complete<T: Store>(task: Task<'_, T>) {
    task.create(&leaves(), "{}").await;
    task.complete("charge", 1, r#"{"charge":"ch_1"}"#).await;
    task.complete("mail", 3, r#"{"sent":true}"#).await;
    assert_eq!(task.apply(tasks::record_leaf_arrival(task.id, "mail")).await.done_deps().len(), 1);
    task.complete("ship", 5, "null").await;
    assert_eq!(task.apply(tasks::record_leaf_arrival(task.id, "ship")).await.done_deps().len(), 2);
    task.apply(tasks::finish(task.id, at(7))).await;
}

/// One step, and two that wait for it and for which nothing waits.
pub(super) fn leaves() -> Plan {
    let [ship, mail] = ["ship", "mail"].map(|name| plans::step(name, &["charge"]));
    plans::plan(vec![plans::step("charge", &[]), ship, mail])
}

async fn error<T: Store>(task: Task<'_, T>) {
    task.create(&plans::one_step(), "{}").await;
    task.fail("charge", 1, declined()).await;
}

async fn error_beside_others<T: Store>(task: Task<'_, T>) {
    task.create(&roots(), "{}").await;
    task.fail("charge", 1, declined()).await;
    task.fail("reserve", 3, declined()).await;
}

/// Three steps that wait for nothing.
pub(super) fn roots() -> Plan {
    plans::plan(["charge", "mail", "reserve"].map(|name| plans::step(name, &[])).to_vec())
}

async fn restarts_due<T: Store>(task: Task<'_, T>) {
    task.create(&restarting(), "{}").await;
    task.use_up("charge", 1, busy()).await;
    task.restart(&["charge"], &by_itself(62)).await;
    task.use_up("charge", 63, busy()).await;
}

/// One step, restarted twice at most, and undone an hour after its failure.
pub(super) fn restarting() -> Plan {
    plans::plan(vec![plans::step("charge", &[]), plans::compensation("refund", "charge")])
        .compensating(Compensate::OnError, 3_600)
        .restarting(2)
}

async fn compensating<T: Store>(task: Task<'_, T>) {
    task.create(&plans::undoable(), "{}").await;
    task.complete("reserve", 1, "{}").await;
    task.fail("charge", 3, declined()).await;
    task.divert(5, Diversion::Compensate(End::Error), ActionKind::Compensate).await;
}

async fn ordered<T: Store>(task: Task<'_, T>) {
    task.create(&plans::twice_undoable(), "{}").await;
    task.complete("reserve", 1, "{}").await;
    task.complete("charge", 3, "{}").await;
    task.fail("ship", 5, declined()).await;
    task.divert(7, Diversion::Compensate(End::Error), ActionKind::Compensate).await;
    task.order(8, &["refund", "release"]).await;
    task.complete("refund", 9, "{}").await;
    task.retry_later("release", 11, busy(), 13).await;
}

async fn compensation_failed<T: Store>(task: Task<'_, T>) {
    compensating(Task { ..task }).await;
    task.order(6, &["release"]).await;
    task.fail("release", 7, declined()).await;
}

async fn compensated<T: Store>(task: Task<'_, T>) {
    compensating(Task { ..task }).await;
    task.order(6, &["release"]).await;
    task.complete("release", 7, r#"{"released":2}"#).await;
    task.apply(tasks::finish_compensation(task.id, End::Error, at(9))).await;
}

async fn compensated_nothing<T: Store>(task: Task<'_, T>) {
    task.create(&plans::undoable(), "{}").await;
    task.divert(1, Diversion::Compensate(End::Cancelled), ActionKind::Cancel).await;
    for step in ["reserve", "charge"] {
        task.cancel_step(step, 2).await;
    }
    task.order(3, &[]).await;
    task.apply(tasks::finish_compensation(task.id, End::Cancelled, at(4))).await;
}

async fn cancelled<T: Store>(task: Task<'_, T>) {
    task.create(&plans::undoable().compensating(Compensate::Manual, 0), "{}").await;
    task.divert(1, Diversion::Cancel, ActionKind::Cancel).await;
}

async fn resolved<T: Store>(task: Task<'_, T>) {
    task.create(&plans::one_step(), "{}").await;
    task.fail("charge", 1, declined()).await;
    task.divert(3, Diversion::Resolve, ActionKind::Resolve).await;
}

/// How many times the task with many actions is retried.
pub(super) const RETRIES: u64 = 40;

/// Every kind of action but the resolution of a task, which no other action can come before or after.
async fn many_actions<T: Store>(task: Task<'_, T>) {
    task.create(&plans::undoable(), "{}").await;
    for number in 0..RETRIES {
        task.use_up("reserve", 10 * number + 1, busy()).await;
        task.restart(&["reserve"], &action(10 * number + 5, ActionKind::Retry, None)).await;
    }
    task.give_up("reserve", 1_000).await;
    task.resolve_step("reserve", 1_001, r#"{"by":"hand"}"#).await;
    task.divert(1_002, Diversion::Cancel, ActionKind::Cancel).await;
    task.divert(1_003, Diversion::Compensate(End::Cancelled), ActionKind::Compensate).await;
}

async fn plan<T: Store>(task: Task<'_, T>, plan: Plan) {
    task.create(&plan, "{}").await;
}

// ---- Steps

async fn half_arrived<T: Store>(task: Task<'_, T>) {
    task.arrive("ship", "charge", 1).await;
}

async fn in_progress<T: Store>(task: Task<'_, T>) {
    task.claim("charge", 1).await;
}

async fn taken_over<T: Store>(task: Task<'_, T>) {
    task.claim("charge", 1).await;
    let lost = task.step("charge").await;
    task.claimed("charge", 37, |request| steps::take_over(request, &lost)).await;
}

async fn retrying<T: Store>(task: Task<'_, T>) {
    task.retry_later("charge", 1, busy(), 3).await;
    task.retry_later("charge", 3, declined(), 6).await;
}

async fn in_progress_again<T: Store>(task: Task<'_, T>) {
    task.retry_later("charge", 1, busy(), 3).await;
    task.claim("charge", 3).await;
}

async fn step_complete<T: Store>(task: Task<'_, T>) {
    task.retry_later("charge", 1, busy(), 3).await;
    task.complete("charge", 3, CONTEXT).await;
}

async fn joined<T: Store>(task: Task<'_, T>) {
    task.arrive("ship", "reserve", 1).await;
    task.arrive("ship", "charge", 2).await;
    task.complete("ship", 3, "{}").await;
}

async fn step_cancelled<T: Store>(task: Task<'_, T>) {
    task.claim("charge", 1).await;
    task.cancel_step("charge", 40).await;
}

async fn given_up<T: Store>(task: Task<'_, T>) {
    task.create(&plans::one_step(), "{}").await;
    task.claim("charge", 1).await;
    task.give_up("charge", 40).await;
}

async fn by_hand<T: Store>(task: Task<'_, T>) {
    task.create(&plans::one_step(), "{}").await;
    task.fail("charge", 1, declined()).await;
    task.resolve_step("charge", 3, r#"{"by":"hand"}"#).await;
}

async fn released<T: Store>(task: Task<'_, T>) {
    let lease = task.claim("charge", 1).await;
    task.apply(steps::release(&lease)).await;
}

async fn restarted<T: Store>(task: Task<'_, T>) {
    task.create(&plans::one_step(), "{}").await;
    task.retry_later("charge", 1, busy(), 3).await;
    task.use_up("charge", 3, busy()).await;
    task.restart(&["charge"], &action(5, ActionKind::Retry, None)).await;
}

/// How many attempts the longest audit trail has that a workflow file can ask for.
pub(super) const MOST_ATTEMPTS: u64 = 50;

async fn full_trail<T: Store>(task: Task<'_, T>) {
    task.create(&plans::one_step(), "{}").await;
    for number in 1..MOST_ATTEMPTS {
        task.retry_later("charge", 10 * number, longest_failure(), 10 * number + 10).await;
    }
    task.use_up("charge", 10 * MOST_ATTEMPTS, longest_failure()).await;
}

// ---- What one write after the other is made with

/// A task, and the table that it is written to.
struct Task<'a, T> {
    table: &'a T,
    id: TaskId,
}

/// Which delivery claims a step at this second.
fn owner(step: &str, seconds: u64) -> String {
    format!("request-{seconds}/message-{step}")
}

impl<T: Store> Task<'_, T> {
    /// Makes a transition, which has to take effect.
    async fn apply(&self, transition: Transition) -> Applied {
        let applied = self.table.apply(&transition).await.expect("a transition");
        assert!(applied.is_written(), "{transition:?}: {applied:?}");
        applied
    }

    /// Makes a claim, or a take-over, which has to be granted.
    async fn claimed(&self, step: &str, seconds: u64, claim: impl FnOnce(&ClaimRequest<'_>) -> Transition) -> Lease {
        let owner = owner(step, seconds);
        let request =
            ClaimRequest { task: self.id, step, owner: &owner, now: at(seconds), lease_until: at(seconds) + LEASE };
        match Claim::read(&request, self.apply(claim(&request)).await).expect("a step") {
            Claim::Granted(lease) => lease,
            Claim::Refused(found) => panic!("the claim is refused: {found:?}"),
        }
    }

    async fn create(&self, plan: &Plan, context: &str) {
        let workflow = "shop/checkout@1.2.0".to_owned();
        let task = NewTask { id: self.id, workflow, context, plan, created_at: START };
        self.apply(tasks::create(&task)).await;
    }

    async fn task(&self) -> TaskRecord {
        self.table.load(self.id, &BTreeSet::new()).await.expect("the task").task.expect("a task")
    }

    async fn step(&self, step: &str) -> StepRecord {
        self.table.load(self.id, &BTreeSet::from([step])).await.expect("a step").steps.remove(step).expect("a step")
    }

    async fn claim(&self, step: &str, seconds: u64) -> Lease {
        self.claimed(step, seconds, steps::claim).await
    }

    /// An attempt that took a second.
    async fn attempt(
        &self,
        step: &str,
        seconds: u64,
        outcome: Outcome,
        error: Option<Failure>,
    ) -> (Lease, AttemptRecord) {
        let lease = self.claim(step, seconds).await;
        let attempt = AttemptRecord {
            number: lease.attempt,
            started_at: lease.started_at,
            finished_at: Some(at(seconds + 1)),
            outcome,
            error,
            next_retry_at: None,
            request_id: format!("request-{seconds}"),
        };
        (lease, attempt)
    }

    async fn complete(&self, step: &str, seconds: u64, result: &str) {
        let (lease, attempt) = self.attempt(step, seconds, Outcome::Complete, None).await;
        self.apply(steps::complete(&lease, &attempt, result)).await;
    }

    async fn retry_later(&self, step: &str, seconds: u64, failure: Failure, due: u64) {
        let (lease, attempt) = self.attempt(step, seconds, Outcome::RetryableError, Some(failure)).await;
        let attempt = AttemptRecord { next_retry_at: Some(at(due)), ..attempt };
        self.apply(steps::retry_later(&lease, &attempt)).await;
    }

    async fn fail(&self, step: &str, seconds: u64, failure: Failure) {
        self.end(step, seconds, Outcome::PermanentError, failure).await;
    }

    /// The last attempt that there may be, which fails as the others did.
    async fn use_up(&self, step: &str, seconds: u64, failure: Failure) {
        self.end(step, seconds, Outcome::RetryableError, failure).await;
    }

    async fn end(&self, step: &str, seconds: u64, outcome: Outcome, failure: Failure) {
        let (lease, attempt) = self.attempt(step, seconds, outcome, Some(failure)).await;
        self.apply(steps::fail(&self.task().await, &lease, &attempt)).await;
    }

    async fn arrive(&self, step: &str, done: &str, seconds: u64) {
        self.apply(steps::record_join_arrival(self.id, step, done, at(seconds))).await;
    }

    async fn restart(&self, steps: &[&str], action: &Action) {
        let mut failed = Vec::new();
        for step in steps {
            failed.push(self.step(step).await);
        }
        let failed: Vec<&StepRecord> = failed.iter().collect();
        self.apply(tasks::redrive(&self.task().await, &failed, action).expect("a redrive")).await;
    }

    async fn resolve_step(&self, step: &str, seconds: u64, result: &str) {
        let (task, record) = (self.task().await, self.step(step).await);
        let action = action(seconds, ActionKind::ResolveStep, Some(step));
        self.apply(tasks::resolve_step(&task, &record, result, &action).expect("a resolution")).await;
    }

    async fn give_up(&self, step: &str, seconds: u64) {
        let (task, record) = (self.task().await, self.step(step).await);
        let action = action(seconds, ActionKind::GiveUp, Some(step));
        self.apply(tasks::dead_letter_step(&task, &record, &exhausted(), &action)).await;
    }

    async fn cancel_step(&self, step: &str, seconds: u64) {
        let record = self.step(step).await;
        self.apply(tasks::cancel_step(self.id, &record, at(seconds))).await;
    }

    async fn divert(&self, seconds: u64, to: Diversion, what: ActionKind) {
        self.apply(tasks::divert(self.id, to, &action(seconds, what, None))).await;
    }

    async fn order(&self, seconds: u64, order: &[&str]) {
        let order: Vec<String> = order.iter().map(|&name| name.to_owned()).collect();
        self.apply(tasks::order_compensations(self.id, &order, at(seconds))).await;
    }
}
