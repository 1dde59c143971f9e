//! The answers of the operators' API, as far as they are shown.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A page of tasks.
#[derive(Deserialize)]
pub(super) struct TaskPage {
    pub(super) tasks: Vec<Box<RawValue>>,
    pub(super) next: Option<String>,
}

/// A task in a list.
#[derive(Deserialize)]
pub(super) struct ListedTask {
    pub(super) task_id: String,
    pub(super) workflow: String,
    pub(super) status: String,
    pub(super) created_at: String,
    pub(super) failed_steps: Vec<String>,
    pub(super) compensated: bool,
    pub(super) needs_person: bool,
    pub(super) step: Option<ListedStep>,
}

/// A step of a task in a list.
#[derive(Deserialize)]
pub(super) struct ListedStep {
    pub(super) name: String,
    pub(super) state: String,
    pub(super) attempt: u32,
    pub(super) error_code: Option<String>,
    pub(super) next_retry_at: Option<String>,
}

/// A whole task.
#[derive(Deserialize)]
pub(super) struct Task {
    pub(super) task_id: String,
    pub(super) workflow: String,
    pub(super) status: String,
    pub(super) started_at: String,
    pub(super) completed_at: Option<String>,
    pub(super) compensated: bool,
    pub(super) rerun_as: Option<RerunAs>,
    pub(super) rerun_of: Option<String>,
    pub(super) redrives_at: Option<String>,
    pub(super) compensates_at: Option<String>,
    /// The steps that it waits for because they are paused.
    #[serde(default)]
    pub(super) paused: Vec<PausedStep>,
    pub(super) warnings: Vec<Warning>,
    #[serde(default)]
    pub(super) refusals: Vec<Refusal>,
    pub(super) steps: Vec<Step>,
    pub(super) compensations: Vec<Step>,
    pub(super) actions: Vec<Action>,
    pub(super) newer_format: Option<NewerFormat>,
    /// None from an API of an older version.
    pub(super) cost: Option<Cost>,
}

/// What a task has cost.
#[derive(Deserialize)]
pub(super) struct Cost {
    pub(super) write_units: u64,
    pub(super) read_units: f64,
    pub(super) sqs_requests: u64,
    pub(super) invocations: u64,
    pub(super) dollars: String,
}

/// What a task has cost, in the API's words.
#[derive(Deserialize)]
pub(super) struct CostAsSaid {
    pub(super) cost: Box<RawValue>,
}

/// What a task was, or is to be, rerun as.
#[derive(Deserialize)]
pub(super) struct RerunAs {
    pub(super) task_id: String,
    pub(super) started: bool,
}

/// An optional step that failed for good.
#[derive(Deserialize)]
pub(super) struct Warning {
    pub(super) step: String,
    pub(super) code: String,
    pub(super) message: String,
}

/// A cancellation that a compensation refused.
#[derive(Deserialize)]
pub(super) struct Refusal {
    pub(super) at: String,
    pub(super) step: String,
    pub(super) error: StepError,
}

#[derive(Deserialize)]
pub(super) struct StepError {
    pub(super) code: String,
    pub(super) message: String,
}

#[derive(Deserialize)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) status: String,
    pub(super) attempts: Vec<Attempt>,
    pub(super) error: Option<StepError>,
    pub(super) next_retry_at: Option<String>,
    pub(super) kept_from: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Attempt {
    pub(super) number: u32,
    pub(super) started_at: String,
    pub(super) duration_ms: Option<u64>,
    pub(super) outcome: String,
    pub(super) error: Option<StepError>,
    pub(super) next_retry_at: Option<String>,
}

/// The graph of a task.
#[derive(Deserialize)]
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
}

/// A step or a compensation in the graph.
#[derive(Deserialize)]
pub(super) struct Node {
    pub(super) name: String,
    /// None for a compensation that is not to run.
    pub(super) state: Option<String>,
    pub(super) depends_on: Vec<String>,
    pub(super) compensates: Option<String>,
}

/// An entry of the audit trail.
#[derive(Deserialize)]
pub(super) struct Action {
    pub(super) at: String,
    pub(super) what: String,
    pub(super) step: Option<String>,
    pub(super) who: String,
    pub(super) why: String,
}

/// The formats of a task that a newer version wrote.
#[derive(Deserialize)]
pub(super) struct NewerFormat {
    pub(super) written: i64,
    pub(super) needs: i64,
}

/// What an action on a task has come to.
#[derive(Deserialize)]
pub(super) struct Accepted {
    pub(super) task_id: String,
    pub(super) status: String,
}

/// The task that a rerun is.
#[derive(Deserialize)]
pub(super) struct Rerun {
    pub(super) task_id: String,
    pub(super) rerun_of: String,
    pub(super) status: String,
}

#[derive(Deserialize)]
pub(super) struct Shipped {
    pub(super) order_id: String,
    pub(super) shipped_at: String,
}

#[derive(Deserialize)]
pub(super) struct Resent {
    pub(super) order_id: String,
    pub(super) status: String,
    pub(super) recipient: String,
}

/// How many tasks a bulk action would act on.
#[derive(Deserialize)]
pub(super) struct DryRun {
    pub(super) count: usize,
    pub(super) or_more: bool,
    pub(super) sample: Vec<ListedTask>,
}

/// A bulk action.
#[derive(Deserialize)]
pub(super) struct Bulk {
    pub(super) bulk_id: String,
    pub(super) action: String,
    pub(super) filter: BTreeMap<String, serde_json::Value>,
    pub(super) status: String,
    pub(super) started_at: String,
    pub(super) who: String,
    pub(super) why: String,
    pub(super) expected_count: u64,
    pub(super) done: u64,
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) expected_end: Option<String>,
}

impl Bulk {
    /// Whether the engine still carries it on.
    pub(super) fn goes_on(&self) -> bool {
        matches!(self.status.as_str(), "running" | "stopping")
    }
}

#[derive(Deserialize)]
pub(super) struct BulkList {
    pub(super) bulk_actions: Vec<Bulk>,
}

/// A page of what became of the tasks of a bulk action.
#[derive(Deserialize)]
pub(super) struct ResultPage {
    pub(super) results: Vec<Box<RawValue>>,
    pub(super) next: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct TaskResult {
    pub(super) task_id: String,
    pub(super) result: String,
    pub(super) reason: Option<String>,
}

/// The workflows of the shop.
#[derive(Deserialize)]
pub(super) struct Workflows {
    pub(super) workflows: Vec<Workflow>,
}

/// The answer to a copy.
#[derive(Deserialize)]
pub(super) struct Copied {
    pub(super) task_id: String,
    pub(super) copy_of: String,
    pub(super) status: String,
}

/// A workflow, as its file says.
#[derive(Deserialize)]
pub(super) struct Workflow {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) description: String,
    pub(super) steps: Vec<PlannedStep>,
    pub(super) compensations: Vec<PlannedStep>,
    pub(super) compensate: String,
    pub(super) compensate_after_seconds: Option<u64>,
    pub(super) redrives_after_seconds: Vec<u64>,
    pub(super) complete_within_seconds: Option<u64>,
    pub(super) point_of_no_return: Option<String>,
    pub(super) search_keys: Vec<String>,
}

/// A step or a compensation of a workflow.
#[derive(Deserialize)]
pub(super) struct PlannedStep {
    pub(super) name: String,
    pub(super) depends_on: Vec<String>,
    pub(super) compensates: Option<String>,
    pub(super) optional: bool,
    pub(super) max_attempts: Option<u32>,
    pub(super) timeout_seconds: u32,
    pub(super) waits_on: Option<String>,
    pub(super) paused: Option<Pause>,
}

/// A pause in force.
#[derive(Deserialize)]
pub(super) struct Pause {
    pub(super) since: String,
    pub(super) by: String,
    pub(super) reason: String,
    #[serde(default)]
    pub(super) also: Vec<Pause>,
}

impl Pause {
    /// When the last reason was given.
    pub(super) fn newest(&self) -> &str {
        self.also.last().map_or(&self.since, |last| &last.since)
    }
}

/// A step that may be paused, which the version that answers cannot tell.
#[derive(Deserialize)]
pub(super) struct UnknownPause {
    pub(super) workflow: String,
    pub(super) step: String,
}

/// A step that is paused.
#[derive(Deserialize)]
pub(super) struct PausedStep {
    pub(super) workflow: String,
    pub(super) step: String,
    #[serde(flatten)]
    pub(super) pause: Pause,
}

/// How a step stands after it was paused or resumed.
#[derive(Deserialize)]
pub(super) struct StepStanding {
    pub(super) workflow: String,
    pub(super) step: String,
    pub(super) paused: Option<Pause>,
    pub(super) told: bool,
}

/// How the open tasks stand.
#[derive(Deserialize)]
pub(super) struct Health {
    pub(super) open: Counted,
    pub(super) failed: Counted,
    pub(super) compensating: Counted,
    pub(super) overdue: Counted,
    pub(super) stuck: Counted,
    pub(super) needs_person: Counted,
    pub(super) dead_lettered: Counted,
    #[serde(default)]
    pub(super) paused_steps: Vec<PausedStep>,
    #[serde(default)]
    pub(super) unknown_pauses: Vec<UnknownPause>,
}

/// A number of tasks, of which there may be more.
#[derive(Deserialize)]
pub(super) struct Counted {
    pub(super) tasks: usize,
    pub(super) or_more: bool,
    #[serde(default)]
    pub(super) oldest_seconds: Option<u64>,
}
