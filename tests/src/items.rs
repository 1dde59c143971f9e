//! Between DynamoDB's items and JSON, so that a test can write down what an item should be.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Number, Value, json};
use std::collections::HashMap;

/// The attributes that are string sets. JSON has none, so they are arrays there, in order.
const SETS: [&str; 2] = ["done_deps", "failed_steps"];

/// An item, or part of one.
pub type Item = HashMap<String, AttributeValue>;

/// How large an item is, by DynamoDB's published rules.
pub fn size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value_size(value)).sum()
}

fn value_size(value: &AttributeValue) -> usize {
    // A list or a map takes three bytes more, and each of its entries one.
    const CONTAINER: usize = 3;
    const ENTRY: usize = 1;
    match value {
        AttributeValue::S(text) => text.len(),
        // Two digits a byte, and one or two more.
        AttributeValue::N(number) => number.trim_start_matches('-').len().div_ceil(2) + 1,
        AttributeValue::Bool(_) | AttributeValue::Null(_) => 1,
        AttributeValue::L(entries) => CONTAINER + entries.iter().map(|entry| ENTRY + value_size(entry)).sum::<usize>(),
        AttributeValue::M(item) => CONTAINER + item.len() * ENTRY + size(item),
        AttributeValue::Ss(members) => members.iter().map(String::len).sum(),
        other => panic!("the engine writes no {other:?}"),
    }
}

/// An item as JSON.
pub fn to_json(item: Item) -> Value {
    item.into_iter().map(|(name, value)| (name, value_to_json(value))).collect()
}

fn value_to_json(value: AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => Value::String(text),
        AttributeValue::N(number) => Value::Number(number.parse::<Number>().expect("DynamoDB's numbers are JSON's")),
        AttributeValue::Bool(yes) => Value::Bool(yes),
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::L(entries) => entries.into_iter().map(value_to_json).collect(),
        AttributeValue::M(item) => to_json(item),
        AttributeValue::Ss(mut members) => {
            members.sort_unstable();
            members.into_iter().map(Value::String).collect()
        }
        other => panic!("the engine writes no {other:?}"),
    }
}

/// An item in DynamoDB's own JSON, which names the type of every value: what its HTTP interface speaks.
pub fn to_dynamodb_json(item: Item) -> Value {
    item.into_iter().map(|(name, value)| (name, typed(value))).collect()
}

fn typed(value: AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => json!({ "S": text }),
        AttributeValue::N(number) => json!({ "N": number }),
        AttributeValue::Bool(yes) => json!({ "BOOL": yes }),
        AttributeValue::Null(yes) => json!({ "NULL": yes }),
        AttributeValue::L(entries) => json!({ "L": entries.into_iter().map(typed).collect::<Value>() }),
        AttributeValue::M(item) => json!({ "M": to_dynamodb_json(item) }),
        AttributeValue::Ss(mut members) => {
            members.sort_unstable();
            json!({ "SS": members })
        }
        other => panic!("the engine writes no {other:?}"),
    }
}

/// JSON as an item.
///
/// # Panics
/// Where it is not an object.
pub fn from_json(json: &Value) -> Item {
    let object = json.as_object().expect("an item is an object");
    object.iter().map(|(name, value)| (name.clone(), value_from_json(name, value))).collect()
}

fn value_from_json(name: &str, value: &Value) -> AttributeValue {
    match value {
        Value::String(text) => AttributeValue::S(text.clone()),
        Value::Number(number) => AttributeValue::N(number.to_string()),
        Value::Bool(yes) => AttributeValue::Bool(*yes),
        Value::Null => AttributeValue::Null(true),
        Value::Object(_) => AttributeValue::M(from_json(value)),
        Value::Array(members) if SETS.contains(&name) => {
            AttributeValue::Ss(members.iter().map(|member| member.as_str().expect("a string").to_owned()).collect())
        }
        Value::Array(entries) => AttributeValue::L(entries.iter().map(|entry| value_from_json("", entry)).collect()),
    }
}
