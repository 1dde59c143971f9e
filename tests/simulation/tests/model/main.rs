//! Verifies every state of the model's small scopes, and that the checker finds the bugs of broken protocols.

#![allow(clippy::panic, reason = "clippy.toml allows it in tests, but not in what the tests call")]

use stepwell_simulation::model::{Bug, Faults, Scope, Set, small_scopes, verify};

const CRASHES: Faults = Faults { crashes: true, ..Faults::NONE };

#[track_caller]
fn finds(property: &str, scope: &Scope) {
    let Err(flaw) = verify(scope, 1) else { panic!("the protocol is broken, and nothing was found") };
    assert_eq!(flaw.property, property, "{flaw}");
}

#[test]
fn every_state_of_the_small_scopes_is_safe_and_reaches_an_end() {
    for scope in small_scopes() {
        let figures = verify(&scope, 2).unwrap_or_else(|flaw| panic!("{}: {flaw}", scope.name));
        println!("{:<66}{figures:?}", scope.name);
    }
}

#[test]
fn lost_message_without_a_watchdog_leaves_the_task_stuck() {
    let lost = Faults { lost_messages: true, ..Faults::NONE };
    finds("nothing is stuck", &Scope::chain("", 1, lost).without_watchdog());
}

/// A known limit that the watchdog covers: two workers hold a repeated message at once. The one that received it first
/// acknowledges it after the other has completed the step and died.
#[test]
fn repeated_message_delivered_twice_at_once_needs_the_watchdog() {
    let twice = Faults { duplicates: true, ..CRASHES };
    finds("nothing is stuck", &Scope::chain("", 2, twice).without_watchdog());
}

#[test]
fn acknowledgement_before_the_dispatch_is_found() {
    let scope = Scope::chain("", 2, CRASHES).without_watchdog();
    finds("nothing is stuck", &scope.with(Bug::AcknowledgeBeforeDispatch));
}

#[test]
fn missing_fence_is_found() {
    let faults = Faults { duplicates: true, slow_workers: true, ..Faults::NONE };
    let scope = Scope::chain("", 1, faults).max_attempts(2).with(Bug::NoFence);
    finds("steps and task move only along the tables of states", &scope);
}

#[test]
fn failed_step_whose_message_does_not_wait_for_recovery_is_found() {
    let fails = Faults { permanent: true, ..Faults::NONE };
    let scope = Scope::chain("", 1, fails).compensated().without_watchdog();
    finds("nothing is stuck", &scope.with(Bug::RecoveryForgotten));
}

#[test]
fn inverted_lease_comparison_is_found() {
    let scope = Scope::chain("", 1, CRASHES).without_watchdog();
    finds("left alone, every task comes to rest", &scope.with(Bug::LeaseComparisonInverted));
}

#[test]
fn join_that_counts_arrivals_is_found() {
    let scope = Scope::diamond("", CRASHES).without_watchdog();
    finds("nothing is stuck", &scope.with(Bug::JoinCounted));
}

#[test]
fn trusted_message_is_found() {
    let stray = Faults { stray_messages: true, ..Faults::NONE };
    finds(
        "a handler begins only after all it depends on is done",
        &Scope::chain("", 2, stray).with(Bug::MessageTrusted),
    );
}

#[test]
fn step_that_begins_in_a_cancelled_task_is_found() {
    let cancels = Faults { cancels: true, ..Faults::NONE };
    finds("nothing begins in a task that was found closed", &Scope::chain("", 1, cancels).with(Bug::StatusNotChecked));
}

#[test]
fn failed_step_in_an_open_task_is_found() {
    let fails = Faults { permanent: true, ..Faults::NONE };
    finds(
        "a failed step shows in its task unless it is optional, and only that does",
        &Scope::chain("", 1, fails).with(Bug::FailWithoutTask),
    );
}

#[test]
fn failed_optional_step_that_does_not_count_is_found() {
    let fails = Faults { permanent: true, ..Faults::NONE };
    finds(
        "left alone, every task comes to rest",
        &Scope::chain("", 2, fails).optional(1).with(Bug::OptionalFailureNotCounted),
    );
}

#[test]
fn failed_optional_compensation_that_does_not_count_is_found() {
    let faults = Faults { permanent: true, cancels: true, ..Faults::NONE };
    let scope =
        Scope::chain("", 2, faults).without_watchdog().compensated_after(|_| Set::default()).compensated_optionally(1);
    finds("nothing is stuck", &scope.with(Bug::OptionalFailureNotCounted));
}

#[test]
fn idempotency_key_per_attempt_is_found() {
    let fails = Faults { retryable: true, ..Faults::NONE };
    finds("a step is charged once", &Scope::chain("", 1, fails).max_attempts(2).with(Bug::KeyPerAttempt));
}

#[test]
fn compensation_that_does_not_void_the_key_is_found() {
    let faults = Faults { slow_workers: true, cancels: true, ..Faults::NONE };
    let scope = Scope::chain("", 1, faults).compensated();
    finds("after compensation nothing is charged and kept", &scope.with(Bug::RefundWithoutVoid));
}

#[test]
fn compensation_that_does_not_wait_for_steps_in_flight_is_found() {
    let cancels = Faults { cancels: true, ..Faults::NONE };
    let scope = Scope::chain("", 1, cancels).compensated();
    finds("once compensations run no step is waiting or in flight", &scope.with(Bug::ClosedInFlight));
}

#[test]
fn compensation_that_is_loaded_before_it_is_claimed_is_found() {
    let faults = Faults { refuses: true, cancels: true, ..Faults::NONE };
    let scope = Scope::chain("", 2, faults).compensated_after(|_| Set::default());
    finds("of a complete task nothing is undone", &scope.with(Bug::CompensationLoadedFirst));
}

#[test]
fn compensation_that_waits_for_a_failed_sibling_is_found() {
    let faults = Faults { permanent: true, cancels: true, ..Faults::NONE };
    let scope = Scope::chain("", 2, faults).compensated_after(|_| Set::default());
    finds("left alone, every task comes to rest", &scope.with(Bug::SiblingWaits));
}

#[test]
fn step_that_misses_its_deadline_while_another_worker_has_claimed_it_is_found() {
    let scope = Scope::chain("", 1, Faults { stray_messages: true, deadline: true, breaker: true, ..Faults::NONE });
    finds("steps and task move only along the tables of states", &scope.with(Bug::DeadlineMissedInFlight));
}

#[test]
fn step_that_begins_after_the_deadline_is_found() {
    let deadline = Faults { deadline: true, ..Faults::NONE };
    let property = "nothing that the deadline holds for begins after it";
    finds(property, &Scope::chain("", 1, deadline).with(Bug::DeadlineNotChecked));
}

#[test]
fn redrive_after_the_deadline_is_found() {
    let faults = Faults { deadline: true, permanent: true, redrives: true, ..Faults::NONE };
    finds("what is written is what its rule allows", &Scope::chain("", 1, faults).with(Bug::RedrivenAfterDeadline));
}
