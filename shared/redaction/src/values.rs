//! The texts that are secrets in this process now, and where they stand in other texts.

use std::{
    collections::BTreeMap,
    fmt::Write,
    ops::{Bound, Range},
    sync::{PoisonError, RwLock},
};

/// The fewest bytes of a text that is looked for.
const MIN_BYTES: usize = 8;

/// The fewest bytes of an e-mail address, which looks like no word: `a@b.c`.
const MIN_ADDRESS_BYTES: usize = 5;

/// How many bytes at its beginning decide whether a place is looked at more closely.
const BEGINNING: usize = 4;

/// How many kinds of beginnings are told apart, a power of two. With a hundred secrets, one place in forty is looked at for nothing.
const KINDS_BITS: u32 = 12;

static REGISTRY: RwLock<Registry> = RwLock::new(Registry { beginnings: [0; 1 << KINDS_BITS], texts: BTreeMap::new() });

struct Registry {
    /// How many texts begin in each way. A count that is full stays full.
    beginnings: [u16; 1 << KINDS_BITS],
    /// Each text in small letters, with how many secrets have it.
    texts: BTreeMap<Box<[u8]>, usize>,
}

/// A text that is looked for until this is dropped.
pub(crate) struct Registered {
    text: String,
    /// Whether a client may have chosen it, and with it what is not shown.
    is_chosen: bool,
}

impl Registered {
    pub(crate) fn chosen(text: String) -> Self {
        Self { text, is_chosen: true }.registered()
    }

    pub(crate) fn of_system(text: String) -> Self {
        Self { text, is_chosen: false }.registered()
    }

    fn registered(self) -> Self {
        let forms = self.forms();
        if !forms.is_empty() {
            change(|registry| forms.iter().for_each(|form| registry.add(form.as_bytes())));
        }
        self
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The ways in which the text is looked for: as it is, as in `Debug` output, as in JSON, and as in a URL.
    fn forms(&self) -> Vec<String> {
        let min = if self.text.contains('@') { MIN_ADDRESS_BYTES } else { MIN_BYTES };
        if self.text.len() < min || (self.is_chosen && is_like_a_word(&self.text)) {
            return Vec::new();
        }
        let in_debug = format!("{:?}", self.text);
        // Text can always be written as JSON.
        let in_json = serde_json::to_string(&self.text).unwrap_or_default();
        let without_quotes = |text: &str| text.get(1..text.len().saturating_sub(1)).unwrap_or_default().to_owned();
        let mut forms =
            vec![self.text.clone(), without_quotes(&in_debug), without_quotes(&in_json), in_url(&self.text)];
        forms.iter_mut().for_each(|form| form.make_ascii_lowercase());
        forms.sort_unstable();
        forms.dedup();
        forms
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let forms = self.forms();
        if !forms.is_empty() {
            change(|registry| forms.iter().for_each(|form| registry.remove(form.as_bytes())));
        }
    }
}

/// Whoever panicked with the lock has left a count that is too high at worst.
fn change(change: impl FnOnce(&mut Registry)) {
    change(&mut REGISTRY.write().unwrap_or_else(PoisonError::into_inner));
}

impl Registry {
    fn add(&mut self, text: &[u8]) {
        if let Some(count) = self.texts.get_mut(text) {
            *count += 1;
            return;
        }
        self.texts.insert(text.into(), 1);
        self.count(text, u16::saturating_add);
    }

    fn remove(&mut self, text: &[u8]) {
        let Some(count) = self.texts.get_mut(text) else { return };
        *count -= 1;
        if *count == 0 {
            self.texts.remove(text);
            self.count(text, |count, one| if count == u16::MAX { count } else { count.saturating_sub(one) });
        }
    }

    fn count(&mut self, text: &[u8], change: impl Fn(u16, u16) -> u16) {
        let count = text.first_chunk().and_then(|beginning| self.beginnings.get_mut(kind(beginning)));
        if let Some(count) = count {
            *count = change(*count, 1);
        }
    }

    /// The length of the longest secret at the beginning of this text.
    fn longest_at(&self, text: &[u8]) -> Option<usize> {
        let mut beginning: [u8; BEGINNING] = *text.first_chunk()?;
        beginning.make_ascii_lowercase();
        let candidates = self.texts.range::<[u8], _>((Bound::Included(beginning.as_slice()), Bound::Unbounded));
        let lengths = candidates.map(|(secret, _)| secret).take_while(|secret| secret.starts_with(&beginning));
        let lengths =
            lengths.filter(|secret| text.get(..secret.len()).is_some_and(|text| text.eq_ignore_ascii_case(secret)));
        lengths.map(|secret| secret.len()).max()
    }
}

/// The kind of a beginning, by Knuth's multiplicative hash. A letter is of the same kind in both its cases.
fn kind(beginning: &[u8; BEGINNING]) -> usize {
    ((u32::from_le_bytes(*beginning) | 0x2020_2020).wrapping_mul(0x9E37_79B1) >> (u32::BITS - KINDS_BITS)) as usize
}

/// Adds the ranges of a text that are secrets.
pub(crate) fn find(text: &[u8], found: &mut Vec<Range<usize>>) {
    let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
    if registry.texts.is_empty() {
        return;
    }
    for (at, beginning) in (0..).zip(text.array_windows::<BEGINNING>()) {
        if registry.beginnings.get(kind(beginning)).is_none_or(|count| *count == 0) {
            continue;
        }
        if let Some(length) = text.get(at..).and_then(|rest| registry.longest_at(rest)) {
            found.push(at..at + length);
        }
    }
}

/// Whether a line could have the text without being about the secret.
fn is_like_a_word(text: &str) -> bool {
    text.chars().all(|c| c.is_alphabetic() || matches!(c, '_' | '-' | ' ' | ':' | ','))
}

/// As a URL has it (RFC 3986, section 2.1).
fn in_url(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut url, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            url.push(byte.into());
        } else {
            // Writing to a String cannot fail.
            let _ = write!(url, "%{byte:02X}");
        }
        url
    })
}
