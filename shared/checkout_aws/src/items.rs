//! Converts values to DynamoDB items and back, through JSON.
//!
//! Numbers are exact decimals in text form, both in DynamoDB and in our JSON. So an amount is stored as `87.96` and
//! read without rounding. A converter that reads numbers as floats would round.

use aws_sdk_dynamodb::types::AttributeValue;
use checkout::StoreError;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Number, Value};
use std::collections::HashMap;

/// The attributes of one item.
pub(crate) type AttributeItem = HashMap<String, AttributeValue>;

/// Converts a value to an attribute.
pub(crate) fn to_attribute(value: &impl Serialize) -> Result<AttributeValue, StoreError> {
    serde_json::to_value(value).map(from_json).map_err(unreadable)
}

/// Converts a value with fields to an item.
pub(crate) fn to_item(value: &impl Serialize) -> Result<AttributeItem, StoreError> {
    match to_attribute(value)? {
        AttributeValue::M(item) => Ok(item),
        _ => Err(unreadable("an item needs fields")),
    }
}

/// Converts an attribute to a value.
pub(crate) fn from_attribute<T: DeserializeOwned>(attribute: AttributeValue) -> Result<T, StoreError> {
    serde_json::from_value(to_json(attribute)?).map_err(unreadable)
}

/// Converts an item to a value.
pub(crate) fn from_item<T: DeserializeOwned>(item: AttributeItem) -> Result<T, StoreError> {
    from_attribute(AttributeValue::M(item))
}

/// Makes a string attribute.
pub(crate) fn text(value: impl ToString) -> AttributeValue {
    AttributeValue::S(value.to_string())
}

/// Makes a number attribute.
pub(crate) fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

fn from_json(value: Value) -> AttributeValue {
    match value {
        Value::Null => AttributeValue::Null(true),
        Value::Bool(flag) => AttributeValue::Bool(flag),
        Value::Number(number) => AttributeValue::N(number.to_string()),
        Value::String(text) => AttributeValue::S(text),
        Value::Array(values) => AttributeValue::L(values.into_iter().map(from_json).collect()),
        Value::Object(fields) => {
            AttributeValue::M(fields.into_iter().map(|(name, value)| (name, from_json(value))).collect())
        }
    }
}

fn to_json(attribute: AttributeValue) -> Result<Value, StoreError> {
    Ok(match attribute {
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::Bool(flag) => Value::Bool(flag),
        AttributeValue::N(text) => Value::Number(text.parse::<Number>().map_err(unreadable)?),
        AttributeValue::S(text) => Value::String(text),
        AttributeValue::L(values) => values.into_iter().map(to_json).collect::<Result<_, _>>()?,
        AttributeValue::M(item) => {
            let fields = item.into_iter().map(|(name, value)| Ok((name, to_json(value)?)));
            Value::Object(fields.collect::<Result<_, StoreError>>()?)
        }
        _ => return Err(unreadable("an attribute has a type that the shop never writes")),
    })
}

pub(crate) fn unreadable(problem: impl ToString) -> StoreError {
    StoreError::Unreadable(problem.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkout::Money;
    use serde_json::json;

    #[test]
    fn round_trip_keeps_every_value() {
        let value = json!({"text": "ä", "list": [1, -2.50, {"deep": null}], "flag": true, "empty": {}});
        assert_eq!(from_attribute::<Value>(to_attribute(&value).unwrap()).unwrap(), value);
    }

    #[test]
    fn money_is_a_number_and_exact() {
        assert_eq!(to_attribute(&Money::from_cents(8796)).unwrap(), number("87.96"));
        // DynamoDB drops trailing zeros.
        assert_eq!(from_attribute::<Money>(number("87.9")).unwrap(), Money::from_cents(8790));
        assert_eq!(from_attribute::<Money>(number("88")).unwrap(), Money::from_cents(8800));
    }

    #[test]
    fn unexpected_attribute_type_is_unreadable() {
        let set = AttributeValue::Ss(vec!["a".to_owned()]);
        assert!(from_attribute::<Value>(set).is_err());
    }
}
