//! Workflows of any shape, over the numbered steps.

use crate::steps::name;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use stepwell::{Workflow, core::message::StepQueue};

/// The name of every such workflow.
pub const WORKFLOW: &str = "graph";

/// The step that undoes step `n` is the numbered step `n` more than this.
pub const UNDOING: usize = 50;

/// A graph of numbered steps: step `n` is the `n`-th entry, and holds what `n` depends on.
#[derive(Clone, Debug)]
pub struct Graph {
    edges: Vec<Vec<usize>>,
    max_attempts: u32,
    timeout_seconds: u32,
    base_seconds: Option<u32>,
    undone: BTreeSet<usize>,
    policy: Option<(&'static str, Option<u32>)>,
    redrives: u32,
}

impl Graph {
    /// The graph in which the `n`-th step depends on the steps in the `n`-th entry.
    pub fn new(edges: impl IntoIterator<Item = Vec<usize>>) -> Self {
        let edges = edges.into_iter().collect();
        let (undone, policy) = (BTreeSet::new(), None);
        Self { edges, max_attempts: 3, timeout_seconds: 10, base_seconds: Some(0), undone, policy, redrives: 0 }
    }

    /// One step after the other.
    pub fn chain(steps: usize) -> Self {
        Self::new((0..steps).map(|step| step.checked_sub(1).into_iter().collect()))
    }

    /// One step, this many beside each other, and one that waits for all of them.
    pub fn fan(width: usize) -> Self {
        let middle = (0..width).map(|_| vec![0]);
        Self::new([vec![]].into_iter().chain(middle).chain([(1..=width).collect()]))
    }

    /// This many diamonds, the end of each the beginning of the next.
    pub fn diamonds(count: usize) -> Self {
        let diamond = |top: usize| [vec![top], vec![top], vec![top + 1, top + 2]];
        Self::new([vec![]].into_iter().chain((0..count).flat_map(|number| diamond(3 * number))))
    }

    /// With this many attempts for each step.
    #[must_use]
    pub fn max_attempts(mut self, max_attempts: u32) -> Self {
        self.max_attempts = max_attempts;
        self
    }

    /// With this many seconds for each attempt.
    #[must_use]
    pub fn timeout_seconds(mut self, timeout_seconds: u32) -> Self {
        self.timeout_seconds = timeout_seconds;
        self
    }

    /// With this first wait between attempts. Without jitter.
    #[must_use]
    pub fn base_seconds(mut self, base_seconds: u32) -> Self {
        self.base_seconds = Some(base_seconds);
        self
    }

    /// With the backoff that a step has when its file says nothing of it.
    #[must_use]
    pub fn default_backoff(mut self) -> Self {
        self.base_seconds = None;
        self
    }

    /// With a compensation, of the number [`UNDOING`] more, for each of these steps.
    #[must_use]
    pub fn undone(mut self, steps: BTreeSet<usize>) -> Self {
        self.undone = steps;
        self
    }

    /// With this word for when compensations start, and how many seconds they wait for a redrive.
    #[must_use]
    pub fn compensate(mut self, when: &'static str, after_seconds: Option<u32>) -> Self {
        self.policy = Some((when, after_seconds));
        self
    }

    /// With so many redrives of a failed task by itself.
    #[must_use]
    pub fn redrives(mut self, redrives: u32) -> Self {
        self.redrives = redrives;
        self
    }

    /// The steps that have a compensation.
    pub fn compensated_steps(&self) -> &BTreeSet<usize> {
        &self.undone
    }

    /// How many steps there are.
    pub fn len(&self) -> usize {
        self.edges.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// The names of the steps.
    pub fn names(&self) -> Vec<String> {
        (0..self.len()).map(name).collect()
    }

    /// The queues of the steps.
    pub fn queues(&self) -> Vec<StepQueue> {
        self.names().into_iter().map(|step| StepQueue::new(WORKFLOW, step)).collect()
    }

    /// All that each step depends on, directly or not, itself included.
    pub fn lineages(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut lineages: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (step, dependencies) in self.edges.iter().enumerate() {
            let mut lineage: BTreeSet<String> =
                dependencies.iter().flat_map(|dependency| lineages[&name(*dependency)].clone()).collect();
            lineage.insert(name(step));
            lineages.insert(name(step), lineage);
        }
        lineages
    }

    /// The workflow, through the file that a user would write.
    ///
    /// # Panics
    /// Where the graph is none.
    pub fn workflow(&self) -> Workflow {
        let steps: Vec<Value> = self.edges.iter().enumerate().map(|(step, edges)| self.step(step, edges)).collect();
        let mut file = json!({ "name": WORKFLOW, "namespace_name": "tests", "step_templates": steps });
        if let Some((when, after_seconds)) = self.policy {
            file["compensate"] = json!(when);
            if let Some(seconds) = after_seconds {
                file["compensate_after_seconds"] = json!(seconds);
            }
        }
        if self.redrives > 0 {
            file["redrives"] = json!(self.redrives);
        }
        // JSON is YAML.
        Workflow::from_yaml(&file.to_string()).expect("the graph is a workflow")
    }

    fn step(&self, step: usize, depends_on: &[usize]) -> Value {
        let mut template = self.template(step);
        template["depends_on_steps"] = depends_on.iter().copied().map(name).collect();
        if self.undone.contains(&step) {
            template["compensation"] = self.template(UNDOING + step);
        }
        template
    }

    fn template(&self, step: usize) -> Value {
        let mut template = json!({
            "name": name(step),
            "default_retry_limit": self.max_attempts,
            "handler_config": { "timeout_seconds": self.timeout_seconds },
        });
        if let Some(base_seconds) = self.base_seconds {
            template["backoff"] = json!({ "base_seconds": base_seconds, "jitter": 0.0 });
        }
        template
    }
}
