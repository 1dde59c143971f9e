//! `infra/settings.yaml`: the workflows, and the functions' settings that differ from the defaults.

use crate::findings::Finding;
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, path::PathBuf};
use stepwell::core::spelling::Meant;

/// Where the settings are, from the root of the repository.
pub const SETTINGS: &str = "infra/settings.yaml";

/// The settings of a project.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The workflow files, from the root of the repository.
    pub workflows: Vec<PathBuf>,
    /// The settings of steps and compensations, by workflow and step. One without a row has the defaults.
    #[serde(default)]
    pub steps: BTreeMap<String, BTreeMap<String, StepSettings>>,
    /// The functions that are not steps, by name.
    #[serde(default)]
    pub functions: BTreeMap<String, FunctionSettings>,
}

/// The settings of a step.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StepSettings {
    /// The function's memory in MB.
    pub memory_mb: u32,
    /// How many concurrent invocations its queue may start. The default is 10 for a step and 5 for a compensation; where it waits on a
    /// service, ten times as many.
    pub max_concurrency: Option<u32>,
    /// The largest batch of an invocation. The default is 10; where it waits on a service, 1.
    pub batch_size: Option<u32>,
    /// Its rights beyond those of every step.
    pub rights: Vec<Right>,
}

impl Default for StepSettings {
    fn default() -> Self {
        Self { memory_mb: DEFAULT_MEMORY_MB, max_concurrency: None, batch_size: None, rights: Vec::new() }
    }
}

/// The memory of a function, in MB, where nothing else is said: the cheapest that Lambda has. `stepwell cost` names what it costs beside
/// other sizes. The share of a core grows with it, so where somebody waits for the function, or it has much to do, more may be worth its price.
pub const DEFAULT_MEMORY_MB: u32 = 128;

/// The settings of a function that is not a step.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionSettings {
    /// The timeout of an invocation, in seconds.
    pub timeout_seconds: u32,
    /// The function's memory in MB.
    #[serde(default = "default_memory")]
    pub memory_mb: u32,
    /// The name of its log; its own without it. Functions may share one.
    pub log: Option<String>,
    /// Its rights beyond writing its log.
    #[serde(default)]
    pub rights: Vec<Right>,
}

fn default_memory() -> u32 {
    DEFAULT_MEMORY_MB
}

/// Actions on a resource: exactly one of `table`, `queue`, `queues_of` and `resources` names it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Right {
    /// A table of the base template, such as `orders`.
    pub table: Option<String>,
    /// An index of this table. Then the actions are on the index alone.
    pub index: Option<String>,
    /// A queue of the base template, such as `undeliverable`.
    pub queue: Option<String>,
    /// The queues of all steps of this workflow, or of every workflow: `all`.
    pub queues_of: Option<String>,
    /// Other resources, as ARNs in CloudFormation's syntax.
    pub resources: Option<Vec<Value>>,
    /// The actions, such as `dynamodb:GetItem`.
    pub actions: Vec<String>,
    /// A condition of the policy's statement, in CloudFormation's syntax.
    pub condition: Option<Value>,
}

/// The resource of a right.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Subject<'a> {
    /// A table, or an index of it.
    Table(&'a str, Option<&'a str>),
    /// A queue.
    Queue(&'a str),
    /// The queues of a workflow, or of all workflows.
    QueuesOf(&'a str),
    /// Resources by their ARNs.
    Resources(&'a [Value]),
}

/// The actions on a table, and on a queue, that a function can need. Only the stack may change tables and queues
/// themselves.
const TABLE_ACTIONS: [&str; 13] = [
    "dynamodb:BatchGetItem",
    "dynamodb:BatchWriteItem",
    "dynamodb:ConditionCheckItem",
    "dynamodb:DeleteItem",
    "dynamodb:DescribeTable",
    "dynamodb:GetItem",
    "dynamodb:PartiQLDelete",
    "dynamodb:PartiQLInsert",
    "dynamodb:PartiQLSelect",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:Scan",
    "dynamodb:UpdateItem",
];
const QUEUE_ACTIONS: [&str; 6] = [
    "sqs:ChangeMessageVisibility",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "sqs:GetQueueUrl",
    "sqs:ReceiveMessage",
    "sqs:SendMessage",
];

impl Right {
    /// Its resource.
    ///
    /// # Errors
    /// It names none or several.
    pub fn subject(&self) -> Result<Subject<'_>, String> {
        let Self { table, index, queue, queues_of, resources, .. } = self;
        match (table, queue, queues_of, resources) {
            (Some(table), None, None, None) => Ok(Subject::Table(table, index.as_deref())),
            (None, Some(queue), None, None) if index.is_none() => Ok(Subject::Queue(queue)),
            (None, None, Some(workflow), None) if index.is_none() => Ok(Subject::QueuesOf(workflow)),
            (None, None, None, Some(resources)) if index.is_none() => Ok(Subject::Resources(resources)),
            _ => Err(
                "a right is about exactly one of `table` (with or without `index`), `queue`, `queues_of`, `resources`"
                    .to_owned(),
            ),
        }
    }

    /// Its problems.
    fn problems(&self) -> Vec<String> {
        let known: &[&str] = match self.subject() {
            Err(problem) => return vec![problem],
            Ok(Subject::Table(..)) => &TABLE_ACTIONS,
            Ok(Subject::Queue(_) | Subject::QueuesOf(_)) => &QUEUE_ACTIONS,
            Ok(Subject::Resources(_)) => &[],
        };
        let mut problems = Vec::new();
        if self.actions.is_empty() {
            problems.push("a right has no actions".to_owned());
        }
        for action in &self.actions {
            let named = action.split_once(':').is_some_and(|(service, name)| {
                !service.is_empty() && !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric())
            });
            if !named || !(known.is_empty() || known.contains(&action.as_str())) {
                let what = if known.is_empty() { "an action such as `ses:SendEmail`" } else { "one of its actions" };
                problems.push(format!(
                    "the action `{action}` is not {what}{}",
                    Meant::among(action, known.iter().copied())
                ));
            }
        }
        problems
    }
}

impl Settings {
    /// The settings of a step; the defaults where it has no row.
    pub fn step(&self, workflow: &str, step: &str) -> StepSettings {
        self.steps.get(workflow).and_then(|steps| steps.get(step)).cloned().unwrap_or_default()
    }

    /// All rights in the settings.
    pub fn rights(&self) -> impl Iterator<Item = &Right> {
        let steps = self.steps.values().flat_map(BTreeMap::values).flat_map(|settings| &settings.rights);
        steps.chain(self.functions.values().flat_map(|settings| &settings.rights))
    }

    /// The problems of the settings, given the steps of each workflow.
    pub fn problems(&self, workflows: &BTreeMap<&str, Vec<&str>>) -> Vec<String> {
        let mut problems = Vec::new();
        for (workflow, steps) in &self.steps {
            let Some(known) = workflows.get(workflow.as_str()) else {
                let meant = Meant::among(workflow, workflows.keys().copied());
                problems
                    .push(format!("`steps` names the workflow `{workflow}`, which no file of `workflows` is{meant}"));
                continue;
            };
            for (step, settings) in steps {
                if !known.contains(&step.as_str()) {
                    let meant = Meant::among(step, known.iter().copied());
                    problems.push(format!(
                        "`steps` names `{step}`, which is not a step of the workflow `{workflow}`{meant}"
                    ));
                }
                let place = format!("the step `{step}` of `{workflow}`");
                let StepSettings { memory_mb, max_concurrency, batch_size, rights } = settings;
                // The limits of Lambda and SQS.
                for (key, value, from, to) in [
                    ("memory_mb", Some(*memory_mb), 128, 10_240),
                    ("max_concurrency", *max_concurrency, 2, 1_000),
                    ("batch_size", *batch_size, 1, 10),
                ] {
                    problems.extend(out_of_range(&place, key, value, from, to));
                }
                problems.extend(rights_problems(&place, rights, workflows));
            }
        }
        for (name, settings) in &self.functions {
            let place = format!("the function `{name}`");
            problems.extend(out_of_range(&place, "memory_mb", Some(settings.memory_mb), 128, 10_240));
            problems.extend(out_of_range(&place, "timeout_seconds", Some(settings.timeout_seconds), 1, 900));
            problems.extend(rights_problems(&place, &settings.rights, workflows));
        }
        problems
    }
}

fn out_of_range(place: &str, key: &str, value: Option<u32>, from: u32, to: u32) -> Option<String> {
    let value = value.filter(|value| !(from..=to).contains(value))?;
    Some(format!("{place} has a `{key}` of {value}; it can be {from} to {to}"))
}

fn rights_problems(place: &str, rights: &[Right], workflows: &BTreeMap<&str, Vec<&str>>) -> Vec<String> {
    let mut problems: Vec<String> = rights.iter().flat_map(Right::problems).collect();
    for name in rights.iter().filter_map(|right| right.queues_of.as_deref()).filter(|name| *name != ALL) {
        if !workflows.contains_key(name) {
            let meant = Meant::among(name, workflows.keys().copied().chain([ALL]));
            problems.push(format!("`queues_of` names `{name}`, which is neither a workflow nor `{ALL}`{meant}"));
        }
    }
    problems.into_iter().map(|problem| format!("{place}: {problem}")).collect()
}

/// The value of `queues_of` for every workflow.
pub const ALL: &str = "all";

/// Reads the settings.
///
/// # Errors
/// The first problem.
pub fn read(text: &str) -> Result<Settings, Finding> {
    serde_saphyr::from_str(text).map_err(|error: serde_saphyr::Error| {
        let error = error.without_snippet();
        let meant = match error {
            serde_saphyr::Error::SerdeUnknownField { field, expected, .. } => {
                Meant::among(field, expected.iter().copied()).to_string()
            }
            _ => String::new(),
        };
        Finding::new(SETTINGS, format!("cannot be read: {error}{meant}"), "Put it right")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    const GOOD: &str = "workflows: [w.yaml]\nsteps: {shop: {pay: {memory_mb: 512, rights: [{table: orders, \
        actions: ['dynamodb:GetItem']}]}}}\nfunctions: {api: {timeout_seconds: 10, rights: [{queues_of: all, \
        actions: ['sqs:SendMessage']}]}}";

    fn problems(text: &str) -> Vec<String> {
        let workflows = BTreeMap::from([("shop", vec!["pay", "ship"])]);
        read(text).map_or_else(|finding| vec![finding.to_string()], |settings| settings.problems(&workflows))
    }

    #[test]
    fn valid_settings_are_read_and_a_step_without_a_row_gets_the_defaults() {
        assert_eq!(problems(GOOD), [""; 0]);
        let settings = read(GOOD).unwrap();
        assert_eq!(settings.step("shop", "pay").memory_mb, 512);
        assert_eq!(settings.step("shop", "ship"), StepSettings::default());
    }

    #[test_case("memory_mb", "memory", "did you mean `memory_mb`?")]
    #[test_case(
        "memory_mb: 512",
        "memory_mb: 64",
        "the step `pay` of `shop` has a `memory_mb` of 64; it can be 128 to 10240"
    )]
    #[test_case("memory_mb: 512", "batch_size: 11", "`batch_size` of 11; it can be 1 to 10")]
    #[test_case("memory_mb: 512", "max_concurrency: 1", "`max_concurrency` of 1; it can be 2 to 1000")]
    #[test_case("timeout_seconds: 10", "timeout_seconds: 901", "the function `api` has a `timeout_seconds` of 901")]
    #[test_case("{pay:", "{pya:", "not a step of the workflow `shop`; did you mean `pay`?")]
    #[test_case("{shop:", "{shpo:", "which no file of `workflows` is; did you mean `shop`?")]
    #[test_case(
        "GetItem",
        "GetItems",
        "`dynamodb:GetItems` is not one of its actions; did you mean `dynamodb:GetItem`?"
    )]
    #[test_case("sqs:SendMessage", "ses:SendEmail", "the action `ses:SendEmail` is not one of its actions")]
    #[test_case("queues_of: all", "queues_of: shpo", "neither a workflow nor `all`; did you mean `shop`?")]
    #[test_case("table: orders", "table: orders, queue: q", "exactly one of")]
    #[test_case("['dynamodb:GetItem']", "[]", "a right has no actions")]
    #[test_case(
        "table: orders, actions: ['dynamodb:GetItem']",
        "resources: ['*'], actions: [SendEmail]",
        "not an action such as"
    )]
    #[test_case("workflows:", "workflow:", "did you mean `workflows`?")]
    fn invalid_settings_are_refused(good: &str, wrong: &str, told: &str) {
        let text = GOOD.replacen(good, wrong, 1);
        assert_ne!(text, GOOD);
        let problems = problems(&text);
        assert!(problems.len() == 1 && problems[0].contains(told), "{problems:?}");
    }
}
