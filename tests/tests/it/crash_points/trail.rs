//! Checks the audit trail of a checkout after its deaths.

use super::flow::Flow;
use stepwell_tests::api::Details;

/// Checks that each step's trail has one lost attempt for each death that took one, and no other; and that the step's
/// message was delivered again after its death.
pub(super) fn check(what: &str, flow: Flow, details: &Details, passed: &[String], died_at: &[String]) {
    let lost: Vec<(&str, Option<bool>)> = died_at
        .iter()
        .enumerate()
        .map(|(number, point)| (step_of(point), takes_an_attempt(passed, point, &died_at[..number])))
        .collect();
    for step in flow.attempted() {
        let outcomes = details.outcomes(step);
        assert_eq!(outcomes.last(), Some(&flow.last_outcome(step)), "{what}: {step} {outcomes:?}");
        let found = outcomes.iter().filter(|outcome| **outcome == "lost").count();
        let of_step = || lost.iter().filter(|(of, _)| *of == step);
        let least = of_step().filter(|(_, taken)| *taken == Some(true)).count();
        let most = of_step().filter(|(_, taken)| *taken != Some(false)).count();
        assert!(
            (least..=most).contains(&found),
            "{what}: {least} to {most} attempts lost, {step} says {outcomes:?}: {passed:#?}"
        );
    }
    for point in died_at {
        let begins = format!("{}.before", claim(step_of(point)));
        let death = passed.iter().position(|passed| passed == point).expect("it is recorded");
        assert!(passed[death + 1..].contains(&begins), "{what} was not tried again: {passed:#?}");
    }
}

fn step_of(point: &str) -> &str {
    point.split('.').next().expect("a step")
}

/// Whether a point is before or after a write by which the step's worker ends its attempt.
fn is_end_of(step: &str, point: &str) -> bool {
    let ended = ["complete", "retrying", "error"].map(|state| format!("STEP#{step}.{state}"));
    point.starts_with(&format!("{step}.")) && ended.iter().any(|end| point.contains(end))
}

fn claim(step: &str) -> String {
    format!("{step}.UpdateItem.STEP#{step}.in_progress")
}

/// Whether the worker owned the step when it died at this point. `None` where its claim was under way.
fn takes_an_attempt(passed: &[String], point: &str, died_before: &[String]) -> Option<bool> {
    let step = step_of(point);
    if !died_before.is_empty() {
        // Only a take-over passes this point: it finds the step claimed, and owns it with its write. Unless the worker
        // whose lease was over has lived long enough to end the step first: then the take-over may have been refused.
        let is_take_over = point == format!("{step}.UpdateItem.STEP#{step}.after");
        let death = passed.iter().position(|passed| passed == point)?;
        let has_ended = passed[..death].iter().any(|passed| is_end_of(step, passed) && !died_before.contains(passed));
        return if is_take_over && has_ended { None } else { Some(is_take_over) };
    }
    if point.contains(".Query.") {
        // Only a worker that does not own a step, or owns it no longer, reads the whole task.
        return Some(false);
    }
    let (begins, claimed) = (format!("{}.before", claim(step)), format!("{}.after", claim(step)));
    let death = passed.iter().position(|passed| passed == point)?;
    for (index, passed) in passed[..=death].iter().enumerate().rev() {
        if *passed == claimed {
            return Some(true);
        } else if passed.ends_with(".after") && is_end_of(step, passed) {
            return Some(false);
        } else if *passed == begins && index < death {
            return None;
        }
    }
    Some(false)
}
