//! What the template's alarm sees, over the table in memory.

use super::scene::Scene;
use crate::{graph::Graph, steps::Script};
use serde_json::Value;
use std::{
    io,
    sync::{Arc, Mutex},
};
use stepwell::{
    By,
    core::{
        compensation::COMPENSATION_FAILED,
        format::NEWER_FORMAT,
        state::{End, TaskState},
    },
    permanent,
};
use stepwell_aws::log_lines;
use tracing_subscriber::layer::SubscriberExt;

/// What is logged, as the functions log it.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

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
    pub(super) fn new() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let lines = log_lines(move || writer.clone());
        (log, tracing::subscriber::set_default(tracing_subscriber::registry().with(lines)))
    }

    /// The lines.
    pub(super) fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The calls for help: the steps that they name.
    fn calls(&self) -> Vec<Value> {
        let lines = self.lines().into_iter();
        lines.filter(|line| line["message"] == COMPENSATION_FAILED).map(|line| line["step"].clone()).collect()
    }
}

#[tokio::test]
async fn a_compensation_that_failed_calls_for_people_at_least_once_an_hour_until_they_have_come() {
    let (log, _guard) = Log::new();
    let scene = Scene::new(Graph::chain(1).undone([0].into())).await;
    assert!(!scene.deliver(0, Script::new(|_| Err(permanent("NO", "")))).await);
    assert_eq!(log.calls(), [""; 0]);
    assert!(!scene.deliver(50, Script::new(|_| Err(permanent("NO", "")))).await);
    assert_eq!(log.calls(), ["s50"]);

    for hour in 1..=5 {
        let before = log.calls().len();
        for _ in 0..61 {
            scene.minute().await;
        }
        assert!(log.calls().len() > before, "nobody was called in hour {hour}");
    }

    let by = By::new("somebody", "a test").unwrap();
    scene.client().resolve_step(scene.task, "s50", "{}", &by).await.unwrap();
    let called = log.calls();
    assert!(!scene.deliver(50, Script::new(|_| panic!("it is done"))).await);
    assert_eq!(scene.table.task(scene.task, |task| task.state), TaskState::Compensated(End::Error));
    for _ in 0..61 {
        scene.minute().await;
    }
    assert_eq!(log.calls(), called);
}

#[test]
fn the_template_looks_for_the_words_that_are_logged() {
    let pattern = format!(r#"FilterPattern: '{{ $.message = "{COMPENSATION_FAILED}" }}'"#);
    assert!(include_str!("../../../infra/template.yaml").contains(&pattern), "{pattern}");
    let pattern = format!(r#"FilterPattern: '{{ $.code = "{NEWER_FORMAT}" }}'"#);
    assert!(include_str!("../../../infra/template.yaml").contains(&pattern), "{pattern}");
}
