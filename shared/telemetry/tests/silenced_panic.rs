//! A panic is told where the log's level silences it. The process has one log, and its standard error is read, so the test starts itself once more.

#![allow(clippy::unwrap_used, reason = "a test may fail loudly")]

use redaction::Secret;
use std::{env, io, panic::catch_unwind, process::Command};
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt};

/// Names the process that panics.
const PANICS: &str = "STEPWELL_TEST_PANICS";

/// Another layer, such as that of the metrics, may take every line all the same.
#[test]
fn panic_is_told_on_standard_error_where_no_line_is_written() {
    if env::var_os(PANICS).is_some() {
        let lines = telemetry::log_lines(io::stderr, None).with_filter(Targets::new());
        telemetry::start(tracing_subscriber::registry().with(telemetry::samples(|_, _, _| ())).with(lines)).unwrap();
        let secret = Secret::new("planted-1 in a value");
        tracing::error!("a line that is silenced");
        assert!(catch_unwind(|| panic!("told {}", secret.expose())).is_err());
        return;
    }
    let itself = env::current_exe().unwrap();
    let name = "panic_is_told_on_standard_error_where_no_line_is_written";
    let output = Command::new(itself).args([name, "--exact", "--nocapture"]).env(PANICS, "1").output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    assert!(told.contains("silenced_panic.rs:") && told.contains(": told ***"), "{told}");
    assert!(!told.contains("planted") && !told.contains("a line"), "{told}");
}
