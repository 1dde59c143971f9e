//! Reading what nobody has checked: what does not fit is taken as absent, so that the step can say in its own words
//! what it misses. The workflow's schema has told the client more precisely, at the door.
//!
//! Each value is read as the text it is: out of a [`Value`], `serde_json` hands numbers on as floats.

use crate::money::decimal;
use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

/// A value of the type, or the type's default.
pub(crate) fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: DeserializeOwned + Default,
    D: Deserializer<'de>,
{
    Ok(read(&Box::deserialize(deserializer)?).unwrap_or_default())
}

/// A list, each element read by itself: one that does not fit is there as a default, and the others as they are.
pub(crate) fn list<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: DeserializeOwned + Default,
    D: Deserializer<'de>,
{
    let elements: Vec<Box<RawValue>> = or_default(deserializer)?;
    Ok(elements.iter().map(|element| read(element).unwrap_or_default()).collect())
}

/// A text. Anything else that is given comes as its JSON, so that it is found to be wrong instead of being passed over.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match or_default(deserializer)? {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    })
}

/// A whole number from 0. JSON Schema takes `2.0` and `2e0` for an integer, and so do we.
pub(crate) fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let value: Value = or_default(deserializer)?;
    let number = value.as_number().and_then(|number| decimal(number.as_str()));
    Ok(number.filter(Decimal::is_integer).and_then(|number| number.to_u32()))
}

fn read<T: DeserializeOwned>(text: &RawValue) -> serde_json::Result<T> {
    serde_json::from_str(text.get())
}
