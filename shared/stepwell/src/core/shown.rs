//! What of a task's JSON is shown: all but the fields that its workflow file declares as `secret`.

use redaction::REDACTED;
use serde_json::Value;

/// This JSON with [`REDACTED`] in the place of each of these fields that has a value, and the JSON pointers to those. What cannot be read is not
/// shown.
pub(super) fn shown<'a>(json: &str, secret: impl IntoIterator<Item = &'a String>) -> (Value, Vec<&'a str>) {
    let mut shown = serde_json::from_str(json).unwrap_or_else(|_| REDACTED.into());
    let mut hidden = Vec::new();
    for pointer in secret {
        if let Some(secret) = Value::pointer_mut(&mut shown, pointer).filter(|secret| !secret.is_null()) {
            *secret = REDACTED.into();
            hidden.push(pointer.as_str());
        }
    }
    (shown, hidden)
}
