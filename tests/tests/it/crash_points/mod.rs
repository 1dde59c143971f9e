//! The deployed functions, killed at every point of a checkout: before and after each AWS call and each run of a handler.
//!
//! The points are found by running a checkout and reading off what it passed. Then as many checkouts are started as there
//! are points, and at each point one of them dies. In the end each has to be as if nothing had happened. The watchdog is
//! off meanwhile: the messages alone have to bring every checkout through.
//!
//! It needs a stack that is built to be killed, and that nobody else uses meanwhile: `STEPWELL_BUILD=crash-points infra/local.sh up`.

mod flow;
mod runner;
mod trail;

use checkout::testing::steps;
use flow::Flow;
use runner::{CrashRunner, CrashTarget};
use std::collections::{BTreeMap, BTreeSet};

/// The calls to the outside that a step makes which succeeds at once. A step that makes none is not listed.
fn business_of(step: &str) -> &'static [&'static str] {
    match step {
        "validate_cart" => &["BatchGetItem.products"],
        "process_payment" | "refund_payment" => &["UpdateItem.payments"],
        "update_inventory" | "release_stock" => &["TransactWriteItems.products+reservations"],
        "create_order" => &["TransactWriteItems.orders"],
        "cancel_order" => &["UpdateItem.orders"],
        "send_confirmation" => &["POST.v2-email-outbound-emails"],
        _ => &[],
    }
}

/// The calls by which the engine goes on after a step, as the plan says. Who reaches a join, or the end beside others,
/// is a matter of timing: nothing is said of those.
fn hand_over_of(step: &str) -> Vec<String> {
    let plan = steps::plan();
    if plan.is_compensation(step) {
        let after = steps::compensations().into_iter().skip_while(|other| *other != step).nth(1);
        let next = after.map_or("UpdateItem.TASK.cancelled".to_owned(), |next| format!("SendMessage.{next}"));
        return vec!["Query.tasks".to_owned(), next];
    }
    let alone = plan.dependents(step).filter(|dependent| dependent.depends_on.len() == 1);
    let mut calls: Vec<String> = alone.map(|dependent| format!("SendMessage.{}", dependent.name)).collect();
    if plan.leaves().count() == 1 && plan.leaves().any(|last| last.name == step) {
        calls.push("UpdateItem.TASK.complete".to_owned());
    }
    calls
}

/// The calls that are made for a step which succeeds at once: the engine's, and what the step is there for.
fn calls_of(step: &str) -> Vec<String> {
    let begins = [format!("UpdateItem.STEP#{step}.in_progress"), "BatchGetItem.tasks".to_owned(), "handler".to_owned()];
    let business = business_of(step).iter().map(|&call| call.to_owned());
    let complete = format!("UpdateItem.STEP#{step}.complete");
    let calls = begins.into_iter().chain(business).chain([complete]).chain(hand_over_of(step));
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
async fn every_call_of_every_step_has_a_point_before_and_after_it() {
    let mut runner = CrashRunner::new().await;
    let bought = runner.points_of_one(Flow::Bought).await;
    assert_around(steps::all().into_iter().flat_map(calls_of), &bought);
    let cancelled = runner.points_of_one(Flow::Cancelled).await;
    assert_around(steps::compensations().into_iter().flat_map(calls_of), &cancelled);
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
async fn a_function_that_dies_anywhere_leaves_its_checkout_to_the_next_and_so_does_the_next() {
    let mut runner = CrashRunner::new().await;
    die_everywhere(&mut runner, Flow::Bought, &steps::all(), &BTreeSet::new()).await;
}

#[tokio::test]
async fn a_function_that_dies_anywhere_while_a_checkout_is_undone_leaves_it_to_the_next_and_so_does_the_next() {
    let mut runner = CrashRunner::new().await;
    let bought = runner.points_of_one(Flow::Bought).await;
    die_everywhere(&mut runner, Flow::Cancelled, &steps::compensations(), &bought).await;
}

/// Dies once at each point that a flow passes and that is not known already, and twice where that opens a new way.
async fn die_everywhere(runner: &mut CrashRunner, flow: Flow, steps: &[&str], known: &BTreeSet<String>) {
    let points = &runner.points_of_one(flow).await - known;

    // A step that died can be found claimed, and found complete. What is done for it then has points of its own.
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
    // Whether a message comes back before the lease is over, and is put off once more, is a matter of milliseconds: the
    // next checkout need not come to that call. The checkouts that wait for a retry die around it.
    recoveries.retain(|point, _| !point.contains(".ChangeMessageVisibility."));
    // Two workers that died have had both attempts of a step that has two. The task is redriven then, but by the watchdog,
    // which is stopped here.
    for step in steps::plan().steps().iter().filter(|step| step.max_attempts == 2) {
        recoveries.remove(&format!("{0}.UpdateItem.STEP#{0}.after", step.name));
    }

    let (first, again) = (points.len(), recoveries.len());
    runner.grant(flow, points.into_iter().map(CrashTarget::first).chain(recoveries.into_values()).collect()).await;
    eprintln!("{flow:?}: died at each of {first} points, and again at each of {again} points of the recovery");
}

#[tokio::test]
async fn a_function_that_dies_while_it_puts_off_a_retry_or_gives_up_leaves_that_to_the_next() {
    let mut runner = CrashRunner::new().await;
    let bought = runner.points_of_one(Flow::Bought).await;
    for flow in [Flow::BoughtAtTheSecondTry, Flow::Declined] {
        let points = &runner.points_of_one(flow).await - &bought;
        let count = points.len();
        assert!(count >= 4, "a write, and what follows from it: {points:?}");
        runner.grant(flow, points.into_iter().map(CrashTarget::first).collect()).await;
        eprintln!("{flow:?}: died at each of {count} points");
    }
}
