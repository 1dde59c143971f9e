//! Sizes of DynamoDB items, and their JSON.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use std::collections::HashMap;
use stepwell::testing::item_bytes;

/// An item, or part of one.
pub type Item = HashMap<String, AttributeValue>;

/// The size of an item in bytes.
pub fn size(item: &Item) -> usize {
    item_bytes(&item.iter().map(|(name, value)| (name.clone(), plain(value))).collect())
}

/// A value without its type. A set is a list.
fn plain(value: &AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => text.as_str().into(),
        AttributeValue::N(number) => Value::Number(number.parse().expect("DynamoDB has numbers only")),
        AttributeValue::Bool(yes) => (*yes).into(),
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::L(entries) => entries.iter().map(plain).collect(),
        AttributeValue::M(item) => item.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
        AttributeValue::Ss(members) => members.iter().map(String::as_str).collect(),
        other => panic!("the engine writes no {other:?}"),
    }
}

/// An item in DynamoDB's JSON, as its HTTP interface has it: with the type of every value.
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
