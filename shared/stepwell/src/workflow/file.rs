//! From the YAML text to a checked [`Workflow`].

use super::{Workflow, WorkflowError, WorkflowId, adjustment::Adjustment, keys};
use crate::{
    backoff::Backoff,
    plan::{Plan, StepPlan},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

const DEFAULT_RETRY_LIMIT: u32 = 3;
const DEFAULT_TIMEOUT_SECONDS: u32 = 30;

/// The longest name, namespace and version of a workflow, in characters.
const MAX_PART_LENGTH: usize = 100;

#[derive(Deserialize)]
struct File {
    name: String,
    #[serde(default = "default_namespace")]
    namespace_name: String,
    #[serde(default = "default_version")]
    version: String,
    #[serde(default)]
    description: String,
    schema: Option<Value>,
}

fn default_namespace() -> String {
    "default".to_owned()
}

fn default_version() -> String {
    "0.1.0".to_owned()
}

#[derive(Deserialize)]
struct StepTemplate {
    name: String,
    depends_on_step: Option<String>,
    #[serde(default)]
    depends_on_steps: Vec<String>,
    #[serde(default = "yes")]
    default_retryable: bool,
    default_retry_limit: Option<u32>,
    #[serde(default)]
    handler_config: HandlerConfig,
    #[serde(default)]
    backoff: Backoff,
}

fn yes() -> bool {
    true
}

#[derive(Default, Deserialize)]
struct HandlerConfig {
    timeout_seconds: Option<u32>,
}

pub(super) fn read(text: &str) -> Result<Workflow, WorkflowError> {
    let root: Value = serde_saphyr::from_str(text).map_err(|error| WorkflowError(format!("not YAML: {error}")))?;
    let root = mapping(&root, "the file")?;
    keys::WORKFLOW.check(root, "the workflow")?;
    let file: File = parse(Value::Object(root.clone()), "the workflow")?;
    for (key, part) in [("name", &file.name), ("namespace_name", &file.namespace_name), ("version", &file.version)] {
        // They are joined by `/`, `@` and `#` in keys and in what people read, so they must be told apart in there.
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-./+".contains(c);
        if part.is_empty() || part.len() > MAX_PART_LENGTH || !part.chars().all(allowed) {
            return Err(WorkflowError(format!(
                "`{key}` is `{part}`, but has to be 1 to {MAX_PART_LENGTH} letters, digits, `_`, `-`, `.`, `/` or `+`"
            )));
        }
    }

    let steps = list(root, "step_templates")?.iter().enumerate().map(|(index, step)| read_step(step, index + 1));
    let plan = Plan::new(steps.collect::<Result<_, _>>()?)?;
    let adjustments = list(root, "adjustments")?.iter().enumerate();
    let adjustments = adjustments.map(|(index, adjustment)| read_adjustment(adjustment, index + 1, &plan));
    let adjustments = adjustments.collect::<Result<_, _>>()?;

    let schema = file.schema.unwrap_or(Value::Bool(true));
    let schema = jsonschema::options().should_validate_formats(true).build(&schema).map_err(|error| {
        WorkflowError(format!("`schema` is not a JSON Schema: {error} at `{}`", error.instance_path()))
    })?;
    let id = WorkflowId { namespace: file.namespace_name, name: file.name, version: file.version };
    Ok(Workflow { id, description: file.description, plan, schema, adjustments })
}

fn read_step(step: &Value, number: usize) -> Result<StepPlan, WorkflowError> {
    let step = mapping(step, &format!("step {number}"))?;
    let name = match step.get("name").and_then(Value::as_str) {
        Some(name) if !name.trim().is_empty() => name,
        _ => return Err(WorkflowError(format!("step {number} of `step_templates` has no name"))),
    };
    let place = format!("step `{name}`");
    keys::STEP.check(step, &place)?;
    check_inner(step, "handler_config", &keys::HANDLER_CONFIG, &place)?;
    check_inner(step, "backoff", &keys::BACKOFF, &place)?;

    let step: StepTemplate = parse(Value::Object(step.clone()), &place)?;
    if let Some(problem) = step.backoff.problem() {
        return Err(WorkflowError(format!("{place} has a bad `backoff`: {problem}")));
    }
    let retry_limit = step.default_retry_limit.unwrap_or(DEFAULT_RETRY_LIMIT);
    Ok(StepPlan {
        name: step.name,
        depends_on: step.depends_on_step.into_iter().chain(step.depends_on_steps).collect(),
        retry_limit: if step.default_retryable { retry_limit } else { retry_limit.min(1) },
        timeout_seconds: step.handler_config.timeout_seconds.unwrap_or(DEFAULT_TIMEOUT_SECONDS),
        backoff: step.backoff,
    })
}

fn read_adjustment(adjustment: &Value, number: usize, plan: &Plan) -> Result<Adjustment, WorkflowError> {
    let place = format!("adjustment {number}");
    let fields = mapping(adjustment, &place)?;
    keys::ADJUSTMENT.check(fields, &place)?;
    if let Some(steps) = fields.get("steps").and_then(Value::as_object) {
        for name in steps.keys() {
            check_inner(steps, name, &keys::ADJUSTED_STEP, &place)?;
        }
    }
    let adjustment: Adjustment = parse(adjustment.clone(), &place)?;
    match adjustment.problem(plan) {
        Some(problem) => Err(WorkflowError(format!("{place}: {problem}"))),
        None => Ok(adjustment),
    }
}

fn check_inner(outer: &Map<String, Value>, key: &str, keys: &keys::Keys, place: &str) -> Result<(), WorkflowError> {
    match outer.get(key) {
        Some(inner) => {
            let place = format!("`{key}` of {place}");
            keys.check(mapping(inner, &place)?, &place)
        }
        None => Ok(()),
    }
}

fn mapping<'a>(value: &'a Value, place: &str) -> Result<&'a Map<String, Value>, WorkflowError> {
    value.as_object().ok_or_else(|| WorkflowError(format!("{place} has to be a mapping of keys to values")))
}

fn list<'a>(root: &'a Map<String, Value>, key: &str) -> Result<&'a [Value], WorkflowError> {
    match root.get(key) {
        None => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(WorkflowError(format!("`{key}` has to be a list"))),
    }
}

fn parse<T: DeserializeOwned>(value: Value, place: &str) -> Result<T, WorkflowError> {
    serde_json::from_value(value).map_err(|error| WorkflowError(format!("{place}: {error}")))
}
