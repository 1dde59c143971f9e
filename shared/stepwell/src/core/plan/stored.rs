//! The stored form of a plan: short field names, and no fields with default values. It is part of every task's item, which
//! DynamoDB charges by the kilobyte. [`v1`] has the defaults. Unknown fields are ignored.

use super::{Compensate, CompensationOrder, Deadline, Plan, PlanError, SearchKeys, StepPlan};
use crate::core::{backoff::Backoff, format::v1};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Serialize, Deserialize)]
pub(super) struct Stored {
    #[serde(rename = "s")]
    steps: Vec<Step>,
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    compensate: Option<Compensate>,
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    compensate_after_seconds: Option<u32>,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    redrives: Option<u32>,
    /// Whether the compensations form a graph. Otherwise they run one after another. Since format 3.
    #[serde(rename = "g", default, skip_serializing_if = "std::ops::Not::not")]
    compensation_graph: bool,
    /// The time to the deadline, in seconds. Without it the task has none. Since format 3.
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    complete_within_seconds: Option<u32>,
    /// The step that ends the deadline. Without it none does. Since format 3.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    point_of_no_return: Option<String>,
    /// The search keys in the results of steps: for each step their names and the pointers to their values. Since format 3, but a
    /// reader that does not know them may act on the task: it is not found by them.
    #[serde(rename = "k", default, skip_serializing_if = "BTreeMap::is_empty")]
    result_keys: BTreeMap<String, SearchKeys>,
    /// The secret fields in the results of steps: for each step the pointers to them. A reader that does not know them shows them.
    #[serde(rename = "h", default, skip_serializing_if = "BTreeMap::is_empty")]
    secrets: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Serialize, Deserialize)]
struct Step {
    #[serde(rename = "n")]
    name: String,
    #[serde(rename = "d", default, skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<String>,
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    timeout_seconds: Option<u32>,
    #[serde(rename = "b", default, skip_serializing_if = "Option::is_none")]
    backoff: Option<StoredBackoff>,
    /// The name of its compensation, if that has the default limit and backoff, and this step's timeout.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    default_compensation: Option<String>,
    /// Any other compensation. It has a field of its own because an untagged enum could not be read: with
    /// `arbitrary_precision`, serde buffers its numbers in a form that is no number any more.
    #[serde(rename = "u", default, skip_serializing_if = "Option::is_none")]
    compensation: Option<Box<Step>>,
    /// Since format 2.
    #[serde(rename = "o", default, skip_serializing_if = "std::ops::Not::not")]
    optional: bool,
    /// What its compensation waits for, unless these are the compensations of the steps that depend on it. Since format 3.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    after: Option<Vec<String>>,
}

/// The stored form of a backoff. Its defaults are fixed, while those of the workflow file may change.
#[derive(Serialize, Deserialize)]
#[serde(default)]
struct StoredBackoff {
    base_seconds: u32,
    multiplier: f64,
    max_seconds: u32,
    jitter: f64,
}

impl Default for StoredBackoff {
    fn default() -> Self {
        v1::BACKOFF.into()
    }
}

impl From<Backoff> for StoredBackoff {
    fn from(backoff: Backoff) -> Self {
        let Backoff { base_seconds, multiplier, max_seconds, jitter } = backoff;
        Self { base_seconds, multiplier, max_seconds, jitter }
    }
}

impl From<StoredBackoff> for Backoff {
    fn from(stored: StoredBackoff) -> Self {
        let StoredBackoff { base_seconds, multiplier, max_seconds, jitter } = stored;
        Self { base_seconds, multiplier, max_seconds, jitter }
    }
}

/// The value to store: none if it is the default.
fn unless<T: PartialEq>(default: T, value: T) -> Option<T> {
    Some(value).filter(|value| *value != default)
}

impl Step {
    fn new(plan: StepPlan) -> Self {
        let StepPlan { name, depends_on, max_attempts, timeout_seconds, backoff, compensates: _, after: _, optional } =
            plan;
        let max_attempts = unless(v1::MAX_ATTEMPTS, max_attempts);
        let timeout_seconds = unless(v1::TIMEOUT_SECONDS, timeout_seconds);
        let backoff = unless(v1::BACKOFF, backoff).map(Into::into);
        let (default_compensation, compensation) = (None, None);
        Self {
            name,
            depends_on,
            max_attempts,
            timeout_seconds,
            backoff,
            default_compensation,
            compensation,
            optional,
            after: None,
        }
    }

    fn with_compensation(self, compensation: &StepPlan, timeout_seconds: u32) -> Self {
        let (name, after) = (compensation.name.clone(), compensation.after.clone());
        let usual = default_compensation(name.clone(), &self.name, timeout_seconds);
        if *compensation == (StepPlan { after: after.clone(), ..usual }) {
            return Self { default_compensation: Some(name), after, ..self };
        }
        Self { compensation: Some(Box::new(Self::new(compensation.clone()))), after, ..self }
    }

    /// This step and its compensation, if it has one.
    fn unpack(self, compensates: Option<String>) -> Vec<StepPlan> {
        let Self {
            name,
            depends_on,
            max_attempts,
            timeout_seconds,
            backoff,
            default_compensation: default,
            compensation,
            optional,
            after,
        } = self;
        let timeout_seconds = timeout_seconds.unwrap_or(v1::TIMEOUT_SECONDS);
        let max_attempts = max_attempts.unwrap_or(v1::MAX_ATTEMPTS);
        let backoff = backoff.map_or(v1::BACKOFF, Into::into);
        let default = default.map(|compensation| default_compensation(compensation, &name, timeout_seconds));
        let other = compensation.into_iter().flat_map(|step| step.unpack(Some(name.clone())));
        let compensations = default.into_iter().chain(other).map(|step| StepPlan { after: after.clone(), ..step });
        let compensations: Vec<StepPlan> = compensations.collect();
        let step =
            StepPlan { name, depends_on, max_attempts, timeout_seconds, backoff, compensates, after: None, optional };
        [step].into_iter().chain(compensations).collect()
    }
}

impl StepPlan {
    /// A stand-in for a compensation whose plan cannot be read.
    pub(crate) fn of_unreadable_plan(name: String) -> Self {
        default_compensation(name, "", v1::TIMEOUT_SECONDS)
    }
}

/// The compensation of which only the name is stored.
fn default_compensation(name: String, compensates: &str, timeout_seconds: u32) -> StepPlan {
    StepPlan {
        name,
        depends_on: Vec::new(),
        max_attempts: v1::COMPENSATION_MAX_ATTEMPTS,
        timeout_seconds,
        backoff: v1::BACKOFF,
        compensates: Some(compensates.to_owned()),
        after: None,
        optional: false,
    }
}

impl TryFrom<Stored> for Plan {
    type Error = PlanError;

    fn try_from(stored: Stored) -> Result<Self, PlanError> {
        let steps: Vec<StepPlan> = stored.steps.into_iter().flat_map(|step| step.unpack(None)).collect();
        let compensate = stored.compensate.unwrap_or(v1::COMPENSATE);
        let after_seconds = stored.compensate_after_seconds.unwrap_or(v1::COMPENSATE_AFTER_SECONDS);
        let redrives = stored.redrives.unwrap_or(v1::REDRIVES);
        // Only the plan of a task that never starts has no steps.
        let plan = if steps.is_empty() { Self::without_steps() } else { Self::new(steps)? };
        let plan = plan.compensating(compensate, after_seconds).redriving(redrives);
        let plan = match stored.complete_within_seconds {
            Some(complete_within_seconds) => {
                let point_of_no_return = stored.point_of_no_return;
                plan.with_deadline(Deadline { complete_within_seconds, point_of_no_return })?
            }
            None => plan,
        };
        // Without the mark, the compensations run one after another whatever the graph is: formats 1 and 2 know nothing else.
        let graph = stored.compensation_graph;
        let compensation_order = if graph { CompensationOrder::Graph } else { CompensationOrder::Serial };
        Ok(Self { compensation_order, ..plan }.with_result_keys(stored.result_keys).with_secrets(stored.secrets))
    }
}

impl From<Plan> for Stored {
    fn from(plan: Plan) -> Self {
        let Plan {
            steps,
            compensations,
            compensate,
            compensate_after_seconds,
            redrives,
            compensation_order,
            deadline,
            result_keys,
            secrets,
        } = plan;
        let (complete_within_seconds, point_of_no_return) = match deadline {
            Some(deadline) => (Some(deadline.complete_within_seconds), deadline.point_of_no_return),
            None => (None, None),
        };
        let pack = |step: StepPlan| {
            let compensation =
                compensations.iter().find(|compensation| compensation.compensates.as_ref() == Some(&step.name));
            let timeout_seconds = step.timeout_seconds;
            let step = Step::new(step);
            match compensation {
                Some(compensation) => step.with_compensation(compensation, timeout_seconds),
                None => step,
            }
        };
        Self {
            steps: steps.into_iter().map(pack).collect(),
            compensate: unless(v1::COMPENSATE, compensate),
            compensate_after_seconds: unless(v1::COMPENSATE_AFTER_SECONDS, compensate_after_seconds),
            redrives: unless(v1::REDRIVES, redrives),
            compensation_graph: compensation_order == CompensationOrder::Graph,
            complete_within_seconds,
            point_of_no_return,
            result_keys,
            secrets,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    const BACKOFF: Backoff = Backoff { base_seconds: 1, multiplier: 2.0, max_seconds: 300, jitter: 0.1 };

    /// Literal numbers, because these defaults must never change, even if the constants do.
    #[test_case(|plan| plan.steps[0].depends_on.is_empty(); "d of a step")]
    #[test_case(|plan| plan.steps[0].max_attempts == 3; "l of a step")]
    #[test_case(|plan| plan.steps[0].timeout_seconds == 30; "t of a step")]
    #[test_case(|plan| plan.steps[0].backoff == BACKOFF; "b of a step")]
    #[test_case(|plan| plan.steps[1].backoff == Backoff { base_seconds: 9, ..BACKOFF }; "all but base_seconds of b")]
    #[test_case(|plan| plan.steps[2].backoff == Backoff { jitter: 0.9, ..BACKOFF }; "all but jitter of b")]
    #[test_case(|plan| plan.compensations[0].max_attempts == 50; "l of a compensation, by name alone")]
    #[test_case(|plan| plan.compensations[0].timeout_seconds == 45; "t of a compensation, by name alone")]
    #[test_case(|plan| plan.compensations[0].backoff == BACKOFF; "b of a compensation, by name alone")]
    #[test_case(|plan| plan.compensations[1].max_attempts == 3; "l of a compensation, in full")]
    #[test_case(|plan| plan.compensations[1].timeout_seconds == 30; "t of a compensation, in full")]
    #[test_case(|plan| plan.compensations[1].backoff == BACKOFF; "b of a compensation, in full")]
    #[test_case(|plan| plan.compensate == Compensate::OnError; "c of a plan")]
    #[test_case(|plan| plan.compensate_after_seconds == 0; "a of a plan")]
    #[test_case(|plan| plan.redrives == 0; "r of a plan")]
    #[test_case(|plan| !plan.steps.iter().any(|step| step.optional); "o of a step")]
    #[test_case(|plan| plan.compensation_order == CompensationOrder::Serial; "g of a plan")]
    #[test_case(|plan| plan.compensations.iter().all(|step| step.after.is_none()); "f of a compensation")]
    #[test_case(|plan| plan.deadline.is_none(); "w and p of a plan")]
    #[test_case(|plan| plan.result_keys.is_empty(); "k of a plan")]
    #[test_case(|plan| plan.secrets.is_empty(); "h of a plan")]
    fn field_missing_in_a_version_1_plan_has_its_fixed_default(holds: fn(&Plan) -> bool) {
        let stored = r#"{"s":[
            {"n":"a"},
            {"n":"b","t":45,"b":{"base_seconds":9},"c":"undo_b"},
            {"n":"c","t":45,"b":{"jitter":0.9},"u":{"n":"undo_c"}}
        ]}"#;
        let plan = serde_json::from_str(stored).unwrap();
        assert!(holds(&plan), "{plan:?}");
    }
}
