//! The fields of spans and events, as JSON, without secrets.

use redaction::{REDACTED, is_code, is_name_of_secret, redact, redact_shapes};
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap, error::Error, fmt};
use tracing::field::{Field, Visit};

/// The smallest number with as many digits as the number of a card has.
const FEWEST_OF_CARD: u64 = 10_000_000_000_000;

/// Fields by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(BTreeMap<&'static str, Value>);

impl Fields {
    /// Takes those of a span as well, and in the place of those of the same name. Something may have become a secret since they were noted.
    pub(crate) fn extend(&mut self, inner: &Self) {
        self.0.extend(inner.0.iter().map(|(name, value)| (*name, without_secrets(name, value.clone()))));
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }

    /// The fields but for those of these names, sorted.
    pub(crate) fn others<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = (&'static str, &'a Value)> {
        self.0.iter().filter(|(name, _)| !names.contains(name)).map(|(name, value)| (*name, value))
    }

    /// The text of a field.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// The number of a field, where `true` is 1.
    pub(crate) fn number(&self, name: &str) -> Option<f64> {
        match self.0.get(name)? {
            Value::Bool(is_so) => Some(f64::from(u8::from(*is_so))),
            value => value.as_f64(),
        }
    }

    /// Adds a field, unless it is there.
    pub(crate) fn add(&mut self, name: &'static str, value: impl FnOnce() -> Value) {
        self.0.entry(name).or_insert_with(value);
    }

    fn set(&mut self, field: &Field, value: impl Into<Value>) {
        // A field that a macro writes as `r#type` is called `type`.
        let name = field.name();
        let name = name.strip_prefix("r#").unwrap_or(name);
        let value = if is_name_of_secret(name) { REDACTED.into() } else { without_secrets(name, value.into()) };
        self.0.insert(name, value);
    }
}

/// Fields that have names and ids of the system, and no text. A secret of the same letters must not hide what a line is about.
const NAMES: [&str; 9] =
    ["workflow", "step", "state", "task_id", "message_id", "rerun_of", "rerun_as", "traceparent", "trace_id"];

/// Fields by which a client finds the lines of its request. It may have sent any text for them.
const NAMES_OF_CLIENTS: [&str; 2] = ["correlation_id", "request_id"];

/// Whether a field says what the line is about, by which metrics, spans and people find it.
fn is_about(name: &str, text: &str) -> bool {
    NAMES.contains(&name) || (name == "code" && is_code(text))
}

/// The value with [`redact`] applied to its text, unless it says what the line is about. A number that looks like a card's is replaced, too.
fn without_secrets(name: &str, value: Value) -> Value {
    match value {
        Value::String(text) if is_about(name, &text) => Value::String(text),
        Value::String(text) => {
            let redacted = if NAMES_OF_CLIENTS.contains(&name) { redact_shapes(&text) } else { redact(&text) };
            match redacted {
                Cow::Owned(redacted) => Value::String(redacted),
                Cow::Borrowed(_) => Value::String(text),
            }
        }
        Value::Number(number) if number.as_u64().is_some_and(|number| number >= FEWEST_OF_CARD) => {
            match redact(&number.to_string()) {
                Cow::Owned(redacted) => Value::String(redacted),
                Cow::Borrowed(_) => Value::Number(number),
            }
        }
        value => value,
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.set(field, value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }
}
