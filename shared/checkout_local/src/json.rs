//! What a replay does with the JSON of a task: it leaves out fields, and compares two answers.

use serde::Serialize;
use serde_json::Value;

/// A part of an answer that is not as it is stored.
#[derive(Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Where it is, as a JSON pointer.
    pub at: String,
    /// What is stored; `null` where nothing is.
    pub stored: Value,
    /// What it is now; `null` where nothing is.
    pub now: Value,
}

/// Finds where a JSON is another one than the stored one: the fields of objects by their names, and everything else as a whole.
pub fn differences(stored: Value, now: Value) -> Vec<Difference> {
    let mut found = Vec::new();
    add_differences("", stored, now, &mut found);
    found
}

fn add_differences(at: &str, stored: Value, now: Value, found: &mut Vec<Difference>) {
    match (stored, now) {
        (Value::Object(stored), Value::Object(mut now)) => {
            let mut add = |name: &str, stored, now| {
                let name = name.replace('~', "~0").replace('/', "~1");
                add_differences(&format!("{at}/{name}"), stored, now, found);
            };
            for (name, stored) in stored {
                let now = now.remove(&name).unwrap_or_default();
                add(&name, stored, now);
            }
            for (name, now) in now {
                add(&name, Value::Null, now);
            }
        }
        (stored, now) if stored == now => {}
        (stored, now) => found.push(Difference { at: at.to_owned(), stored, now }),
    }
}

/// Removes the field at this JSON pointer, if there is one. An entry of a list becomes `null`, so that the others keep their places.
pub fn remove(json: &mut Value, pointer: &str) {
    let Some((parent, name)) = pointer.rsplit_once('/') else { return *json = Value::Null };
    let name = name.replace("~1", "/").replace("~0", "~");
    match json.pointer_mut(parent) {
        Some(Value::Object(fields)) => drop(fields.remove(&name)),
        Some(Value::Array(entries)) => {
            let entry = name.parse().ok().and_then(|place: usize| entries.get_mut(place));
            entry.into_iter().for_each(|entry| *entry = Value::Null);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_named_by_their_places() {
        let stored = json!({"same": 1.5, "a": {"b/c": 1, "gone": true}, "list": [1]});
        let now = json!({"same": 1.5, "a": {"b/c": 2}, "list": [2], "new": 3});
        let found: Vec<_> = differences(stored.clone(), now)
            .iter()
            .map(|found| format!("{} {} {}", found.at, found.stored, found.now))
            .collect();
        assert_eq!(found, ["/a/b~1c 1 2", "/a/gone true null", "/list [1] [2]", "/new null 3"]);
        assert_eq!(differences(stored.clone(), stored), []);
        assert_eq!(differences(json!(5), json!("no")).len(), 1);
    }

    #[test]
    fn removed_fields_are_missing_and_removed_entries_null() {
        let mut json = json!({"card": {"token": "***", "a/b": "***", "kind": "visa"}, "list": ["***", 2]});
        for pointer in ["/card/token", "/card/a~1b", "/list/0", "/nothing/here"] {
            remove(&mut json, pointer);
        }
        assert_eq!(json, json!({"card": {"kind": "visa"}, "list": [null, 2]}));
    }
}
