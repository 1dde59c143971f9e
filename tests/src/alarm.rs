//! The log lines that the template's alarms match.

use serde_json::Value;
use std::{
    io,
    sync::{Arc, Mutex},
};
use stepwell::{
    core::{
        codes::EngineCode,
        format::NEWER_FORMAT,
        recovery::{COMPENSATION_FAILED, COMPENSATION_LATE, OPTIONAL_STEP_FAILED},
    },
    permanent,
    runtime::{
        backlog::OVERLOADED,
        breaker::BREAKER_OPEN,
        timer_feeder::FEEDER_REPORT,
        watchdog::{NEEDS_PERSON, RUN_REPORT},
    },
    testing::Harness,
};
use stepwell_simulation::{
    graph::Graph,
    steps::{Script, name},
};
use telemetry::log_lines;
use tracing_subscriber::layer::SubscriberExt;

/// The captured log, in the format of the functions.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Captures the log of this thread while the guard lives.
    fn new() -> (Self, tracing::subscriber::DefaultGuard) {
        // While a process has one subscriber only, `tracing` asks the thread that comes to a line first whether the line is wanted, and
        // keeps the answer. So each thread has one.
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry());
        let log = Self::default();
        let writer = log.clone();
        let lines = log_lines(move || writer.clone(), None);
        (log, tracing::subscriber::set_default(tracing_subscriber::registry().with(lines)))
    }

    /// The steps named by lines with this message.
    fn calls(&self, message: &str) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["message"] == message).map(|line| line["step"].clone()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn failed_compensation_is_logged_with_the_alarm_text() {
    let (log, _guard) = Log::new();
    let fails = || Script::new(|_| Err(permanent("NO", "")));
    let graph = Graph::chain(1).with_compensations([0].into());
    let harness = Harness::new(graph.workflow()).with(name(0), fails()).with("s50", fails());
    let task = harness.start(&Value::Null).await.unwrap();
    harness.run_until(task, |snapshot| snapshot.task.state.is_compensating()).await.unwrap();
    assert_eq!(log.calls(COMPENSATION_FAILED), [""; 0]);
    harness.run(task).await.unwrap();
    assert_eq!(log.calls(COMPENSATION_FAILED), ["s50"]);
    assert_eq!(log.calls(OPTIONAL_STEP_FAILED), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn failed_optional_step_is_logged_once_with_the_alarm_text() {
    let (log, _guard) = Log::new();
    let fails = Script::new(|_| Err(permanent("NO", "")));
    let harness = Harness::new(Graph::chain(1).with_optional([0].into()).workflow()).with(name(0), fails);
    let task = harness.start(&Value::Null).await.unwrap();
    harness.run(task).await.unwrap();
    assert_eq!(log.calls(OPTIONAL_STEP_FAILED), ["s00"]);
    assert_eq!(log.calls(COMPENSATION_FAILED), [""; 0]);
}

#[test]
fn template_alarm_filters_match_the_logged_texts() {
    let exhausted = EngineCode::DeliveryExhausted.as_str();
    for pattern in [
        format!(r#"$.message = "{COMPENSATION_FAILED}" || $.message = "{COMPENSATION_LATE}""#),
        format!(
            r#"$.message = "{OPTIONAL_STEP_FAILED}" || $.message = "{BREAKER_OPEN}" || $.message = "{OVERLOADED}""#
        ),
        format!(r#"$.message = "{NEEDS_PERSON}""#),
        format!(r#"$.message = "{RUN_REPORT}" && $.unfinished IS TRUE"#),
        format!(r#"$.message = "{FEEDER_REPORT}" && ($.unfinished IS TRUE || $.failed > 0)"#),
        format!(r#"$.code = "{NEWER_FORMAT}""#),
        format!(r#"$.code = "{exhausted}""#),
    ] {
        let pattern = format!("FilterPattern: '{{ {pattern} }}'");
        assert!(include_str!("../../infra/template.yaml").contains(&pattern), "{pattern}");
    }
}
