//! The graph of a plan's compensations: which compensation waits for which others.
//!
//! A compensation waits for those that `after` names. Without `after` it waits for the compensations of the steps that depend on
//! its step: of each direct dependent or, where a dependent has no compensation, of that one's dependents.
//!
//! The graph of a plan is that of a task whose steps were all attempted. In other tasks, the compensations of steps that were never
//! attempted are left out. The order of the others stays: if `a` waits for `b`, and `b` for `c`, and `b` is left out, then `a`
//! waits for `c`.

use super::{Plan, PlanError, StepPlan, dependents, in_order, is_chain};
use crate::core::spelling::Meant;
use std::collections::BTreeSet;

/// How the compensations of a task follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompensationOrder {
    /// One after another, in the reverse of the order in which their steps ended. Formats 1 and 2 know nothing else. A newer plan
    /// has this order only if its graph is a chain without any `after`, so that both rules agree, and no compensation is optional.
    Serial,
    /// Each after those that it waits for in the graph.
    Graph,
}

impl Plan {
    /// How its compensations follow each other.
    pub const fn compensation_order(&self) -> CompensationOrder {
        self.compensation_order
    }

    /// The graph of the compensations of these steps, sorted topologically: each compensation has in `depends_on` those that it
    /// waits for. Of several that are free at the same time, that of the later step comes first.
    pub fn compensation_graph(&self, attempted: impl Fn(&str) -> bool) -> Vec<StepPlan> {
        // `Plan::new` refuses a cycle, and leaving compensations out makes none.
        graph(&self.steps, &self.compensations, attempted).unwrap_or_default()
    }
}

/// The graph in which each of these compensations waits for the one before it.
pub(crate) fn one_after_another(compensations: impl IntoIterator<Item = StepPlan>) -> Vec<StepPlan> {
    let mut before = None;
    let node = |compensation: StepPlan| {
        let depends_on = before.replace(compensation.name.clone()).into_iter().collect();
        StepPlan { depends_on, ..compensation }
    };
    compensations.into_iter().map(node).collect()
}

/// Checks the compensations one by one.
pub(super) fn check(compensations: &[StepPlan], steps: &BTreeSet<&str>) -> Result<(), PlanError> {
    let mut compensated = BTreeSet::new();
    for compensation @ StepPlan { name, compensates, depends_on, .. } in compensations {
        let compensates = compensates.as_deref().unwrap_or_default();
        let problem = if !steps.contains(compensates) {
            format!(
                "is for `{compensates}`, which is not a step of this workflow{}",
                Meant::among(compensates, steps.iter().copied())
            )
        } else if !compensated.insert(compensates) {
            format!("is for `{compensates}`, which has another compensation already")
        } else if !depends_on.is_empty() {
            "depends on steps; it can wait for other compensations only, with `after`".to_owned()
        } else if let Some(problem) = bad_after(compensation, compensations, steps) {
            problem
        } else {
            continue;
        };
        return Err(PlanError::BadCompensation { name: name.clone(), problem });
    }
    Ok(())
}

/// What is wrong with the `after` of a compensation, as the rest of a sentence.
fn bad_after(compensation: &StepPlan, compensations: &[StepPlan], steps: &BTreeSet<&str>) -> Option<String> {
    let names = || compensations.iter().map(|other| other.name.as_str());
    let others = || names().filter(|name| *name != compensation.name);
    compensation.after.iter().flatten().find_map(|after| {
        if *after == compensation.name {
            return Some("waits for itself; remove it from `after`".to_owned());
        }
        if names().any(|name| name == after) {
            return None;
        }
        if !steps.contains(after.as_str()) {
            let meant = Meant::among(after, others());
            return Some(format!("waits for `{after}`, which is not a compensation of this workflow{meant}"));
        }
        let of_step = compensations.iter().find(|other| other.compensates.as_deref() == Some(after));
        let remedy = match of_step.filter(|other| other.name != compensation.name) {
            Some(other) => format!("name that step's compensation, `{}`", other.name),
            None => "`after` takes the names of other compensations".to_owned(),
        };
        Some(format!("waits for `{after}`, which is a step; {remedy}"))
    })
}

/// Decides how the compensations of a new plan follow each other.
pub(super) fn order(steps: &[StepPlan], compensations: &[StepPlan]) -> Result<CompensationOrder, PlanError> {
    let graph = graph(steps, compensations, |_| true).map_err(PlanError::CompensationCycle)?;
    check_optional(&graph)?;
    let is_usual = |compensation: &StepPlan| compensation.after.is_none() && !compensation.optional;
    let is_serial = compensations.iter().all(is_usual) && is_chain(&graph);
    Ok(if is_serial { CompensationOrder::Serial } else { CompensationOrder::Graph })
}

/// Checks that nothing waits for an optional compensation. Then nothing does in a task that leaves some of them out, either.
fn check_optional(graph: &[StepPlan]) -> Result<(), PlanError> {
    let optional = |name: &&String| graph.iter().any(|other| other.optional && other.name == **name);
    let waiting = graph.iter().find_map(|waiting| Some((waiting, waiting.depends_on.iter().find(optional)?)));
    waiting.map_or(Ok(()), |(StepPlan { name, after, .. }, optional)| {
        let how = if after.is_some() { "" } else { " because it has no `after`," };
        let problem = format!(
            "waits for `{optional}`,{how} and that is optional; what failed cannot be waited for, so name in `after` what \
             `{optional}` waits for, or remove `optional`"
        );
        Err(PlanError::BadCompensation { name: name.clone(), problem })
    })
}

fn graph(
    steps: &[StepPlan],
    compensations: &[StepPlan],
    attempted: impl Fn(&str) -> bool,
) -> Result<Vec<StepPlan>, Vec<String>> {
    let compensation_of = |step: &str| compensations.iter().find(|other| other.compensates.as_deref() == Some(step));
    let is_kept = |name: &str| {
        let named = compensations.iter().find(|other| other.name == name);
        named.and_then(|named| named.compensates.as_deref()).is_some_and(&attempted)
    };
    let waits_for = |name: &str| match compensations.iter().find(|other| other.name == name) {
        Some(StepPlan { after: Some(after), .. }) => after.clone(),
        named => undone_before(steps, compensations, named.and_then(|named| named.compensates.as_deref())),
    };
    let node = |compensation: &StepPlan| {
        let passes = |name: &String| !is_kept(name);
        let depends_on = reached(waits_for(&compensation.name), passes, |name| waits_for(name));
        StepPlan { depends_on: depends_on.into_iter().collect(), ..compensation.clone() }
    };
    let kept = steps.iter().rev().filter_map(|step| compensation_of(&step.name)).filter(|kept| is_kept(&kept.name));
    in_order(kept.map(node).collect())
}

/// The compensations that one without `after` waits for.
fn undone_before(steps: &[StepPlan], compensations: &[StepPlan], step: Option<&str>) -> Vec<String> {
    let compensation_of = |step: &str| compensations.iter().find(|other| other.compensates.as_deref() == Some(step));
    let next = |name: &str| dependents(steps, name).map(|step| step.name.clone()).collect::<Vec<_>>();
    let passes = |name: &String| compensation_of(name).is_none();
    let found = reached(step.map(next).unwrap_or_default(), passes, next);
    found.iter().filter_map(|step| compensation_of(step)).map(|found| found.name.clone()).collect()
}

/// The names that are reached from these, and do not pass. One that passes leads to its `next`.
fn reached(
    from: Vec<String>,
    passes: impl Fn(&String) -> bool,
    next: impl Fn(&str) -> Vec<String>,
) -> BTreeSet<String> {
    let (mut seen, mut waiting) = (BTreeSet::new(), from);
    while let Some(name) = waiting.pop() {
        if !seen.contains(&name) && passes(&name) {
            waiting.extend(next(&name));
        }
        seen.insert(name);
    }
    seen.retain(|name| !passes(name));
    seen
}

#[cfg(test)]
mod tests {
    use super::{super::tests::step, *};
    use test_case::test_case;

    fn undo(step: &str, after: Option<&[&str]>) -> StepPlan {
        let after = after.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        StepPlan { compensates: Some(step.to_owned()), after, ..self::step(&format!("undo_{step}"), &[]) }
    }

    /// `a -> b -> c`, and `d` after `a`.
    fn plan(compensations: impl IntoIterator<Item = StepPlan>) -> Result<Plan, PlanError> {
        let steps = [step("a", &[]), step("b", &["a"]), step("c", &["b"]), step("d", &["a"])];
        Plan::new(steps.into_iter().chain(compensations).collect())
    }

    /// The graph as `compensation < those that it waits for`, in its order.
    fn told(plan: &Plan, attempted: &str) -> String {
        let graph = plan.compensation_graph(|step| attempted.contains(step));
        let node = |step: &StepPlan| match step.depends_on.as_slice() {
            [] => step.name.clone(),
            waits_for => format!("{} < {}", step.name, waits_for.join(" ")),
        };
        graph.iter().map(node).collect::<Vec<_>>().join(", ").replace("undo_", "")
    }

    #[test_case("abcd", "d, c, b < c, a < b d"; "all")]
    #[test_case("abd", "d, b, a < b d"; "without one that nothing has to wait for any more")]
    #[test_case("", ""; "none")]
    fn compensation_waits_for_those_of_the_steps_that_depend_on_its_step(attempted: &str, expected: &str) {
        let plan = plan(["a", "b", "c", "d"].map(|step| undo(step, None))).unwrap();
        assert_eq!(told(&plan, attempted), expected);
        assert_eq!(plan.compensation_order(), CompensationOrder::Graph);
    }

    #[test]
    fn step_without_a_compensation_stands_for_its_dependents() {
        let plan = plan(["a", "c", "d"].map(|step| undo(step, None))).unwrap();
        assert_eq!(told(&plan, "abcd"), "d, c, a < c d");
    }

    #[test]
    fn after_takes_the_place_of_the_dependents() {
        let all = [undo("a", Some(&[])), undo("b", Some(&["undo_a"])), undo("c", None), undo("d", Some(&["undo_c"]))];
        assert_eq!(told(&plan(all).unwrap(), "abcd"), "c, d < c, a, b < a");
    }

    #[test]
    fn compensation_that_is_left_out_stands_for_those_that_it_waits_for() {
        let all =
            [undo("a", Some(&["undo_b", "undo_d"])), undo("b", Some(&["undo_c"])), undo("c", None), undo("d", None)];
        let plan = plan(all).unwrap();
        assert_eq!(told(&plan, "abcd"), "d, c, b < c, a < b d");
        assert_eq!(told(&plan, "acd"), "d, c, a < c d");
        assert_eq!(told(&plan, "ab"), "b, a < b");
    }

    #[test_case("nothing", "waits for `nothing`, which is not a compensation of this workflow"; "unknown")]
    #[test_case("undo_bb", "waits for `undo_bb`, which is not a compensation of this workflow; did you mean `undo_b`?"; "misspelt")]
    #[test_case("undo_a", "waits for itself; remove it from `after`"; "itself")]
    #[test_case("b", "waits for `b`, which is a step; name that step's compensation, `undo_b`"; "a step")]
    #[test_case("a", "waits for `a`, which is a step; `after` takes the names of other compensations"; "its own step")]
    #[test_case("c", "waits for `c`, which is a step; `after` takes the names of other compensations"; "a step without compensation")]
    fn after_names_other_compensations_only(after: &str, problem: &str) {
        let refused = plan([undo("a", Some(&[after])), undo("b", None)]).unwrap_err();
        assert_eq!(refused.to_string(), format!("compensation `undo_a` {problem}"));
    }

    #[test]
    fn compensations_that_wait_for_each_other_are_refused() {
        let refused = plan([undo("a", None), undo("b", Some(&["undo_a"]))]).unwrap_err().to_string();
        let expected = "these compensations wait for each other in a cycle: undo_b -> undo_a -> undo_b; without `after` a \
                        compensation waits for those of the steps that depend on its step";
        assert_eq!(refused, expected);
    }

    #[test_case(None, " because it has no `after`,"; "by the steps")]
    #[test_case(Some(&["undo_b"]), ""; "by its after")]
    fn nothing_waits_for_an_optional_compensation(after: Option<&[&str]>, how: &str) {
        let optional = || StepPlan { optional: true, ..undo("b", None) };
        let refused = plan([undo("a", after), optional()]).unwrap_err().to_string();
        let expected = format!(
            "compensation `undo_a` waits for `undo_b`,{how} and that is optional; what failed cannot be waited for, so name in \
             `after` what `undo_b` waits for, or remove `optional`"
        );
        assert_eq!(refused, expected);
        assert_eq!(told(&plan([undo("a", Some(&[])), optional()]).unwrap(), "abcd"), "b, a");
    }

    #[test]
    fn plan_with_an_optional_compensation_needs_a_reader_of_its_format() {
        let plan = plan([StepPlan { optional: true, ..undo("c", None) }]).unwrap();
        let stored = serde_json::to_string(&plan).unwrap();
        assert_eq!((plan.format(), plan.is_optional("undo_c"), plan.is_optional("c")), (3, true, false), "{stored}");
        assert!(stored.contains(r#""u":{"n":"undo_c","o":true}"#), "{stored}");
        assert_eq!(serde_json::from_str::<Plan>(&stored).unwrap(), plan);
    }

    #[test]
    fn plan_with_a_graph_needs_a_reader_of_its_format_and_one_whose_graph_is_a_chain_does_not() {
        let graph = plan([undo("b", None), undo("d", Some(&[]))]).unwrap();
        let chain = plan([undo("a", None), undo("b", None), undo("c", None)]).unwrap();
        for (plan, format, has_mark) in [(&graph, 3, true), (&chain, 1, false)] {
            let stored = serde_json::to_string(plan).unwrap();
            assert_eq!((plan.format(), stored.contains(r#""g":true"#)), (format, has_mark), "{stored}");
            assert_eq!(serde_json::from_str::<Plan>(&stored).unwrap(), *plan);
        }
        let stored = serde_json::to_string(&graph).unwrap();
        assert!(stored.contains(r#""u":{"n":"undo_d"},"f":[]"#), "{stored}");
    }
}
