//! The deployed functions, killed at every crash point of a checkout: before and after each AWS call and each run of a
//! handler.
//!
//! A first checkout finds the crash points: it records what it passes. Then as many checkouts are started as there are
//! points, and at each point one of them dies. In the end each has to be as if nothing had happened. The watchdog is
//! off meanwhile: messages alone have to bring every checkout to its end.
//!
//! It needs a stack with crash points that nobody else uses meanwhile: `STEPWELL_BUILD=crash-points infra/local.sh up`.

mod flow;
mod runner;
mod trail;

use checkout::testing::steps;
use flow::{Flow, LAST};
use runner::{CrashRunner, CrashTarget};
use std::collections::{BTreeMap, BTreeSet};
use stepwell::core::plan::StepPlan;

/// The transaction that moves units between the stock and a reservation.
const HOLD_OR_RELEASE: &str = "TransactWriteItems.products+reservations";

/// The calls to outside services of a step that succeeds at the first attempt. A step without such calls is not listed.
fn business_of(step: &str) -> &'static [&'static str] {
    match step {
        "validate_cart" => &["BatchGetItem.products", HOLD_OR_RELEASE],
        // Reads the card's token, looks its record up, opens a payment, records it, confirms it, for which the simulated
        // gateway reads it, and deletes the token.
        "process_payment" => &[
            "GetItem.card_tokens",
            "GetItem.payments",
            "UpdateItem.payments.opened",
            "UpdateItem.payments.payment",
            "UpdateItem.payments.charge",
            "DeleteItem.card_tokens",
        ],
        // Voids the record, has the payment refunded, and deletes the card's token.
        "refund_payment" => &[
            "UpdateItem.payments.voided_at",
            "GetItem.payments",
            "UpdateItem.payments.reversed_at",
            "DeleteItem.card_tokens",
        ],
        "update_inventory" => &["UpdateItem.reservations.state"],
        "release_stock" => &[HOLD_OR_RELEASE],
        "create_order" => &["TransactWriteItems.orders"],
        "cancel_order" => &["UpdateItem.orders.status"],
        "send_confirmation" => &["POST.v2-email-outbound-emails"],
        _ => &[],
    }
}

/// The calls of the dispatch after a step or a compensation, as its graph says. Which step is the last to arrive at a join, or at
/// the task, depends on timing, so what follows from the last arrival is left out.
fn dispatch_calls_of(step: &str) -> Vec<String> {
    let plan = steps::plan();
    let (graph, end) = match plan.is_compensation(step) {
        true => (undoing(), "cancelled"),
        false => (plan.steps().to_vec(), "complete"),
    };
    let waits_for = |other: &StepPlan, step: &str| other.depends_on.iter().any(|name| name == step);
    let alone = graph.iter().filter(|other| waits_for(other, step) && other.depends_on.len() == 1);
    let mut calls: Vec<String> = alone.map(|dependent| format!("SendMessage.{}", dependent.name)).collect();
    let is_leaf = |step: &&StepPlan| !graph.iter().any(|other| waits_for(other, &step.name));
    let leaves: Vec<&StepPlan> = graph.iter().filter(is_leaf).collect();
    if leaves.iter().any(|leaf| leaf.name == step) {
        calls.push(if leaves.len() == 1 { format!("UpdateItem.TASK.{end}") } else { "UpdateItem.TASK".to_owned() });
    }
    calls
}

/// The calls of a step that succeeds at the first attempt: the engine's and the handler's.
fn calls_of(step: &str) -> Vec<String> {
    let begins = [format!("UpdateItem.STEP#{step}.in_progress"), "BatchGetItem.tasks".to_owned(), "handler".to_owned()];
    let business = business_of(step).iter().map(|&call| call.to_owned());
    let complete = format!("UpdateItem.STEP#{step}.complete");
    let calls = begins.into_iter().chain(business).chain([complete]).chain(dispatch_calls_of(step));
    calls.map(|call| format!("{step}.{call}")).collect()
}

#[track_caller]
fn assert_around(calls: impl IntoIterator<Item = String>, points: &BTreeSet<String>) {
    for call in calls {
        for side in ["before", "after"] {
            assert!(points.contains(&format!("{call}.{side}")), "{call} has no point {side} it: {points:#?}");
        }
    }
}

#[tokio::test]
async fn every_call_of_every_step_has_a_crash_point_before_and_after_it() {
    let mut runner = CrashRunner::new().await;
    let bought = runner.points_of_one(Flow::Bought).await;
    assert_around(steps::all().into_iter().flat_map(calls_of), &bought);
    let cancelled = runner.points_of_one(Flow::Cancelled { undone_last: last_compensations()[0] }).await;
    assert_around(compensations().into_iter().flat_map(calls_of), &cancelled);
    let retried = runner.points_of_one(Flow::BoughtAtTheSecondTry).await;
    let calls = ["UpdateItem.STEP#process_payment.retrying", "ChangeMessageVisibility.process_payment"];
    assert_around(calls.map(|call| format!("process_payment.{call}")), &retried);

    for points in [bought, cancelled, retried] {
        let before: BTreeSet<&str> = points.iter().filter_map(|point| point.strip_suffix(".before")).collect();
        let after: BTreeSet<&str> = points.iter().filter_map(|point| point.strip_suffix(".after")).collect();
        assert_eq!(before, after, "what began has ended");
    }
}

#[tokio::test]
async fn checkout_survives_one_and_two_deaths_at_every_crash_point() {
    let mut runner = CrashRunner::new().await;
    die_everywhere(&mut runner, Flow::Bought, &steps::all(), &BTreeSet::new()).await;
}

#[tokio::test]
async fn compensation_survives_one_and_two_deaths_at_every_crash_point() {
    let mut runner = CrashRunner::new().await;
    let mut known = runner.points_of_one(Flow::Bought).await;
    let last = last_compensations();
    let flow = Flow::Cancelled { undone_last: last[0] };
    known.append(&mut die_everywhere(&mut runner, flow, &compensations(), &known).await);
    // What follows from being the last differs for each that can be it.
    for undone_last in &last[1..] {
        known.append(&mut die_once_everywhere(&mut runner, Flow::Cancelled { undone_last }, &known).await);
    }
}

/// The graph of the compensations of a checkout that is cancelled before its e-mail, so that none tells of the cancellation.
/// The call of the one that would is the same as that of the e-mail.
fn undoing() -> Vec<StepPlan> {
    steps::plan().compensation_graph(|step| step != LAST)
}

/// The compensations of that graph, in the order in which they run.
fn compensations() -> Vec<&'static str> {
    steps::compensations_of(&steps::before(LAST))
}

/// The compensations of which any may be the last to end.
fn last_compensations() -> Vec<&'static str> {
    let graph = undoing();
    let mut last = compensations();
    last.retain(|&name| !graph.iter().any(|other| other.depends_on.iter().any(|before| before == name)));
    last
}

/// Dies once at each new point that a flow passes, and answers with these points.
async fn die_once_everywhere(runner: &mut CrashRunner, flow: Flow, known: &BTreeSet<String>) -> BTreeSet<String> {
    let points = &runner.points_of_one(flow).await - known;
    assert!(!points.is_empty(), "{flow:?} passes no point of its own");
    runner.grant(flow, points.iter().cloned().map(CrashTarget::first).collect()).await;
    eprintln!("{flow:?}: died at each of {} points", points.len());
    points
}

/// Dies once at each new point that a flow passes, and twice where the first death leads to new points. Answers with the
/// new points.
async fn die_everywhere(
    runner: &mut CrashRunner,
    flow: Flow,
    steps: &[&str],
    known: &BTreeSet<String>,
) -> BTreeSet<String> {
    let points = &runner.points_of_one(flow).await - known;

    // The next worker finds the step claimed, or complete. Its calls then have points of their own.
    let deaths = steps.iter().flat_map(|step| {
        ["handler.before".to_owned(), format!("UpdateItem.STEP#{step}.complete.after")]
            .map(|point| CrashTarget::first(format!("{step}.{point}")))
    });
    runner.grant(flow, deaths.collect()).await;
    let mut recoveries: BTreeMap<String, CrashTarget> = BTreeMap::new();
    for (task, died_at) in runner.deaths() {
        let passed = runner.passed(&task);
        for point in passed.iter().filter(|point| !points.contains(*point) && !known.contains(*point)) {
            let wish = CrashTarget { point: point.clone(), after_death_at: died_at.first().cloned() };
            recoveries.insert(point.clone(), wish);
        }
    }
    for step in steps {
        assert_around([format!("{step}.UpdateItem.STEP#{step}")], &recoveries.keys().cloned().collect());
    }
    // Whether a message comes back before the lease is over, and is hidden once more, depends on milliseconds: the next
    // checkout need not make that call. The checkouts that wait for a retry die around it.
    recoveries.retain(|point, _| !point.contains(".ChangeMessageVisibility."));
    // Two dead workers use up both attempts of a step that has two. Only the watchdog, which is stopped here, would
    // redrive that task.
    for step in steps::plan().steps().iter().filter(|step| step.max_attempts == 2) {
        recoveries.remove(&format!("{0}.UpdateItem.STEP#{0}.after", step.name));
    }

    let (first, again) = (points.len(), recoveries.len());
    let deaths = points.iter().cloned().map(CrashTarget::first);
    runner.grant(flow, deaths.chain(recoveries.into_values()).collect()).await;
    eprintln!("{flow:?}: died at each of {first} points, and again at each of {again} points of the recovery");
    points
}

#[tokio::test]
async fn refused_cancellation_survives_a_death_at_every_crash_point() {
    let mut runner = CrashRunner::new().await;
    let bought = runner.points_of_one(Flow::Bought).await;
    let points = die_once_everywhere(&mut runner, Flow::Shipped, &bought).await;
    let calls = ["UpdateItem.orders.status", "TransactWriteItems.STEP#cancel_order.error+TASK"];
    assert_around(calls.map(|call| format!("cancel_order.{call}")), &points);
    let completes = |point: &&String| point.contains("TASK.complete");
    assert_eq!(points.iter().filter(completes).count(), 2, "before and after it is complete again: {points:#?}");
}

#[tokio::test]
async fn retry_and_permanent_failure_survive_a_death_at_every_crash_point() {
    let mut runner = CrashRunner::new().await;
    let bought = runner.points_of_one(Flow::Bought).await;
    for flow in [Flow::BoughtAtTheSecondTry, Flow::Declined] {
        let points = die_once_everywhere(&mut runner, flow, &bought).await;
        assert!(points.len() >= 4, "a write, and what follows from it: {points:?}");
    }
}
