//! The plan of one task: the DAG of its steps, with their limits.
//!
//! A start copies the plan into the task, so a deployment never changes a task in flight. [`Plan::new`] checks a plan when
//! it is made and again when it is read from the store, so every `Plan` is an acyclic graph with valid names.

mod compensations;
mod deadline;
pub mod policy;
mod search_keys;
mod stored;

use crate::core::{
    backoff::Backoff,
    format::{COMPENSATION_GRAPH, DEADLINE, OPTIONAL_STEPS, RULED_OUT, WRITES},
    id::TaskId,
    index::{FIRST_INSPECTION_AFTER, OVERDUE_AFTER},
    message::{DEAD_LETTERS, Message, UNDELIVERABLE},
    shown::shown,
    spelling::Meant,
};
pub use compensations::CompensationOrder;
pub(crate) use compensations::one_after_another;
pub use deadline::Deadline;
pub use policy::Compensate;
pub use search_keys::SearchKeys;
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use stored::Stored;

/// One step of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct StepPlan {
    /// The step's name. With the workflow's name it names the queue and the Lambda function; see
    /// [`names`](crate::core::names).
    pub name: String,
    /// The dependencies: the steps whose completion this one waits for.
    pub depends_on: Vec<String>,
    /// The limit of attempts, the first one included; at least 1. A compensation that is not optional has no last attempt: its
    /// number only stands in the stored plan, for versions that do not know that.
    pub max_attempts: u32,
    /// The timeout of one attempt, in seconds; at least 1.
    pub timeout_seconds: u32,
    /// The waits between attempts.
    pub backoff: Backoff,
    /// For a compensation: the step that it compensates.
    pub compensates: Option<String>,
    /// For a compensation: the compensations that it waits for. `None` stands for those of the steps that depend on its step.
    pub after: Option<Vec<String>>,
    /// Whether the task completes although this step has failed for good, or ends although this compensation has. Such a failure
    /// is a warning: nothing is undone because of it, and it needs no person. Nothing depends on an optional step, or waits for
    /// an optional compensation.
    pub optional: bool,
}

impl StepPlan {
    /// The message that wakes this step of a task.
    pub fn message(&self, task_id: TaskId) -> Message {
        Message { load: self.depends_on.clone(), ..Message::new(task_id, &self.name) }
    }

    /// Whether it has no last attempt: a compensation goes on until it succeeds or fails with a permanent error, unless it is
    /// optional.
    pub fn has_no_last_attempt(&self) -> bool {
        self.compensates.is_some() && !self.optional
    }

    /// Whether the attempt of this number among those that count, from 1, may run.
    pub fn allows_attempt(&self, counted: u32) -> bool {
        self.has_no_last_attempt() || counted <= self.max_attempts
    }
}

/// The checked DAG of a task's steps, in topological order, and the compensations for a task that fails or is cancelled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Plan {
    steps: Vec<StepPlan>,
    compensations: Vec<StepPlan>,
    compensate: Compensate,
    compensate_after_seconds: u32,
    redrives: u32,
    compensation_order: CompensationOrder,
    deadline: Option<Deadline>,
    result_keys: BTreeMap<String, SearchKeys>,
    secrets: BTreeMap<String, BTreeSet<String>>,
}

/// The reason why some steps make no valid plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The workflow has no steps.
    #[error("there are no steps")]
    Empty,
    /// Two steps of the same name.
    #[error("there are two steps named `{0}`")]
    Duplicate(String),
    /// A name that is not valid for a queue or a function.
    #[error("step name `{0}` has to be 1 to {max} letters, digits, `_` or `-`", max = Plan::MAX_NAME_LENGTH)]
    BadName(String),
    /// The name of one of the engine's own queues.
    #[error("step name `{0}` is reserved: it is the name of one of the engine's own queues")]
    ReservedName(String),
    /// A dependency on a step that does not exist.
    #[error("step `{step}` depends on `{dependency}`, which is not a step of this workflow{meant}")]
    UnknownDependency {
        /// The step.
        step: String,
        /// The unknown dependency.
        dependency: String,
        /// The step that was probably meant.
        meant: Meant,
    },
    /// A cycle of dependencies.
    #[error("these steps depend on each other in a cycle: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
    /// A limit of 0.
    #[error("step `{0}`: the {1} is 0; at least 1 is needed")]
    Zero(String, &'static str),
    /// A step depends on an optional one.
    #[error(
        "step `{step}` depends on `{dependency}`, which is optional; a step that failed cannot be waited for, so let `{step}` \
         depend on what `{dependency}` depends on, or remove `optional`"
    )]
    DependsOnOptional {
        /// The step.
        step: String,
        /// The optional dependency.
        dependency: String,
    },
    /// A compensation for no step, for the same step as another one, with dependencies, or that waits for what it cannot wait
    /// for.
    #[error("compensation `{name}` {problem}")]
    BadCompensation {
        /// The compensation.
        name: String,
        /// What is wrong, as the rest of a sentence.
        problem: String,
    },
    /// A cycle of compensations.
    #[error(
        "these compensations wait for each other in a cycle: {}; without `after` a compensation waits for those of the steps that \
         depend on its step",
        .0.join(" -> ")
    )]
    CompensationCycle(Vec<String>),
    /// A deadline of no time, or of too long a time.
    #[error("`complete_within_seconds` is {0}, but has to be 1 to {max}", max = Plan::LONGEST_DEADLINE_SECONDS)]
    BadDeadline(u32),
    /// A point of no return that is not a step which the task needs.
    #[error("`point_of_no_return` is `{step}`, which {problem}")]
    BadPointOfNoReturn {
        /// The named step.
        step: String,
        /// What is wrong, as the rest of a sentence.
        problem: String,
    },
    /// More steps than a task can have.
    #[error("there are {0} steps; at most {max} fit into a task", max = Plan::MAX_STEPS)]
    TooMany(usize),
    /// More roots than one redrive can change.
    #[error("{0} steps are roots, without dependencies; at most {max} may be", max = Plan::MAX_ROOTS)]
    TooManyRoots(usize),
}

/// A step takes the result of a step that is not among its ancestors. Whether the result is there would depend on timing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step `{step}` takes the result of `{result_of}`, which {}", after(.ancestors))]
pub struct UndeclaredDependency {
    /// The step.
    pub step: String,
    /// The step whose result it takes.
    pub result_of: String,
    /// The steps whose results it may take, in the plan's order.
    pub ancestors: Vec<String>,
}

fn after(ancestors: &[String]) -> String {
    match ancestors {
        [] => "it does not wait for: it waits for no step".to_owned(),
        ancestors => format!("it does not wait for: it waits for {}", ancestors.join(", ")),
    }
}

impl Plan {
    /// The maximum of steps in a workflow, compensations included.
    pub const MAX_STEPS: usize = 100;

    /// The maximum of roots, and so of steps that can have failed at the same time. A redrive changes every failed step
    /// and the task in one DynamoDB transaction, which takes 100 items.
    pub const MAX_ROOTS: usize = 99;

    /// The `max_attempts` in the stored plan of a compensation. Version 0.2 and earlier stop after so many attempts.
    pub const COMPENSATION_MAX_ATTEMPTS: u32 = 50;

    /// The largest `max_attempts` that a workflow file may give a step. A step that fails so
    /// often waits for something that its redrives should wait for.
    pub const MAX_ATTEMPTS: u32 = 50;

    /// The largest number of redrives by the engine. With this many, the last comes 8 hours after the one before.
    pub const MAX_REDRIVES: u32 = 10;

    /// The time from a task's first failure to its redrive by the engine. It doubles with each further redrive.
    const FIRST_REDRIVE_AFTER: Duration = Duration::from_secs(60);

    /// The maximum length of a step's name, in characters.
    pub const MAX_NAME_LENGTH: usize = 48;

    /// Checks the steps and sorts them topologically. Steps that are independent of each other keep the order they are
    /// given in. Steps with [`compensates`](StepPlan::compensates) are the compensations.
    ///
    /// # Errors
    /// The first problem found, with the step's name.
    pub fn new(mut steps: Vec<StepPlan>) -> Result<Self, PlanError> {
        if steps.len() > Self::MAX_STEPS {
            return Err(PlanError::TooMany(steps.len()));
        }
        check_each(&mut steps)?;
        let (compensations, steps): (Vec<StepPlan>, Vec<StepPlan>) =
            steps.into_iter().partition(|step| step.compensates.is_some());
        if steps.is_empty() {
            return Err(PlanError::Empty);
        }
        let roots = steps.iter().filter(|step| step.depends_on.is_empty()).count();
        if roots > Self::MAX_ROOTS {
            return Err(PlanError::TooManyRoots(roots));
        }
        let names: BTreeSet<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        for step in &steps {
            let unknown = step.depends_on.iter().find(|dependency| !names.contains(dependency.as_str()));
            if let Some(unknown) = unknown {
                // Do not suggest the step itself, which would be a cycle.
                let others = names.iter().copied().filter(|name| *name != step.name);
                let meant = Meant::among(unknown, others);
                return Err(PlanError::UnknownDependency {
                    step: step.name.clone(),
                    dependency: unknown.clone(),
                    meant,
                });
            }
        }
        check_optional(&steps)?;
        compensations::check(&compensations, &names)?;
        let steps = in_order(steps).map_err(PlanError::Cycle)?;
        let compensation_order = compensations::order(&steps, &compensations)?;
        Ok(Self { steps, compensations, compensation_order, ..Self::without_steps() })
    }

    /// A plan without steps: of a task that never starts, and in place of a newer format's plan that cannot be read.
    pub(crate) fn without_steps() -> Self {
        Self {
            steps: Vec::new(),
            compensations: Vec::new(),
            compensate: Compensate::default(),
            compensate_after_seconds: 0,
            redrives: 0,
            compensation_order: CompensationOrder::Serial,
            deadline: None,
            result_keys: BTreeMap::new(),
            secrets: BTreeMap::new(),
        }
    }

    /// Sets the policy: when the engine starts compensations, and for [`Compensate::OnError`] how many seconds a failed
    /// task first waits for a redrive.
    #[must_use]
    pub fn compensating(mut self, when: Compensate, after_seconds: u32) -> Self {
        (self.compensate, self.compensate_after_seconds) = (when, after_seconds);
        self
    }

    /// The same DAG with other limits. `change` gets each step and each compensation, and may change anything but its name and
    /// what it waits for.
    pub(crate) fn map_limits(self, change: impl Fn(StepPlan) -> StepPlan) -> Self {
        let steps = self.steps.into_iter().map(&change).collect();
        Self { steps, compensations: self.compensations.into_iter().map(change).collect(), ..self }
    }

    /// The steps, in topological order.
    pub fn steps(&self) -> &[StepPlan] {
        &self.steps
    }

    /// The compensations of the steps.
    pub fn compensations(&self) -> &[StepPlan] {
        &self.compensations
    }

    /// When the engine starts compensations.
    pub const fn compensate(&self) -> Compensate {
        self.compensate
    }

    /// Sets the number of redrives by the engine, at most [`Self::MAX_REDRIVES`].
    #[must_use]
    pub fn redriving(mut self, redrives: u32) -> Self {
        self.redrives = redrives.min(Self::MAX_REDRIVES);
        self
    }

    /// The time from a transient failure to the redrive by the engine, after `so_far` such redrives: 1 minute, 2, 4, and
    /// so on. `None` if the plan allows no more.
    pub fn redrive_delay(&self, so_far: u32) -> Option<Duration> {
        let wait = Self::FIRST_REDRIVE_AFTER.saturating_mul(2u32.saturating_pow(so_far));
        (so_far < self.redrives).then_some(wait)
    }

    /// The time from a task's failure to its next inspection by the watchdog: when the redrive or the compensation, which a
    /// message begins, would be overdue. `None` if there is nothing to inspect: the engine neither redrives nor compensates the
    /// task, and its steps are a chain, so no other step can go on.
    pub fn inspection_after_failure(&self) -> Option<Duration> {
        let others_go_on = (!is_chain(&self.steps)).then_some(FIRST_INSPECTION_AFTER);
        let planned = self.redrive_delay(0).into_iter().chain(self.compensates_failure_after());
        planned.map(|wait| wait + OVERDUE_AFTER).chain(others_go_on).min()
    }

    /// Whether the engine may have something to do after a failure: a redrive, or to begin or go on with a compensation.
    pub fn recovers(&self) -> bool {
        !self.compensations.is_empty() || self.redrive_delay(0).is_some()
    }

    /// How long a failed task waits for a redrive before the engine compensates it; `None` if the engine does not.
    pub fn compensates_failure_after(&self) -> Option<Duration> {
        let automatic = self.compensate == Compensate::OnError && !self.compensations.is_empty();
        automatic.then(|| Duration::from_secs(self.compensate_after_seconds.into()))
    }

    /// Whether cancelling a task compensates it.
    pub fn compensates_cancellation(&self) -> bool {
        self.compensate != Compensate::Manual && !self.compensations.is_empty()
    }

    /// Sets the search keys in the results of steps and compensations, by the names of these.
    #[must_use]
    pub fn with_result_keys(mut self, keys: BTreeMap<String, SearchKeys>) -> Self {
        self.result_keys = keys;
        self
    }

    /// The search keys in the result of this step or compensation, if it has any.
    pub fn search_keys_of(&self, step: &str) -> Option<&SearchKeys> {
        self.result_keys.get(step)
    }

    /// Sets the JSON pointers to the secret fields in the results of steps and compensations, by the names of these.
    #[must_use]
    pub fn with_secrets(mut self, secrets: BTreeMap<String, BTreeSet<String>>) -> Self {
        self.secrets = secrets;
        self
    }

    /// The result of this step or compensation as it may be shown: `***` stands in the place of each secret field that has a value. A result that cannot be read is
    /// not shown.
    pub fn shown_result<'a>(&self, step: &str, result: &'a str) -> Cow<'a, str> {
        let Some(pointers) = self.secrets.get(step) else { return Cow::Borrowed(result) };
        let (shown, _) = shown(result, pointers);
        Cow::Owned(shown.to_string())
    }

    /// The names of all search keys in results.
    pub fn result_key_names(&self) -> impl Iterator<Item = &str> {
        self.result_keys.values().flat_map(SearchKeys::names)
    }

    /// The step or the compensation of this name.
    pub fn step(&self, name: &str) -> Option<&StepPlan> {
        self.steps.iter().chain(&self.compensations).find(|step| step.name == name)
    }

    /// Whether this is the name of an optional step, or of an optional compensation.
    pub fn is_optional(&self, name: &str) -> bool {
        self.step(name).is_some_and(|step| step.optional)
    }

    /// The format of a task with this plan: the oldest reader that may act on it.
    pub(crate) fn format(&self) -> i64 {
        let needs = [
            (self.steps.is_empty(), RULED_OUT),
            (self.steps.iter().any(|step| step.optional), OPTIONAL_STEPS),
            (self.compensation_order == CompensationOrder::Graph, COMPENSATION_GRAPH),
            (self.deadline.is_some(), DEADLINE),
        ];
        needs.into_iter().filter(|(has, _)| *has).map(|(_, format)| format).fold(WRITES, i64::max)
    }

    /// Whether this is the name of a compensation.
    pub fn is_compensation(&self, name: &str) -> bool {
        self.compensations.iter().any(|compensation| compensation.name == name)
    }

    /// The compensation of this step, if it has one.
    pub fn compensation_of(&self, step: &str) -> Option<&StepPlan> {
        self.compensations.iter().find(|compensation| compensation.compensates.as_deref() == Some(step))
    }

    /// The steps without dependencies. A task starts with them, unless it keeps results.
    pub fn roots(&self) -> impl Iterator<Item = &StepPlan> {
        self.first_steps(|_| false)
    }

    /// Whether the other plan has the same steps, which wait for the same ones, and the same secrets in their results.
    pub fn has_same_steps(&self, other: &Self) -> bool {
        let edges = |plan: &Self| -> BTreeMap<String, BTreeSet<String>> {
            let edge = |step: &StepPlan| (step.name.clone(), step.depends_on.iter().cloned().collect());
            plan.steps.iter().chain(&plan.compensations).map(edge).collect()
        };
        edges(self) == edges(other) && self.secrets == other.secrets
    }

    /// The steps that a task starts with of which some are done already: those that are not, and wait for such ones only.
    pub fn first_steps(&self, is_done: impl Fn(&str) -> bool) -> impl Iterator<Item = &StepPlan> {
        self.steps
            .iter()
            .filter(move |step| !is_done(&step.name) && step.depends_on.iter().all(|dependency| is_done(dependency)))
    }

    /// The steps that depend directly on `name`.
    pub fn dependents<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a StepPlan> {
        dependents(&self.steps, name)
    }

    /// All steps that this one depends on, directly or not, which are done whenever it runs. For a compensation: the step
    /// that it compensates and that step's ancestors, and the compensations that its `after` names, with those that they wait for.
    /// Of these, some may not have run, because their steps were never attempted.
    pub fn ancestors<'a>(&'a self, step: &'a StepPlan) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        let waits_for =
            |step: &'a StepPlan| step.depends_on.iter().chain(step.after.iter().flatten()).map(String::as_str);
        let mut next: Vec<&str> = step.compensates.iter().map(String::as_str).chain(waits_for(step)).collect();
        while let Some(name) = next.pop() {
            if found.insert(name) {
                next.extend(self.step(name).into_iter().flat_map(waits_for));
            }
        }
        found
    }

    /// Checks that a step takes only results of its ancestors. `takes` names the steps whose results it takes, as
    /// [`Input::wanted`](crate::runtime::step::Input::wanted) does. A step that is not in the plan passes.
    ///
    /// # Errors
    /// The first result that comes from no ancestor.
    pub fn check_inputs(&self, step: &str, takes: &[&str]) -> Result<(), UndeclaredDependency> {
        let Some(step) = self.step(step) else { return Ok(()) };
        let ancestors = self.ancestors(step);
        let Some(result_of) = takes.iter().find(|name| !ancestors.contains(*name)) else { return Ok(()) };
        let all = self.steps.iter().chain(&self.compensations);
        let in_order = all.filter(|step| ancestors.contains(step.name.as_str()));
        let ancestors = in_order.map(|step| step.name.clone()).collect();
        Err(UndeclaredDependency { step: step.name.clone(), result_of: (*result_of).to_owned(), ancestors })
    }

    /// The steps without dependents. A task is complete when all of them are done.
    pub fn leaves(&self) -> impl Iterator<Item = &StepPlan> {
        leaves(&self.steps)
    }
}

/// The steps of a graph that depend directly on `name`.
pub(crate) fn dependents<'a>(graph: &'a [StepPlan], name: &'a str) -> impl Iterator<Item = &'a StepPlan> {
    graph.iter().filter(move |step| step.depends_on.iter().any(|dependency| dependency == name))
}

/// The steps of a graph without dependents.
pub(crate) fn leaves(graph: &[StepPlan]) -> impl Iterator<Item = &StepPlan> {
    graph.iter().filter(|step| dependents(graph, &step.name).next().is_none())
}

/// Whether each step of a sorted graph depends on the one before it, so that no two ever run at the same time.
pub(crate) fn is_chain(graph: &[StepPlan]) -> bool {
    graph.iter().zip(graph.iter().skip(1)).all(|(before, step)| step.depends_on.contains(&before.name))
}

/// Whether the text is a valid name of a step or a workflow.
pub(crate) fn is_name(text: &str) -> bool {
    let fits = (1..=Plan::MAX_NAME_LENGTH).contains(&text.len());
    fits && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

fn check_name(name: &str) -> Result<(), PlanError> {
    if !is_name(name) {
        return Err(PlanError::BadName(name.to_owned()));
    }
    if [DEAD_LETTERS, UNDELIVERABLE].contains(&name) {
        return Err(PlanError::ReservedName(name.to_owned()));
    }
    Ok(())
}

fn check_each(steps: &mut [StepPlan]) -> Result<(), PlanError> {
    let mut names = BTreeSet::new();
    for step in steps {
        check_name(&step.name)?;
        if !names.insert(step.name.clone()) {
            return Err(PlanError::Duplicate(step.name.clone()));
        }
        for (limit, what) in [(step.max_attempts, "limit of attempts"), (step.timeout_seconds, "timeout")] {
            if limit == 0 {
                return Err(PlanError::Zero(step.name.clone(), what));
            }
        }
        step.depends_on.sort_unstable();
        step.depends_on.dedup();
    }
    Ok(())
}

fn check_optional(steps: &[StepPlan]) -> Result<(), PlanError> {
    let optional = |name: &&String| steps.iter().any(|step| step.optional && step.name == **name);
    let dependent = steps.iter().find_map(|step| Some((step, step.depends_on.iter().find(optional)?)));
    dependent.map_or(Ok(()), |(step, dependency)| {
        Err(PlanError::DependsOnOptional { step: step.name.clone(), dependency: dependency.clone() })
    })
}

/// Sorts topologically by Kahn's algorithm, taking the earliest free step each time.
///
/// # Errors
/// The names of a cycle.
fn in_order(steps: Vec<StepPlan>) -> Result<Vec<StepPlan>, Vec<String>> {
    let mut placed = BTreeSet::new();
    let mut ordered = Vec::with_capacity(steps.len());
    let mut waiting = steps;
    while !waiting.is_empty() {
        let free = waiting.iter().position(|step| step.depends_on.iter().all(|name| placed.contains(name)));
        let Some(free) = free else { return Err(cycle(&waiting)) };
        let step = waiting.remove(free);
        placed.insert(step.name.clone());
        ordered.push(step);
    }
    Ok(ordered)
}

/// Finds a cycle among steps each of which depends on another of them. The first name is repeated at the end.
fn cycle(waiting: &[StepPlan]) -> Vec<String> {
    let stuck: BTreeMap<&str, &StepPlan> = waiting.iter().map(|step| (step.name.as_str(), step)).collect();
    let mut path: Vec<String> = Vec::new();
    let mut here = waiting.first();
    while let Some(step) = here {
        if let Some(start) = path.iter().position(|name| *name == step.name) {
            path.drain(..start);
            path.push(step.name.clone());
            break;
        }
        path.push(step.name.clone());
        here = step.depends_on.iter().find_map(|name| stuck.get(name.as_str()).copied());
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A step with these dependencies and the defaults.
    pub(super) fn step(name: &str, depends_on: &[&str]) -> StepPlan {
        StepPlan {
            name: name.to_owned(),
            depends_on: depends_on.iter().map(|&name| name.to_owned()).collect(),
            max_attempts: 3,
            timeout_seconds: 30,
            backoff: Backoff::default(),
            compensates: None,
            after: None,
            optional: false,
        }
    }

    fn optional(name: &str, depends_on: &[&str]) -> StepPlan {
        StepPlan { optional: true, ..step(name, depends_on) }
    }

    fn compensation(name: &str, step: &str) -> StepPlan {
        StepPlan { compensates: Some(step.to_owned()), ..self::step(name, &[]) }
    }

    fn names<'a>(steps: impl Iterator<Item = &'a StepPlan>) -> Vec<&'a str> {
        steps.map(|step| step.name.as_str()).collect()
    }

    #[test]
    fn diamond_has_one_root_and_one_leaf() {
        let plan =
            Plan::new(vec![step("d", &["b", "c"]), step("b", &["a"]), step("c", &["a"]), step("a", &[])]).unwrap();
        assert_eq!(names(plan.steps().iter()), ["a", "b", "c", "d"]);
        assert_eq!(names(plan.roots()), ["a"]);
        assert_eq!(names(plan.dependents("a")), ["b", "c"]);
        assert_eq!(names(plan.leaves()), ["d"]);
    }

    #[test]
    fn step_takes_results_of_its_ancestors_only() {
        let steps = [step("a", &[]), step("b", &["a"]), step("c", &["a"]), step("d", &["b"]), compensation("u", "d")];
        let plan = Plan::new(steps.into()).unwrap();
        for (name, takes) in [("a", &[][..]), ("b", &["a"]), ("d", &["a", "b"]), ("u", &["a", "b", "d"]), ("x", &["a"])]
        {
            assert_eq!(plan.check_inputs(name, takes), Ok(()), "{name}");
        }
        let refused = |name, takes: &[&str]| plan.check_inputs(name, takes).unwrap_err().to_string();
        let sibling = "step `c` takes the result of `b`, which it does not wait for: it waits for a";
        assert_eq!(refused("c", &["a", "b"]), sibling);
        let descendant = "step `b` takes the result of `d`, which it does not wait for: it waits for a";
        assert_eq!(refused("b", &["d"]), descendant);
        let itself = "step `a` takes the result of `a`, which it does not wait for: it waits for no step";
        assert_eq!(refused("a", &["a"]), itself);
        let unrelated = "step `u` takes the result of `c`, which it does not wait for: it waits for a, b, d";
        assert_eq!(refused("u", &["c"]), unrelated);
    }

    #[test]
    fn compensation_takes_results_of_those_that_its_after_names() {
        let after = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect());
        let undo =
            |name: &str, step: &str, names: &[&str]| StepPlan { after: after(names), ..compensation(name, step) };
        let compensations = [undo("u", "a", &[]), undo("v", "b", &["u"]), undo("w", "c", &["v"])];
        let steps = [step("a", &[]), step("b", &["a"]), step("c", &["a"])].into_iter().chain(compensations);
        let plan = Plan::new(steps.collect()).unwrap();
        assert_eq!(plan.check_inputs("w", &["a", "c", "u", "v"]), Ok(()));
        let refused = plan.check_inputs("v", &["w"]).unwrap_err().to_string();
        assert_eq!(refused, "step `v` takes the result of `w`, which it does not wait for: it waits for a, b, u");
    }

    #[test]
    fn deadline_holds_for_the_point_of_no_return_and_what_leads_to_it() {
        let steps = [step("a", &[]), step("b", &["a"]), compensation("u", "a"), step("c", &["b"]), step("d", &["a"])];
        let holds = |point: Option<&str>| {
            let plan = Plan::new(steps.clone().into()).unwrap();
            let deadline = Deadline { complete_within_seconds: 9, point_of_no_return: point.map(str::to_owned) };
            let plan = plan.with_deadline(deadline).unwrap();
            let stored: Plan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
            assert_eq!((&stored, plan.format()), (&plan, DEADLINE));
            ["a", "b", "c", "d", "u"].map(|step| plan.time_to_start(step).map_or(0, |time| time.as_secs()))
        };
        assert_eq!(holds(Some("b")), [9, 9, 0, 0, 0]);
        assert_eq!(holds(Some("c")), [9, 9, 9, 0, 0]);
        assert_eq!(holds(None), [9, 9, 9, 9, 0]);
    }

    #[test]
    fn compensations_are_not_steps_of_the_dag() {
        let plan = Plan::new(vec![step("a", &[]), compensation("u", "a"), step("b", &["a"])]).unwrap();
        assert_eq!(names(plan.steps().iter()), ["a", "b"]);
        assert_eq!(names(plan.compensations().iter()), ["u"]);
        assert_eq!(["a", "u", "x"].map(|name| plan.is_compensation(name)), [false, true, false]);
        assert_eq!(["a", "u", "x"].map(|name| plan.step(name).is_some()), [true, true, false]);
        assert_eq!(plan.compensation_of("a").map(|compensation| compensation.name.as_str()), Some("u"));
        assert_eq!(plan.compensation_of("b"), None);
    }

    #[test]
    fn invalid_plan_is_refused_with_the_reason() {
        let cases: [(Vec<StepPlan>, &str); 15] = [
            (vec![], "there are no steps"),
            (vec![step("a", &[]), step("a", &[])], "there are two steps named `a`"),
            (vec![step("", &[])], "step name `` has to be 1 to 48 letters, digits, `_` or `-`"),
            (vec![step("a b", &[])], "step name `a b` has to be 1 to 48 letters, digits, `_` or `-`"),
            (
                vec![step("dead_letters", &[])],
                "step name `dead_letters` is reserved: it is the name of one of the engine's own queues",
            ),
            (
                vec![step("a", &[]), compensation("u", "x")],
                "compensation `u` is for `x`, which is not a step of this workflow",
            ),
            (
                vec![step("a", &[]), compensation("u", "a"), compensation("v", "a")],
                "compensation `v` is for `a`, which has another compensation already",
            ),
            (
                vec![step("a", &["u"]), compensation("u", "a")],
                "step `a` depends on `u`, which is not a step of this workflow",
            ),
            (
                vec![step("check_fraud", &[]), step("pay", &["chek_fraud"])],
                "step `pay` depends on `chek_fraud`, which is not a step of this workflow; did you mean `check_fraud`?",
            ),
            (
                vec![step("check_fraud", &["chek_fraud"])],
                "step `check_fraud` depends on `chek_fraud`, which is not a step of this workflow",
            ),
            (
                vec![step("check_fraud", &[]), compensation("u", "check_frau")],
                "compensation `u` is for `check_frau`, which is not a step of this workflow; did you mean `check_fraud`?",
            ),
            (
                vec![optional("send", &[]), step("ship", &["send"])],
                "step `ship` depends on `send`, which is optional; a step that failed cannot be waited for, so let `ship` \
                 depend on what `send` depends on, or remove `optional`",
            ),
            (vec![step("a", &["x"])], "step `a` depends on `x`, which is not a step of this workflow"),
            (vec![step("a", &["a"])], "these steps depend on each other in a cycle: a -> a"),
            (
                vec![step("r", &[]), step("a", &["r", "c"]), step("b", &["a"]), step("c", &["b"])],
                "these steps depend on each other in a cycle: a -> c -> b -> a",
            ),
        ];
        for (steps, message) in cases {
            assert_eq!(Plan::new(steps).unwrap_err().to_string(), message);
        }
        let mut zero = step("a", &[]);
        zero.max_attempts = 0;
        assert_eq!(
            Plan::new(vec![zero]).unwrap_err().to_string(),
            "step `a`: the limit of attempts is 0; at least 1 is needed"
        );
    }

    #[test]
    fn stored_plan_is_checked_when_it_is_read() {
        let stored = r#"{"s":[{"n":"a","d":["b"],"l":1,"t":1},{"n":"b","d":["a"],"l":1,"t":1}]}"#;
        let error = serde_json::from_str::<Plan>(stored).unwrap_err().to_string();
        assert!(error.contains("cycle: a -> b -> a"), "{error}");
    }

    #[test]
    fn defaults_are_not_stored() {
        let plan = Plan::new(vec![step("a", &[]), step("b", &["a"])]).unwrap();
        let stored = serde_json::to_string(&plan).unwrap();
        assert_eq!(stored, r#"{"s":[{"n":"a"},{"n":"b","d":["a"]}]}"#);
        assert_eq!(serde_json::from_str::<Plan>(&stored).unwrap(), plan);
    }

    #[test]
    fn plan_with_compensations_survives_a_round_trip_through_the_store() {
        let plan = Plan::new(vec![compensation("u", "a"), step("a", &[]), step("b", &["a"])]).unwrap();
        let plan = plan.compensating(Compensate::OnError, 90);
        assert_eq!(names(plan.steps().iter()), ["a", "b"]);
        assert_eq!(names(plan.leaves()), ["b"]);
        let stored = r#"{"s":[{"n":"a","u":{"n":"u"}},{"n":"b","d":["a"]}],"a":90}"#;
        assert_eq!(serde_json::to_string(&plan).unwrap(), stored);
        assert_eq!(plan.compensation_of("a").map(|step| step.name.as_str()), Some("u"));
        assert_eq!(plan.compensates_failure_after(), Some(Duration::from_secs(90)));
        assert_eq!(serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(), plan);
        assert_eq!(plan.inspection_after_failure(), Some(Duration::from_secs(90) + OVERDUE_AFTER));
        let plan = plan.redriving(4);
        assert_eq!(serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(), plan);
        assert_eq!(plan.inspection_after_failure(), Some(Duration::from_secs(60) + OVERDUE_AFTER));
        let minutes = (0..5).map(|so_far| plan.redrive_delay(so_far).map(|wait| wait.as_secs() / 60));
        assert_eq!(minutes.collect::<Vec<_>>(), [Some(1), Some(2), Some(4), Some(8), None]);
        assert_eq!(plan.compensating(Compensate::OnCancel, 0).compensates_failure_after(), None);

        let backoff = Backoff { base_seconds: 5, multiplier: 1.5, ..Backoff::default() };
        let plan = Plan::new(vec![step("a", &[]), StepPlan { backoff, ..compensation("u", "a") }]).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(), plan);

        let usual = StepPlan { max_attempts: Plan::COMPENSATION_MAX_ATTEMPTS, ..compensation("u", "a") };
        let plan = Plan::new(vec![step("a", &[]), usual]).unwrap();
        let stored = serde_json::to_string(&plan).unwrap();
        assert_eq!(stored, r#"{"s":[{"n":"a","c":"u"}]}"#);
        assert_eq!(serde_json::from_str::<Plan>(&stored).unwrap(), plan);
    }

    #[test]
    fn plan_with_an_optional_step_needs_a_reader_of_its_format() {
        let plan = Plan::new(vec![step("a", &[]), optional("b", &["a"])]).unwrap();
        let stored = serde_json::to_string(&plan).unwrap();
        assert_eq!(stored, r#"{"s":[{"n":"a"},{"n":"b","d":["a"],"o":true}]}"#);
        assert_eq!(serde_json::from_str::<Plan>(&stored).unwrap(), plan);
        assert_eq!((plan.format(), plan.is_optional("b"), plan.is_optional("a")), (2, true, false));
        assert_eq!(Plan::new(vec![step("a", &[])]).unwrap().format(), 1);
    }

    #[test]
    fn failed_task_is_inspected_while_other_branches_can_go_on() {
        let inspected = |steps: Vec<StepPlan>| Plan::new(steps).unwrap().inspection_after_failure();
        assert_eq!(inspected(vec![step("a", &[])]), None);
        assert_eq!(inspected(vec![step("a", &[]), step("b", &["a"]), step("c", &["a", "b"])]), None);
        assert_eq!(inspected(vec![step("a", &[]), step("b", &[])]), Some(FIRST_INSPECTION_AFTER));
        assert_eq!(inspected(vec![step("a", &[]), step("b", &["a"]), step("c", &["a"])]), Some(FIRST_INSPECTION_AFTER));
    }

    proptest! {
        /// Edges only from lower to higher numbers make an acyclic graph; the steps are given in any order.
        #[test]
        fn any_dag_is_sorted_topologically(
            edges in proptest::collection::btree_set((0usize..20, 0usize..20), 0..60),
            order in Just((0..20).collect::<Vec<usize>>()).prop_shuffle(),
        ) {
            let steps = order.iter().map(|&n| {
                let depends: Vec<String> =
                    edges.iter().filter(|(from, to)| *to == n && from < to).map(|(from, _)| format!("s{from}")).collect();
                step(&format!("s{n}"), &depends.iter().map(String::as_str).collect::<Vec<_>>())
            }).collect();
            let plan = Plan::new(steps).unwrap();
            let mut seen = BTreeSet::new();
            for step in plan.steps() {
                prop_assert!(step.depends_on.iter().all(|name| seen.contains(name)), "{} is too early", step.name);
                seen.insert(step.name.clone());
            }
            prop_assert_eq!(seen.len(), 20);
            prop_assert_eq!(serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(), plan);
        }
    }
}
