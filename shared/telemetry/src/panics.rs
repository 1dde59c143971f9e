//! Panics as log lines.

use redaction::redact;
use std::{
    backtrace::{Backtrace, BacktraceStatus},
    cell::Cell,
    io::Write,
    panic::{PanicHookInfo, set_hook},
};

thread_local! {
    /// Whether this thread has written a line since the last look.
    static WROTE: Cell<bool> = const { Cell::new(false) };
}

/// Notes that this thread has written a line. Neither a level nor a layer says so: each layer has a filter of its own.
pub(crate) fn note_line() {
    // A thread that ends has nothing to note it in.
    let _ = WROTE.try_with(|wrote| wrote.set(true));
}

/// Makes a log line of each panic, in the place of Rust's own text on standard error.
pub(crate) fn log() {
    set_hook(Box::new(tell));
}

fn tell(panic: &PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("without a message");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    // As `RUST_BACKTRACE` asks for one.
    let backtrace = Some(Backtrace::capture()).filter(|backtrace| backtrace.status() == BacktraceStatus::Captured);
    let backtrace = backtrace.map(|backtrace| backtrace.to_string());
    let _ = WROTE.try_with(|wrote| wrote.set(false));
    tracing::error!(place, backtrace, panic = message, "panicked");
    if !WROTE.try_with(Cell::get).unwrap_or_default() {
        // A process that may end by it says so even where it logs nothing. Nobody is left to be told that this cannot be written.
        let backtrace = backtrace.unwrap_or_default();
        let _ = writeln!(std::io::stderr(), "panicked at {place}: {}{backtrace}", redact(message));
    }
}
