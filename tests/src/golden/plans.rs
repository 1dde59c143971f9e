//! The plans of the fixtures' tasks. Every number is written out, also where it is the engine's default: stored plans leave
//! defaults out, so a changed default changes what a stored plan says.

use stepwell::core::{
    backoff::Backoff,
    plan::{Compensate, Plan, StepPlan},
};

/// What a step had for its backoff in version 1 where nothing else was said.
const USUAL_BACKOFF: Backoff = Backoff { base_seconds: 1, multiplier: 2.0, max_seconds: 300, jitter: 0.1 };

/// A step with the limits that version 1 leaves out.
fn step(name: &str, depends_on: &[&str]) -> StepPlan {
    StepPlan {
        name: name.to_owned(),
        depends_on: depends_on.iter().map(|&name| name.to_owned()).collect(),
        max_attempts: 3,
        timeout_seconds: 30,
        backoff: USUAL_BACKOFF,
        compensates: None,
    }
}

/// A compensation with the limits that version 1 leaves out.
fn compensation(name: &str, undoes: &str) -> StepPlan {
    StepPlan { max_attempts: 50, compensates: Some(undoes.to_owned()), ..step(name, &[]) }
}

/// With the policy that version 1 leaves out.
fn plan(steps: Vec<StepPlan>) -> Plan {
    Plan::new(steps).expect("a plan").compensating(Compensate::OnError, 0).redriving(0)
}

/// One step of which nothing but its name is stored.
pub(super) fn one_step() -> Plan {
    plan(vec![step("charge", &[])])
}

/// Two steps, the first of which can be undone.
pub(super) fn undoable() -> Plan {
    plan(vec![step("reserve", &[]), compensation("release", "reserve"), step("charge", &["reserve"])])
}

/// Three steps, the first two of which can be undone.
pub(super) fn twice_undoable() -> Plan {
    plan(vec![
        step("reserve", &[]),
        compensation("release", "reserve"),
        step("charge", &["reserve"]),
        compensation("refund", "charge"),
        step("ship", &["charge"]),
    ])
}

/// One step, and two that wait for it and for which nothing waits.
pub(super) fn leaves() -> Plan {
    plan(vec![step("charge", &[]), step("ship", &["charge"]), step("mail", &["charge"])])
}

/// Three steps that wait for nothing.
pub(super) fn roots() -> Plan {
    plan(["charge", "mail", "reserve"].map(|name| step(name, &[])).to_vec())
}

/// One step, redriven twice at most, and undone an hour after its failure.
pub(super) fn redriving() -> Plan {
    plan(vec![step("charge", &[]), compensation("refund", "charge")])
        .compensating(Compensate::OnError, 3_600)
        .redriving(2)
}

/// Every field has its default, compensation included.
pub(super) fn all_default() -> Plan {
    plan(vec![step("charge", &[]), compensation("refund", "charge"), step("ship", &["charge"])])
}

/// Every field has something else than its default, on both ways in which a compensation is stored.
pub(super) fn nothing_default() -> Plan {
    let backoff = Backoff { base_seconds: 5, multiplier: 1.5, max_seconds: 43_200, jitter: 0.25 };
    let reserve = StepPlan { max_attempts: 7, timeout_seconds: 45, backoff, ..step("reserve", &[]) };
    // Stored by its name alone: its timeout is that of its step.
    let release = StepPlan { timeout_seconds: 45, ..compensation("release", "reserve") };
    let charge = StepPlan { max_attempts: 1, timeout_seconds: 840, ..step("charge", &["reserve"]) };
    let backoff = Backoff { base_seconds: 60, multiplier: 3.0, max_seconds: 3_600, jitter: 0.0 };
    let refund = StepPlan { max_attempts: 9, timeout_seconds: 60, backoff, ..compensation("refund", "charge") };
    let ship = StepPlan { max_attempts: 50, ..step("ship", &["charge", "reserve"]) };
    // Stored in full, because of its limit alone.
    let call_back = StepPlan { max_attempts: 3, ..compensation("call_back", "ship") };
    plan(vec![reserve, release, charge, refund, ship, call_back]).compensating(Compensate::OnCancel, 600).redriving(10)
}
