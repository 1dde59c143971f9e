//! The reasons why a command did not do what it was asked, and the exit codes.

use std::{
    fmt,
    io::{self, ErrorKind},
};

/// The exit codes, for the help.
macro_rules! exit_codes {
    () => {
        "\
Exit codes:
  0    done
  1    refused, or there is no such thing; of many tasks, at least one was refused, or they were stopped
  2    a command or an option that does not exist, or is wrong or missing
  3    no answer: nothing runs there, it is out of order, or the output cannot be written; whether a change was made is then not known
  4    not let in: credentials or a token are missing, or are not accepted
  130  interrupted"
    };
}
pub(super) use exit_codes;

/// See the macro.
pub const EXIT_CODES: &str = exit_codes!();

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The API or the person refused.
    Refused,
    /// The command makes no sense as it was typed.
    Usage,
    /// There was no answer, or it cannot be printed.
    NoAnswer,
    /// There was nobody's signature or token, or one that is not accepted.
    NotLetIn,
    /// A person has broken it off.
    Interrupted,
    /// Nobody reads the output any more, so nothing is left to do.
    Unread,
}

/// The reason why a command did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    pub(super) kind: Kind,
    pub(super) message: String,
    /// The seconds after which the API may be asked again, if it says so.
    pub(super) retry_after: Option<u64>,
    /// The API's answer, if that is JSON.
    pub(super) answer: Option<String>,
    /// Whether the same question may be answered a moment later.
    pub(super) passes: bool,
    /// Whether a change may have been made all the same.
    pub(super) look_first: bool,
    /// Whether what was asked for does not exist.
    pub(super) is_not_found: bool,
}

impl Failure {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, message, retry_after: None, answer: None, passes: false, look_first: false, is_not_found: false }
    }

    pub(super) fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message)
    }

    /// The output cannot be written. Only a closed pipe has nobody who misses it; a full disk has.
    pub fn unprinted(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::new(Kind::Unread, ""),
            _ => Self::new(Kind::NoAnswer, format!("the output cannot be written: {error}")),
        }
    }

    /// A failure about which everything was said.
    pub(super) fn told() -> Self {
        Self::refused("")
    }

    /// With what may help.
    pub(super) fn with_hint(mut self, hint: Option<&str>) -> Self {
        self.message.extend(hint.map(|hint| format!("\n  {hint}")));
        self
    }

    /// With this hint, if there is no such thing.
    pub(super) fn or_if_not_found(self, hint: &str) -> Self {
        let hint = self.is_not_found.then_some(hint);
        self.with_hint(hint)
    }

    /// With the API's answer, if that is JSON.
    pub(super) fn with_answer(self, answer: Option<String>) -> Self {
        Self { answer, ..self }
    }

    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Unread => 0,
            Kind::Refused => 1,
            Kind::Usage => 2,
            Kind::NoAnswer => 3,
            Kind::NotLetIn => 4,
            Kind::Interrupted => 130,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(seconds) = self.retry_after {
            write!(f, "; it may be asked again in {seconds} s")?;
        }
        if self.look_first { f.write_str(". Look whether it was done before you ask again") } else { Ok(()) }
    }
}
