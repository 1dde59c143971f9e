//! The deployed functions, killed at every point of a checkout: before and after each AWS call and each run of a handler.
//!
//! The points are found by running a checkout and reading off what it passed. Then as many checkouts are started as there
//! are points, and at each point one of them dies. In the end each has to be as if nothing had happened.
//!
//! It needs a stack of its own, built to be killed: `STEPWELL_BUILD=crash-points infra/local.sh up`.

mod crowd;
mod trail;

use crowd::{Crowd, Wish};
use std::collections::{BTreeMap, BTreeSet};
use stepwell_tests::shop::STEPS;

const CHARGED: &str = "test_success_visa";
const CHARGED_AT_THE_SECOND_TRY: &str = "test_temp_fail_visa";

/// The calls on the way of a step that succeeds at once: the engine's, and what the step is there for.
fn calls_of(step: &str) -> Vec<String> {
    let (business, hand_over) = match step {
        "validate_cart" => ("BatchGetItem.products", "SendMessage.process_payment"),
        "process_payment" => ("UpdateItem.payments", "SendMessage.update_inventory"),
        "update_inventory" => ("TransactWriteItems.products+reservations", "SendMessage.create_order"),
        "create_order" => ("TransactWriteItems.orders", "SendMessage.send_confirmation"),
        "send_confirmation" => ("POST.v2-email-outbound-emails", "UpdateItem.TASK.complete"),
        _ => panic!("what does {step} call?"),
    };
    let claim = format!("UpdateItem.STEP#{step}.in_progress");
    let complete = format!("UpdateItem.STEP#{step}.complete");
    let calls = [claim.as_str(), "BatchGetItem.tasks", "handler", business, &complete, hand_over];
    calls.map(|call| format!("{step}.{call}")).to_vec()
}

#[tokio::test]
async fn every_call_of_every_step_has_a_point_before_and_after_it() {
    let mut crowd = Crowd::new().await;
    let plain = crowd.points_of_one(CHARGED).await;
    for call in STEPS.into_iter().flat_map(calls_of) {
        for side in ["before", "after"] {
            assert!(plain.contains(&format!("{call}.{side}")), "{call} has no point {side} it: {plain:#?}");
        }
    }
    let before: BTreeSet<&str> = plain.iter().filter_map(|point| point.strip_suffix(".before")).collect();
    let after: BTreeSet<&str> = plain.iter().filter_map(|point| point.strip_suffix(".after")).collect();
    assert_eq!(before, after, "a call that began has ended");

    let retried = crowd.points_of_one(CHARGED_AT_THE_SECOND_TRY).await;
    for call in ["UpdateItem.STEP#process_payment.retrying", "ChangeMessageVisibility.process_payment"] {
        assert!(retried.contains(&format!("process_payment.{call}.after")), "{call} has no point: {retried:#?}");
    }
}

#[tokio::test]
async fn a_function_that_dies_anywhere_leaves_its_checkout_to_the_next_and_so_does_the_next() {
    let mut crowd = Crowd::new().await;
    let plain = crowd.points_of_one(CHARGED).await;

    // A step that died can be found claimed, and found complete. What is done for it then has points of its own.
    let deaths = STEPS.into_iter().flat_map(|step| {
        ["handler.before".to_owned(), format!("UpdateItem.STEP#{step}.complete.after")]
            .map(|point| Wish::first(format!("{step}.{point}")))
    });
    crowd.grant(CHARGED, deaths.collect()).await;
    let mut recoveries: BTreeMap<String, Wish> = BTreeMap::new();
    for (task, died_at) in crowd.deaths() {
        for point in crowd.passed(&task).difference(&plain) {
            let wish = Wish { point: point.clone(), after_death_at: died_at.first().cloned() };
            recoveries.insert(point.clone(), wish);
        }
    }
    for step in STEPS {
        let taken_over = format!("{step}.UpdateItem.STEP#{step}.after");
        assert!(recoveries.contains_key(&taken_over), "{taken_over} is not in {recoveries:#?}");
    }

    // The one place that is not survived: stock has two attempts, and two workers that died had them.
    recoveries.remove("update_inventory.UpdateItem.STEP#update_inventory.after");

    let (first, again) = (plain.len(), recoveries.len());
    let wishes = plain.into_iter().map(Wish::first).chain(recoveries.into_values());
    crowd.grant(CHARGED, wishes.collect()).await;
    eprintln!("died at each of {first} points of a checkout, and again at each of {again} points of its recovery");
}

#[tokio::test]
async fn a_function_that_dies_while_it_puts_off_a_retry_leaves_it_to_the_next() {
    let mut crowd = Crowd::new().await;
    let plain = crowd.points_of_one(CHARGED).await;
    let retried = crowd.points_of_one(CHARGED_AT_THE_SECOND_TRY).await;
    let wishes: Vec<Wish> = retried.difference(&plain).cloned().map(Wish::first).collect();
    let count = wishes.len();
    assert!(count >= 4, "putting off is a write and a call to SQS: {wishes:?}");
    crowd.grant(CHARGED_AT_THE_SECOND_TRY, wishes).await;
    eprintln!("died at each of {count} points of a retry");
}
