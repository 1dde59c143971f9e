//! Workflows of any shape over numbered steps.

use crate::steps::name;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use stepwell::{
    SearchValue, Workflow,
    core::{message::StepQueue, plan::Plan},
};

/// The name of all these workflows.
pub const WORKFLOW: &str = "graph";

/// The compensation of step `n` is numbered `n` plus this.
pub const COMPENSATION_OFFSET: usize = 50;

/// The search keys in the result of the first step, by the names of their values.
const RESULT_KEYS: [&str; 2] = ["attempt", "by"];

/// The search keys that the start of a task with this plan and this context has to write, worked out without the engine's own code.
pub fn keys_of_start(plan: &Plan, context: &str) -> Vec<SearchValue> {
    let is_searched = plan.search_keys_of(&name(0)).is_some();
    if is_searched { keys_in(&["number"], context) } else { Vec::new() }
}

/// Those that the completion of a step with this result has to write.
pub fn keys_of_completion(step: &str, result: &str) -> Vec<SearchValue> {
    if step == name(0) { keys_in(&RESULT_KEYS, result) } else { Vec::new() }
}

fn keys_in(names: &[&str], json: &str) -> Vec<SearchValue> {
    let json: Value = serde_json::from_str(json).unwrap_or_default();
    let value = |name: &&str| match &json[*name] {
        Value::Null => None,
        value => SearchValue::new(name, value.to_string().trim_matches('"')),
    };
    names.iter().filter_map(value).collect()
}

/// A DAG of numbered steps. Entry `n` lists the dependencies of step `n`.
#[derive(Clone, Debug)]
pub struct Graph {
    edges: Vec<Vec<usize>>,
    max_attempts: u32,
    timeout_seconds: u32,
    base_seconds: Option<u32>,
    max_seconds: Option<u32>,
    compensated: BTreeSet<usize>,
    after: BTreeMap<usize, BTreeSet<usize>>,
    policy: Option<(&'static str, Option<u32>)>,
    redrives: u32,
    optional: BTreeSet<usize>,
    compensated_optionally: BTreeSet<usize>,
    deadline: Option<(u32, Option<usize>)>,
    service: Option<&'static str>,
    searched: bool,
}

impl Graph {
    /// The graph in which step `n` depends on the steps of entry `n`.
    pub fn new(edges: impl IntoIterator<Item = Vec<usize>>) -> Self {
        let edges = edges.into_iter().collect();
        let (compensated, after, policy, optional) = (BTreeSet::new(), BTreeMap::new(), None, BTreeSet::new());
        let (max_attempts, timeout_seconds, base_seconds, max_seconds, redrives) = (3, 10, Some(0), None, 0);
        Self {
            edges,
            max_attempts,
            timeout_seconds,
            base_seconds,
            max_seconds,
            compensated,
            after,
            policy,
            redrives,
            optional,
            compensated_optionally: BTreeSet::new(),
            deadline: None,
            service: None,
            searched: false,
        }
    }

    /// A chain of steps.
    pub fn chain(steps: usize) -> Self {
        Self::new((0..steps).map(|step| step.checked_sub(1).into_iter().collect()))
    }

    /// A fan-out to `width` steps, and their join.
    pub fn fan(width: usize) -> Self {
        let middle = (0..width).map(|_| vec![0]);
        Self::new([vec![]].into_iter().chain(middle).chain([(1..=width).collect()]))
    }

    /// A chain of diamonds: the join of each is the root of the next.
    pub fn diamonds(count: usize) -> Self {
        let diamond = |top: usize| [vec![top], vec![top], vec![top + 1, top + 2]];
        Self::new([vec![]].into_iter().chain((0..count).flat_map(|number| diamond(3 * number))))
    }

    /// With this many attempts for each step. A compensation has no last one.
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

    /// With this wait before the first retry, without jitter.
    #[must_use]
    pub fn base_seconds(mut self, base_seconds: u32) -> Self {
        self.base_seconds = Some(base_seconds);
        self
    }

    /// With this longest wait between two attempts.
    #[must_use]
    pub fn max_seconds(mut self, max_seconds: u32) -> Self {
        self.max_seconds = Some(max_seconds);
        self
    }

    /// With the backoff of a step whose workflow file sets none.
    #[must_use]
    pub fn default_backoff(mut self) -> Self {
        self.base_seconds = None;
        self
    }

    /// With a compensation for each of these steps, numbered [`COMPENSATION_OFFSET`] higher.
    #[must_use]
    pub fn with_compensations(mut self, steps: BTreeSet<usize>) -> Self {
        self.compensated = steps;
        self
    }

    /// With `after` for the compensations of these steps: each waits for those of the steps of its entry.
    #[must_use]
    pub fn with_after(mut self, after: BTreeMap<usize, BTreeSet<usize>>) -> Self {
        self.after = after;
        self
    }

    /// With this value of `compensate`, and this many seconds of `compensate_after_seconds`.
    #[must_use]
    pub fn compensate(mut self, when: &'static str, after_seconds: Option<u32>) -> Self {
        self.policy = Some((when, after_seconds));
        self
    }

    /// With so many seconds before a failed task is compensated, if it is compensated after a time.
    #[must_use]
    pub fn compensate_after(mut self, seconds: u32) -> Self {
        self.policy = self.policy.map(|(when, after)| (when, after.map(|_| seconds)));
        self
    }

    /// With this many automatic redrives of a failed task.
    #[must_use]
    pub fn redrives(mut self, redrives: u32) -> Self {
        self.redrives = redrives;
        self
    }

    /// With these leaves optional.
    #[must_use]
    pub fn with_optional(mut self, leaves: BTreeSet<usize>) -> Self {
        self.optional = leaves;
        self
    }

    /// With optional compensations for these of the steps that have one. No other compensation may wait for one of them.
    #[must_use]
    pub fn with_optional_compensations(mut self, steps: BTreeSet<usize>) -> Self {
        self.compensated_optionally = steps;
        self
    }

    /// With this many seconds from the start to the deadline, and this step as the point of no return.
    #[must_use]
    pub fn complete_within(mut self, seconds: u32, point_of_no_return: Option<usize>) -> Self {
        self.deadline = Some((seconds, point_of_no_return));
        self
    }

    /// With this service, on which the steps that have a compensation wait, and their compensations.
    #[must_use]
    pub fn waits_on(mut self, service: &'static str) -> Self {
        self.service = Some(service);
        self
    }

    /// With search keys: for the `number` in the context, and for the `attempt` and the `by` in the result of the first step.
    #[must_use]
    pub fn searched(mut self) -> Self {
        self.searched = true;
        self
    }

    /// The optional steps.
    pub fn optional_steps(&self) -> &BTreeSet<usize> {
        &self.optional
    }

    /// The steps without dependents.
    pub fn leaves(&self) -> impl Iterator<Item = usize> {
        (0..self.len()).filter(|step| !self.edges.iter().any(|edges| edges.contains(step)))
    }

    /// The steps that have a compensation.
    pub fn compensated_steps(&self) -> &BTreeSet<usize> {
        &self.compensated
    }

    /// The number of steps, compensations left out.
    pub fn len(&self) -> usize {
        self.edges.len()
    }

    /// Whether it has no steps.
    pub fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// The compensated steps for whose compensation no other one waits.
    pub fn last_compensated(&self) -> impl Iterator<Item = usize> {
        let waited_for: BTreeSet<usize> = self.compensated.iter().flat_map(|step| self.waits_for(*step)).collect();
        self.compensated.iter().copied().filter(move |step| !waited_for.contains(step))
    }

    /// The names of the optional compensations.
    pub fn optional_compensations(&self) -> BTreeSet<String> {
        self.compensated_optionally.iter().map(|step| name(COMPENSATION_OFFSET + step)).collect()
    }

    /// The names of the steps.
    pub fn names(&self) -> Vec<String> {
        (0..self.len()).map(name).collect()
    }

    /// The queues of the steps.
    pub fn queues(&self) -> Vec<StepQueue> {
        self.names().into_iter().map(|step| StepQueue::new(WORKFLOW, step)).collect()
    }

    /// For each step all its dependencies, direct or not, and the step itself.
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

    /// The compensations that have to be done before this one, directly or not, if the steps of all of them were attempted.
    pub fn undone_before(&self, compensation: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let step = self.compensated.iter().find(|step| name(COMPENSATION_OFFSET + **step) == compensation);
        let mut waiting: Vec<usize> = step.into_iter().flat_map(|step| self.waits_for(*step)).collect();
        while let Some(step) = waiting.pop() {
            if found.insert(step) {
                waiting.extend(self.waits_for(step));
            }
        }
        found.into_iter().map(|step| name(COMPENSATION_OFFSET + step)).collect()
    }

    /// The steps whose compensations the compensation of this step waits for directly.
    fn waits_for(&self, step: usize) -> BTreeSet<usize> {
        self.after.get(&step).cloned().unwrap_or_else(|| self.compensated_after(step))
    }

    /// The nearest compensated steps among those that depend on this one.
    fn compensated_after(&self, step: usize) -> BTreeSet<usize> {
        let dependents = (0..self.len()).filter(|other| self.edges[*other].contains(&step));
        let nearest = |other: usize| match self.compensated.contains(&other) {
            true => BTreeSet::from([other]),
            false => self.compensated_after(other),
        };
        dependents.flat_map(nearest).collect()
    }

    /// The workflow, parsed from a workflow file.
    ///
    /// # Panics
    /// The graph is not a DAG.
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
        if let Some((seconds, point)) = self.deadline {
            file["complete_within_seconds"] = json!(seconds);
            if let Some(point) = point {
                file["point_of_no_return"] = json!(name(point));
            }
        }
        if self.searched {
            file["search"] = json!({ "number": "/number" });
            for key in RESULT_KEYS {
                file["search"][key] = json!({ "step": name(0), "at": format!("/{key}") });
            }
        }
        // JSON is YAML.
        Workflow::from_yaml(&file.to_string()).expect("the graph is a workflow")
    }

    fn step(&self, step: usize, depends_on: &[usize]) -> Value {
        let mut template = self.template(step);
        template["default_retry_limit"] = json!(self.max_attempts);
        template["depends_on_steps"] = depends_on.iter().copied().map(name).collect();
        if self.optional.contains(&step) {
            template["optional"] = json!(true);
        }
        if self.compensated.contains(&step) {
            template["compensation"] = self.template(COMPENSATION_OFFSET + step);
            if self.compensated_optionally.contains(&step) {
                template["compensation"]["optional"] = json!(true);
                template["compensation"]["default_retry_limit"] = json!(self.max_attempts);
            }
            if let Some(service) = self.service {
                template["waits_on"] = json!(service);
                template["compensation"]["waits_on"] = json!(service);
            }
            if let Some(after) = self.after.get(&step) {
                let after = after.iter().map(|other| name(COMPENSATION_OFFSET + other));
                template["compensation"]["after"] = after.collect();
            }
        }
        template
    }

    fn template(&self, step: usize) -> Value {
        let mut template = json!({
            "name": name(step),
            "handler_config": { "timeout_seconds": self.timeout_seconds },
        });
        if let Some(base_seconds) = self.base_seconds {
            template["backoff"] = json!({ "base_seconds": base_seconds, "jitter": 0.0 });
            if let Some(max_seconds) = self.max_seconds {
                template["backoff"]["max_seconds"] = json!(max_seconds);
            }
        }
        template
    }
}
