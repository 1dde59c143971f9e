//! The canonical form of an item: the same text for the same content, however a store keeps it.

use serde_json::Value;
use std::collections::BTreeMap;
use stepwell::core::item::Item;

/// What names the item instead of being its content, and the TTL, which no store but DynamoDB keeps.
const LEFT_OUT: [&str; 3] = ["pk", "sk", "expires_at"];

/// The attributes that DynamoDB keeps as sets. It does not say in which order it returns their members.
const SETS: [&str; 2] = ["done_deps", "failed_steps"];

/// Renders an item on one line with sorted attribute names. An attribute that says nothing is left out, because one store
/// may write it and another leave it away.
pub(super) fn canonical(item: &Item) -> String {
    let told = item.iter().filter(|(name, value)| !LEFT_OUT.contains(&name.as_str()) && !says_nothing(name, value));
    object(told.map(|(name, value)| match value {
        Value::Array(members) if SETS.contains(&name.as_str()) => (name, set(members)),
        value => (name, json(value)),
    }))
}

/// Whether an attribute says no more than if it were missing.
fn says_nothing(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Number(number) => number.as_u64() == Some(0),
        // That there is an order of compensations says something, even one of none: the task is being undone.
        Value::Array(entries) => entries.is_empty() && name != "compensations",
        Value::String(word) => name == "state" && word == "pending",
        Value::Bool(_) | Value::Object(_) => false,
    }
}

fn set(members: &[Value]) -> String {
    let mut members: Vec<String> = members.iter().map(json).collect();
    members.sort_unstable();
    format!("[{}]", members.join(","))
}

fn json(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            object(fields.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name, json(value))))
        }
        Value::Array(entries) => format!("[{}]", entries.iter().map(json).collect::<Vec<_>>().join(",")),
        value => value.to_string(),
    }
}

/// Sorts the fields itself: whether the map of `serde_json` does is up to a feature that any crate may switch on.
fn object<'a>(fields: impl Iterator<Item = (&'a String, String)>) -> String {
    let fields: BTreeMap<&String, String> = fields.collect();
    let fields: Vec<String> =
        fields.into_iter().map(|(name, value)| format!("{}:{value}", Value::from(name.as_str()))).collect();
    format!("{{{}}}", fields.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(item: Value) -> String {
        canonical(item.as_object().unwrap())
    }

    #[test]
    fn attribute_without_information_is_left_out() {
        let bare = json!({ "started_at": 5 });
        let full = json!({
            "pk": "TASK#1", "sk": "STEP#s00", "expires_at": 9, "state": "pending", "attempt": 0, "exempt": 0, "owner": null,
            "done_deps": [], "attempts": [], "started_at": 5,
        });
        assert_eq!(of(full), of(bare));
    }

    #[test]
    fn default_with_a_meaning_is_kept() {
        assert_eq!(of(json!({ "compensations": [] })), r#"{"compensations":[]}"#);
        assert_eq!(of(json!({ "status": "pending" })), r#"{"status":"pending"}"#);
        assert_eq!(of(json!({ "error": { "code": "", "message": "" } })), r#"{"error":{"code":"","message":""}}"#);
    }

    #[test]
    fn sets_and_names_are_sorted_and_lists_are_not() {
        let item =
            json!({ "failed_steps": ["b", "a"], "compensations": ["b", "a"], "actions": [{ "who": "w", "at": 1 }] });
        assert_eq!(of(item), r#"{"actions":[{"at":1,"who":"w"}],"compensations":["b","a"],"failed_steps":["a","b"]}"#);
    }
}
