//! How long a log line takes, and how much of that is the look for secrets. Run it with `--release`.

#![allow(clippy::print_stdout, reason = "that is what it does")]

use redaction::{Secret, redact};
use std::{hint::black_box, io, time::Instant};
use telemetry::log_lines;
use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

const LINES: u32 = 200_000;

/// The texts of the line below that are looked through. Codes and the names and ids of the system are not.
const MESSAGE: &str = "attempt ended";
const ERROR: &str = "the bank refuses at the moment: call again in half a minute";
const MESSAGE_ID: &str = "019f0000-0000-7000-8000-000000000002";

/// The nanoseconds of one turn.
fn nanos(mut turn: impl FnMut()) -> u128 {
    let started = Instant::now();
    for _ in 0..LINES {
        turn();
    }
    started.elapsed().as_nanos() / u128::from(LINES)
}

fn main() {
    let lines = log_lines(io::sink, Some("stage".to_owned()));
    let _guard = tracing_subscriber::registry().with(LevelFilter::INFO).with(lines).set_default();
    let task_id = "019f0000-0000-7000-8000-000000000001";
    let delivery =
        tracing::info_span!("delivery", workflow = "checkout", step = "pay", task_id, message_id = MESSAGE_ID);
    let _in_delivery = delivery.entered();
    for secrets in [0, 10, 1_000] {
        let _living: Vec<Secret> =
            (0..secrets).map(|number| Secret::new(format!("customer-{number}@example.com"))).collect();
        let line = nanos(|| {
            let (state, code, error) = ("retrying", "BANK_BUSY", ERROR);
            tracing::info!(attempt = 1, state, code, error, attempt_seconds = 0.25, queued_seconds = 0.5, "{MESSAGE}");
        });
        let of_secrets = nanos(|| {
            for text in [MESSAGE, ERROR, MESSAGE_ID] {
                black_box(redact(black_box(text)));
            }
        });
        println!("{secrets} secrets: {line} ns a line, {of_secrets} of them the look for secrets");
    }
}
