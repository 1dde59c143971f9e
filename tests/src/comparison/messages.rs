//! The queues as a process calls them: through a client that retries, over a network that fails.

use super::{
    engine::Engine,
    faults::{Service, Trouble},
    locked,
    process::ServiceCaller,
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

/// The queues as one process calls them.
#[derive(Debug)]
pub struct Queues {
    engine: Arc<Engine>,
    process: Arc<ServiceCaller>,
    /// The end of the visibility timeout of the message that the process works on.
    hidden_until: Arc<Mutex<Instant>>,
}

impl Queues {
    /// The queues for a process whose message is hidden until `hidden_until`.
    pub fn new(engine: &Arc<Engine>, process: &Arc<ServiceCaller>, hidden_until: &Arc<Mutex<Instant>>) -> Self {
        Self { engine: Arc::clone(engine), process: Arc::clone(process), hidden_until: Arc::clone(hidden_until) }
    }
}

impl Queue for Queues {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), QueueError> {
        let Outgoing { workflow, message, delay } = outgoing;
        assert_eq!(*workflow, self.engine.workflow().id().name, "there is no other");
        let body = serde_json::to_string(message).expect("a message is JSON");
        let trail = self.engine.trail_of(message.task_id);
        let effect = || async { self.engine.enqueue(&message.step, &body, &trail, *delay) };
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
        let call = self.process.call(Service::EngineQueue, || async { self.engine.reject(body, reason) });
        call.await.map_err(|trouble| failed("SendMessage", QueueName::Undeliverable, trouble))
    }
}

fn failed(operation: &'static str, queue: QueueName, trouble: Trouble) -> QueueError {
    QueueError::new(queue, CallError::new(operation, FailureKind::Unavailable, format!("{trouble:?}")))
}
