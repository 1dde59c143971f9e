//! The place of a new step in the DAG.

use super::NewStep;
use std::collections::BTreeSet;
use stepwell::core::spelling::Meant;
use stepwell::core::{
    backoff::Backoff,
    plan::{Plan, PlanError, StepPlan},
};

/// A problem and its solution.
pub(super) type Problem = (String, String);

/// The dependencies with the new step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wiring {
    /// Whether the step exists already. Then the workflow does not change.
    pub is_there: bool,
    /// The dependencies of the new step.
    pub depends_on: Vec<String>,
    /// All direct and indirect dependencies, in the plan's order.
    pub before_it: Vec<String>,
    /// The dependents of the new step.
    pub moved: Vec<Moved>,
    /// The steps that share a dependency with the new step, and do not depend on it.
    pub beside: Vec<String>,
}

/// A dependent of the new step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moved {
    /// The step.
    pub step: String,
    /// Its dependencies before.
    pub from: Vec<String>,
    /// Its dependencies afterwards.
    pub to: Vec<String>,
}

/// The names in the request that are not steps of the workflow.
pub(super) fn unknown_steps(plan: &Plan, wanted: &NewStep) -> Vec<Problem> {
    let known: Vec<&str> = plan.steps().iter().map(|step| step.name.as_str()).collect();
    let options = [("--after", &wanted.after), ("--before", &wanted.before), ("--read-by", &wanted.read_by)];
    let named = options.into_iter().flat_map(|(option, names)| names.iter().map(move |name| (option, name)));
    let unknown = named.filter(|(_, name)| !known.contains(&name.as_str()));
    unknown
        .map(|(option, name)| {
            let remedy = format!("Name steps of `{}`: {}", wanted.workflow, known.join(", "));
            let problem = if plan.is_compensation(name) {
                format!("`{option} {name}` is a compensation; no step waits for one, and none comes before one")
            } else {
                let meant = Meant::among(name, known.iter().copied());
                format!("`{option} {name}` is not a step of this workflow{meant}")
            };
            (problem, remedy)
        })
        .collect()
}

impl Wiring {
    /// Determines the dependencies. All names are known.
    ///
    /// By default the new step becomes a dependency of the steps that would otherwise run concurrently with it: the
    /// steps after a check must not begin before it is complete.
    pub(super) fn new(plan: &Plan, wanted: &NewStep) -> Self {
        let depends_on: Vec<String> = sorted(&wanted.after);
        let before_it = closure(plan, &depends_on);
        let waits_for_nothing_else = |step: &StepPlan| {
            let all_before = step.depends_on.iter().all(|name| before_it.contains(name.as_str()));
            // A dependency of the new step cannot depend on it.
            all_before && !before_it.contains(step.name.as_str())
        };
        let others = || plan.steps().iter().filter(|step| step.name != wanted.step);
        let dependents: Vec<&StepPlan> =
            others().filter(|step| step.depends_on.iter().any(|name| depends_on.contains(name))).collect();
        let is_there = plan.step(&wanted.step).is_some();
        let comes_after = |step: &StepPlan| {
            if wanted.before.is_empty() {
                let dependent = dependents.iter().any(|dependent| dependent.name == step.name);
                !is_there && !wanted.beside && dependent && waits_for_nothing_else(step)
            } else {
                wanted.before.contains(&step.name)
            }
        };
        let moved = others().filter(|step| comes_after(step)).map(|step| {
            let kept = step.depends_on.iter().filter(|name| !depends_on.contains(name));
            let to = sorted(&kept.cloned().chain([wanted.step.clone()]).collect::<Vec<_>>());
            Moved { step: step.name.clone(), from: step.depends_on.clone(), to }
        });
        let moved: Vec<Moved> = moved.collect();
        let waits = |step: &StepPlan| {
            step.depends_on.contains(&wanted.step) || moved.iter().any(|moved| moved.step == step.name)
        };
        let beside = dependents.iter().filter(|step| !waits(step) && !before_it.contains(step.name.as_str()));
        let beside = beside.map(|step| step.name.clone()).collect();
        let in_order = plan.steps().iter().map(|step| &step.name).filter(|name| before_it.contains(name.as_str()));
        let before_it = in_order.cloned().collect();
        Self { is_there, depends_on, before_it, moved, beside }
    }

    /// Checks that the result is a workflow, in which the readers of the step's result depend on it.
    pub(super) fn check(&self, plan: &Plan, wanted: &NewStep) -> Result<(), Vec<Problem>> {
        if self.is_there {
            return self.check_found(plan, wanted);
        }
        let moved = |step: &StepPlan| self.moved.iter().find(|moved| moved.step == step.name);
        let mut steps: Vec<StepPlan> = plan.steps().iter().chain(plan.compensations()).cloned().collect();
        for step in &mut steps {
            if let Some(moved) = moved(step) {
                step.depends_on.clone_from(&moved.to);
            }
        }
        steps.push(usual(&wanted.step, self.depends_on.clone(), None));
        steps.extend(wanted.compensation.iter().map(|name| usual(name, Vec::new(), Some(wanted.step.clone()))));
        let plan = Plan::new(steps).map_err(|error| {
            let remedy = match error {
                PlanError::DependsOnOptional { .. } => "Change --after: no step may wait for an optional one",
                _ => "Change --after and --before: no step may wait for one that waits for it",
            };
            vec![(error.to_string(), remedy.to_owned())]
        })?;
        readers_come_after(&plan, wanted)
    }

    /// Compares an existing step with the request.
    fn check_found(&self, plan: &Plan, wanted: &NewStep) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        let mut differs = |is: String| {
            let problem = format!("the step `{}` is there already, and {is}", wanted.step);
            problems.push((problem, "Give the new step another name, or change this one in the file".to_owned()));
        };
        if plan.is_compensation(&wanted.step) {
            differs("is a compensation".to_owned());
        } else if let Some(found) = plan.step(&wanted.step) {
            if found.depends_on != self.depends_on {
                differs(format!("waits for {}", list(&found.depends_on)));
            }
            for moved in self.moved.iter().filter(|moved| !moved.from.contains(&wanted.step)) {
                differs(format!("`{}` does not wait for it, but for {}", moved.step, list(&moved.from)));
            }
            let compensation = plan.compensation_of(&wanted.step).map(|compensation| &compensation.name);
            if compensation != wanted.compensation.as_ref() {
                differs(
                    compensation.map_or("has no compensation".to_owned(), |name| format!("`{name}` compensates it")),
                );
            }
        }
        if problems.is_empty() { readers_come_after(plan, wanted) } else { Err(problems) }
    }

    /// Describes the new dependencies.
    pub(super) fn told(&self, wanted: &NewStep) -> String {
        let mut told = format!("{} waits for {}.\n", wanted.step, list(&self.depends_on));
        for Moved { step, from, to } in self.moved.iter().filter(|moved| moved.from != moved.to) {
            told += &format!("  {step} waits for {}; it waited for {}.\n", list(to), list(from));
        }
        for step in &self.beside {
            told += &format!(
                "  {step} does not wait for {new}: the two run side by side. To put it after {new}, name {new} in its \
                 dependencies{before}.\n",
                new = wanted.step,
                before = if self.is_there { String::new() } else { format!(", or say --before {step}") },
            );
        }
        told
    }
}

fn readers_come_after(plan: &Plan, wanted: &NewStep) -> Result<(), Vec<Problem>> {
    let too_early = wanted.read_by.iter().filter_map(|name| plan.step(name)).filter(|reader| {
        let ancestors = plan.ancestors(reader);
        !ancestors.contains(wanted.step.as_str())
    });
    let problems: Vec<Problem> = too_early
        .map(|reader| {
            let problem =
                format!("`{}` cannot read the result of `{}`, for which it does not wait", reader.name, wanted.step);
            (problem, format!("Put it after the new step: --before {}", reader.name))
        })
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// These steps, and all of their dependencies, direct or not.
fn closure<'a>(plan: &'a Plan, steps: &'a [String]) -> BTreeSet<&'a str> {
    let found = steps.iter().filter_map(|name| plan.step(name));
    found.flat_map(|step| plan.ancestors(step).into_iter().chain([step.name.as_str()])).collect()
}

fn sorted(names: &[String]) -> Vec<String> {
    names.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect()
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(" and ") }
}

/// A step of the usual limits, to check the graph with.
fn usual(name: &str, depends_on: Vec<String>, compensates: Option<String>) -> StepPlan {
    StepPlan {
        name: name.to_owned(),
        depends_on,
        max_attempts: 1,
        timeout_seconds: 1,
        backoff: Backoff::default(),
        compensates,
        after: None,
        optional: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    /// `a -> b -> d`, `a -> c`, and `e` after `b` and `c`.
    fn plan() -> Plan {
        let edges = [("a", ""), ("b", "a"), ("c", "a"), ("d", "b"), ("e", "b c")];
        let step = |(name, after): (&str, &str)| usual(name, names(after), None);
        Plan::new(edges.map(step).into()).unwrap()
    }

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn wanted(after: &str, before: &str) -> NewStep {
        NewStep { step: "n".to_owned(), after: names(after), before: names(before), ..NewStep::default() }
    }

    fn told(wanted: &NewStep) -> String {
        let wiring = Wiring::new(&plan(), wanted);
        let moved: Vec<String> =
            wiring.moved.iter().map(|moved| format!("{}: {}", moved.step, moved.to.join(" "))).collect();
        format!("{}; beside {}", moved.join(", "), wiring.beside.join(" "))
    }

    #[test_case("a", "b: n, c: n; beside "; "all that waited for it")]
    #[test_case("b", "d: n; beside e"; "not one that waits for another one too")]
    #[test_case("b c", "d: n, e: n; beside "; "one that waited for one of two")]
    #[test_case("a b", "c: n, d: n; beside e"; "not one that is before it itself")]
    #[test_case("d", "; beside "; "the last one")]
    fn step_becomes_a_dependency_of_steps_that_would_run_concurrently(after: &str, expected: &str) {
        assert_eq!(told(&wanted(after, "")), expected);
        Wiring::new(&plan(), &wanted(after, "")).check(&plan(), &wanted(after, "")).unwrap();
    }

    #[test_case("a", "b", "b: n; beside c"; "one of two")]
    #[test_case("b", "e", "e: c n; beside d"; "the other dependency stays")]
    #[test_case("c", "d", "d: b n; beside e"; "one that did not wait for it")]
    #[test_case("", "a", "a: n; beside "; "the first one")]
    fn named_steps_are_put_after_it(after: &str, before: &str, expected: &str) {
        assert_eq!(told(&wanted(after, before)), expected);
    }

    #[test]
    fn beside_changes_no_dependencies_and_says_so() {
        assert_eq!(told(&NewStep { beside: true, ..wanted("a", "") }), "; beside b c");
    }

    #[test]
    fn cycle_is_refused() {
        let wanted = wanted("d", "a");
        let problems = Wiring::new(&plan(), &wanted).check(&plan(), &wanted).unwrap_err();
        assert_eq!(problems[0].0, "these steps depend on each other in a cycle: a -> n -> d -> b -> a");
    }

    #[test]
    fn reader_has_to_come_after_it() {
        let wanted = NewStep { read_by: names("c d"), ..wanted("b", "") };
        let problems = Wiring::new(&plan(), &wanted).check(&plan(), &wanted).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].0, "`c` cannot read the result of `n`, for which it does not wait");
    }
}
