//! Reads which fields of a step's result are secret.

use super::{WorkflowError, search::no_pointer};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The JSON pointers to the secret fields of results, by step and compensation. The steps have been read already.
pub(super) fn read(templates: &[Value]) -> Result<BTreeMap<String, BTreeSet<String>>, WorkflowError> {
    let both = templates.iter().flat_map(|step| [Some(step), step.get("compensation")]).flatten();
    let mut secrets = BTreeMap::new();
    for fields in both {
        let (Some(name), Some(secret)) = (fields.get("name").and_then(Value::as_str), fields.get("secret")) else {
            continue;
        };
        let wrong = |problem: &str| WorkflowError(format!("`secret` of step `{name}` {problem}"));
        let pointers = secret.as_array().ok_or_else(|| wrong("has to be a list of JSON pointers into its result"))?;
        let pointers = pointers.iter().map(|pointer| {
            let pointer = pointer.as_str().ok_or_else(|| wrong("has an entry that is not a text"))?;
            match no_pointer(pointer) {
                Some(problem) => Err(wrong(&format!("is wrong: {problem}"))),
                None => Ok(pointer.to_owned()),
            }
        });
        let pointers = pointers.collect::<Result<BTreeSet<_>, _>>()?;
        if !pointers.is_empty() {
            secrets.insert(name.to_owned(), pointers);
        }
    }
    Ok(secrets)
}
