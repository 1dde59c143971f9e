//! The engine's behaviour on the harness: whole tasks and single deliveries, with and without transactions of the store.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "where something is wrong with a test, a panic is what is wanted"
)]

mod backlog;
mod breaker;
mod crashes;
mod deliveries;
mod failures;
mod inputs;
mod messages;
mod optional;
mod pauses;
mod shapes;
mod starts;
mod usage;
mod workflows;

use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use stepwell::{
    Actor, FailureKind, Input, ManualResult, Step, StepContext, StepError, TaskData, TaskId, Timestamp, Workflow,
    core::{
        item::Key,
        message::StepQueue,
        record::{Outcome, StepRecord},
        snapshot::TaskSnapshot,
        state::StepState,
        transition::Change,
    },
    ports::{Received, Runtime},
    runtime::worker::{Invocation, Worker},
    testing::{Harness, VirtualClock},
};

/// A workflow of steps `s0`, `s1` and so on. The `n`-th entry has the dependencies of `s<n>`.
#[derive(Clone, Debug)]
struct TestWorkflow {
    edges: Vec<Vec<usize>>,
    /// Further keys of each step's template.
    template: Value,
    /// The numbers of the optional steps.
    optional: Vec<usize>,
}

impl TestWorkflow {
    fn new(edges: impl IntoIterator<Item = Vec<usize>>) -> Self {
        let template = json!({ "default_retry_limit": 3, "backoff": { "base_seconds": 1, "jitter": 0.0 } });
        Self { edges: edges.into_iter().collect(), template, optional: Vec::new() }
            .with("handler_config", json!({ "timeout_seconds": 10 }))
    }

    /// A chain of this many steps.
    fn chain(steps: usize) -> Self {
        Self::new((0..steps).map(|step| step.checked_sub(1).into_iter().collect()))
    }

    /// A root, a fan-out of this width, and a join.
    fn fan(width: usize) -> Self {
        let middle = (0..width).map(|_| vec![0]);
        Self::new([vec![]].into_iter().chain(middle).chain([(1..=width).collect()]))
    }

    /// A chain of this many diamonds, in which the leaf of each is the root of the next.
    fn diamonds(count: usize) -> Self {
        let diamond = |top: usize| [vec![top], vec![top], vec![top + 1, top + 2]];
        Self::new([vec![]].into_iter().chain((0..count).flat_map(|number| diamond(3 * number))))
    }

    fn with(mut self, setting: &str, value: Value) -> Self {
        self.template[setting] = value;
        self
    }

    fn optional(self, steps: impl Into<Vec<usize>>) -> Self {
        Self { optional: steps.into(), ..self }
    }

    fn max_attempts(self, limit: u32) -> Self {
        self.with("default_retry_limit", json!(limit))
    }

    fn names(&self) -> Vec<String> {
        (0..self.edges.len()).map(|step| format!("s{step}")).collect()
    }

    fn workflow(&self) -> Workflow {
        let step = |(number, edges): (usize, &Vec<usize>)| {
            let mut template = self.template.clone();
            template["name"] = format!("s{number}").into();
            template["depends_on_steps"] = edges.iter().map(|edge| format!("s{edge}")).collect();
            template["optional"] = self.optional.contains(&number).into();
            template
        };
        let steps: Vec<Value> = self.edges.iter().enumerate().map(step).collect();
        // JSON is YAML.
        let file = json!({ "name": "graph", "namespace_name": "tests", "step_templates": steps });
        Workflow::from_yaml(&file.to_string()).unwrap()
    }

    /// The expected result of each step: its own name, and those of its ancestors.
    fn lineages(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut lineages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (name, edges) in self.names().into_iter().zip(&self.edges) {
            let earlier = edges.iter().flat_map(|edge| lineages[&format!("s{edge}")].clone());
            let lineage = earlier.chain([name.clone()]).collect();
            lineages.insert(name, lineage);
        }
        lineages
    }

    /// A harness that runs this handler for every step, with settlements as one transaction or call by call.
    fn harness(&self, step: impl Step + Clone + 'static, by_call: bool) -> Harness {
        let harness = Harness::new(self.workflow()).with_all(step);
        if by_call { harness.call_by_call() } else { harness }
    }
}

/// The loaded data, unchanged.
struct Raw(TaskData);

impl Input for Raw {
    fn wanted() -> Vec<&'static str> {
        Vec::new()
    }

    fn from_data(data: &TaskData) -> Result<Self, StepError> {
        Ok(Self(data.clone()))
    }
}

/// A step that records its runs, and returns its own name and those of its ancestors, read from their results.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<(StepContext, TaskData)>>>);

impl Journal {
    fn runs(&self) -> Vec<(StepContext, TaskData)> {
        self.0.lock().unwrap().clone()
    }

    /// The number of effects of each step.
    fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (facts, _) in self.runs() {
            *counts.entry(facts.step).or_default() += 1;
        }
        counts
    }
}

impl Step for Journal {
    type Input = Raw;
    type Output = BTreeSet<String>;

    async fn run(&self, Raw(data): Raw, facts: &StepContext) -> Result<BTreeSet<String>, StepError> {
        self.0.lock().unwrap().push((facts.clone(), data.clone()));
        let earlier = data.results.values().flat_map(|result| names_in(result));
        Ok(earlier.chain([facts.step.clone()]).collect())
    }
}

fn names_in(result: &str) -> BTreeSet<String> {
    serde_json::from_str(result).unwrap()
}

/// A step that is a function of its context.
#[derive(Clone)]
struct Script<F>(F);

impl<F, R> Step for Script<F>
where
    F: Fn(StepContext) -> R + Send + Sync,
    R: Future<Output = Result<Value, StepError>> + Send,
{
    type Input = Raw;
    type Output = Value;

    async fn run(&self, _: Raw, facts: &StepContext) -> Result<Value, StepError> {
        self.0(facts.clone()).await
    }
}

fn context() -> Value {
    json!({ "cart": ["a", "b"], "total": 100 })
}

fn actor() -> Actor {
    Actor::new("somebody", "a test").unwrap()
}

/// A result by a person who has checked the attempts.
fn by_hand(json: &str) -> ManualResult<'_> {
    ManualResult { json, attempts_checked: true }
}

async fn start(harness: &Harness) -> TaskId {
    harness.start(&context()).await.unwrap()
}

async fn run(harness: &Harness, task: TaskId) -> TaskSnapshot {
    harness.run(task).await.unwrap()
}

/// The result of each step.
fn lineages(snapshot: &TaskSnapshot) -> BTreeMap<String, BTreeSet<String>> {
    let done = snapshot.steps.iter().filter_map(|step| Some((step.name.clone(), step.result.as_ref()?)));
    done.map(|(name, result)| (name, names_in(result))).collect()
}

fn state(snapshot: &TaskSnapshot, step: &str) -> StepState {
    snapshot.step(step).unwrap().state
}

/// The error code of a step that has failed.
fn code<'a>(snapshot: &'a TaskSnapshot, step: &str) -> &'a str {
    &snapshot.step(step).unwrap().error.as_ref().unwrap().code
}

fn outcomes(snapshot: &TaskSnapshot, step: &str) -> Vec<(u32, Outcome)> {
    snapshot.step(step).unwrap().all_attempts().iter().map(|attempt| (attempt.number, attempt.outcome)).collect()
}

fn counts<const N: usize>(expected: [(&str, usize); N]) -> BTreeMap<String, usize> {
    expected.into_iter().map(|(step, count)| (step.to_owned(), count)).collect()
}

fn sent_to(harness: &Harness, step: &str) -> usize {
    harness.sent().iter().filter(|message| message.step == step).count()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

// ---- A single delivery

/// The text of a message.
fn body(task: TaskId, step: &str) -> String {
    json!({ "task_id": task, "step": step }).to_string()
}

/// A message as delivered for the first time, without the queue.
fn message(id: &str, body: impl Into<String>) -> Received {
    Received { id: id.to_owned(), body: body.into(), receives: Some(1), ..Received::default() }
}

/// Receives the message that is due first, with a visibility timeout of a minute.
fn receive(harness: &Harness) -> Received {
    harness.memory().queue.receive(|_| harness.now() + seconds(60)).unwrap().1
}

/// Delivers a batch to a worker whose invocation lasts for twenty seconds. Returns the ids of the messages to keep.
async fn deliver(harness: &Harness, name: &str, step: impl Step, batch: &[Received]) -> Vec<String> {
    deliver_to(harness, StepQueue::new("graph", name), step, batch).await
}

/// Delivers a batch to a worker of this queue.
async fn deliver_to(harness: &Harness, queue: StepQueue, step: impl Step, batch: &[Received]) -> Vec<String> {
    let worker = Worker::new(queue, step, harness.ports(), harness.ports(), harness.memory().runtime.clone());
    worker.handle(batch, &Invocation::new("by-hand", harness.now() + seconds(20), harness.now())).await
}

/// Changes a step's item without any condition.
fn force(harness: &Harness, task: TaskId, step: &str, changes: Vec<Change>) {
    harness.memory().store.force(Key::Step(task, step.to_owned()), changes).unwrap();
}

fn record(harness: &Harness, task: TaskId, step: &str) -> StepRecord {
    harness.memory().store.step(task, step)
}
