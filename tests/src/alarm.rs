//! What the template's alarm sees.

use serde_json::Value;
use std::{
    io,
    sync::{Arc, Mutex},
};
use stepwell::{
    core::{format::NEWER_FORMAT, recovery::COMPENSATION_FAILED},
    permanent,
    testing::Harness,
};
use stepwell_aws::log_lines;
use stepwell_simulation::{
    graph::Graph,
    steps::{Script, name},
};
use tracing_subscriber::layer::SubscriberExt;

/// What is logged, as the functions log it.
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
    /// The log of all that this thread does while the guard lives.
    fn new() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let lines = log_lines(move || writer.clone());
        (log, tracing::subscriber::set_default(tracing_subscriber::registry().with(lines)))
    }

    /// The calls for help: the steps that they name.
    fn calls(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["message"] == COMPENSATION_FAILED).map(|line| line["step"].clone()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_compensation_that_failed_is_a_line_of_these_words_in_the_functions_log() {
    let (log, _guard) = Log::new();
    let fails = || Script::new(|_| Err(permanent("NO", "")));
    let graph = Graph::chain(1).undone([0].into());
    let harness = Harness::new(graph.workflow()).with(name(0), fails()).with("s50", fails());
    let task = harness.start(&Value::Null).await.unwrap();
    harness.run_until(task, |snapshot| snapshot.task.state.is_compensating()).await.unwrap();
    assert_eq!(log.calls(), [""; 0]);
    harness.run(task).await.unwrap();
    assert_eq!(log.calls(), ["s50"]);
}

#[test]
fn the_template_looks_for_the_words_that_are_logged() {
    let pattern = format!(r#"FilterPattern: '{{ $.message = "{COMPENSATION_FAILED}" }}'"#);
    assert!(include_str!("../../infra/template.yaml").contains(&pattern), "{pattern}");
    let pattern = format!(r#"FilterPattern: '{{ $.code = "{NEWER_FORMAT}" }}'"#);
    assert!(include_str!("../../infra/template.yaml").contains(&pattern), "{pattern}");
}
