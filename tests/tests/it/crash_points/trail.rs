//! What the audit trail has to say of a checkout's deaths.

use super::flow::Flow;
use stepwell_tests::api::Details;

/// That each step's trail has a lost attempt for each death that took one, and no other; and that the step's message was
/// worked again after its death.
pub(super) fn check(what: &str, flow: Flow, details: &Details, passed: &[String], died_at: &[String]) {
    let lost: Vec<(&str, Option<bool>)> = died_at
        .iter()
        .enumerate()
        .map(|(number, point)| (step_of(point), takes_an_attempt(passed, point, number)))
        .collect();
    for step in flow.attempted() {
        let outcomes = details.outcomes(step);
        assert_eq!(outcomes.last(), Some(&flow.last_outcome(step)), "{what}: {step} {outcomes:?}");
        let found = outcomes.iter().filter(|outcome| **outcome == "lost").count();
        let of_step = || lost.iter().filter(|(of, _)| *of == step);
        let least = of_step().filter(|(_, taken)| *taken == Some(true)).count();
        let most = of_step().filter(|(_, taken)| *taken != Some(false)).count();
        assert!((least..=most).contains(&found), "{what}: {least} to {most} attempts lost, {step} says {outcomes:?}");
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

fn claim(step: &str) -> String {
    format!("{step}.UpdateItem.STEP#{step}.in_progress")
}

/// Whether the worker held the step when it died here. `None` where its claim was under way.
fn takes_an_attempt(passed: &[String], point: &str, deaths_before: usize) -> Option<bool> {
    let step = step_of(point);
    if deaths_before > 0 {
        // What a recovery alone passes: it finds the step claimed, and has it with the write that takes it over.
        return Some(point == format!("{step}.UpdateItem.STEP#{step}.after"));
    }
    if point.contains(".Query.") {
        // The whole task is looked at by those who do not hold a step of it, or not any more.
        return Some(false);
    }
    let (begins, claimed) = (format!("{}.before", claim(step)), format!("{}.after", claim(step)));
    let ended = ["complete", "retrying", "error"].map(|state| format!("STEP#{step}.{state}"));
    let death = passed.iter().position(|passed| passed == point)?;
    for (index, passed) in passed[..=death].iter().enumerate().rev() {
        if *passed == claimed {
            return Some(true);
        } else if passed.starts_with(&format!("{step}."))
            && passed.ends_with(".after")
            && ended.iter().any(|end| passed.contains(end))
        {
            return Some(false);
        } else if *passed == begins && index < death {
            return None;
        }
    }
    Some(false)
}
