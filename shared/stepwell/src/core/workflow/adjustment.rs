//! Changes to the plan of a single task, depending on its context.

use crate::core::{
    plan::{Plan, StepPlan},
    spelling::Meant,
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Other limits for some steps if the context has certain values.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Adjustment {
    /// JSON pointers into the context, and the values required there. All have to match.
    when: BTreeMap<String, Value>,
    /// The limits, by step name.
    pub(super) steps: BTreeMap<String, Limits>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    max_attempts: Option<u32>,
    timeout_seconds: Option<u32>,
}

impl Adjustment {
    pub(super) fn fits(&self, context: &Value) -> bool {
        self.when.iter().all(|(pointer, value)| context.pointer(pointer) == Some(value))
    }

    /// The plan with these limits. [`Self::problem`] has made sure that it stays valid.
    pub(super) fn apply(&self, plan: Plan) -> Plan {
        plan.map_limits(|step| {
            let limits = self.steps.get(&step.name);
            let limit = |new: Option<u32>, old: u32| new.unwrap_or(old).max(1);
            StepPlan {
                max_attempts: limit(limits.and_then(|limits| limits.max_attempts), step.max_attempts),
                timeout_seconds: limit(limits.and_then(|limits| limits.timeout_seconds), step.timeout_seconds),
                ..step
            }
        })
    }

    /// The reason why it cannot be applied to this plan, if there is one.
    pub(super) fn problem(&self, plan: &Plan) -> Option<String> {
        if self.when.is_empty() {
            return Some("`when` is empty, so it would match every task; name at least one value".to_owned());
        }
        if let Some(pointer) = self.when.keys().find(|pointer| !pointer.starts_with('/')) {
            return Some(format!("`when` has `{pointer}`, which is not a JSON pointer; write `/{pointer}`"));
        }
        self.steps.iter().find_map(|(name, limits)| {
            let Some(step) = plan.step(name) else {
                let known = plan.steps().iter().map(|step| step.name.as_str());
                let meant = Meant::among(name, known);
                return Some(format!("step `{name}` is not a step of this workflow{meant}"));
            };
            if limits.max_attempts == Some(0) || limits.timeout_seconds == Some(0) {
                return Some(format!("step `{name}` gets a limit of 0; at least 1 is needed"));
            }
            if step.has_no_last_attempt() && limits.max_attempts.is_some() {
                return Some(format!(
                    "compensation `{name}` gets `max_attempts`, but it has no last attempt; remove the key"
                ));
            }
            let most = Plan::MAX_ATTEMPTS;
            if let Some(limit) = limits.max_attempts.filter(|&limit| limit > most) {
                return Some(format!("step `{name}` gets `max_attempts: {limit}`, but at most {most} are allowed"));
            }
            // The step's function and its queue are deployed for the timeout in the step's template.
            let longer = limits.timeout_seconds.filter(|&seconds| seconds > step.timeout_seconds)?;
            Some(format!("step `{name}` gets a timeout of {longer} s, longer than its own {} s", step.timeout_seconds))
        })
    }
}
