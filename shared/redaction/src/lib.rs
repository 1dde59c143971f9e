//! Keeps secrets out of what people read: log lines, and the error texts of attempts, which APIs, the console and the terminal show.
//!
//! [`redact`] is the one place through which such a text goes. It replaces by [`REDACTED`]
//!
//! - *values*: the text of each [`Secret`] of this process while it lives, wherever it stands and whatever the case of its letters. A secret that is made in a
//!   [scope](in_scope), such as an attempt or a request, counts as living until the scope ends, so that the error that comes out of it is covered
//!   as well;
//! - *shapes*: what stands after a name such as `?key=`, `Authorization:` or `"token":`, a bearer token, a card's number, and
//!   a JSON object in quotes, as `Debug` writes a context, a result or a body.
//!
//! A text that is in no [`Secret`] and has no such shape stays as it is. So does a part of a secret, and one that is encoded otherwise
//! than in a URL or in `Debug` output.

mod secret;
mod shapes;
mod values;

pub use secret::{Secret, hold, in_scope};
pub use shapes::is_name_of_secret;

use std::{borrow::Cow, ops::Range};

/// What stands in the place of a secret.
pub const REDACTED: &str = "***";

/// Returns the text without its secrets. A text that has none is borrowed.
pub fn redact(text: &str) -> Cow<'_, str> {
    let found = find(text);
    if found.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(without(text, found)) }
}

/// Returns the text without what has the shape of a secret, whatever the [values](Secret) are: who sends one of them must not be able to hide it.
pub fn redact_shapes(text: &str) -> Cow<'_, str> {
    let mut found = Vec::new();
    shapes::find(text.as_bytes(), &mut found);
    if found.is_empty() { Cow::Borrowed(text) } else { Cow::Owned(without(text, found)) }
}

/// Returns the beginning of a text, at most so many bytes, without its secrets. One that reaches beyond the end is replaced as well, if it ends within
/// the next 1,000 bytes. The rest is not read, so the time does not depend on the length of the text.
pub fn redact_beginning(text: &str, bytes: usize) -> Cow<'_, str> {
    let kept = before(text, bytes);
    let mut found = find(before(text, bytes.saturating_add(MARGIN)));
    found.retain(|range| range.start < kept.len());
    if found.is_empty() {
        return Cow::Borrowed(kept);
    }
    let redacted = without(kept, found);
    Cow::Owned(before(&redacted, bytes).to_owned())
}

/// Where the secrets are.
fn find(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    values::find(text.as_bytes(), &mut found);
    shapes::find(text.as_bytes(), &mut found);
    found
}

/// Whether a text is an error code, such as `PAYMENT_DECLINED`. It stays as it is even if a secret has the same letters: who reads it has to know
/// what the error means.
pub fn is_code(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

/// How many bytes behind the end of what is kept are read, so that a secret at the end is whole.
const MARGIN: usize = 1_000;

/// The first bytes of a text, at most so many, to the end of a character.
fn before(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default()
}

/// The text without these ranges, which may overlap.
fn without(text: &str, mut found: Vec<Range<usize>>) -> String {
    found.sort_unstable_by_key(|range| range.start);
    let mut kept = String::with_capacity(text.len());
    let mut end = 0;
    for range in found {
        if range.start >= end {
            kept.push_str(text.get(end..range.start).unwrap_or_default());
            kept.push_str(REDACTED);
        }
        end = end.max(range.end);
    }
    kept.push_str(text.get(end..).unwrap_or_default());
    kept
}
