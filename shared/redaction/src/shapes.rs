//! What secrets look like that nobody has made a [`Secret`](crate::Secret).

use memchr::{memchr3_iter, memmem};
use std::ops::{Range, RangeInclusive};

/// Names after which there is a secret: headers, and fields that are called as they are. A longer name may end in one, as `x-task-key` does.
const HEADERS: [&str; 6] = ["authorization", "cookie", "task_key", "idempotency_key", "api_key", "security_token"];

/// Words that are also used for other things: after them there is a secret in quotes, or right behind a `=`.
const FIELDS: [&str; 3] = ["token", "secret", "password"];

/// The name of a task's key in a URL. Other names may end in it, such as that of a partition's key.
const KEY: &str = "key";

/// The fewest characters of a bearer token, which is longer than a word.
const MIN_TOKEN_BYTES: usize = 12;

/// Whether what is called so is a secret, such as the header `Authorization` or the field `task_key`.
pub fn is_name_of_secret(name: &str) -> bool {
    kind_of(name.as_bytes()).is_some()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Header,
    Field,
}

fn kind_of(name: &[u8]) -> Option<Kind> {
    let is_header = HEADERS.iter().any(|word| ends_in(name, word));
    let is_field = || FIELDS.iter().any(|word| ends_in(name, word)) || name.eq_ignore_ascii_case(KEY.as_bytes());
    if is_header { Some(Kind::Header) } else { is_field().then_some(Kind::Field) }
}

/// Whether the last words of a name are these, whatever their case and whether hyphens or underscores join them.
fn ends_in(name: &[u8], words: &str) -> bool {
    let Some((before, end)) = name.len().checked_sub(words.len()).and_then(|at| name.split_at_checked(at)) else {
        return false;
    };
    let same = |(one, other): (&u8, u8)| one.to_ascii_lowercase() == other || (*one == b'-' && other == b'_');
    before.last().is_none_or(|byte| matches!(byte, b'-' | b'_')) && end.iter().zip(words.bytes()).all(same)
}

/// Adds the ranges of a text that look like secrets.
pub(crate) fn find(text: &[u8], found: &mut Vec<Range<usize>>) {
    found.extend(memchr3_iter(b'=', b':', b',', text).filter_map(|at| named(text, at)));
    found.extend(memmem::find_iter(text, "earer ").filter_map(|at| bearer(text, at)));
    found.extend(memmem::find_iter(text, "\"{\\\"").map(|at| json(text, at + 1)));
    cards(text, found);
}

/// The value that this separator gives a name, if the name is that of a secret.
fn named(text: &[u8], separator: usize) -> Option<Range<usize>> {
    let (before, after) = text.split_at_checked(separator)?;
    let (separator, after) = after.split_first()?;
    let before = before.trim_ascii_end();
    let unquoted = before.strip_suffix(b"\"").or_else(|| before.strip_suffix(b"'"));
    let name = unquoted.map_or(before, |name| name.strip_suffix(b"\\").unwrap_or(name));
    let name = name.rsplit(|byte| !is_of_word(*byte)).next()?;
    let kind = kind_of(name)?;
    // In prose a comma stands after every word.
    if *separator == b',' && unquoted.is_none() {
        return None;
    }
    let value = Value::of(after);
    let length = match (value.end, kind, separator) {
        (Some(end), ..) => end.length(value.rest),
        (None, Kind::Field, b':') | (None, _, b',') => return None,
        // The rest of the line, because a header may have blanks and commas in it.
        (None, Kind::Header, b':') if unquoted.is_none() => value.rest.iter().position(|byte| b"\r\n".contains(byte)),
        (None, ..) => value.rest.iter().position(|byte| ends_word(*byte)),
    };
    let length = length.unwrap_or(value.rest.len());
    let start = text.len() - value.rest.len();
    (length > 0).then_some(start..start + length)
}

/// A value after its separator, and what it ends with if it is in quotes or brackets.
struct Value<'a> {
    rest: &'a [u8],
    end: Option<End>,
}

#[derive(Clone, Copy)]
enum End {
    /// This quote, unless a backslash stands before it.
    Quote(u8),
    /// A backslash: the text is in quotes itself.
    Escaped,
    /// The end of a list.
    List,
}

impl End {
    fn length(self, text: &[u8]) -> Option<usize> {
        match self {
            Self::Escaped => text.iter().position(|byte| *byte == b'\\'),
            Self::List => text.iter().position(|byte| *byte == b']'),
            Self::Quote(quote) => {
                let mut escaped = false;
                text.iter().position(|byte| {
                    let ends = *byte == quote && !escaped;
                    escaped = *byte == b'\\' && !escaped;
                    ends
                })
            }
        }
    }
}

impl<'a> Value<'a> {
    fn of(after: &'a [u8]) -> Self {
        let rest = after.trim_ascii_start();
        // As `Debug` writes an option, a JSON value and bytes.
        let rest = rest.strip_prefix(b"Some(").unwrap_or(rest);
        let rest = rest.strip_prefix(b"String(").unwrap_or(rest);
        let rest = rest.strip_prefix(b"b").filter(|rest| rest.starts_with(b"\"")).unwrap_or(rest);
        let (end, length) = match rest {
            [b'[', ..] => (Some(End::List), 1),
            [b'\\', b'"', ..] => (Some(End::Escaped), 2),
            [quote @ (b'"' | b'\''), ..] => (Some(End::Quote(*quote)), 1),
            _ => (None, 0),
        };
        Self { rest: rest.get(length..).unwrap_or_default(), end }
    }
}

/// A JSON object as `Debug` writes a text: the context or the result of a step, the body of a request, a stored item.
fn json(text: &[u8], start: usize) -> Range<usize> {
    let rest = text.get(start..).unwrap_or_default();
    start..start + End::Quote(b'"').length(rest).unwrap_or(rest.len())
}

/// The token after `Bearer `.
fn bearer(text: &[u8], at: usize) -> Option<Range<usize>> {
    let start = at + "earer ".len();
    let of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    let length = text.get(start..)?.iter().take_while(|byte| of_token(byte)).count();
    let begins = matches!(text.get(at.checked_sub(1)?)?, b'B' | b'b');
    (begins && length >= MIN_TOKEN_BYTES).then_some(start..start + length)
}

/// Adds the ranges that are numbers of payment cards: 14 to 19 digits with the right check digit (ISO/IEC 7812), which begin with 2 to 6, in one
/// piece or in groups. A time in microseconds begins with 1. A number that is a part of something longer, such as of an id, is none.
fn cards(text: &[u8], found: &mut Vec<Range<usize>>) {
    let mut at = 0;
    while let Some(offset) = text.get(at..).and_then(|rest| rest.iter().position(u8::is_ascii_digit)) {
        let start = at + offset;
        let rest = text.get(start..).unwrap_or_default();
        let mut end = digits(rest);
        at = start + end;
        // `0.4242` is a fraction.
        let before = start.checked_sub(1).and_then(|before| text.get(before));
        if before.is_some_and(|byte| is_of_word(*byte) || *byte == b'.') {
            continue;
        }
        let separator = rest.get(end).filter(|byte| matches!(byte, b' ' | b'-'));
        let mut longest = None;
        loop {
            let is_whole = rest.get(end).is_none_or(|byte| !is_of_word(*byte));
            if is_whole && rest.get(..end).is_some_and(is_card) {
                longest = Some(end);
            }
            let next = rest.get(end + 1..).map_or(0, digits);
            if separator.is_none() || rest.get(end) != separator || !GROUP.contains(&next) {
                break;
            }
            end += 1 + next;
        }
        if let Some(length) = longest {
            found.push(start..start + length);
            at = start + length;
        }
    }
}

/// The digits of a group in which the number of a card is written.
const GROUP: RangeInclusive<usize> = 3..=6;

/// How many digits a text begins with.
fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn is_card(text: &[u8]) -> bool {
    let digits = || text.iter().rev().filter(|byte| byte.is_ascii_digit()).map(|byte| u32::from(byte - b'0'));
    if !(14..=19).contains(&digits().count()) || !matches!(text.first(), Some(b'2'..=b'6')) {
        return false;
    }
    // Luhn: every second digit from the right is doubled, and counts as the sum of its digits.
    let sum: u32 = digits().zip([false, true].into_iter().cycle()).map(|(digit, second)| luhn(digit, second)).sum();
    sum.is_multiple_of(10)
}

const fn luhn(digit: u32, doubled: bool) -> u32 {
    match (digit, doubled) {
        (digit, false) => digit,
        (0..=4, true) => 2 * digit,
        (digit, true) => 2 * digit - 9,
    }
}

const fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-') || !byte.is_ascii()
}

/// Whether a value without quotes ends before this.
fn ends_word(byte: u8) -> bool {
    byte.is_ascii_whitespace() || b"&#\"'\\<>()[]{},;`".contains(&byte)
}
