//! The plan of one task: which steps, in which order, with which limits.
//!
//! A plan is copied into its task at the start, so a deployment never changes a task in flight. It is checked when it
//! is made and again when it is read back ([`Plan::new`]), so whoever holds one holds an acyclic graph with known names.

pub mod policy;
mod stored;

use crate::core::{
    backoff::Backoff,
    id::TaskId,
    index::FIRST_INSPECTION_AFTER,
    message::{DEAD_LETTERS, Message, UNDELIVERABLE},
    spelling::Meant,
};
pub use policy::Compensate;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use stored::Stored;

/// One step of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct StepPlan {
    /// The step's name. With the workflow's it names its queue and its Lambda function; see [`names`](crate::core::names).
    pub name: String,
    /// The steps whose completion this one waits for.
    pub depends_on: Vec<String>,
    /// Attempts in all, the first one included; at least 1.
    pub max_attempts: u32,
    /// How long one attempt may take, in seconds; at least 1.
    pub timeout_seconds: u32,
    /// The waits between attempts.
    pub backoff: Backoff,
    /// For a compensation: the step whose effect it undoes.
    pub undoes: Option<String>,
}

impl StepPlan {
    /// The message that wakes this step of a task.
    pub fn message(&self, task_id: TaskId) -> Message {
        Message { task_id, step: self.name.clone(), load: self.depends_on.clone(), repeat: false }
    }
}

/// The checked graph of a task's steps, in an order in which every step comes after what it depends on; and what undoes
/// them, should the task fail or be cancelled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct Plan {
    steps: Vec<StepPlan>,
    compensations: Vec<StepPlan>,
    compensate: Compensate,
    compensate_after_seconds: u32,
    redrives: u32,
}

/// Why some steps make no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// A workflow without steps.
    #[error("there are no steps")]
    Empty,
    /// Two steps of the same name.
    #[error("step `{0}` is there twice")]
    Duplicate(String),
    /// A name that can be no queue's and no function's.
    #[error("step name `{0}` has to be 1 to {max} letters, digits, `_` or `-`", max = Plan::MAX_NAME_LENGTH)]
    BadName(String),
    /// A name the engine uses itself.
    #[error("step name `{0}` is taken: it is the name of one of the engine's own queues")]
    ReservedName(String),
    /// A dependency that is not a step.
    #[error("step `{step}` depends on `{dependency}`, which is not a step of this workflow{meant}")]
    UnknownDependency {
        /// The step.
        step: String,
        /// What it says it depends on.
        dependency: String,
        /// The step that may be meant.
        meant: Meant,
    },
    /// Steps that wait for each other.
    #[error("these steps depend on each other in a circle: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
    /// A limit of 0.
    #[error("step `{0}` has a {1} of 0; at least 1 is needed")]
    Zero(String, &'static str),
    /// A compensation that undoes nothing that can be undone.
    #[error("compensation `{name}` {problem}")]
    BadCompensation {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// More steps than one task can hold.
    #[error("there are {0} steps; at most {max} fit into a task", max = Plan::MAX_STEPS)]
    TooMany(usize),
    /// More steps without a dependency than one redrive can change.
    #[error("{0} steps depend on nothing; at most {max} may", max = Plan::MAX_ROOTS)]
    TooManyRoots(usize),
}

/// A step that takes the result of one that need not be done when it runs. Whether the result is there would be a matter
/// of timing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step `{step}` takes the result of `{result_of}`, which {}", after(.ancestors))]
pub struct UndeclaredDependency {
    /// The step.
    pub step: String,
    /// The step whose result it takes.
    pub result_of: String,
    /// The steps whose results it may take, in the plan's order: those that are done whenever it runs.
    pub ancestors: Vec<String>,
}

fn after(ancestors: &[String]) -> String {
    match ancestors {
        [] => "it does not wait for: it waits for no step".to_owned(),
        ancestors => format!("it does not wait for: before it come {}", ancestors.join(", ")),
    }
}

impl Plan {
    /// The most steps a workflow may have, compensations included.
    pub const MAX_STEPS: usize = 100;

    /// The most steps that may wait for nothing, and so the most that can have failed at the same time: a redrive
    /// changes every failed step and the task in one DynamoDB transaction, and those take 100 items.
    pub const MAX_ROOTS: usize = 99;

    /// How many attempts a compensation has where its file does not say. Enough for hours of outage, because behind it there is only somebody who does it by hand.
    pub const COMPENSATION_MAX_ATTEMPTS: u32 = 50;

    /// The most attempts that a workflow file may give a step before it fails. All of them stay in its item, with their
    /// errors, and it has room for these and for another set at least.
    pub const MAX_ATTEMPTS: u32 = 50;

    /// The most redrives of a failed task by itself. The last of so many comes 8 hours after the one before.
    pub const MAX_REDRIVES: u32 = 10;

    /// How long after its first failure a task is redriven by itself.
    const FIRST_RESTART: Duration = Duration::from_secs(60);

    /// The longest step name, in characters: with the stack's name before it, a queue's name has to stay under 80.
    pub const MAX_NAME_LENGTH: usize = 48;

    /// Checks the steps and puts them in order. Steps that could come in any order keep the order they are given in.
    /// Those that say what they undo are the compensations.
    ///
    /// # Errors
    /// The first thing that is wrong with them, with the step's name.
    pub fn new(mut steps: Vec<StepPlan>) -> Result<Self, PlanError> {
        if steps.len() > Self::MAX_STEPS {
            return Err(PlanError::TooMany(steps.len()));
        }
        check_each(&mut steps)?;
        let (compensations, steps): (Vec<StepPlan>, Vec<StepPlan>) =
            steps.into_iter().partition(|step| step.undoes.is_some());
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
                // Not itself: it would be a circle.
                let others = names.iter().copied().filter(|name| *name != step.name);
                let meant = Meant::among(unknown, others);
                return Err(PlanError::UnknownDependency {
                    step: step.name.clone(),
                    dependency: unknown.clone(),
                    meant,
                });
            }
        }
        check_compensations(&compensations, &names)?;
        let steps = in_order(steps)?;
        Ok(Self { steps, compensations, ..Self::not_understood() })
    }

    /// What stands for the plan of a newer version that cannot be read. It has no steps, and nobody acts by it.
    pub(crate) fn not_understood() -> Self {
        Self {
            steps: Vec::new(),
            compensations: Vec::new(),
            compensate: Compensate::default(),
            compensate_after_seconds: 0,
            redrives: 0,
        }
    }

    /// With another policy: when compensations start by themselves, and for [`Compensate::OnError`] how many seconds a
    /// failed task waits for a redrive first.
    #[must_use]
    pub fn compensating(mut self, when: Compensate, after_seconds: u32) -> Self {
        (self.compensate, self.compensate_after_seconds) = (when, after_seconds);
        self
    }

    /// The same graph with other limits: `change` gets each step and may change all but its name and dependencies.
    pub(crate) fn map_limits(self, change: impl Fn(StepPlan) -> StepPlan) -> Self {
        Self { steps: self.steps.into_iter().map(change).collect(), ..self }
    }

    /// The steps, each after those it depends on.
    pub fn steps(&self) -> &[StepPlan] {
        &self.steps
    }

    /// What undoes them.
    pub fn compensations(&self) -> &[StepPlan] {
        &self.compensations
    }

    /// With so many redrives by itself, at most [`Self::MAX_REDRIVES`].
    #[must_use]
    pub fn redriving(mut self, redrives: u32) -> Self {
        self.redrives = redrives.min(Self::MAX_REDRIVES);
        self
    }

    /// How long after a failure that may pass a task gets a fresh set of attempts by itself, where it has had so many
    /// already: 1 minute, 2, 4, and so on; `None` where it has had all that the plan allows.
    pub fn redrives_after(&self, so_far: u32) -> Option<Duration> {
        let wait = Self::FIRST_RESTART.saturating_mul(2u32.saturating_pow(so_far));
        (so_far < self.redrives).then_some(wait)
    }

    /// How long after its failure the watchdog looks at a task; `None` where nothing more happens by itself: it is not
    /// redriven, it is not undone, and all its steps are on one line, so none goes on beside the one that failed.
    pub fn looks_after_failure_in(&self) -> Option<Duration> {
        let others_go_on = (!self.is_chain()).then_some(FIRST_INSPECTION_AFTER);
        self.redrives_after(0).into_iter().chain(self.compensates_failure_after()).chain(others_go_on).min()
    }

    /// Whether each step waits for the one before it, so that no two are ever at work at the same time.
    fn is_chain(&self) -> bool {
        self.steps.iter().zip(self.steps.iter().skip(1)).all(|(before, step)| step.depends_on.contains(&before.name))
    }

    /// How long a task that has failed waits for a redrive before it is compensated; `None` where it is not by itself.
    pub fn compensates_failure_after(&self) -> Option<Duration> {
        let by_itself = self.compensate == Compensate::OnError && !self.compensations.is_empty();
        by_itself.then(|| Duration::from_secs(self.compensate_after_seconds.into()))
    }

    /// Whether cancelling a task compensates what it has done.
    pub fn compensates_cancellation(&self) -> bool {
        self.compensate != Compensate::Manual && !self.compensations.is_empty()
    }

    /// The step or the compensation of this name.
    pub fn step(&self, name: &str) -> Option<&StepPlan> {
        self.steps.iter().chain(&self.compensations).find(|step| step.name == name)
    }

    /// Whether this is the name of a compensation.
    pub fn is_compensation(&self, name: &str) -> bool {
        self.compensations.iter().any(|compensation| compensation.name == name)
    }

    /// What undoes this step, where anything does.
    pub fn compensation_of(&self, step: &str) -> Option<&StepPlan> {
        self.compensations.iter().find(|compensation| compensation.undoes.as_deref() == Some(step))
    }

    /// The compensations in the order in which they undo a task whose steps have been done in the plan's order.
    pub fn undo_order(&self) -> impl Iterator<Item = &StepPlan> {
        self.steps.iter().rev().filter_map(|step| self.compensation_of(&step.name))
    }

    /// The steps that wait for nothing: a task starts with them.
    pub fn roots(&self) -> impl Iterator<Item = &StepPlan> {
        self.steps.iter().filter(|step| step.depends_on.is_empty())
    }

    /// The steps that depend directly on `name`.
    pub fn dependents<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a StepPlan> {
        self.steps.iter().filter(move |step| step.depends_on.iter().any(|dependency| dependency == name))
    }

    /// The steps that are done whenever this one runs: all that it depends on, directly or not. For a compensation, the
    /// step that it undoes and all that that one depends on.
    pub fn ancestors<'a>(&'a self, step: &'a StepPlan) -> BTreeSet<&'a str> {
        let mut found = BTreeSet::new();
        let mut next: Vec<&str> = step.depends_on.iter().chain(&step.undoes).map(String::as_str).collect();
        while let Some(name) = next.pop() {
            if found.insert(name) {
                next.extend(self.step(name).into_iter().flat_map(|step| &step.depends_on).map(String::as_str));
            }
        }
        found
    }

    /// Checks that a step takes only results of steps that are done whenever it runs. `takes` names them, as
    /// [`Input::wanted`](crate::runtime::step::Input::wanted) does. Of a step that the plan does not have nothing is said.
    ///
    /// # Errors
    /// The first result that may not be there.
    pub fn check_inputs(&self, step: &str, takes: &[&str]) -> Result<(), UndeclaredDependency> {
        let Some(step) = self.step(step) else { return Ok(()) };
        let ancestors = self.ancestors(step);
        let Some(result_of) = takes.iter().find(|name| !ancestors.contains(*name)) else { return Ok(()) };
        let in_order = self.steps.iter().filter(|step| ancestors.contains(step.name.as_str()));
        let ancestors = in_order.map(|step| step.name.clone()).collect();
        Err(UndeclaredDependency { step: step.name.clone(), result_of: (*result_of).to_owned(), ancestors })
    }

    /// The steps that nothing depends on. A task is complete when they are.
    pub fn leaves(&self) -> impl Iterator<Item = &StepPlan> {
        self.steps.iter().filter(|step| self.dependents(&step.name).next().is_none())
    }
}

/// Whether a step, or a workflow, can be called so.
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
        for (limit, what) in [(step.max_attempts, "retry limit"), (step.timeout_seconds, "timeout")] {
            if limit == 0 {
                return Err(PlanError::Zero(step.name.clone(), what));
            }
        }
        step.depends_on.sort_unstable();
        step.depends_on.dedup();
    }
    Ok(())
}

/// Compensations run one after another, in an order that is known only when they start, so they depend on nothing.
fn check_compensations(compensations: &[StepPlan], steps: &BTreeSet<&str>) -> Result<(), PlanError> {
    let mut undone = BTreeSet::new();
    for StepPlan { name, undoes, depends_on, .. } in compensations {
        let undoes = undoes.as_deref().unwrap_or_default();
        let problem = if !steps.contains(undoes) {
            format!(
                "undoes `{undoes}`, which is not a step of this workflow{}",
                Meant::among(undoes, steps.iter().copied())
            )
        } else if !undone.insert(undoes) {
            format!("undoes `{undoes}`, which another one undoes already")
        } else if !depends_on.is_empty() {
            "depends on steps; the order of compensations is the engine's".to_owned()
        } else {
            continue;
        };
        return Err(PlanError::BadCompensation { name: name.clone(), problem });
    }
    Ok(())
}

/// Kahn's algorithm, taking the earliest step that is free each time.
fn in_order(steps: Vec<StepPlan>) -> Result<Vec<StepPlan>, PlanError> {
    let mut placed = BTreeSet::new();
    let mut ordered = Vec::with_capacity(steps.len());
    let mut waiting = steps;
    while !waiting.is_empty() {
        let free = waiting.iter().position(|step| step.depends_on.iter().all(|name| placed.contains(name)));
        let Some(free) = free else { return Err(PlanError::Cycle(circle(&waiting))) };
        let step = waiting.remove(free);
        placed.insert(step.name.clone());
        ordered.push(step);
    }
    Ok(ordered)
}

/// One circle among steps each of which waits for another of them, first name repeated at the end.
fn circle(waiting: &[StepPlan]) -> Vec<String> {
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

    fn step(name: &str, depends_on: &[&str]) -> StepPlan {
        StepPlan {
            name: name.to_owned(),
            depends_on: depends_on.iter().map(|&name| name.to_owned()).collect(),
            max_attempts: 3,
            timeout_seconds: 30,
            backoff: Backoff::default(),
            undoes: None,
        }
    }

    fn undo(name: &str, step: &str) -> StepPlan {
        StepPlan { undoes: Some(step.to_owned()), ..self::step(name, &[]) }
    }

    fn names<'a>(steps: impl Iterator<Item = &'a StepPlan>) -> Vec<&'a str> {
        steps.map(|step| step.name.as_str()).collect()
    }

    #[test]
    fn a_diamond_has_one_root_and_one_last_step() {
        let plan =
            Plan::new(vec![step("d", &["b", "c"]), step("b", &["a"]), step("c", &["a"]), step("a", &[])]).unwrap();
        assert_eq!(names(plan.steps().iter()), ["a", "b", "c", "d"]);
        assert_eq!(names(plan.roots()), ["a"]);
        assert_eq!(names(plan.dependents("a")), ["b", "c"]);
        assert_eq!(names(plan.leaves()), ["d"]);
    }

    #[test]
    fn step_takes_results_of_its_ancestors_only() {
        let steps = [step("a", &[]), step("b", &["a"]), step("c", &["a"]), step("d", &["b"]), undo("u", "d")];
        let plan = Plan::new(steps.into()).unwrap();
        for (name, takes) in [("a", &[][..]), ("b", &["a"]), ("d", &["a", "b"]), ("u", &["a", "b", "d"]), ("x", &["a"])]
        {
            assert_eq!(plan.check_inputs(name, takes), Ok(()), "{name}");
        }
        let refused = |name, takes: &[&str]| plan.check_inputs(name, takes).unwrap_err().to_string();
        let sibling = "step `c` takes the result of `b`, which it does not wait for: before it come a";
        assert_eq!(refused("c", &["a", "b"]), sibling);
        let descendant = "step `b` takes the result of `d`, which it does not wait for: before it come a";
        assert_eq!(refused("b", &["d"]), descendant);
        let itself = "step `a` takes the result of `a`, which it does not wait for: it waits for no step";
        assert_eq!(refused("a", &["a"]), itself);
        let beside = "step `u` takes the result of `c`, which it does not wait for: before it come a, b, d";
        assert_eq!(refused("u", &["c"]), beside);
    }

    #[test]
    fn compensations_stand_beside_the_steps() {
        let plan = Plan::new(vec![step("a", &[]), undo("u", "a"), step("b", &["a"])]).unwrap();
        assert_eq!(names(plan.steps().iter()), ["a", "b"]);
        assert_eq!(names(plan.compensations().iter()), ["u"]);
        assert_eq!(["a", "u", "x"].map(|name| plan.is_compensation(name)), [false, true, false]);
        assert_eq!(["a", "u", "x"].map(|name| plan.step(name).is_some()), [true, true, false]);
        assert_eq!(plan.compensation_of("a").map(|compensation| compensation.name.as_str()), Some("u"));
        assert_eq!(plan.compensation_of("b"), None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases: [(Vec<StepPlan>, &str); 14] = [
            (vec![], "there are no steps"),
            (vec![step("a", &[]), step("a", &[])], "step `a` is there twice"),
            (vec![step("", &[])], "step name `` has to be 1 to 48 letters, digits, `_` or `-`"),
            (vec![step("a b", &[])], "step name `a b` has to be 1 to 48 letters, digits, `_` or `-`"),
            (
                vec![step("dead_letters", &[])],
                "step name `dead_letters` is taken: it is the name of one of the engine's own queues",
            ),
            (vec![step("a", &[]), undo("u", "x")], "compensation `u` undoes `x`, which is not a step of this workflow"),
            (
                vec![step("a", &[]), undo("u", "a"), undo("v", "a")],
                "compensation `v` undoes `a`, which another one undoes already",
            ),
            (vec![step("a", &["u"]), undo("u", "a")], "step `a` depends on `u`, which is not a step of this workflow"),
            (
                vec![step("check_fraud", &[]), step("pay", &["chek_fraud"])],
                "step `pay` depends on `chek_fraud`, which is not a step of this workflow; did you mean `check_fraud`?",
            ),
            (
                vec![step("check_fraud", &["chek_fraud"])],
                "step `check_fraud` depends on `chek_fraud`, which is not a step of this workflow",
            ),
            (
                vec![step("check_fraud", &[]), undo("u", "check_frau")],
                "compensation `u` undoes `check_frau`, which is not a step of this workflow; did you mean `check_fraud`?",
            ),
            (vec![step("a", &["x"])], "step `a` depends on `x`, which is not a step of this workflow"),
            (vec![step("a", &["a"])], "these steps depend on each other in a circle: a -> a"),
            (
                vec![step("r", &[]), step("a", &["r", "c"]), step("b", &["a"]), step("c", &["b"])],
                "these steps depend on each other in a circle: a -> c -> b -> a",
            ),
        ];
        for (steps, message) in cases {
            assert_eq!(Plan::new(steps).unwrap_err().to_string(), message);
        }
        let mut zero = step("a", &[]);
        zero.max_attempts = 0;
        assert_eq!(
            Plan::new(vec![zero]).unwrap_err().to_string(),
            "step `a` has a retry limit of 0; at least 1 is needed"
        );
    }

    #[test]
    fn a_stored_plan_is_checked_when_it_is_read() {
        let stored = r#"{"s":[{"n":"a","d":["b"],"l":1,"t":1},{"n":"b","d":["a"],"l":1,"t":1}]}"#;
        let error = serde_json::from_str::<Plan>(stored).unwrap_err().to_string();
        assert!(error.contains("circle: a -> b -> a"), "{error}");
    }

    #[test]
    fn defaults_take_no_room() {
        let plan = Plan::new(vec![step("a", &[]), step("b", &["a"])]).unwrap();
        let stored = serde_json::to_string(&plan).unwrap();
        assert_eq!(stored, r#"{"s":[{"n":"a"},{"n":"b","d":["a"]}]}"#);
        assert_eq!(serde_json::from_str::<Plan>(&stored).unwrap(), plan);
    }

    #[test]
    fn compensations_are_apart_from_the_graph_and_survive_the_table() {
        let plan = Plan::new(vec![undo("u", "a"), step("a", &[]), step("b", &["a"])]).unwrap();
        let plan = plan.compensating(Compensate::OnError, 90);
        assert_eq!(names(plan.steps().iter()), ["a", "b"]);
        assert_eq!(names(plan.leaves()), ["b"]);
        let stored = r#"{"s":[{"n":"a","u":{"n":"u"}},{"n":"b","d":["a"]}],"a":90}"#;
        assert_eq!(serde_json::to_string(&plan).unwrap(), stored);
        assert_eq!(plan.compensation_of("a").map(|step| step.name.as_str()), Some("u"));
        assert_eq!(plan.compensates_failure_after(), Some(Duration::from_secs(90)));
        assert_eq!(serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(), plan);
        assert_eq!(plan.looks_after_failure_in(), Some(Duration::from_secs(90)));
        let plan = plan.redriving(4);
        assert_eq!(serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(), plan);
        assert_eq!(plan.looks_after_failure_in(), Some(Duration::from_secs(60)));
        let minutes = (0..5).map(|so_far| plan.redrives_after(so_far).map(|wait| wait.as_secs() / 60));
        assert_eq!(minutes.collect::<Vec<_>>(), [Some(1), Some(2), Some(4), Some(8), None]);
        assert_eq!(plan.compensating(Compensate::OnCancel, 0).compensates_failure_after(), None);

        let backoff = Backoff { base_seconds: 5, multiplier: 1.5, ..Backoff::default() };
        let plan = Plan::new(vec![step("a", &[]), StepPlan { backoff, ..undo("u", "a") }]).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(), plan);

        let usual = StepPlan { max_attempts: Plan::COMPENSATION_MAX_ATTEMPTS, ..undo("u", "a") };
        let plan = Plan::new(vec![step("a", &[]), usual]).unwrap();
        let stored = serde_json::to_string(&plan).unwrap();
        assert_eq!(stored, r#"{"s":[{"n":"a","c":"u"}]}"#);
        assert_eq!(serde_json::from_str::<Plan>(&stored).unwrap(), plan);
    }

    #[test]
    fn a_failed_task_is_looked_at_while_others_of_its_steps_may_go_on() {
        let looks = |steps: Vec<StepPlan>| Plan::new(steps).unwrap().looks_after_failure_in();
        assert_eq!(looks(vec![step("a", &[])]), None);
        assert_eq!(looks(vec![step("a", &[]), step("b", &["a"]), step("c", &["a", "b"])]), None);
        assert_eq!(looks(vec![step("a", &[]), step("b", &[])]), Some(FIRST_INSPECTION_AFTER));
        assert_eq!(looks(vec![step("a", &[]), step("b", &["a"]), step("c", &["a"])]), Some(FIRST_INSPECTION_AFTER));
    }

    proptest! {
        /// Edges only from lower to higher numbers make an acyclic graph; the steps are given in any order.
        #[test]
        fn any_acyclic_graph_is_put_in_order(
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
