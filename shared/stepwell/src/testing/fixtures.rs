//! Snapshots for the unit tests of `core`, and in `staged` a harness for those of `runtime`.

pub(crate) mod staged;

use crate::core::{
    backoff::Backoff,
    id::TaskId,
    plan::{Plan, StepPlan},
    record::{NewTask, StepRecord, TaskRecord},
    snapshot::TaskSnapshot,
    timestamp::Timestamp,
};

/// The time this many seconds after the start of the task.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + seconds * 1_000)
}

/// The name of the compensation of the step with this number.
pub(crate) fn compensation(step: usize) -> String {
    format!("u{step}")
}

/// Makes these steps of a new task optional.
pub(crate) fn with_optional(snapshot: TaskSnapshot, optional: &[&str]) -> TaskSnapshot {
    let TaskSnapshot { task, steps, compensations } = snapshot;
    let mark = |step: StepPlan| StepPlan { optional: optional.contains(&step.name.as_str()), ..step };
    let plan = task.plan.map_limits(mark);
    TaskSnapshot { task: TaskRecord { plan, ..task }, steps, compensations }
}

/// A new task of steps `s0`, `s1`, ... with these dependencies. `compensated` has the numbers of the steps with compensations.
pub(crate) fn snapshot(depends_on: &[&[usize]], compensated: &[usize]) -> TaskSnapshot {
    let step = |name: String, depends_on: &[usize], compensates: Option<String>| StepPlan {
        name,
        depends_on: depends_on.iter().map(|step| format!("s{step}")).collect(),
        max_attempts: 3,
        timeout_seconds: 30,
        backoff: Backoff::default(),
        compensates,
        after: None,
        optional: false,
    };
    let steps = depends_on.iter().enumerate().map(|(number, depends_on)| step(format!("s{number}"), depends_on, None));
    let compensations = compensated.iter().map(|&number| step(compensation(number), &[], Some(format!("s{number}"))));
    let plan = Plan::new(steps.chain(compensations).collect()).unwrap();
    let steps = plan.steps().iter().map(|step| StepRecord::untouched(&step.name)).collect();
    let task = NewTask {
        correlation_id: None,
        id: TaskId::new(),
        workflow: "tests/graph".to_owned(),
        context: "{}",
        plan: &plan,
        created_at: at(0),
    };
    TaskSnapshot { task: TaskRecord::from(&task), steps, compensations: Vec::new() }
}
