//! What a step may do: the calls that the engine makes for it, and nothing else.

use std::collections::BTreeSet;
use stepwell::core::plan::{Plan, StepPlan};

/// The steps and compensations that the worker of this step or compensation can send a message to, by name.
///
/// * A step wakes its dependents.
/// * Whoever comes to an end while the task is being compensated starts the first compensation that is not done. For a step
///   that is none of a step which depends on it: those have not begun. For a compensation it is none of those before it:
///   the compensations of all that depends on the step that it undoes.
/// * Where the workflow says `restarts`, a message of a failed step that comes again may find the task due to be restarted,
///   and then wakes all that has failed: the step itself, and steps that are neither before nor after it.
pub fn sends(plan: &Plan, of: &StepPlan) -> BTreeSet<String> {
    let step = of.undoes.as_deref().unwrap_or(&of.name);
    let comes_after = |name: &str| plan.step(name).is_some_and(|other| plan.ancestors(other).contains(step));
    let compensations = plan.compensations().iter().filter(|compensation| compensation.name != of.name);
    let startable = compensations.filter(|other| !other.undoes.as_deref().is_some_and(comes_after));
    let mut found: BTreeSet<&str> = startable.map(|compensation| compensation.name.as_str()).collect();
    if of.undoes.is_none() {
        found.extend(plan.dependents(step).map(|dependent| dependent.name.as_str()));
        let restarted = !plan.compensations().is_empty() && plan.restarts_after(0).is_some();
        let before = plan.ancestors(of);
        let fails_with_it = |other: &&StepPlan| !before.contains(other.name.as_str()) && !comes_after(&other.name);
        found.extend(plan.steps().iter().filter(|_| restarted).filter(fails_with_it).map(|step| step.name.as_str()));
    }
    found.into_iter().map(str::to_owned).collect()
}

/// What the engine does to the tasks table in a step's function: it reads the steps that this one takes from, claims, ends
/// and releases steps, takes away a claim that belongs to no task, and reads the whole task to compensate it.
pub const TASKS_ACTIONS: [&str; 4] =
    ["dynamodb:BatchGetItem", "dynamodb:DeleteItem", "dynamodb:Query", "dynamodb:UpdateItem"];

/// What Lambda does to the queue in the name of its function, and the engine to hide a message.
pub const OWN_QUEUE_ACTIONS: [&str; 4] =
    ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"];

/// What a function does to its log.
pub const LOG_ACTIONS: [&str; 2] = ["logs:CreateLogStream", "logs:PutLogEvents"];

#[cfg(test)]
mod tests {
    use super::*;
    use stepwell::Workflow;

    fn sent(file: &str, step: &str) -> Vec<String> {
        let workflow = Workflow::from_yaml(file).unwrap();
        let plan = workflow.plan();
        sends(plan, plan.step(step).unwrap()).into_iter().collect()
    }

    const CHAIN: &str = "name: w\nrestarts: 1\nstep_templates:\n  - {name: a, compensation: {name: undo_a}}\n  - {name: b, \
        depends_on_step: a, compensation: {name: undo_b}}\n  - {name: c, depends_on_step: b}\n";

    #[test]
    fn a_step_wakes_its_dependents_itself_and_what_undoes_it_or_what_is_before_it() {
        assert_eq!(sent(CHAIN, "a"), ["a", "b", "undo_a"]);
        assert_eq!(sent(CHAIN, "b"), ["b", "c", "undo_a", "undo_b"]);
        assert_eq!(sent(CHAIN, "c"), ["c", "undo_a", "undo_b"]);
        let without_restarts = CHAIN.replace("restarts: 1", "restarts: 0");
        assert_eq!(sent(&without_restarts, "c"), ["undo_a", "undo_b"]);
    }

    #[test]
    fn a_compensation_starts_those_that_come_after_it_and_never_a_step() {
        assert_eq!(sent(CHAIN, "undo_b"), ["undo_a"]);
        assert_eq!(sent(CHAIN, "undo_a"), [""; 0]);
    }

    #[test]
    fn steps_beside_each_other_can_fail_together_and_be_undone_in_any_order() {
        let fork = CHAIN.replace("depends_on_step: b", "depends_on_step: a");
        assert_eq!(sent(&fork, "c"), ["b", "c", "undo_a", "undo_b"]);
        assert_eq!(sent(&fork, "b"), ["b", "c", "undo_a", "undo_b"]);
    }

    #[test]
    fn without_compensations_only_dependents_are_woken() {
        let plain = "name: w\nrestarts: 1\nstep_templates: [{name: a}, {name: b, depends_on_step: a}]";
        assert_eq!(sent(plain, "a"), ["b"]);
        assert_eq!(sent(plain, "b"), [""; 0]);
    }
}
