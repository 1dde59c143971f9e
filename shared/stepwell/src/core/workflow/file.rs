//! Reads the YAML text into a checked [`Workflow`].

use super::{
    TextFormat, Workflow, WorkflowError, WorkflowId, adjustment::Adjustment, keys, keys::mapping, search, secret,
};
use crate::core::{
    backoff::Backoff,
    plan::{Compensate, Deadline, Plan, StepPlan, is_name},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

const DEFAULT_MAX_ATTEMPTS: u32 = 3;
const DEFAULT_TIMEOUT_SECONDS: u32 = 30;

/// The longest that a failed task may wait for a redrive before it is compensated: 30 days, well within its retention.
const LONGEST_GRACE_SECONDS: u32 = 30 * 24 * 60 * 60;

/// The longest namespace and version of a workflow, in characters.
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
    #[serde(default)]
    compensate: Compensate,
    compensate_after_seconds: Option<u32>,
    #[serde(default)]
    redrives: u32,
    complete_within_seconds: Option<u32>,
    point_of_no_return: Option<String>,
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
    #[serde(default)]
    optional: bool,
    waits_on: Option<String>,
}

fn yes() -> bool {
    true
}

#[derive(Default, Deserialize)]
struct HandlerConfig {
    timeout_seconds: Option<u32>,
}

/// The formats that a schema may name in addition to JSON Schema's own.
pub(super) enum Formats<'a> {
    /// Only these. Any other would accept every value, so it is refused.
    Known(&'a [TextFormat]),
    /// Any. Unknown formats accept every value.
    TakenForGranted,
}

pub(super) fn read(text: &str, formats: Formats<'_>) -> Result<Workflow, WorkflowError> {
    let root: Value = serde_saphyr::from_str(text).map_err(|error| WorkflowError(format!("not YAML: {error}")))?;
    let root = mapping(&root, "the file")?;
    keys::WORKFLOW.check(root, "the workflow")?;
    let file: File = parse(Value::Object(root.clone()), "the workflow")?;
    if !is_name(&file.name) {
        return Err(WorkflowError(format!(
            "`name` is `{}`, but has to be 1 to {} letters, digits, `_` or `-`, because queues and functions are named by it",
            file.name,
            Plan::MAX_NAME_LENGTH
        )));
    }
    for (key, part) in [("namespace_name", &file.namespace_name), ("version", &file.version)] {
        // Keys and logs join the parts with `/`, `@` and `#`, so the parts must stay distinguishable.
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-./+".contains(c);
        if part.is_empty() || part.len() > MAX_PART_LENGTH || !part.chars().all(allowed) {
            return Err(WorkflowError(format!(
                "`{key}` is `{part}`, but has to be 1 to {MAX_PART_LENGTH} letters, digits, `_`, `-`, `.`, `/` or `+`"
            )));
        }
    }

    let mut steps = Vec::new();
    for (index, step) in list(root, "step_templates")?.iter().enumerate() {
        steps.extend(read_step(step, index + 1)?);
    }
    let after = compensate_after(&file)?;
    if file.redrives > Plan::MAX_REDRIVES {
        let (redrives, most) = (file.redrives, Plan::MAX_REDRIVES);
        return Err(WorkflowError(format!("`redrives` is {redrives}, but a task can have at most {most}")));
    }
    let waits_on = list(root, "step_templates")?.iter().flat_map(waits_on).collect();
    let plan = Plan::new(steps)?.compensating(file.compensate, after).redriving(file.redrives);
    let plan = match deadline(&file)? {
        Some(deadline) => plan.with_deadline(deadline)?,
        None => plan,
    };
    let (search_keys, result_keys) = search::read(root, &plan, file.schema.as_ref())?;
    let secret = secret::of_context(root, file.schema.as_ref())?;
    let secrets = secret::of_results(list(root, "step_templates")?)?;
    let plan = plan.with_result_keys(result_keys).with_secrets(secrets);
    let adjustments = list(root, "adjustments")?.iter().enumerate();
    let adjustments = adjustments.map(|(index, adjustment)| read_adjustment(adjustment, index + 1, &plan));
    let adjustments = adjustments.collect::<Result<_, _>>()?;

    let schema = file.schema.unwrap_or(Value::Bool(true));
    let (formats, any) = match formats {
        Formats::Known(formats) => (formats, false),
        Formats::TakenForGranted => (&[][..], true),
    };
    let options = jsonschema::options().should_validate_formats(true).should_ignore_unknown_formats(any);
    let options = formats.iter().fold(options, |options, &TextFormat { name, check }| {
        options.with_format(name, move |text: &str| check(text).is_ok())
    });
    let schema = options.build(&schema).map_err(|error| {
        WorkflowError(format!("`schema` is not a JSON Schema: {error} at `{}`", error.instance_path()))
    })?;
    let id = WorkflowId { namespace: file.namespace_name, name: file.name, version: file.version };
    let formats = formats.to_vec();
    Ok(Workflow {
        id,
        description: file.description,
        plan,
        waits_on,
        schema,
        formats,
        adjustments,
        search_keys,
        secret,
    })
}

fn compensate_after(file: &File) -> Result<u32, WorkflowError> {
    match (file.compensate, file.compensate_after_seconds) {
        (_, None) => Ok(0),
        (Compensate::OnError, Some(seconds)) if seconds <= LONGEST_GRACE_SECONDS => Ok(seconds),
        (Compensate::OnError, Some(seconds)) => Err(WorkflowError(format!(
            "`compensate_after_seconds` is {seconds}, but a failed task can wait at most {LONGEST_GRACE_SECONDS}"
        ))),
        (Compensate::OnCancel | Compensate::Manual, Some(_)) => Err(WorkflowError(
            "`compensate_after_seconds` has no effect without `compensate: on_error`; remove it".to_owned(),
        )),
    }
}

fn deadline(file: &File) -> Result<Option<Deadline>, WorkflowError> {
    let point_of_no_return = file.point_of_no_return.clone();
    match file.complete_within_seconds {
        Some(complete_within_seconds) => Ok(Some(Deadline { complete_within_seconds, point_of_no_return })),
        None if point_of_no_return.is_some() => Err(WorkflowError(
            "`point_of_no_return` has no effect without `complete_within_seconds`; remove it, or set a deadline"
                .to_owned(),
        )),
        None => Ok(None),
    }
}

/// Reads a step, and its compensation if it has one.
fn read_step(step: &Value, number: usize) -> Result<Vec<StepPlan>, WorkflowError> {
    let place = format!("step {number} of `step_templates`");
    let fields = mapping(step, &place)?;
    let usual = Usual { max_attempts: DEFAULT_MAX_ATTEMPTS, timeout_seconds: DEFAULT_TIMEOUT_SECONDS };
    let plan = read_template(fields, &place, "step", &keys::STEP, &usual)?;
    let Some(compensation) = fields.get("compensation") else { return Ok(vec![plan]) };
    let place = format!("the compensation of step `{}`", plan.name);
    let fields = mapping(compensation, &place)?;
    let optional = fields.get("optional") == Some(&Value::Bool(true));
    let limit = ["default_retry_limit", "default_retryable"].into_iter().find(|key| fields.contains_key(*key));
    if let Some(limit) = limit.filter(|_| !optional) {
        return Err(WorkflowError(format!(
            "{place} has `{limit}`, but a compensation has no last attempt: it is retried until it succeeds or fails with a \
             permanent error; remove the key, or make the compensation `optional`"
        )));
    }
    let max_attempts = if optional { DEFAULT_MAX_ATTEMPTS } else { Plan::COMPENSATION_MAX_ATTEMPTS };
    let usual = Usual { max_attempts, timeout_seconds: plan.timeout_seconds };
    let compensation = read_template(fields, &place, "compensation", &keys::COMPENSATION, &usual)?;
    let compensates = Some(plan.name.clone());
    let after = fields.get("after").map(|after| parse(after.clone(), &format!("`after` of {place}"))).transpose()?;
    let compensation = StepPlan { compensates, after, ..compensation };
    Ok(vec![plan, compensation])
}

/// The services that a step and its compensation wait on, by their names. They are checked before.
fn waits_on(step: &Value) -> impl Iterator<Item = (String, String)> {
    let both = [Some(step), step.get("compensation")].into_iter().flatten();
    let text = |fields: &Value, key: &str| Some(fields.get(key)?.as_str()?.to_owned());
    both.filter_map(move |fields| Some((text(fields, "name")?, text(fields, "waits_on")?)))
}

/// The default limits of a step.
struct Usual {
    max_attempts: u32,
    timeout_seconds: u32,
}

fn read_template(
    fields: &Map<String, Value>,
    nameless: &str,
    what: &str,
    keys: &keys::Keys,
    usual: &Usual,
) -> Result<StepPlan, WorkflowError> {
    let name = match fields.get("name").and_then(Value::as_str) {
        Some(name) if !name.trim().is_empty() => name,
        _ => return Err(WorkflowError(format!("{nameless} has no name"))),
    };
    let place = format!("{what} `{name}`");
    keys.check(fields, &place)?;
    check_inner(fields, "handler_config", &keys::HANDLER_CONFIG, &place)?;
    check_inner(fields, "backoff", &keys::BACKOFF, &place)?;

    let step: StepTemplate = parse(Value::Object(fields.clone()), &place)?;
    if let Some(problem) = step.backoff.problem() {
        return Err(WorkflowError(format!("{place} has a bad `backoff`: {problem}")));
    }
    if let Some(dependency) = step.waits_on.filter(|dependency| !is_name(dependency)) {
        let most = Plan::MAX_NAME_LENGTH;
        return Err(WorkflowError(format!(
            "{place} has `waits_on: {dependency}`, but the name of a service has 1 to {most} letters, digits, `_` or `-`"
        )));
    }
    let max_attempts = step.default_retry_limit.unwrap_or(usual.max_attempts);
    if max_attempts > Plan::MAX_ATTEMPTS {
        let most = Plan::MAX_ATTEMPTS;
        return Err(WorkflowError(format!(
            "{place} has `default_retry_limit: {max_attempts}`, but at most {most} attempts are allowed"
        )));
    }
    Ok(StepPlan {
        name: step.name,
        depends_on: step.depends_on_step.into_iter().chain(step.depends_on_steps).collect(),
        max_attempts: if step.default_retryable { max_attempts } else { max_attempts.min(1) },
        timeout_seconds: step.handler_config.timeout_seconds.unwrap_or(usual.timeout_seconds),
        backoff: step.backoff,
        compensates: None,
        after: None,
        optional: step.optional,
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
