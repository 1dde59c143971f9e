//! Free text of customers: names, lines of an address, and other remarks about an order.
//!
//! People read it in e-mails and on packing lists. So it is one line, and it has no character that changes the layout
//! of the text around it.

use serde::Deserialize;
use std::str::FromStr;

/// A text of one line, which may be empty. It has no control characters, no line or paragraph separators, and no
/// characters that override the direction of the text after them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SingleLine(String);

/// A person's name: a [`SingleLine`] of at most [`PersonName::MAX`] characters, at least one of which is a letter or a
/// digit.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PersonName(SingleLine);

/// The reason why a text is not a [`SingleLine`]. It reads as the rest of a sentence about the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotASingleLine {
    /// The text has a line break or another control character.
    #[error("has a line break or another control character in it; write it on one line")]
    Control,
    /// The text has a character that overrides the direction of the text after it.
    #[error(
        "has a character in it that turns the direction of writing (U+202A to U+202E, U+2066 to U+2069); leave it out"
    )]
    Direction,
}

/// The reason why a text is not a [`PersonName`]. It reads as the rest of a sentence about the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAName {
    /// The text is not one line.
    #[error(transparent)]
    NotASingleLine(#[from] NotASingleLine),
    /// The text has no visible letter or digit.
    #[error("has no letter or digit in it; write the name as it is to be read")]
    Blank,
    /// The text has more than [`PersonName::MAX`] characters.
    #[error("has more than {max} characters", max = PersonName::MAX)]
    TooLong,
}

impl SingleLine {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SingleLine {
    type Err = NotASingleLine;

    fn from_str(text: &str) -> Result<Self, NotASingleLine> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for SingleLine {
    type Error = NotASingleLine;

    fn try_from(text: String) -> Result<Self, NotASingleLine> {
        if text.contains(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')) {
            Err(NotASingleLine::Control)
        } else if text.contains(|c| matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')) {
            Err(NotASingleLine::Direction)
        } else {
            Ok(Self(text))
        }
    }
}

impl PersonName {
    /// The most characters of a name.
    pub const MAX: usize = 100;

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for PersonName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        text.to_owned().try_into()
    }
}

impl TryFrom<String> for PersonName {
    type Error = NotAName;

    fn try_from(text: String) -> Result<Self, NotAName> {
        let line = SingleLine::try_from(text)?;
        if !line.as_str().contains(is_legible) {
            Err(NotAName::Blank)
        } else if line.as_str().chars().count() > Self::MAX {
            Err(NotAName::TooLong)
        } else {
            Ok(Self(line))
        }
    }
}

impl From<PersonName> for String {
    fn from(name: PersonName) -> Self {
        name.0.0
    }
}

/// Whether this is a visible letter or digit. Unicode counts the fillers of the Korean script as letters.
fn is_legible(c: char) -> bool {
    c.is_alphanumeric() && !matches!(c, '\u{115F}' | '\u{1160}' | '\u{3164}' | '\u{FFA0}')
}

#[cfg(test)]
mod tests {
    use super::{NotASingleLine::*, *};
    use test_case::test_case;

    #[test_case("Zoë O'Hara")]
    #[test_case("J.R.R. Tolkien")]
    #[test_case("李小龍"; "Chinese")]
    #[test_case("محمد علی"; "Arabic")]
    #[test_case("می\u{200C}نا"; "a zero-width non-joiner, which Persian is written with")]
    #[test_case("क्\u{200D}षा"; "a zero-width joiner, which Hindi is written with")]
    #[test_case("Zoe\u{308}"; "a combining mark")]
    #[test_case("X"; "one letter")]
    #[test_case("7")]
    fn name_in_any_script_is_accepted(text: &str) {
        assert_eq!(text.parse::<PersonName>().unwrap().as_str(), text);
    }

    #[test_case("")]
    #[test_case("   "; "blanks")]
    #[test_case("\u{A0}\u{3000}"; "other blanks")]
    #[test_case("\u{200B}\u{200D}\u{FEFF}"; "zero-width characters")]
    #[test_case("\u{3164}\u{115F}\u{1160}\u{FFA0}"; "fillers")]
    #[test_case("\u{308}"; "a mark on nothing")]
    #[test_case("--"; "hyphens")]
    fn name_without_a_letter_is_refused(text: &str) {
        assert_eq!(text.parse::<PersonName>(), Err(NotAName::Blank));
        assert!(text.parse::<SingleLine>().is_ok(), "a line of an address may be empty");
    }

    #[test_case('\n', Control)]
    #[test_case('\r', Control)]
    #[test_case('\t', Control)]
    #[test_case('\0', Control)]
    #[test_case('\u{1F}', Control)]
    #[test_case('\u{7F}', Control)]
    #[test_case('\u{80}', Control)]
    #[test_case('\u{85}', Control; "a line break of C1")]
    #[test_case('\u{9F}', Control)]
    #[test_case('\u{2028}', Control; "a line separator")]
    #[test_case('\u{2029}', Control; "a paragraph separator")]
    #[test_case('\u{202A}', Direction; "the first embedding")]
    #[test_case('\u{202E}', Direction; "an override")]
    #[test_case('\u{2066}', Direction; "the first isolate")]
    #[test_case('\u{2069}', Direction; "the last isolate")]
    fn character_that_changes_the_text_around_it_is_refused(c: char, why: NotASingleLine) {
        for text in [format!("{c}"), format!("a{c}b"), format!("a{c}")] {
            assert_eq!(text.parse::<SingleLine>(), Err(why));
            assert_eq!(text.parse::<PersonName>(), Err(why.into()));
        }
    }

    #[test_case('\u{2027}')]
    #[test_case('\u{202F}'; "a narrow blank")]
    #[test_case('\u{2065}')]
    #[test_case('\u{206A}')]
    #[test_case('\u{A0}'; "a blank")]
    fn neighbour_of_a_refused_character_is_accepted(c: char) {
        assert!(format!("a{c}b").parse::<SingleLine>().is_ok());
    }

    #[test]
    fn name_that_is_too_long_is_refused() {
        assert!("é".repeat(PersonName::MAX).parse::<PersonName>().is_ok());
        assert_eq!("é".repeat(PersonName::MAX + 1).parse::<PersonName>(), Err(NotAName::TooLong));
    }
}
