//! Lenient deserialization of unchecked input. A value of the wrong type counts as absent, so that the step reports the
//! missing field with its own error code. The API has checked the request against the workflow's schema before.
//!
//! Each value is read from its text, because `serde_json` passes numbers out of a [`Value`] on as floats.

use crate::money::decimal;
use redaction::Secret;
use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

/// Reads a value of the type, or the type's default where the value does not fit.
pub(crate) fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: DeserializeOwned + Default,
    D: Deserializer<'de>,
{
    Ok(read(&Box::deserialize(deserializer)?).unwrap_or_default())
}

/// Reads a list, element by element. An element that does not fit becomes the type's default.
pub(crate) fn list<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: DeserializeOwned + Default,
    D: Deserializer<'de>,
{
    let elements: Vec<Box<RawValue>> = or_default(deserializer)?;
    Ok(elements.iter().map(|element| read(element).unwrap_or_default()).collect())
}

/// Reads a text. A value of another type becomes its JSON, so that the step refuses it instead of ignoring it.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match or_default(deserializer)? {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    })
}

/// Reads a [`text`] that is secret.
pub(crate) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(text(deserializer)?.map(Secret::new))
}

/// Reads a whole number from 0. `2.0` and `2e0` count as integers, as in JSON Schema.
pub(crate) fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let value: Value = or_default(deserializer)?;
    let number = value.as_number().and_then(|number| decimal(number.as_str()));
    Ok(number.filter(Decimal::is_integer).and_then(|number| number.to_u32()))
}

fn read<T: DeserializeOwned>(text: &RawValue) -> serde_json::Result<T> {
    serde_json::from_str(text.get())
}
