//! Small helpers that keep the expressions readable: in an expression every attribute is written `#name`, every value
//! `:name`, and the two maps that DynamoDB wants beside it are made here.

use super::{KeyRecord, TaskId};
use aws_sdk_dynamodb::types::AttributeValue;
use std::collections::HashMap;

/// An item, or part of one.
pub(super) type Item = HashMap<String, AttributeValue>;

/// A DynamoDB string.
pub(super) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

/// A DynamoDB number.
pub(super) fn n(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

/// The names behind every `#name` in these expressions. DynamoDB refuses both a missing and an unused one.
pub(super) fn names(expressions: &[&str]) -> HashMap<String, String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let after_hash = expressions.iter().flat_map(|expression| expression.split('#').skip(1));
    after_hash
        .filter_map(|rest| rest.split(|c| !word(c)).next())
        .map(|name| (format!("#{name}"), name.to_owned()))
        .collect()
}

/// The values behind every `:name`.
pub(super) fn values<'a>(values: impl IntoIterator<Item = (&'a str, AttributeValue)>) -> Item {
    values.into_iter().map(|(name, value)| (format!(":{name}"), value)).collect()
}

fn key(pk: String, sk: String) -> Item {
    HashMap::from([("pk".to_owned(), s(pk)), ("sk".to_owned(), s(sk))])
}

/// The partition a task and its steps live in.
pub(super) fn partition(task: TaskId) -> String {
    format!("TASK#{task}")
}

/// The key of a task's item.
pub(super) fn task_key(task: TaskId) -> Item {
    key(partition(task), TASK.to_owned())
}

/// The key of a step's item.
pub(super) fn step_key(task: TaskId, step: &str) -> Item {
    key(partition(task), format!("{STEP}{step}"))
}

/// The key of an idempotency key's item.
pub(super) fn idempotency_key(record: &KeyRecord) -> Item {
    key(format!("KEY#{}#{}", record.namespace, record.key), "KEY".to_owned())
}

/// The sort key of a task's item.
pub(super) const TASK: &str = "TASK";

/// What a step's sort key begins with.
pub(super) const STEP: &str = "STEP#";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_once_each_wherever_they_stand() {
        let found = names(&["SET #state = :a, #done_deps=:b", "#state = :c AND (#lease_until<:d)"]);
        let mut found: Vec<&str> = found.values().map(String::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, ["done_deps", "lease_until", "state"]);
    }
}
