//! The names of search keys, and where their values are.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The search keys of one JSON text: their names, and the JSON pointers to their values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SearchKeys(pub(crate) BTreeMap<String, String>);

impl SearchKeys {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub(crate) fn insert(&mut self, name: String, pointer: String) {
        self.0.insert(name, pointer);
    }
}
