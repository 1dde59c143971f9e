//! A whole task as JSON, step by step and attempt by attempt.
//!
//! It leaves out the context, which has the card's token.

use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use stepwell::{
    CorrelationId, TaskId, Timestamp,
    core::{
        plan::Plan,
        record::{AttemptRecord, Failure, Outcome, Refusal, StepRecord},
        snapshot::TaskSnapshot,
        state::{StepState, TaskStatus},
    },
};

/// The public view of a task, for everybody who has its id. It leaves out the audit trail.
#[derive(Serialize, schemars::JsonSchema)]
pub struct Details<'a> {
    task_id: TaskId,
    workflow: &'a str,
    status: TaskStatus,
    started_at: Timestamp,
    /// What the caller of its start called it: every log line of its steps has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    completed_at: Option<Timestamp>,
    total_duration_ms: Option<u64>,
    steps: Vec<StepDetails<'a>>,
    /// The compensations, each after those that it waits for.
    compensations: Vec<StepDetails<'a>>,
    /// The cancellations that a compensation refused, after which the task was complete again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refusals: Vec<RefusalDetails<'a>>,
}

/// The refusal of a cancellation.
#[derive(Serialize, schemars::JsonSchema)]
struct RefusalDetails<'a> {
    at: Timestamp,
    /// The compensation that refused.
    step: &'a str,
    error: &'a Failure,
}

impl<'a> From<&'a Refusal> for RefusalDetails<'a> {
    fn from(Refusal { at, step, error }: &'a Refusal) -> Self {
        Self { at: *at, step, error }
    }
}

/// A step, in the plan's order.
#[derive(Serialize, schemars::JsonSchema)]
struct StepDetails<'a> {
    name: &'a str,
    status: StepState,
    depends_on: &'a [String],
    attempts: Vec<AttemptDetails>,
    /// How many attempts between the first and the last ones are left out of `attempts`, by error code.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    omitted_attempts: &'a BTreeMap<String, u32>,
    /// The result's JSON, with every digit of its numbers. Its secret fields, which the workflow file names, are `***`.
    #[schemars(with = "Option<serde_json::Value>")]
    result: Option<Box<RawValue>>,
    /// The task whose result this step of a rerun has kept. The step has not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    kept_from: Option<TaskId>,
    error: Option<&'a Failure>,
    /// When the next attempt of a step that waits is due. It may have been moved since the last attempt, or there is none yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_retry_at: Option<Timestamp>,
    /// Milliseconds from the start of the first attempt to the step's end, with the waits between attempts.
    duration_ms: Option<u64>,
}

/// An attempt of a step. The last one may still be running.
#[derive(Serialize, schemars::JsonSchema)]
struct AttemptDetails {
    number: u32,
    started_at: Timestamp,
    finished_at: Option<Timestamp>,
    duration_ms: Option<u64>,
    outcome: Outcome,
    error: Option<Failure>,
    next_retry_at: Option<Timestamp>,
    /// Whether the called service turned it away without doing anything, so that it does not count.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    throttled: bool,
    /// Whether this attempt of a compensation refused to undo its step, so that nothing of it was undone.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    refused: bool,
}

impl<'a> Details<'a> {
    /// Makes the view of a task.
    pub fn of(snapshot: &'a TaskSnapshot) -> Self {
        let TaskSnapshot { task, steps, compensations } = snapshot;
        // A compensating task has not ended yet, although it has failed.
        let completed_at = task.finished_at.filter(|_| !task.state.is_compensating());
        Self {
            task_id: task.id,
            workflow: &task.workflow,
            status: snapshot.status(),
            started_at: task.created_at,
            correlation_id: task.correlation_id.as_ref().map(CorrelationId::as_str),
            completed_at,
            total_duration_ms: completed_at.map(|end| millis(task.created_at, end)),
            // Both lists are in the plan's order.
            steps: steps
                .iter()
                .zip(task.plan.steps())
                .map(|(step, plan)| StepDetails::of(step, &plan.depends_on, &task.plan))
                .collect(),
            compensations: compensations
                .iter()
                .zip(task.compensations.iter().flatten())
                .map(|(step, plan)| StepDetails::of(step, &plan.depends_on, &task.plan))
                .collect(),
            refusals: task.refusals.iter().map(RefusalDetails::from).collect(),
        }
    }
}

impl<'a> StepDetails<'a> {
    fn of(step: &'a StepRecord, depends_on: &'a [String], plan: &Plan) -> Self {
        let attempts: Vec<AttemptDetails> = step.all_attempts().into_iter().map(AttemptDetails::from).collect();
        let started_at = attempts.first().map(|attempt| attempt.started_at);
        Self {
            name: &step.name,
            status: step.state,
            depends_on,
            result: step
                .result
                .as_deref()
                .and_then(|result| RawValue::from_string(plan.shown_result(&step.name, result).into_owned()).ok()),
            kept_from: step.kept_from,
            error: step.error.as_ref(),
            next_retry_at: step.next_retry_at.filter(|_| step.state == StepState::Retrying),
            duration_ms: started_at.zip(step.finished_at).map(|(start, end)| millis(start, end)),
            attempts,
            omitted_attempts: &step.omitted_attempts,
        }
    }
}

impl From<AttemptRecord> for AttemptDetails {
    fn from(attempt: AttemptRecord) -> Self {
        let AttemptRecord { number, started_at, finished_at, outcome, error, next_retry_at, .. } = attempt;
        let (throttled, refused) = (attempt.throttled, attempt.refused);
        let duration_ms = finished_at.map(|end| millis(started_at, end));
        Self { number, started_at, finished_at, duration_ms, outcome, error, next_retry_at, throttled, refused }
    }
}

fn millis(start: Timestamp, end: Timestamp) -> u64 {
    u64::try_from(end.since(start).as_millis()).unwrap_or(u64::MAX)
}
