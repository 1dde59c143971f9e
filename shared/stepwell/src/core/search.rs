//! Search keys: values by which tasks are found, such as an e-mail address or an order number.
//!
//! The workflow file names them, and says where each value is: in the context of the task, or in the result of a step. Each key of
//! a task is an item of its own. Its partition is named by the value, and its sort key by the task, so that a partition lists the
//! newest task first.
//!
//! An item is written before what it leads to: that of the context before the task, that of a result before its step is complete. So
//! a crash loses none. It may leave one that leads to a task which was never written, or to one whose step had another result in
//! the end. Whoever reads keys reads the tasks next, and passes over those that do not exist. An item is never changed.
//!
//! Keys have the hash of a value. It is short however long the value is, and no e-mail address stands in a key. It is no secret:
//! who guesses the value can compute it.

use super::{
    codec::Unreadable,
    item::{Item, Key, attribute},
    parts::stamp,
    record::{STEP_RETENTION, TaskRecord},
    transition::{Change, Condition, Transition, Write},
};
use crate::core::{
    format::WRITES,
    hex::hex,
    id::TaskId,
    plan::{Plan, SearchKeys},
    timestamp::Timestamp,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::cmp::Reverse;

/// The most search keys of a workflow. Each costs a write of every task.
pub const MAX_SEARCH_KEYS: usize = 5;

/// The longest name of a search key, in characters.
pub const MAX_NAME_LENGTH: usize = 32;

/// How many bytes of a SHA-256 a key has. No two values will ever have the same 128 bits.
const HASH_BYTES: usize = 16;

/// A value that tasks are searched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchValue {
    name: String,
    hash: String,
}

/// Whether the text can be the name of a search key.
pub fn is_search_name(text: &str) -> bool {
    let fits = (1..=MAX_NAME_LENGTH).contains(&text.len());
    fits && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl SearchKeys {
    /// The values of the keys that have one here. A text has one unless it is blank, and so has a number; anything else has none.
    pub fn values(&self, json: &Value) -> Vec<SearchValue> {
        let value = |(name, pointer): (&String, &String)| match json.pointer(pointer)? {
            Value::String(text) => SearchValue::new(name, text),
            Value::Number(number) => SearchValue::new(name, &number.to_string()),
            _ => None,
        };
        self.0.iter().filter_map(value).collect()
    }
}

impl SearchValue {
    /// The value of the key with this name. Case, and blanks around it, make no difference. `None` if it is blank.
    pub fn new(name: &str, text: &str) -> Option<Self> {
        let text = text.trim().to_lowercase();
        let digest = Sha256::digest(&text);
        let hash = digest.get(..HASH_BYTES).filter(|_| !text.is_empty()).map(hex)?;
        Some(Self { name: name.to_owned(), hash })
    }

    /// The key of the item that leads to this task, and of the position in the list of all tasks with this value.
    pub fn key(&self, task: TaskId) -> Key {
        Key::Find { name: self.name.clone(), hash: self.hash.clone(), task: Reverse(task) }
    }

    /// Writes the item that leads to this task, unless it is there.
    pub fn put(&self, task: TaskId, created_at: Timestamp) -> Transition {
        let changes = [
            Change::Set(attribute::TASK_ID, task.to_string().into()),
            // A start that broke off may be repeated for a week, and keeps its first item.
            Change::Set(attribute::EXPIRES_AT, (created_at + STEP_RETENTION).as_seconds().into()),
        ];
        let changes = changes.into_iter().chain(stamp(WRITES)).collect();
        Transition::of("put_search_key", Write::update(self.key(task), Condition::NoItem, changes))
    }
}

/// Writes the search keys that this result of a step has a value for.
pub fn keys_of_result(task: &TaskRecord, step: &str, result: &str) -> Vec<Transition> {
    values_of_result(&task.plan, step, result).iter().map(|value| value.put(task.id, task.created_at)).collect()
}

/// The values in this result of a step by which its task is found.
pub fn values_of_result(plan: &Plan, step: &str, result: &str) -> Vec<SearchValue> {
    let Some(keys) = plan.search_keys_of(step) else { return Vec::new() };
    keys.values(&serde_json::from_str(result).unwrap_or_default())
}

/// The task that an item leads to.
///
/// # Errors
/// It has none.
pub fn task_found(item: &Item) -> Result<TaskId, Unreadable> {
    let id = item.get(attribute::TASK_ID).and_then(Value::as_str).and_then(|id| id.parse().ok());
    id.ok_or_else(|| Unreadable { key: "FIND".to_owned(), cause: "it leads to no task".to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fixtures::{at, snapshot};
    use serde_json::json;
    use test_case::test_case;

    fn keys(pointer: &str) -> SearchKeys {
        SearchKeys([("email".to_owned(), pointer.to_owned())].into())
    }

    #[test_case(json!({"to": "ann@example.com"}), true; "the same text")]
    #[test_case(json!({"to": " Ann@Example.COM\n"}), true; "another case, and blanks")]
    #[test_case(json!({"to": "bob@example.com"}), false; "another text")]
    fn text_is_found_whatever_its_case(context: Value, found: bool) {
        let values = keys("/to").values(&context);
        assert_eq!(values == [SearchValue::new("email", "ann@example.com").unwrap()], found);
    }

    #[test_case(json!({}); "no value")]
    #[test_case(json!({"to": null}); "null")]
    #[test_case(json!({"to": ""}); "an empty text")]
    #[test_case(json!({"to": "  "}); "blanks")]
    #[test_case(json!({"to": true}); "a truth value")]
    #[test_case(json!({"to": ["ann@example.com"]}); "a list")]
    #[test_case(json!({"to": {"a": 1}}); "an object")]
    fn key_without_a_value_writes_nothing(context: Value) {
        assert_eq!(keys("/to").values(&context), []);
    }

    #[test]
    fn number_is_found_by_its_digits() {
        assert_eq!(keys("/0").values(&json!([1200])), [SearchValue::new("email", "1200").unwrap()]);
    }

    #[test]
    fn item_has_the_hash_and_not_the_value_and_outlives_its_task() {
        let value = SearchValue::new("email", "ann@example.com").unwrap();
        let task: TaskId = "018f4e4e-7c1a-7000-8000-0123456789ab".parse().unwrap();
        let put = value.put(task, at(0));
        let key = &put.writes[0].key;
        assert_eq!(key.partition(), "FIND#email#71d4f55f72fa128dfb468a1a3901507c");
        assert_eq!(key.sort(), "fe70b1b183e58fff7ffffedcba987654");
        let item = put.writes[0].effect.apply(&Item::new());
        assert_eq!(task_found(&item), Ok(task));
        assert_eq!(item[attribute::EXPIRES_AT], (at(0) + STEP_RETENTION).as_seconds());
        assert!(!format!("{put:?}").contains("ann"), "{put:?}");
    }

    #[test]
    fn newer_task_comes_first() {
        let value = SearchValue::new("email", "ann@example.com").unwrap();
        let ids = ["018f4e4e-7c1a-7000-8000-0123456789ab", "018f4e4e-7c1b-7000-8000-000000000000"];
        let [older, newer] = ids.map(|id| value.key(id.parse().unwrap()));
        assert!(newer < older && newer.sort() < older.sort());
    }

    #[test]
    fn result_of_another_step_and_of_a_plan_without_keys_writes_nothing() {
        let mut task = snapshot(&[&[], &[0]], &[]).task;
        assert_eq!(keys_of_result(&task, "s0", r#"{"n": 7}"#), []);
        task.plan = task.plan.with_result_keys([("s0".to_owned(), keys("/n"))].into());
        assert_eq!(keys_of_result(&task, "s1", r#"{"n": 7}"#), []);
        let expected = SearchValue::new("email", "7").unwrap().put(task.id, task.created_at);
        assert_eq!(keys_of_result(&task, "s0", r#"{"n": 7}"#), [expected]);
    }
}
