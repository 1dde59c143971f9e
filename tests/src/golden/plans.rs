//! The plans of the fixtures' tasks. Every number is written out, even where it is the engine's default: stored plans
//! leave defaults out, so a changed default changes the meaning of a stored plan.

use stepwell::core::{
    backoff::Backoff,
    plan::{Compensate, Plan, StepPlan},
};

/// The default backoff of a step in version 1.
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
        after: None,
        optional: false,
    }
}

/// A compensation with the limits that version 1 leaves out.
fn compensation(name: &str, undoes: &str) -> StepPlan {
    StepPlan { max_attempts: 50, compensates: Some(undoes.to_owned()), ..step(name, &[]) }
}

/// A plan with the policy that version 1 leaves out.
fn plan(steps: Vec<StepPlan>) -> Plan {
    Plan::new(steps).expect("a plan").compensating(Compensate::OnError, 0).redriving(0)
}

/// One step, of which only the name is stored.
pub(super) fn one_step() -> Plan {
    plan(vec![step("charge", &[])])
}

/// Two steps, the first of which has a compensation.
pub(super) fn compensated() -> Plan {
    plan(vec![step("reserve", &[]), compensation("release", "reserve"), step("charge", &["reserve"])])
}

/// Three steps, the first two of which have compensations.
pub(super) fn twice_compensated() -> Plan {
    plan(vec![
        step("reserve", &[]),
        compensation("release", "reserve"),
        step("charge", &["reserve"]),
        compensation("refund", "charge"),
        step("ship", &["charge"]),
    ])
}

/// A root with two leaves.
pub(super) fn leaves() -> Plan {
    plan(vec![step("charge", &[]), step("ship", &["charge"]), step("mail", &["charge"])])
}

/// A root with two leaves, of which one is optional.
#[cfg(test)]
pub(super) fn optional() -> Plan {
    let mail = StepPlan { optional: true, ..step("mail", &["charge"]) };
    plan(vec![step("charge", &[]), step("ship", &["charge"]), mail])
}

/// Three steps whose compensations form a graph: two of them wait for the third.
#[cfg(test)]
pub(super) fn graph() -> Plan {
    let undo = |name: &str, undoes: &str, after: &[&str]| StepPlan {
        after: Some(after.iter().map(|&name| name.to_owned()).collect()),
        ..compensation(name, undoes)
    };
    plan(vec![
        step("reserve", &[]),
        undo("release", "reserve", &["call_back"]),
        step("charge", &["reserve"]),
        undo("refund", "charge", &["call_back"]),
        step("ship", &["charge"]),
        undo("call_back", "ship", &[]),
    ])
}

/// Three roots.
pub(super) fn roots() -> Plan {
    plan(["charge", "mail", "reserve"].map(|name| step(name, &[])).to_vec())
}

/// One step, redriven twice at most, and compensated an hour after its failure.
pub(super) fn redriving() -> Plan {
    plan(vec![step("charge", &[]), compensation("refund", "charge")])
        .compensating(Compensate::OnError, 3_600)
        .redriving(2)
}

/// A plan in which every field has its default, compensation included.
pub(super) fn all_default() -> Plan {
    plan(vec![step("charge", &[]), compensation("refund", "charge"), step("ship", &["charge"])])
}

/// A plan in which no field has its default, with both stored forms of a compensation.
pub(super) fn nothing_default() -> Plan {
    let backoff = Backoff { base_seconds: 5, multiplier: 1.5, max_seconds: 43_200, jitter: 0.25 };
    let reserve = StepPlan { max_attempts: 7, timeout_seconds: 45, backoff, ..step("reserve", &[]) };
    // Stored by its name alone: its timeout is that of its step.
    let release = StepPlan { timeout_seconds: 45, ..compensation("release", "reserve") };
    let charge = StepPlan { max_attempts: 1, timeout_seconds: 840, ..step("charge", &["reserve"]) };
    let backoff = Backoff { base_seconds: 60, multiplier: 3.0, max_seconds: 3_600, jitter: 0.0 };
    let refund = StepPlan { max_attempts: 9, timeout_seconds: 60, backoff, ..compensation("refund", "charge") };
    let ship = StepPlan { max_attempts: 50, ..step("ship", &["charge", "reserve"]) };
    // Stored in full, because only its limit differs.
    let call_back = StepPlan { max_attempts: 3, ..compensation("call_back", "ship") };
    plan(vec![reserve, release, charge, refund, ship, call_back]).compensating(Compensate::OnCancel, 600).redriving(10)
}
