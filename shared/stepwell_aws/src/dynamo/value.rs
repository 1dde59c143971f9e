//! Converts items to DynamoDB's attributes and back.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Number, Value};
use std::collections::HashMap;
use stepwell::core::item::{Item, Key, attribute};

/// An item in DynamoDB's types.
pub(super) type AttributeItem = HashMap<String, AttributeValue>;

/// The name of the partition key.
pub(super) const PARTITION_KEY: &str = "pk";

/// The name of the sort key.
pub(super) const SORT_KEY: &str = "sk";

/// The name of the attribute that only the index of the starts reads.
pub(super) const START_SHARD: &str = "start_shard";

/// Converts the key of an item.
pub(super) fn key(key: &Key) -> AttributeItem {
    let key = [(PARTITION_KEY, key.partition()), (SORT_KEY, key.sort())];
    key.map(|(name, value)| (name.to_owned(), AttributeValue::S(value))).into()
}

/// Converts the value of an attribute. An attribute that is a set becomes a string set.
pub(super) fn attribute_value(name: &str, value: &Value) -> AttributeValue {
    match value {
        Value::Array(members) if attribute::is_set(name) => {
            AttributeValue::Ss(members.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        value => nested(value),
    }
}

fn nested(value: &Value) -> AttributeValue {
    match value {
        Value::Null => AttributeValue::Null(true),
        Value::Bool(value) => AttributeValue::Bool(*value),
        Value::Number(number) => AttributeValue::N(number.to_string()),
        Value::String(text) => AttributeValue::S(text.clone()),
        Value::Array(list) => AttributeValue::L(list.iter().map(nested).collect()),
        Value::Object(map) => {
            AttributeValue::M(map.iter().map(|(name, value)| (name.clone(), nested(value))).collect())
        }
    }
}

/// Converts an item to the engine's type, without its keys.
pub(super) fn item(mut attributes: AttributeItem) -> Item {
    attributes.remove(PARTITION_KEY);
    attributes.remove(SORT_KEY);
    attributes.remove(START_SHARD);
    map(attributes)
}

fn map(attributes: AttributeItem) -> Item {
    attributes.into_iter().map(|(name, value)| (name, json(value))).collect()
}

fn json(value: AttributeValue) -> Value {
    match value {
        AttributeValue::S(text) => Value::String(text),
        AttributeValue::N(number) => number.parse::<Number>().map_or(Value::Null, Value::Number),
        AttributeValue::Bool(value) => Value::Bool(value),
        AttributeValue::L(list) => list.into_iter().map(json).collect(),
        AttributeValue::M(map) => Value::Object(self::map(map)),
        AttributeValue::Ss(mut members) => {
            members.sort_unstable();
            members.into()
        }
        // The engine writes no other type, so an attribute with another type is in no field that it reads.
        _ => Value::Null,
    }
}
