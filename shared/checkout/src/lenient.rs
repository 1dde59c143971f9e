//! Reading what nobody has checked: what does not fit is taken as absent, so that the step can say in its own words
//! what it misses. The workflow's schema has told the client more precisely, at the door.

use rust_decimal::{Decimal, prelude::ToPrimitive};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

/// A value of the type, or the type's default.
pub(crate) fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: DeserializeOwned + Default,
    D: Deserializer<'de>,
{
    Ok(serde_json::from_value(Value::deserialize(deserializer)?).unwrap_or_default())
}

/// A list, each element read by itself: one that does not fit is there as a default, and the others as they are.
pub(crate) fn list<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: DeserializeOwned + Default,
    D: Deserializer<'de>,
{
    let Value::Array(elements) = Value::deserialize(deserializer)? else { return Ok(Vec::new()) };
    Ok(elements.into_iter().map(|element| serde_json::from_value(element).unwrap_or_default()).collect())
}

/// A text. Anything else that is given comes as its JSON, so that it is found to be wrong instead of being passed over.
pub(crate) fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => None,
        Value::String(text) => Some(text),
        other => Some(other.to_string()),
    })
}

/// A whole number from 0. JSON Schema takes `2.0` for an integer, and so do we.
pub(crate) fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    let number = value.as_number().and_then(|number| Decimal::from_str_exact(number.as_str()).ok());
    Ok(number.filter(Decimal::is_integer).and_then(|number| number.to_u32()))
}
