//! The names of the checkout's steps, read from the workflow file, for tests. A test that uses them instead of its own
//! list does not change when a step is added or moved.

#![allow(clippy::panic, reason = "a test with an unknown step, or without a workflow, has to fail loudly")]

use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::LazyLock};
use stepwell::{
    Workflow, WorkflowError,
    core::plan::{Plan, StepPlan},
};

/// The checkout's workflow.
///
/// # Panics
/// If the workflow file cannot be read. It panics outside of the lazy value, so that every test shows the reason, not
/// only the first one.
#[track_caller]
pub fn workflow() -> &'static Workflow {
    static WORKFLOW: LazyLock<Result<Workflow, WorkflowError>> = LazyLock::new(crate::workflow);
    WORKFLOW.as_ref().unwrap_or_else(|error| panic!("shared/checkout/src/checkout.yaml: {error}"))
}

/// The plan of a checkout of standard priority.
#[track_caller]
pub fn plan() -> &'static Plan {
    workflow().plan()
}

/// All steps, in topological order.
#[track_caller]
pub fn all() -> Vec<&'static str> {
    names(plan().steps())
}

/// The root steps.
#[track_caller]
pub fn roots() -> Vec<&'static str> {
    names(plan().roots())
}

/// The direct and indirect dependencies of a step, in order.
#[track_caller]
pub fn before(step: &str) -> Vec<&'static str> {
    let ancestors = plan().ancestors(planned(step));
    all().into_iter().filter(|name| ancestors.contains(name)).collect()
}

/// The direct and indirect dependencies of a step, in order, and the step itself as the last.
#[track_caller]
pub fn up_to(step: &str) -> Vec<&'static str> {
    let mut steps = before(step);
    steps.push(&planned(step).name);
    steps
}

/// All compensations, in the order in which they run after all steps are complete.
#[track_caller]
pub fn compensations() -> Vec<&'static str> {
    compensations_of(&all())
}

/// The compensations of these steps, in the order in which they run if no other step was attempted.
#[track_caller]
pub fn compensations_of(steps: &[&str]) -> Vec<&'static str> {
    let attempted: BTreeSet<&str> = steps.iter().map(|step| planned(step).name.as_str()).collect();
    let graph = plan().compensation_graph(|step| attempted.contains(step));
    names(graph.iter().filter_map(|compensation| plan().step(&compensation.name)))
}

/// The field `progress` of the API's answer, for a checkout that has completed these steps.
#[track_caller]
pub fn progress(done: &[&str]) -> Value {
    let (completed, total) = (done.len(), all().len());
    json!({"completed": completed, "total": total, "percentage": completed * 100 / total})
}

#[track_caller]
fn planned(step: &str) -> &'static StepPlan {
    let found = plan().steps().iter().find(|planned| planned.name == step);
    found.unwrap_or_else(|| panic!("the checkout has no step `{step}`; it has {}", all().join(", ")))
}

fn names(steps: impl IntoIterator<Item = &'static StepPlan>) -> Vec<&'static str> {
    steps.into_iter().map(|step| step.name.as_str()).collect()
}
