//! `GET /workflows`: shows the workflows of this deployment, as their files say, and which of their steps are paused.

use crate::{
    Engine,
    error::ApiError,
    paused::{PauseView, Pauses},
};
use axum::{Json, extract::State};
use http_api::CommonError;
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeSet, sync::LazyLock, time::Duration};
use stepwell::{
    Runtime, Workflow, WorkflowError,
    core::{
        backoff::Backoff,
        plan::{Compensate, Deadline, Plan, StepPlan},
        record::TaskRecord,
    },
    ports::{Queue, Store},
};

/// The workflows, read at the first request that needs them. A test reads them, so a released version has no error here.
static WORKFLOWS: LazyLock<Result<Vec<Workflow>, WorkflowError>> = LazyLock::new(|| Ok(vec![checkout::workflow()?]));

/// The answer: all workflows.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct WorkflowList {
    workflows: Vec<WorkflowView<'static>>,
}

/// A workflow, before the adjustments that a task's context may make.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct WorkflowView<'a> {
    /// As tasks name it: `namespace/name@version`.
    id: String,
    namespace: &'a str,
    name: &'a str,
    version: &'a str,
    description: &'a str,
    /// The steps, each after those that it depends on.
    steps: Vec<StepView<'a>>,
    /// The compensations, each after those that it waits for if all steps were attempted.
    compensations: Vec<StepView<'a>>,
    /// When compensations start by themselves: `on_error` (and on a cancellation), `on_cancel` or `manual`.
    compensate: Compensate,
    /// How long a failed task waits for a redrive before it is compensated; `null` if that does not happen by itself.
    compensate_after_seconds: Option<u64>,
    /// How long after a failure the engine redrives a task, one time after the other.
    redrives_after_seconds: Vec<u64>,
    /// The time from a task's start to its deadline; `null` if it has none.
    complete_within_seconds: Option<u32>,
    /// The step that ends the deadline when it is done.
    point_of_no_return: Option<&'a str>,
    /// The names of the search keys by which tasks are found.
    search_keys: BTreeSet<&'a str>,
}

/// A step or a compensation.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct StepView<'a> {
    name: &'a str,
    /// What it waits for.
    depends_on: Vec<String>,
    /// The step that it compensates, for a compensation.
    compensates: Option<String>,
    /// Whether the task goes on without it.
    optional: bool,
    /// The most attempts, the first included; `null` if it has no last one.
    max_attempts: Option<u32>,
    /// The timeout of one attempt.
    timeout_seconds: u32,
    /// The waits between attempts.
    backoff: BackoffView,
    /// The service outside the stack that it waits on.
    waits_on: Option<&'a str>,
    /// Whether it waits without an attempt while that service is out.
    has_breaker: bool,
    /// The JSON schema of its result, for who gives it one by hand; `null` where the type is not known.
    result_schema: Option<Value>,
    /// The pause in force, during which no attempt of it begins; `null` if it is not paused.
    paused: Option<PauseView>,
}

/// A backoff: 1, 2, 4, 8, 16, 32 times `base_seconds`, then the attempt's number to the power of `multiplier` times `base_seconds`.
#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct BackoffView {
    base_seconds: u32,
    multiplier: f64,
    max_seconds: u32,
    /// The random change of a wait, up or down, as a share of it.
    jitter: f64,
}

impl From<Backoff> for BackoffView {
    fn from(Backoff { base_seconds, multiplier, max_seconds, jitter }: Backoff) -> Self {
        Self { base_seconds, multiplier, max_seconds, jitter }
    }
}

impl<'a> WorkflowView<'a> {
    fn of(workflow: &'a Workflow, pauses: &Pauses, schema: impl Fn(&str, &str) -> Option<Value>) -> Self {
        let plan = workflow.plan();
        let step = |name: &'a str, step: &StepPlan| {
            StepView::of(workflow, name, step, pauses, schema(&workflow.id().name, name))
        };
        // The graph is made anew, but its names are the plan's.
        let compensations = plan.compensation_graph(|_| true);
        let named = compensations.iter().filter_map(|found| Some((plan.step(&found.name)?.name.as_str(), found)));
        let deadline = plan.deadline();
        Self {
            id: workflow.id().to_string(),
            namespace: &workflow.id().namespace,
            name: &workflow.id().name,
            version: &workflow.id().version,
            description: workflow.description(),
            steps: plan.steps().iter().map(|found| step(&found.name, found)).collect(),
            compensations: named.map(|(name, found)| step(name, found)).collect(),
            compensate: plan.compensate(),
            compensate_after_seconds: plan.compensates_failure_after().map(|after| after.as_secs()),
            redrives_after_seconds: (0..Plan::MAX_REDRIVES)
                .map_while(|so_far| plan.redrive_delay(so_far))
                .map(|delay| delay.as_secs())
                .collect(),
            complete_within_seconds: deadline.map(|deadline| deadline.complete_within_seconds),
            point_of_no_return: deadline.and_then(|deadline| deadline.point_of_no_return.as_deref()),
            search_keys: workflow.search_names(),
        }
    }
}

impl<'a> StepView<'a> {
    fn of(
        workflow: &'a Workflow,
        name: &'a str,
        step: &StepPlan,
        pauses: &Pauses,
        result_schema: Option<Value>,
    ) -> Self {
        let StepPlan { depends_on, compensates, optional, max_attempts, timeout_seconds, backoff, .. } = step.clone();
        Self {
            name,
            depends_on,
            compensates,
            optional,
            max_attempts: (!step.has_no_last_attempt()).then_some(max_attempts),
            timeout_seconds,
            backoff: backoff.into(),
            waits_on: workflow.waits_on(name),
            has_breaker: workflow.breaker_of(name).is_some(),
            result_schema,
            paused: pauses.of(&workflow.id().name, name),
        }
    }
}

/// Shows all workflows.
pub(crate) async fn list<S: Store, Q: Queue, A: Runtime>(
    State(engine): Engine<S, Q, A>,
) -> Result<Json<WorkflowList>, ApiError> {
    let (workflows, pauses) = (all()?, Pauses::read(&engine).await?);
    let schema = |workflow: &str, step: &str| engine.result_schema(workflow, step);
    let workflows = workflows.iter().map(|workflow| WorkflowView::of(workflow, &pauses, schema));
    Ok(Json(WorkflowList { workflows: workflows.collect() }))
}

/// The workflows of this deployment.
pub(crate) fn all() -> Result<&'static [Workflow], CommonError> {
    WORKFLOWS.as_deref().map_err(|error| CommonError::Broken(error.to_string()))
}

/// The workflow of this id, in the version of this deployment; `None` if it is not known.
pub(crate) fn of(id: &str) -> Option<&'static Workflow> {
    let (name, _) = id.split_once('@')?;
    let is_named = |workflow: &&Workflow| {
        let known = workflow.id();
        name.split_once('/') == Some((known.namespace.as_str(), known.name.as_str()))
    };
    WORKFLOWS.as_ref().ok()?.iter().find(is_named)
}

/// The time that the workflow of this id, in whatever version, gives its tasks; `None` if it gives them any time, or is not known.
pub(crate) fn time_of(id: &str) -> Option<Duration> {
    let Deadline { complete_within_seconds, .. } = of(id)?.plan().deadline()?;
    Some(Duration::from_secs((*complete_within_seconds).into()))
}

/// The number of values in its context that a task is found by.
pub(crate) fn values_found_by(task: &TaskRecord) -> usize {
    let keys = of(&task.workflow).map(Workflow::search_keys);
    let context = serde_json::from_str(&task.context).unwrap_or_default();
    keys.map_or(0, |keys| keys.values(&context).len())
}
