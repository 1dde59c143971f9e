//! What secrets look like that nobody has made a [`Secret`](crate::Secret).

use memchr::{memchr_iter, memchr2_iter, memchr3_iter};
use std::ops::{Range, RangeInclusive};

/// Headers whose values may have blanks and commas in them, to the end of a line. A longer name may end in one, as `set-cookie` does.
const LINES: [&str; 3] = ["authorization", "cookie", "cookies"];

/// Names of secrets of one word. A longer name may end in one, as `x-task-key` does.
const NAMES: [&str; 5] = ["task_key", "idempotency_key", "api_key", "access_key", "security_token"];

/// Words that are also used for other things: after them there is a secret in quotes, or right behind a `=`.
const FIELDS: [&str; 4] = ["token", "secret", "password", "signature"];

/// Words that stand before the secret in the header `Authorization`.
const SCHEMES: [&[u8]; 4] = [b"basic", b"bearer", b"digest", b"negotiate"];

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
    Line,
    Name,
    Field,
}

fn kind_of(name: &[u8]) -> Option<Kind> {
    let ends_in_one = |words: &[&str]| words.iter().any(|words| ends_in(name, words));
    if ends_in_one(&LINES) {
        Some(Kind::Line)
    } else if ends_in_one(&NAMES) {
        Some(Kind::Name)
    } else {
        (ends_in_one(&FIELDS) || name.eq_ignore_ascii_case(KEY.as_bytes())).then_some(Kind::Field)
    }
}

/// Whether the last words of a name are these, whatever their case, and whether hyphens, underscores or capitals tell them apart.
fn ends_in(name: &[u8], words: &str) -> bool {
    let mut end = name;
    for word in words.rsplit('_') {
        let Some((before, found)) = end.len().checked_sub(word.len()).and_then(|at| end.split_at_checked(at)) else {
            return false;
        };
        let has_capital =
            matches!(found, [first, second, ..] if first.is_ascii_uppercase() && second.is_ascii_lowercase());
        let begins = has_capital || before.last().is_none_or(|byte| matches!(byte, b'-' | b'_'));
        if !begins || !found.eq_ignore_ascii_case(word.as_bytes()) {
            return false;
        }
        end = before.strip_suffix(b"-").or_else(|| before.strip_suffix(b"_")).unwrap_or(before);
    }
    true
}

/// Adds the ranges of a text that look like secrets. Each kind goes on behind what it has found, so that its time is that of one pass.
pub(crate) fn find(text: &[u8], found: &mut Vec<Range<usize>>) {
    add(found, memchr3_iter(b'=', b':', b',', text), |at| named(text, at));
    add(found, memchr2_iter(b'b', b'B', text), |at| bearer(text, at));
    add(found, memchr_iter(b'"', text), |at| json(text, at));
    cards(text, found);
}

/// Adds what is found at these places, but for those inside of what was found before.
fn add(
    found: &mut Vec<Range<usize>>,
    places: impl Iterator<Item = usize>,
    find: impl Fn(usize) -> Option<Range<usize>>,
) {
    let mut end = 0;
    for at in places {
        if at >= end
            && let Some(range) = find(at)
        {
            end = range.end;
            found.push(range);
        }
    }
}

/// The value that this separator gives a name, if the name is that of a secret.
fn named(text: &[u8], separator: usize) -> Option<Range<usize>> {
    let (before, after) = text.split_at_checked(separator)?;
    let (separator, after) = after.split_first()?;
    let before = before.trim_ascii_end();
    let unquoted = before.strip_suffix(b"\"").or_else(|| before.strip_suffix(b"'"));
    let name = unquoted.map_or(before, |name| name.get(..name.len() - backslashes(name)).unwrap_or(name));
    let name = name.rsplit(|byte| !is_of_word(*byte)).next()?;
    let kind = kind_of(name)?;
    // In prose a comma stands after every word.
    if *separator == b',' && unquoted.is_none() {
        return None;
    }
    let value = Value::of(after);
    let word = || word(value.rest);
    let length = match (value.end, kind, separator) {
        (Some(end), ..) => end.length(value.rest),
        (None, Kind::Field, b':') | (None, _, b',') => return None,
        (None, Kind::Line, b':') if unquoted.is_none() => value.rest.iter().position(|byte| b"\r\n".contains(byte)),
        (None, Kind::Line, _) => Some(with_scheme(value.rest)),
        (None, Kind::Name, b':') if unquoted.is_none() && !is_like_a_secret(word()) => return None,
        (None, ..) => Some(word().len()),
    };
    let length = length.unwrap_or(value.rest.len());
    let start = text.len() - value.rest.len();
    (length > 0).then_some(start..start + length)
}

/// The word without quotes at the beginning of a text.
fn word(text: &[u8]) -> &[u8] {
    text.get(..text.iter().position(|byte| ends_word(*byte)).unwrap_or(text.len())).unwrap_or_default()
}

/// Whether a word is none of prose, which explains what is wrong with a secret.
fn is_like_a_secret(word: &[u8]) -> bool {
    word.len() >= MIN_TOKEN_BYTES || word.iter().any(u8::is_ascii_digit)
}

/// The length of the word at the beginning of a text, with the one behind it if the first is the name of a scheme.
fn with_scheme(text: &[u8]) -> usize {
    let first = word(text);
    let is_scheme = SCHEMES.iter().any(|scheme| first.eq_ignore_ascii_case(scheme));
    let behind = text.get(first.len()..).filter(|behind| is_scheme && behind.starts_with(b" "));
    first.len() + behind.map_or(0, |behind| 1 + word(behind.get(1..).unwrap_or_default()).len())
}

/// A value after its separator, and what it ends with if it is in quotes or brackets.
struct Value<'a> {
    rest: &'a [u8],
    end: Option<End>,
}

#[derive(Clone, Copy)]
enum End {
    /// This quote with as many backslashes before it as before the first one: a text in quotes may be in quotes itself.
    Quote { quote: u8, backslashes: usize },
    /// The end of a list.
    List,
}

impl End {
    fn length(self, text: &[u8]) -> Option<usize> {
        match self {
            Self::List => text.iter().position(|byte| *byte == b']'),
            Self::Quote { quote, backslashes } => {
                let mut before = 0;
                for (at, byte) in text.iter().enumerate() {
                    // Inside, one backslash is written as twice as many and two.
                    if *byte == quote && (before < backslashes || before % (2 * backslashes + 2) == backslashes) {
                        return Some(at - before.min(backslashes));
                    }
                    before = if *byte == b'\\' { before + 1 } else { 0 };
                }
                None
            }
        }
    }
}

impl<'a> Value<'a> {
    fn of(after: &'a [u8]) -> Self {
        let rest = after.trim_ascii_start();
        // What is around a text that has no quotes is a part of it.
        Self::enclosed(unwrapped(rest)).unwrap_or(Self { rest, end: None })
    }

    /// The value at the beginning of a text, if it is in quotes or brackets.
    fn enclosed(text: &'a [u8]) -> Option<Self> {
        // As `Debug` writes bytes.
        let rest = text.strip_prefix(b"b").filter(|rest| rest.starts_with(b"\"")).unwrap_or(text);
        let backslashes = rest.iter().take_while(|byte| **byte == b'\\').count();
        let (end, length) = match rest.get(backslashes..)? {
            [b'[', ..] if backslashes == 0 => (End::List, 1),
            [quote @ (b'"' | b'\''), ..] => (End::Quote { quote: *quote, backslashes }, backslashes + 1),
            _ => return None,
        };
        Some(Self { rest: rest.get(length..)?, end: Some(end) })
    }
}

/// The most wrappers around a value, so that a text of wrappers takes no longer than any other.
const MOST_WRAPPERS: usize = 8;

/// A value without what stands around it: `Some(S("a"))` and `HeaderValue { _private: "a" }` in `Debug` output, and `{"S": "a"}`, as DynamoDB has it.
fn unwrapped(text: &[u8]) -> &[u8] {
    let (mut rest, mut in_braces) = (text, false);
    for _ in 0..MOST_WRAPPERS {
        let name = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
        let behind = rest.get(name..).unwrap_or_default();
        let inner = match (name, behind) {
            (1.., [b'(', inner @ ..]) => inner,
            (1.., [b':', inner @ ..]) if in_braces => inner,
            (1.., [b' ', b'{', inner @ ..]) => {
                in_braces = true;
                inner
            }
            (0, [b'{', inner @ ..]) => match of_type(inner) {
                Some(inner) => inner,
                None => break,
            },
            _ => break,
        };
        rest = inner.trim_ascii_start();
    }
    rest
}

/// What stands behind the name of a type, such as `"S":`.
fn of_type(text: &[u8]) -> Option<&[u8]> {
    let name = text.trim_ascii_start().strip_prefix(b"\"")?;
    let length = name.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    name.get(length..)?.strip_prefix(b"\"")?.trim_ascii_start().strip_prefix(b":")
}

/// How many backslashes a text ends with.
fn backslashes(text: &[u8]) -> usize {
    text.iter().rev().take_while(|byte| **byte == b'\\').count()
}

/// A JSON object or array as `Debug` writes a text: the context or the result of a step, the body of a request, a stored item. `quote` is where the
/// text begins.
fn json(text: &[u8], quote: usize) -> Option<Range<usize>> {
    let (before, rest) = (text.get(..quote)?, text.get(quote + 1..)?);
    let first = rest.get(blank(rest)..)?;
    let mut at = rest.len() - first.len();
    if !matches!(first, [b'{' | b'[', ..]) {
        return None;
    }
    while matches!(rest.get(at), Some(b'{' | b'[')) {
        at += 1;
        at += blank(rest.get(at..)?);
    }
    // In the text its own quotes have backslashes.
    let behind = rest.get(at..)?;
    let escapes = behind.iter().take_while(|byte| **byte == b'\\').count();
    if escapes == 0 || behind.get(escapes) != Some(&b'"') {
        return None;
    }
    let end = End::Quote { quote: b'"', backslashes: backslashes(before) };
    let start = quote + 1;
    Some(start..start + end.length(rest).unwrap_or(rest.len()))
}

/// How many bytes of white space a text begins with, as it is or as `Debug` writes it.
fn blank(text: &[u8]) -> usize {
    let mut length = 0;
    loop {
        let rest = text.get(length..).unwrap_or_default();
        let escapes = rest.iter().take_while(|byte| **byte == b'\\').count();
        length += match (escapes, rest.get(escapes)) {
            (0, Some(b' ' | b'\n' | b'\r' | b'\t')) => 1,
            (1.., Some(b'n' | b'r' | b't')) => escapes + 1,
            _ => return length,
        };
    }
}

/// The token after `Bearer `, whatever its case.
fn bearer(text: &[u8], at: usize) -> Option<Range<usize>> {
    const BEARER: &[u8] = b"bearer ";
    let start = at + BEARER.len();
    if !text.get(at..start)?.eq_ignore_ascii_case(BEARER) {
        return None;
    }
    let of_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    let length = text.get(start..)?.iter().take_while(|byte| of_token(byte)).count();
    (length >= MIN_TOKEN_BYTES).then_some(start..start + length)
}

/// Adds the ranges that are numbers of payment cards: as many digits as their kind has, with the right check digit (ISO/IEC 7812), in one
/// piece or in groups. A number that is a part of something longer, such as of an id, is none.
fn cards(text: &[u8], found: &mut Vec<Range<usize>>) {
    let mut at = 0;
    while let Some(offset) = text.get(at..).and_then(|rest| rest.iter().position(u8::is_ascii_digit)) {
        let start = at + offset;
        let rest = text.get(start..).unwrap_or_default();
        let mut end = digits(rest);
        let mut count = end;
        at = start + end;
        // `0.4242` is a fraction.
        let before = start.checked_sub(1).and_then(|before| text.get(before));
        if before.is_some_and(|byte| is_of_word(*byte) || *byte == b'.') || !matches!(rest.first(), Some(b'2'..=b'6')) {
            continue;
        }
        let separator = rest.get(end).filter(|byte| matches!(byte, b' ' | b'-'));
        let mut longest = None;
        while count <= MOST_DIGITS {
            let is_whole = rest.get(end).is_none_or(|byte| !is_of_word(*byte));
            if is_whole && rest.get(..end).is_some_and(is_card) {
                longest = Some(end);
            }
            let next = rest.get(end + 1..).map_or(0, |rest| digits(rest.get(..=*GROUP.end()).unwrap_or(rest)));
            if separator.is_none() || rest.get(end) != separator || !GROUP.contains(&next) {
                break;
            }
            end += 1 + next;
            count += next;
        }
        if let Some(length) = longest {
            found.push(start..start + length);
            at = start + length;
        }
    }
}

/// The digits of a group in which the number of a card is written.
const GROUP: RangeInclusive<usize> = 3..=6;

/// The most digits of the number of a card.
const MOST_DIGITS: usize = 19;

/// How many digits a text begins with.
fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn is_card(text: &[u8]) -> bool {
    let digits = || text.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| u32::from(byte - b'0'));
    let beginning = digits().take(4).fold(0, |number, digit| 10 * number + digit);
    let is_of_a_kind = match (digits().count(), beginning) {
        // Diners Club, American Express, and Visa, Mastercard and Discover.
        (14, 3000..=3099 | 3600..=3699 | 3800..=3999) | (15, 3400..=3499 | 3700..=3799) => true,
        (16, 2221..=2720 | 4000..=4999 | 5100..=5599 | 6000..=6999) | (19, 4000..=4999 | 6000..=6999) => true,
        _ => false,
    };
    // Luhn: every second digit from the right is doubled, and counts as the sum of its digits.
    let sum: u32 =
        digits().rev().zip([false, true].into_iter().cycle()).map(|(digit, second)| luhn(digit, second)).sum();
    is_of_a_kind && sum.is_multiple_of(10)
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
