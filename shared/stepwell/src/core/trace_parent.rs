//! The place of a request in a trace, as its caller says it.

use std::str::FromStr;

/// The header `traceparent` of [W3C Trace Context](https://www.w3.org/TR/trace-context/): the trace, the caller's span in it, and whether it
/// is sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent(String);

/// A text that is no `traceparent`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a traceparent is 00-TRACE-SPAN-FLAGS with 32, 16 and 2 small hexadecimal digits, and neither trace nor span is all zeros"
)]
pub struct NotATraceParent;

impl TraceParent {
    /// `00-`, 32 digits, `-`, 16 digits, `-` and 2 digits.
    const LENGTH: usize = 55;

    /// The header of version 00. Nothing else of a newer version is understood.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trace: 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        self.0.split('-').nth(1).unwrap_or_default()
    }
}

impl FromStr for TraceParent {
    type Err = NotATraceParent;

    /// Reads a header of any version as the specification (§ 3.2.2 and § 4.3) asks: what a newer version adds stands behind another `-`.
    fn from_str(text: &str) -> Result<Self, NotATraceParent> {
        let (known, rest) = text.split_at_checked(Self::LENGTH).ok_or(NotATraceParent)?;
        let parts: Vec<&str> = known.split('-').collect();
        let [version, trace, span, flags] = parts[..] else { return Err(NotATraceParent) };
        let hex = |part: &str, length: usize| {
            part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        let is_some = |part: &str| part.bytes().any(|byte| byte != b'0');
        let ends = if version == "00" { rest.is_empty() } else { rest.is_empty() || rest.starts_with('-') };
        let fits = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
        if !(fits && ends && is_some(trace) && is_some(span)) {
            return Err(NotATraceParent);
        }
        Ok(Self(format!("00-{trace}-{span}-{flags}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test_case("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")]
    #[test_case("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"; "newer")]
    #[test_case("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"; "newer and longer")]
    fn header_is_read(text: &str) {
        let read: TraceParent = text.parse().unwrap();
        assert_eq!((read.trace_id(), read.as_str()), (TRACE, format!("00-{TRACE}-00f067aa0ba902b7-01").as_str()));
    }

    #[test_case(""; "empty")]
    #[test_case("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"; "longer")]
    #[test_case("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"; "no version")]
    #[test_case("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-012"; "newer without a border")]
    #[test_case("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"; "capitals")]
    #[test_case("00-00000000000000000000000000000000-00f067aa0ba902b7-01"; "no trace")]
    #[test_case("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01"; "no span")]
    #[test_case("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x"; "no flags")]
    #[test_case("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b70-01"; "other lengths")]
    #[test_case("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902bé-01"; "a border within a character")]
    fn others_are_refused(text: &str) {
        assert_eq!(text.parse::<TraceParent>(), Err(NotATraceParent));
    }
}
