//! Sizes of DynamoDB items, and their JSON.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use std::collections::HashMap;

/// An item, or part of one.
pub type Item = HashMap<String, AttributeValue>;

/// The size of an item in bytes, by DynamoDB's published rules.
pub fn size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value_size(value)).sum()
}

fn value_size(value: &AttributeValue) -> usize {
    // A list or a map takes three more bytes, and each of its entries one.
    const CONTAINER: usize = 3;
    const ENTRY: usize = 1;
    match value {
        AttributeValue::S(text) => text.len(),
        // Two digits take a byte, and the number one or two more.
        AttributeValue::N(number) => number.trim_start_matches('-').len().div_ceil(2) + 1,
        AttributeValue::Bool(_) | AttributeValue::Null(_) => 1,
        AttributeValue::L(entries) => CONTAINER + entries.iter().map(|entry| ENTRY + value_size(entry)).sum::<usize>(),
        AttributeValue::M(item) => CONTAINER + item.len() * ENTRY + size(item),
        AttributeValue::Ss(members) => members.iter().map(String::len).sum(),
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
