//! Reads the search keys of a workflow file.

use super::{
    WorkflowError,
    keys::{self, mapping},
};
use crate::core::{
    plan::{Plan, SearchKeys},
    search::{MAX_NAME_LENGTH, MAX_SEARCH_KEYS, is_search_name},
    spelling::Meant,
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The search keys in the context, and those in the results of steps.
pub(super) fn read(
    root: &Map<String, Value>,
    plan: &Plan,
    schema: Option<&Value>,
) -> Result<(SearchKeys, BTreeMap<String, SearchKeys>), WorkflowError> {
    let (mut of_context, mut of_results) = (SearchKeys::default(), BTreeMap::<String, SearchKeys>::new());
    let Some(search) = root.get("search") else { return Ok((of_context, of_results)) };
    let search = mapping(search, "`search`")?;
    if search.len() > MAX_SEARCH_KEYS {
        let (count, most) = (search.len(), MAX_SEARCH_KEYS);
        return Err(WorkflowError(format!(
            "`search` has {count} keys, but each is a write of every task: at most {most}"
        )));
    }
    for (name, place) in search {
        let wrong = |problem: String| WorkflowError(format!("`search` has `{name}`, {problem}"));
        if !is_search_name(name) {
            return Err(wrong(format!("but a name has 1 to {MAX_NAME_LENGTH} letters, digits or `_`")));
        }
        let (step, pointer) = match place {
            Value::String(pointer) => (None, pointer),
            Value::Object(fields) => {
                keys::SEARCHED_RESULT.check(fields, &format!("`{name}` of `search`"))?;
                match (fields.get("step"), fields.get("at")) {
                    (Some(Value::String(step)), Some(Value::String(pointer))) => (Some(step), pointer),
                    _ => return Err(wrong("which needs a `step` and `at`, a JSON pointer into its result".to_owned())),
                }
            }
            _ => return Err(wrong("which has to be a JSON pointer into the context, or a `step` and `at`".to_owned())),
        };
        if let Some(problem) = no_pointer(pointer) {
            return Err(wrong(format!("whose {problem}")));
        }
        match step {
            Some(step) if plan.step(step).is_none() => {
                let meant = Meant::among(step, plan.steps().iter().map(|step| step.name.as_str()));
                return Err(wrong(format!("whose step `{step}` is not a step of this workflow{meant}")));
            }
            Some(step) => of_results.entry(step.clone()).or_default().insert(name.clone(), pointer.clone()),
            None => {
                if let Some(problem) = schema.and_then(|schema| missing(schema, pointer)) {
                    return Err(wrong(problem));
                }
                of_context.insert(name.clone(), pointer.clone());
            }
        }
    }
    Ok((of_context, of_results))
}

/// Why a text is not a JSON pointer (RFC 6901), if it is none.
pub(super) fn no_pointer(text: &str) -> Option<String> {
    if !text.is_empty() && !text.starts_with('/') {
        return Some(format!("`{text}` is not a JSON pointer; write `/{text}`"));
    }
    let is_escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    (!is_escaped).then(|| format!("`{text}` is not a JSON pointer; write `~0` for `~` and `~1` for `/`"))
}

/// The keywords by which a schema may have more properties than its `properties` lists.
const MORE_PROPERTIES: [&str; 8] =
    ["$ref", "allOf", "anyOf", "dependentSchemas", "if", "oneOf", "patternProperties", "unevaluatedProperties"];

/// Why the schema has no property at this pointer. Where it lists no properties, or not only these, any may be there.
pub(super) fn missing(schema: &Value, pointer: &str) -> Option<String> {
    let mut schema = schema;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        let properties = schema.get("properties")?.as_object()?;
        if MORE_PROPERTIES.iter().any(|keyword| schema.get(keyword).is_some()) {
            return None;
        }
        let Some(property) = properties.get(&token) else {
            let meant = Meant::among(&token, properties.keys().map(String::as_str));
            return Some(format!("whose `{pointer}` is not in `schema`: it has no property `{token}` there{meant}"));
        };
        schema = property;
    }
    None
}
