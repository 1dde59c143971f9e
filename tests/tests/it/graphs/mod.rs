//! Tasks of every shape, brought to their end by real workers over a real table and real queues.

mod crashes;
mod failures;
mod inputs;
mod messages;
mod shapes;
mod starts;

use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use stepwell::{
    By, StepError, TaskId,
    core::{history::History, record::Outcome, state::StepState},
};
use stepwell_tests::{
    emulator::Sandbox,
    graph::Graph,
    locked::Locked,
    steps::{Run, Script},
};

fn context() -> Value {
    json!({ "cart": ["a", "b"], "total": 100 })
}

/// Whoever does something to a task in these tests.
fn by() -> By {
    By::new("somebody", "a test").expect("short words")
}

/// What was run, in order.
#[derive(Clone, Default)]
struct Journal(Arc<Locked<Vec<Run>>>);

impl Journal {
    /// A script that notes the run, and leaves the names of all steps that came before it, found by their results.
    fn script(&self) -> Script {
        self.failing_where(|_| None)
    }

    /// The same, but failing where `fault` says so.
    fn failing_where(&self, fault: impl Fn(&Run) -> Option<StepError> + Send + Sync + 'static) -> Script {
        let journal = self.clone();
        Script::new(move |run| {
            journal.note(&run);
            match fault(&run) {
                Some(error) => Err(error),
                None => Ok(json!(lineage(&run))),
            }
        })
    }

    fn note(&self, run: &Run) {
        self.0.lock().push(run.clone());
    }

    fn runs(&self) -> Vec<Run> {
        self.0.lock().clone()
    }

    /// How often each step was run.
    fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for run in self.0.lock().iter() {
            *counts.entry(run.facts.step.clone()).or_default() += 1;
        }
        counts
    }
}

fn lineage(run: &Run) -> BTreeSet<String> {
    let earlier = run.data.results.keys().flat_map(|step| strings(&run.result_of(step)));
    earlier.chain([run.facts.step.clone()]).collect()
}

fn strings(value: &Value) -> BTreeSet<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Starts a task over this graph.
async fn start(sandbox: &Sandbox, graph: &Graph) -> TaskId {
    sandbox.client().start(&graph.workflow(), &context(), None).await.unwrap().task_id
}

/// What each step has left, as the names of the steps that came before it.
fn lineages(history: &History) -> BTreeMap<String, BTreeSet<String>> {
    let done = history.steps.iter().filter_map(|step| Some((step.name.clone(), step.result.as_ref()?)));
    done.map(|(name, result)| (name, strings(&serde_json::from_str(result).unwrap()))).collect()
}

fn state(history: &History, step: &str) -> StepState {
    history.step(step).unwrap().state
}

/// The error code of a step that has failed.
fn code<'a>(history: &'a History, step: &str) -> &'a str {
    &history.step(step).unwrap().error.as_ref().unwrap().code
}

fn outcomes(history: &History, step: &str) -> Vec<(u32, Outcome)> {
    history.step(step).unwrap().all_attempts().iter().map(|attempt| (attempt.number, attempt.outcome)).collect()
}

/// How often each of these steps was run, for comparing with [`Journal::counts`].
fn counts<const N: usize>(expected: [(&str, usize); N]) -> BTreeMap<String, usize> {
    expected.into_iter().map(|(step, count)| (step.to_owned(), count)).collect()
}
