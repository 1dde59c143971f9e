//! What the demo prints: in colour on a terminal, plain elsewhere.

use crate::DemoError;
use std::{
    env, fmt,
    io::{self, IsTerminal, Write},
};

/// A text in a colour, or in bold.
pub(crate) struct Coloured<T>(&'static str, T);

pub(crate) const fn bold<T>(text: T) -> Coloured<T> {
    Coloured("1", text)
}

pub(crate) const fn red<T>(text: T) -> Coloured<T> {
    Coloured("31", text)
}

pub(crate) const fn green<T>(text: T) -> Coloured<T> {
    Coloured("32", text)
}

pub(crate) const fn yellow<T>(text: T) -> Coloured<T> {
    Coloured("33", text)
}

impl<T: fmt::Display> fmt::Display for Coloured<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(code, text) = self;
        if is_coloured() { write!(f, "\u{1b}[{code}m{text}\u{1b}[0m") } else { text.fmt(f) }
    }
}

fn is_coloured() -> bool {
    let is_dumb = env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    io::stdout().is_terminal() && env::var_os("NO_COLOR").is_none() && !is_dumb
}

/// Writes a line.
pub(crate) fn say(line: impl fmt::Display) -> Result<(), DemoError> {
    writeln!(io::stdout(), "{line}").map_err(DemoError::Output)
}

/// Writes a line about a checkout.
pub(crate) fn say_of_checkout(line: impl fmt::Display) -> Result<(), DemoError> {
    say(format_args!("   {line}"))
}
