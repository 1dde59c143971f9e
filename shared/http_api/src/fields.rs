//! The fields of a query or of a body, read by the same methods.

use crate::{CommonError, body, pointer, query_fields};
use axum::{body::Body, http::request::Parts};
use serde::de::DeserializeOwned;
use serde_json::{
    Value,
    error::Category,
    value::{RawValue, to_raw_value},
};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Display,
};
use stepwell::{Violation, core::limits::MAX_RESULT_BYTES};

/// The largest body: the largest result, and 16 KiB for the fields around it.
const MOST_BYTES: usize = MAX_RESULT_BYTES + 16 * 1024;

/// Fields that a route takes out one after another. It collects all violations, so that one answer reports them all.
#[derive(Debug, Default)]
pub struct Fields {
    /// The JSON pointer to the object that holds the fields.
    path: String,
    left: BTreeMap<String, Box<RawValue>>,
    found: Vec<Violation>,
}

impl Fields {
    /// Reads the fields of a query. A repeated field is a violation.
    pub fn of_query(request: &Parts) -> Self {
        let mut fields = Self::default();
        for (name, text) in query_fields(request) {
            match fields.left.entry(name.clone()) {
                Entry::Occupied(_) => fields.wrong(&name, "is there more than once"),
                Entry::Vacant(place) => {
                    // Serializing a text cannot fail; if it did, the field would count as missing.
                    if let Ok(value) = to_raw_value(&text) {
                        place.insert(value);
                    }
                }
            }
        }
        fields
    }

    /// Reads the fields of a body, which has to be a JSON object.
    ///
    /// # Errors
    /// The body is not JSON or too large, its `Content-Type` is not JSON's, or it is no object.
    pub async fn of_body(request: &Parts, body: Body) -> Result<Self, CommonError> {
        body::check_media_type(&request.headers)?;
        let body: Box<RawValue> = body::read(body, MOST_BYTES).await?;
        match serde_json::from_str(body.get()) {
            Ok(left) => Ok(Self { left, ..Self::default() }),
            Err(error) if error.classify() == Category::Data => {
                Err(CommonError::field("", "the body has to be an object"))
            }
            Err(error) => Err(CommonError::NotJson(error)),
        }
    }

    /// Takes a field that is an object, and returns its fields; without any if it is missing.
    pub fn inner(&mut self, name: &str) -> Self {
        let path = self.pointer(name);
        let left = self.json(name, "has to be an object").unwrap_or_default();
        Self { path, left, found: Vec::new() }
    }

    /// The fields that are left, as JSON. The order in which the request had them makes no difference, the form of their values does.
    pub fn to_json(&self) -> String {
        // Texts as keys and raw JSON as values cannot fail to be written.
        serde_json::to_string(&self.left).unwrap_or_default()
    }

    /// Takes a text and parses it with `read`.
    pub fn text<T, E: Display>(&mut self, name: &str, read: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        let text: String = self.json(name, "has to be a text")?;
        if text.is_empty() {
            self.wrong(name, "is empty");
            return None;
        }
        read(&text).map_err(|error| self.wrong(name, error.to_string())).ok()
    }

    /// Takes a number from 1 to `most`. A query holds it as a text. JSON has one kind of numbers, so `200.0` is a whole one, too.
    pub fn count(&mut self, name: &str, most: usize) -> Option<usize> {
        let raw = self.raw(name)?;
        let text = raw.get().trim_matches('"');
        let is_zero = |fraction: &str| !fraction.is_empty() && fraction.bytes().all(|digit| digit == b'0');
        let whole = text.split_once('.').filter(|(_, fraction)| is_zero(fraction)).map_or(text, |(whole, _)| whole);
        let number = whole.parse().ok().filter(|number| (1..=most).contains(number));
        if number.is_none() {
            self.wrong(name, format!("has to be a whole number from 1 to {most}"));
        }
        number
    }

    /// Takes `true` or `false`. A query holds it as a text.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        let raw = self.raw(name)?;
        raw.get().trim_matches('"').parse().map_err(|_| self.wrong(name, "has to be true or false")).ok()
    }

    /// Takes a field of any type, as JSON whose numbers keep every digit.
    pub fn json_value(&mut self, name: &str) -> Option<Value> {
        self.json(name, "cannot be read")
    }

    /// Takes a required field of any type, as its raw JSON.
    pub fn any(&mut self, name: &str) -> Option<Box<RawValue>> {
        let raw = self.left.remove(name);
        if raw.is_none() {
            self.wrong(name, "is missing");
        }
        raw
    }

    /// Adds a violation of a field.
    pub fn wrong(&mut self, name: &str, message: impl Into<String>) {
        let path = self.pointer(name);
        self.found.push(Violation { path, message: message.into() });
    }

    /// Adds the violations of the fields of an [`inner`](Self::inner) object, after all its fields have been taken.
    pub fn merge_violations(&mut self, inner: Self) {
        self.found.extend(inner.all_found());
    }

    /// Returns all violations, after all known fields have been taken. A field that is left is unknown.
    ///
    /// # Errors
    /// There are violations.
    pub fn finish(self) -> Result<(), CommonError> {
        let found = self.all_found();
        if found.is_empty() { Ok(()) } else { Err(CommonError::Invalid(found)) }
    }

    fn all_found(mut self) -> Vec<Violation> {
        /// The most violations in an answer, so that it stays short.
        const MOST: usize = 20;
        let unknown: Vec<String> = std::mem::take(&mut self.left).into_keys().take(MOST).collect();
        for name in unknown {
            self.wrong(&name, "is not known here");
        }
        self.found.truncate(MOST);
        self.found
    }

    /// Takes a field; `null` counts as missing.
    fn raw(&mut self, name: &str) -> Option<Box<RawValue>> {
        self.left.remove(name).filter(|raw| raw.get() != "null")
    }

    fn json<T: DeserializeOwned>(&mut self, name: &str, message: &str) -> Option<T> {
        let raw = self.raw(name)?;
        serde_json::from_str(raw.get()).map_err(|_| self.wrong(name, message)).ok()
    }

    fn pointer(&self, name: &str) -> String {
        pointer(&self.path, name)
    }
}
