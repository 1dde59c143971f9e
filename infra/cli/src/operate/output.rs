//! Data goes to stdout, everything else to stderr.

use super::failure::Failure;
use std::{
    env,
    fmt::Display,
    io::{self, IsTerminal, Write as _},
};

/// Writes a text to stdout.
///
/// # Errors
/// Nobody reads it, or it cannot be written.
pub fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| Failure::unprinted(&error))
}

/// Writes a line of data.
///
/// # Errors
/// See [`write`].
pub(super) fn print(line: impl Display) -> Result<(), Failure> {
    write(&format!("{line}\n"))
}

/// Writes a line for the person. A closed stderr has no reader to miss it.
pub(super) fn say(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Whether stdout is a terminal that can be redrawn.
pub(super) fn draws() -> bool {
    io::stdout().is_terminal() && env::var_os("TERM").is_some_and(|terminal| terminal != "dumb")
}

/// Draws a text in the place of what is on the terminal: as many lines and columns of it as fit.
///
/// # Errors
/// See [`write`].
pub(super) fn draw(text: &str) -> Result<(), Failure> {
    const HOME: &str = "\u{1b}[H";
    const CLEAR_BELOW: &str = "\u{1b}[J";
    let size = rustix::termios::tcgetwinsize(io::stdout());
    // A terminal that does not know its size says 0.
    let or = |found: u16, usual: u16| usize::from(if found == 0 { usual } else { found });
    let (rows, columns) = size.map_or((24, 80), |size| (or(size.ws_row, 24), or(size.ws_col, 80)));
    let cut = fit(text, rows.saturating_sub(1), columns);
    write(&format!("{HOME}{CLEAR_BELOW}{cut}"))
}

/// The first rows and columns of a text. The last row says how many are left out.
fn fit(text: &str, rows: usize, columns: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let shown = if lines.len() > rows { rows.saturating_sub(1) } else { lines.len() };
    let mut cut: String =
        lines.iter().take(shown).map(|line| line.chars().take(columns).chain(['\n']).collect::<String>()).collect();
    if shown < lines.len() {
        cut.push_str(&format!("... and {} more lines\n", lines.len() - shown));
    }
    cut
}

/// How far long work is: one line, which is written over on a terminal, and a line for each change elsewhere.
pub(super) struct Progress {
    shown: String,
    on_terminal: bool,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { shown: String::new(), on_terminal: io::stderr().is_terminal() }
    }

    /// Shows the text, and on a terminal a bar before it if it is known how much is done of how much.
    pub(super) fn show(&mut self, text: &str, part: Option<(u64, u64)>) {
        if self.shown == text {
            return;
        }
        text.clone_into(&mut self.shown);
        if self.on_terminal {
            let bar = part.map(|(done, all)| format!("{} ", bar(done, all))).unwrap_or_default();
            let _ = write!(io::stderr(), "\r\u{1b}[K{bar}{text}").and_then(|()| io::stderr().flush());
        } else {
            say(text);
        }
    }

    /// The same, but only on a terminal: what comes after says it all.
    pub(super) fn show_on_terminal(&mut self, text: &str) {
        if self.on_terminal {
            self.show(text, None);
        }
    }

    /// Leaves the last text, or nothing of it.
    pub(super) fn end(self, keep: bool) {
        if self.on_terminal && !self.shown.is_empty() {
            let _ = io::stderr().write_all(if keep { b"\n" } else { b"\r\x1b[K" });
        }
    }
}

/// A bar of 20 places.
fn bar(done: u64, all: u64) -> String {
    const PLACES: u64 = 20;
    let filled = done.min(all).saturating_mul(PLACES).checked_div(all).unwrap_or(PLACES);
    (0..PLACES).map(|place| if place < filled { '#' } else { '.' }).collect()
}

/// Asks before something is done to many.
///
/// # Errors
/// The answer is not yes, or there is nobody to ask.
pub(super) fn confirm(question: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::refused("there is no terminal to ask on. Pass --yes to go ahead; nothing was done"));
    }
    let mut answer = String::new();
    let asked = write!(io::stderr(), "{question} [y/N] ").and_then(|()| io::stdin().read_line(&mut answer));
    match asked {
        Ok(_) if answer.trim_start().to_lowercase().starts_with('y') => Ok(()),
        _ => Err(Failure::refused("nothing was done")),
    }
}

#[cfg(test)]
mod tests {
    use super::{bar, fit};

    #[test]
    fn bar_is_filled_as_far_as_the_work_is_done() {
        assert_eq!(bar(0, 3), "....................");
        assert_eq!(bar(1, 2), "##########..........");
        assert_eq!(bar(7, 3), "####################");
        assert_eq!(bar(0, 0), "####################");
    }

    #[test]
    fn text_is_cut_to_the_terminal_and_says_so() {
        assert_eq!(fit("one\ntwo\n", 2, 80), "one\ntwo\n");
        assert_eq!(fit("one\ntwo\nthree\nfour", 3, 2), "on\ntw\n... and 2 more lines\n");
        assert_eq!(fit("größe", 3, 3), "grö\n");
    }
}
