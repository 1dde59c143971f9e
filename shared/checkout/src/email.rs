//! E-mail addresses.

use redaction::Secret;
use std::{fmt, str::FromStr};

/// An address that the e-mail service can send to: `name@domain` and nothing around it.
///
/// The rule is what the SES API v2 asks of an address
/// ([`Destination`](https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_Destination.html)): seven-bit ASCII,
/// with the domain in Punycode where it has other letters. Beyond that it is the grammar of RFC 5321, section 4.1.2,
/// less its rare forms: no quoted local part, no address literal; and with the lengths of its section 4.5.3.1: 64 for
/// the local part, 254 in all. A domain has at least two labels of letters, digits and hyphens, and the last of them is
/// not a number.
///
/// The crate `email_address`, which `jsonschema` uses, is too lenient: with its strictest options it still accepts
/// ` <a@example.org>`, `a@ex#ample.org`, quoted local parts and letters that SES refuses.
///
/// It is the customer's matter alone, so it is a [`Secret`]: what a service says of it stands in no log line and no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmailAddress(Secret);

/// The reason why a text is not an e-mail address. It reads as the rest of a sentence about the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEmailAddress {
    /// There is a name or a bracket around the address.
    #[error("has a name or brackets around the address; send the address alone, such as name@example.com")]
    NotAlone,
    /// The address has a letter that is not ASCII.
    #[error("has a letter that the e-mail service does not take; write a domain with such letters in its xn-- form")]
    NotAscii,
    /// The address, or one of its parts, is too long.
    #[error("is too long: an address has at most 254 characters, and 64 of them before the @")]
    TooLong,
    /// The part after the @ is not a domain name.
    #[error("has no domain such as example.com after the @")]
    Domain,
    /// The text has another form than `name@domain`.
    #[error("is not an e-mail address such as name@example.com")]
    Malformed,
}

impl EmailAddress {
    /// The address as text.
    pub fn as_str(&self) -> &str {
        self.0.expose()
    }
}

impl FromStr for EmailAddress {
    type Err = NotAnEmailAddress;

    fn from_str(text: &str) -> Result<Self, NotAnEmailAddress> {
        check(text).map(|()| Self(text.into()))
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

fn check(text: &str) -> Result<(), NotAnEmailAddress> {
    if text.contains(['<', '>']) {
        return Err(NotAnEmailAddress::NotAlone);
    }
    let (local, domain) = text.rsplit_once('@').ok_or(NotAnEmailAddress::Malformed)?;
    if !text.is_ascii() {
        return Err(NotAnEmailAddress::NotAscii);
    }
    if text.len() > 254 || local.len() > 64 {
        return Err(NotAnEmailAddress::TooLong);
    }
    let in_atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+/=?^_`{|}~-".contains(c);
    if local.split('.').any(|atom| atom.is_empty() || !atom.chars().all(in_atom)) {
        return Err(NotAnEmailAddress::Malformed);
    }
    if is_domain(domain) { Ok(()) } else { Err(NotAnEmailAddress::Domain) }
}

fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        let ends = label.starts_with('-') || label.ends_with('-');
        (1..=63).contains(&label.len()) && !ends && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    };
    let is_number = |label: &str| label.chars().all(|c| c.is_ascii_digit());
    text.rsplit_once('.').is_some_and(|(_, last)| !is_number(last)) && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::{EmailAddress, NotAnEmailAddress::*, *};
    use proptest::prelude::*;
    use test_case::test_case;

    #[test_case("test@example.com")]
    #[test_case("first.last+tag@mail.example.co.uk")]
    #[test_case("o'brien@example.com")]
    #[test_case("a@b.c")]
    #[test_case("test@xn--exmple-cua.com")]
    #[test_case("test@1und1.de"; "a label that begins with a digit")]
    fn address_alone_is_accepted(text: &str) {
        assert_eq!(text.parse::<EmailAddress>().unwrap().as_str(), text);
    }

    #[test_case("", Malformed)]
    #[test_case("test", Malformed)]
    #[test_case("@example.com", Malformed)]
    #[test_case("A <a@example.org>", NotAlone; "a display name")]
    #[test_case("<a@example.org>", NotAlone; "brackets")]
    #[test_case(" <a@example.org>", NotAlone; "an empty display name")]
    #[test_case("mailto:a@example.org", Malformed; "a link")]
    #[test_case("test@", Domain; "no domain")]
    #[test_case("test@localhost", Domain; "no dot")]
    #[test_case("test@example..com", Domain; "two dots")]
    #[test_case("test@example.com.", Domain; "a dot last")]
    #[test_case("test@ex_ample.com", Domain; "an underscore")]
    #[test_case("test@ex#ample.com", Domain; "what a local part may have")]
    #[test_case("test@127.0.0.1", Domain; "an IP address")]
    #[test_case("test@[127.0.0.1]", Domain; "an address literal")]
    #[test_case("test@-example.com", Domain; "a hyphen first")]
    #[test_case("test@example-.com", Domain; "a hyphen last")]
    #[test_case(".test@example.com", Malformed; "a dot first")]
    #[test_case("te st@example.com", Malformed; "a space")]
    #[test_case(" test@example.com", Malformed; "a space first")]
    #[test_case("test@example.com ", Domain; "a space last")]
    #[test_case("test(comment)@example.com", Malformed; "a comment")]
    #[test_case("a@b@example.com", Malformed; "two ats")]
    #[test_case("a@example.com,b@example.com", Malformed; "two addresses")]
    #[test_case("\"a b\"@example.com", Malformed; "quoted")]
    #[test_case("tëst@example.com", NotAscii; "not ASCII")]
    #[test_case("test@exämple.com", NotAscii; "not ASCII either")]
    #[test_case("test@example.com\r\nBcc: all@example.com", Malformed; "another header")]
    #[test_case("test@example.com\n", Domain; "a line break")]
    #[test_case("te\0st@example.com", Malformed; "a control character")]
    fn anything_else_is_refused_with_the_reason(text: &str, why: NotAnEmailAddress) {
        assert_eq!(text.parse::<EmailAddress>(), Err(why));
    }

    #[test_case(64, 189, Ok(()); "the longest")]
    #[test_case(65, 19, Err(TooLong); "a local part that is too long")]
    #[test_case(60, 194, Err(TooLong); "too long in all")]
    fn address_that_is_too_long_is_refused(local: usize, domain: usize, expected: Result<(), NotAnEmailAddress>) {
        let domain: String = "abcd.".chars().cycle().take(domain).collect();
        let parsed = format!("{}@{domain}", "a".repeat(local)).parse::<EmailAddress>();
        assert_eq!(parsed.map(|_| ()), expected);
    }

    #[test]
    fn domain_label_that_is_too_long_is_refused() {
        assert!(format!("a@{}.com", "x".repeat(63)).parse::<EmailAddress>().is_ok());
        assert_eq!(format!("a@{}.com", "x".repeat(64)).parse::<EmailAddress>(), Err(Domain));
    }

    proptest! {
        /// The crate accepts every address that this type accepts.
        #[test]
        fn accepted_address_is_valid_by_the_rfc_too(text in r#"[a-z0-9."+'<\[@-]{1,70}@[a-zA-Z0-9.\[\]:#_-]{1,70}"#) {
            let options = email_address::Options::default().with_required_tld().without_domain_literal().without_display_text();
            if text.parse::<EmailAddress>().is_ok() {
                prop_assert!(email_address::EmailAddress::parse_with_options(&text, options).is_ok());
            }
        }
    }
}
