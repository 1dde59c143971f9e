//! The queues, as a process calls them: through a client that tries again, over a network that fails.

use super::{
    engine::Engine,
    faults::{Service, Trouble},
    locked,
    process::Process,
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use stepwell::{
    CallError, FailureKind,
    core::message::{Outgoing, QueueName},
    ports::{Queue, QueueError},
};
use tokio::time::Instant;

/// The queues in the hands of one process.
#[derive(Debug)]
pub struct Queues {
    engine: Arc<Engine>,
    process: Arc<Process>,
    /// Until when the message that the process works on is hidden from others.
    hidden_until: Arc<Mutex<Instant>>,
}

impl Queues {
    /// The queues for a process that works on a message which is hidden until then.
    pub fn new(engine: &Arc<Engine>, process: &Arc<Process>, hidden_until: &Arc<Mutex<Instant>>) -> Self {
        Self { engine: Arc::clone(engine), process: Arc::clone(process), hidden_until: Arc::clone(hidden_until) }
    }
}

impl Queue for Queues {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), QueueError> {
        let Outgoing { workflow, message } = outgoing;
        assert_eq!(*workflow, self.engine.workflow().id().name, "there is no other");
        let body = serde_json::to_string(message).expect("a message is JSON");
        let trail = self.engine.trail_of(message.task_id);
        let effect = || async { self.engine.carry(&message.step, &body, &trail) };
        let call = self.process.call(Service::EngineQueue, effect);
        call.await.map_err(|trouble| failed("SendMessage", outgoing.queue(), trouble))
    }

    async fn hide(&self, queue: &QueueName, _: &str, wait: Duration) -> Result<(), QueueError> {
        let wait = Duration::from_secs(wait.as_millis().div_ceil(1_000) as u64);
        let call =
            self.process.call(Service::EngineQueue, || async { *locked(&self.hidden_until) = Instant::now() + wait });
        call.await.map_err(|trouble| failed("ChangeMessageVisibility", queue.clone(), trouble))
    }

    async fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        let call = self.process.call(Service::EngineQueue, || async { self.engine.bury(body, reason) });
        call.await.map_err(|trouble| failed("SendMessage", QueueName::Undeliverable, trouble))
    }
}

fn failed(operation: &'static str, queue: QueueName, trouble: Trouble) -> QueueError {
    QueueError::new(queue, CallError::new(operation, FailureKind::Unavailable, format!("{trouble:?}")))
}
