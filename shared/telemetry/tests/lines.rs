//! The log lines, read as whoever searches them reads them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

use serde_json::{Map, Value, json};
use std::{
    io,
    sync::{Arc, Mutex},
};
use stepwell::{
    Workflow, permanent, retryable,
    testing::{Harness, Returns, StepFault},
};
use tracing::{Span, field::Empty, subscriber::DefaultGuard};
use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// The lines so far.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Written {
    /// Collects the lines of this thread while the guard lives.
    fn new() -> (Self, DefaultGuard) {
        let written = Self::default();
        let writer = written.clone();
        let lines = telemetry::log_lines(move || writer.clone());
        (written, tracing_subscriber::registry().with(LevelFilter::INFO).with(lines).set_default())
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines without their times.
    fn lines(&self) -> Vec<Map<String, Value>> {
        let read = |line: &str| {
            let mut line: Map<String, Value> =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(line.remove("timestamp").unwrap().as_str().unwrap().ends_with('Z'), "{line:?}");
            line
        };
        self.text().lines().map(read).collect()
    }
}

#[test]
fn line_has_the_fields_of_its_event_and_of_the_spans_around_it_each_once() {
    let (written, _guard) = Written::new();
    let outer = tracing::info_span!("outer", task_id = "t", step = "outer", attempt = Empty);
    outer.in_scope(|| {
        Span::current().record("attempt", 2);
        tracing::info_span!("inner", step = "inner").in_scope(|| {
            tracing::warn!(
                task_id = "u",
                count = 3_u64,
                share = 0.5,
                is_last = true,
                level = "a field",
                "{} of {}",
                1,
                2
            );
        });
        tracing::error!(error = &io::Error::other("no") as &(dyn std::error::Error + 'static), absent = None::<&str>);
    });
    tracing::info!("alone");
    let target = "lines";
    let expected = [
        json!({
            "level": "WARN", "message": "1 of 2", "attempt": 2, "count": 3, "is_last": true, "share": 0.5, "step": "inner",
            "task_id": "u", "target": target,
        }),
        json!({"level": "ERROR", "attempt": 2, "error": "no", "step": "outer", "task_id": "t", "target": target}),
        json!({"level": "INFO", "message": "alone", "target": target}),
    ];
    assert_eq!(written.lines().into_iter().map(Value::Object).collect::<Vec<_>>(), expected);
    // A reader of JSON would not see that a field is there twice.
    for (line, fields) in written.text().lines().zip(&expected) {
        assert_eq!(line.matches("\":").count(), fields.as_object().unwrap().len() + 1, "{line}");
    }
}

const WORKFLOW: &str = "
    name: checkout
    namespace_name: shop
    version: 1.0.0
    step_templates:
      - { name: pay, compensation: { name: refund } }
      - { name: ship, depends_on_step: pay }";

/// Every line of a delivery, also those of what a worker calls, says of which attempt it is. One line tells its outcome.
#[tokio::test(start_paused = true)]
async fn every_line_of_a_delivery_says_of_which_attempt_it_is() {
    let (written, _guard) = Written::new();
    let harness = Harness::new(Workflow::from_yaml(WORKFLOW).unwrap()).with_all(Returns("{}"));
    harness.fail("pay", [StepFault::Error(retryable("BANK_BUSY", "call again")), StepFault::Panic]);
    harness.fail("ship", [StepFault::Error(permanent("NO_LORRY", "none is left"))]);
    let task = harness.start(&json!({})).await.unwrap();
    harness.run(task).await.unwrap();
    let lines = written.lines();
    let of_a_delivery: Vec<_> = lines.iter().filter(|line| line.contains_key("step")).collect();
    for line in &of_a_delivery {
        assert_eq!((&line["task_id"], &line["workflow"]), (&json!(task), &json!("checkout")), "{line:?}");
        assert!(line["attempt"].as_u64().is_some_and(|attempt| attempt > 0), "{line:?}");
    }
    let ended = of_a_delivery.iter().filter(|line| line["message"] == "attempt ended");
    let outcome = |line: &&&Map<String, Value>| {
        let [step, attempt, state, code] = ["step", "attempt", "state", "code"].map(|name| line.get(name).cloned());
        json!([step, attempt, state, code])
    };
    let expected = [
        json!(["pay", 1, "retrying", "BANK_BUSY"]),
        json!(["pay", 2, "retrying", "PANIC"]),
        json!(["pay", 3, "complete", null]),
        json!(["ship", 1, "error", "NO_LORRY"]),
        json!(["refund", 1, "complete", null]),
    ];
    assert_eq!(ended.map(|line| outcome(&line)).collect::<Vec<_>>(), expected);
}
