//! Reads which fields of a task's context and of its steps' results are secret.

use super::{
    WorkflowError,
    search::{missing, no_pointer},
};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// The JSON pointers to the secret fields of the context.
pub(super) fn of_context(root: &Map<String, Value>, schema: Option<&Value>) -> Result<BTreeSet<String>, WorkflowError> {
    let Some(secret) = root.get("secret") else { return Ok(BTreeSet::new()) };
    let wrong = |problem: &str| WorkflowError(format!("`secret` {problem}"));
    let pointers = pointers(secret, "the context", wrong)?;
    // A misspelt one would hide nothing.
    match pointers.iter().find_map(|pointer| missing(schema?, pointer)) {
        Some(problem) => Err(wrong(&format!("has an entry {problem}"))),
        None => Ok(pointers),
    }
}

/// The JSON pointers to the secret fields of results, by step and compensation. The steps have been read already.
pub(super) fn of_results(templates: &[Value]) -> Result<BTreeMap<String, BTreeSet<String>>, WorkflowError> {
    let both = templates.iter().flat_map(|step| [Some(step), step.get("compensation")]).flatten();
    let mut secrets = BTreeMap::new();
    for fields in both {
        let (Some(name), Some(secret)) = (fields.get("name").and_then(Value::as_str), fields.get("secret")) else {
            continue;
        };
        let wrong = |problem: &str| WorkflowError(format!("`secret` of step `{name}` {problem}"));
        let pointers = pointers(secret, "its result", wrong)?;
        if !pointers.is_empty() {
            secrets.insert(name.to_owned(), pointers);
        }
    }
    Ok(secrets)
}

/// Reads a list of JSON pointers into this.
fn pointers(
    secret: &Value,
    into: &str,
    wrong: impl Fn(&str) -> WorkflowError,
) -> Result<BTreeSet<String>, WorkflowError> {
    let no_list = || wrong(&format!("has to be a list of JSON pointers into {into}"));
    let pointers = secret.as_array().ok_or_else(no_list)?.iter().map(|pointer| {
        let pointer = pointer.as_str().ok_or_else(|| wrong("has an entry that is not a text"))?;
        match no_pointer(pointer) {
            Some(problem) => Err(wrong(&format!("is wrong: {problem}"))),
            None => Ok(pointer.to_owned()),
        }
    });
    pointers.collect()
}
