//! Search for duplicate keys in JSON objects.
//!
//! RFC 8259 leaves open what a duplicate key means. `serde_json` keeps the last value silently, and other parsers keep
//! the first, so a client that sends `"quantity":5,"quantity":1` cannot know what it bought. The APIs refuse such a
//! request.

use crate::pointer;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::{collections::BTreeSet, fmt};

/// Finds the first duplicate key of an object, at any depth, and returns its JSON pointer. Text that is not JSON is
/// searched up to its first syntax error.
pub(crate) fn duplicate_key(json: &[u8]) -> Option<String> {
    let mut duplicate = None;
    let search = Search { path: &Path::Root, duplicate: &mut duplicate };
    // An error ends the search: the duplicate was found, or the text is not JSON.
    let _ = search.deserialize(&mut serde_json::Deserializer::from_slice(json));
    duplicate
}

/// The path of a value, from the inside to the outside.
enum Path<'a> {
    Root,
    Key(&'a Self, &'a str),
    Index(&'a Self, usize),
}

impl Path<'_> {
    fn pointer(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Key(parent, name) => pointer(&parent.pointer(), name),
            Self::Index(parent, index) => pointer(&parent.pointer(), &index.to_string()),
        }
    }
}

/// The search in one value.
struct Search<'a> {
    path: &'a Path<'a>,
    duplicate: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Search<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Search<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    /// With `arbitrary_precision`, numbers arrive here, too, as maps of one key.
    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(name) = fields.next_key::<String>()? {
            let path = Path::Key(self.path, &name);
            if seen.contains(&name) {
                *self.duplicate = Some(path.pointer());
                return Err(A::Error::custom("a duplicate key"));
            }
            fields.next_value_seed(Search { path: &path, duplicate: self.duplicate })?;
            seen.insert(name);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(()) =
            elements.next_element_seed(Search { path: &Path::Index(self.path, index), duplicate: self.duplicate })?
        {
            index += 1;
        }
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}
