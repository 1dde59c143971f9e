//! Counts the calls of one run: the shipped engine in memory, with steps that do nothing.

use crate::findings::Finding;
use serde_json::{Value, json};
use std::{error::Error, path::Path};
use stepwell::{
    Workflow,
    core::{plan::Plan, state::TaskStatus},
    runtime::{
        bulk::BulkRunner,
        timer_feeder::TimerFeeder,
        watchdog::{RunBudget, Watchdog},
    },
    testing::{Harness, HarnessError, Meter, Metered, MeteredDelivery, Returns, Units},
};

/// The calls of one run without failures, the start included, and of the functions that run each minute.
#[derive(Debug)]
pub(super) struct Count {
    /// The whole run.
    pub(super) run: Metered,
    /// Calls in sequence of the start.
    pub(super) start_calls: u32,
    /// Calls in sequence of one run of the watchdog, and of one of the timer feeder, with nothing to do.
    pub(super) scheduled_calls: [u32; 2],
    /// Half read units of the two.
    pub(super) scheduled_half_reads: usize,
    /// Queues that Lambda polls: of steps, of compensations, of dead letters.
    pub(super) queues: usize,
    /// State transitions of Step Functions.
    pub(super) transitions: usize,
    /// Steps without the compensations.
    pub(super) steps: usize,
}

/// Reads a workflow file, whose schema does not matter here: the context need not fit it.
pub(super) fn workflow(file: &Path) -> Result<Workflow, Finding> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Finding::new(file, format!("cannot be read: {error}"), "Name a workflow file"))?;
    let wrong = |problem: String| Finding::new(file, problem, "Put the workflow file right");
    // The file as a whole first, so that a mistake is reported with its line.
    Workflow::from_yaml_taking_formats_for_granted(&text).map_err(|error| wrong(error.to_string()))?;
    let mut parsed: Value = serde_saphyr::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if let Value::Object(keys) = &mut parsed {
        keys.remove("schema");
    }
    Workflow::from_yaml(&parsed.to_string()).map_err(|error| wrong(error.to_string()))
}

/// Runs it once. `read_besides` is the number of results that steps read of steps that they do not depend on directly.
pub(super) fn count(workflow: Workflow, context_bytes: usize, read_besides: usize) -> Result<Count, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    Ok(runtime.block_on(counted(workflow, context_bytes, read_besides))?)
}

async fn counted(workflow: Workflow, context_bytes: usize, read_besides: usize) -> Result<Count, HarnessError> {
    let meter = Meter::default();
    let plan = workflow.plan().clone();
    let (keys, of_context) = (workflow.search_names().len(), !workflow.search_keys().is_empty());
    let harness = Harness::new(workflow).with_all(Returns("{}")).metered_by(&meter);
    let began = harness.now();
    // The rest of these bytes is the JSON around the text.
    let text = "x".repeat(context_bytes.saturating_sub(json!({ "text": "" }).to_string().len()));
    let task = harness.start(&json!({ "text": text })).await?;
    let start_calls = Meter::calls_in(harness.now().since(began));
    let snapshot = harness.run(task).await?;
    if snapshot.status() != TaskStatus::Complete {
        return Err(HarnessError::NeverThere { task, snapshot: Box::new(snapshot) });
    }
    let mut run = meter.so_far();
    run.units.half_reads += 2 * read_besides;
    // This context and these results have no values for search keys: a write for each, and one more call before what it leads to.
    run.units.table_writes += keys;
    let start_calls = start_calls + u32::from(of_context);
    for delivery in &mut run.deliveries {
        delivery.calls_in_sequence += u32::from(plan.search_keys_of(&delivery.step).is_some());
    }

    let before = meter.so_far().units.half_reads;
    let scheduled_calls = run_scheduled(&harness).await?;
    let scheduled_half_reads = meter.so_far().units.half_reads - before;
    let steps = plan.steps().len();
    let queues = steps + plan.compensations().len() + 1;
    let transitions = transitions(&plan);
    Ok(Count { run, start_calls, scheduled_calls, scheduled_half_reads, queues, transitions, steps })
}

/// Runs the watchdog and the timer feeder once, while no task is open. Returns the calls in sequence of each.
async fn run_scheduled(harness: &Harness) -> Result<[u32; 2], HarnessError> {
    let clock = || harness.memory().runtime.clone();
    let minute = std::time::Duration::from_secs(60);
    let budget = || RunBudget { until: harness.now() + minute, tasks: usize::MAX };

    let began = harness.now();
    let watchdog = Watchdog::new(harness.ports(), harness.ports(), clock());
    let bulks = BulkRunner::new(harness.ports(), harness.ports(), clock());
    let inspections = async {
        watchdog.run(budget()).await?;
        watchdog.count_needs_person(budget().until).await;
        Ok::<_, HarnessError>(())
    };
    // As the deployed watchdog: the bulk actions beside the inspections.
    let (inspected, carried_on) = tokio::join!(Box::pin(inspections), Box::pin(bulks.run(budget().until)));
    inspected?;
    carried_on?;
    let watched = harness.now();
    TimerFeeder::new(harness.ports(), harness.ports(), clock()).run(budget()).await?;
    Ok([watched.since(began), harness.now().since(watched)].map(Meter::calls_in))
}

/// The transitions of an equivalent state machine, counted in favour of Step Functions: one for each step, one to its end, and one for
/// a `Parallel` state where several steps stand beside each other.
fn transitions(plan: &Plan) -> usize {
    let mut depths: Vec<(&str, usize)> = Vec::new();
    // A plan's steps stand after their dependencies.
    for step in plan.steps() {
        let before = depths.iter().filter(|(name, _)| step.depends_on.iter().any(|other| other == name));
        let depth = before.map(|(_, depth)| depth + 1).max().unwrap_or_default();
        depths.push((&step.name, depth));
    }
    let deepest = depths.iter().map(|(_, depth)| *depth).max().unwrap_or_default();
    let is_wide = |level: &usize| depths.iter().filter(|(_, depth)| depth == level).count() > 1;
    plan.steps().len() + 1 + (0..=deepest).filter(is_wide).count()
}

/// The units and requests of a count in one line.
pub(super) fn describe(count: &Count) -> String {
    let Metered { units: Units { table_writes, index_writes, start_writes, half_reads }, sqs_requests, deliveries } =
        &count.run;
    let index_writes = index_writes + start_writes;
    let longest = deliveries.iter().map(|MeteredDelivery { calls_in_sequence, .. }| calls_in_sequence).max();
    let (reads, half) = (half_reads / 2, if half_reads % 2 == 1 { ".5" } else { "" });
    format!(
        "{table_writes} write units on the table and {index_writes} on its indexes, {reads}{half} read units, {sqs_requests} sends, \
         {} deliveries, at most {} calls in sequence",
        deliveries.len(),
        longest.copied().unwrap_or_default(),
    )
}
