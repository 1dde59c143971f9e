//! One task over the table in memory, for what is made to happen by hand: one call after the other.

use super::MemoryTable;
use crate::locked::Locked;
use crate::{
    events::message,
    graph::Graph,
    steps::{Script, name},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use stepwell::{
    Ambient, Client, TaskId, Timestamp,
    core::{message::Message, record::NewTask, task},
    ports::{Queue, QueueError, Received, Store},
    runtime::{
        dead_letters::DeadLetters,
        watchdog::{Bounds, Report, Watchdog},
        worker::{Invocation, Worker},
    },
};

pub(super) const LEASE: Duration = Duration::from_secs(30);

/// One task, what has been sent for it, and the time.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) table: MemoryTable,
    pub(super) task: TaskId,
    sent: Arc<Locked<Vec<Message>>>,
    /// What was rejected, with the reasons.
    rejected: Arc<Locked<Vec<(String, String)>>>,
    pub(super) now: Arc<Locked<Timestamp>>,
}

impl Ambient for Scene {
    fn now(&self) -> Timestamp {
        self.now.get()
    }

    fn draw(&self) -> f64 {
        0.5
    }

    fn new_task_id(&self) -> TaskId {
        TaskId::new()
    }
}

impl Queue for Scene {
    async fn send(&self, message: &Message) -> Result<(), QueueError> {
        self.sent.lock().push(message.clone());
        Ok(())
    }

    async fn hide(&self, _: &str, _: &str, _: Duration) -> Result<(), QueueError> {
        Ok(())
    }

    async fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        self.rejected.lock().push((body.to_owned(), reason.to_owned()));
        Ok(())
    }
}

impl Scene {
    pub(super) async fn new(graph: Graph) -> Self {
        let (task, created_at) = (TaskId::new(), Timestamp::from_millis(1_800_000_000_000));
        let workflow = graph.workflow();
        let table = MemoryTable::default();
        let plan = workflow.plan();
        let new = NewTask { id: task, workflow: workflow.id().to_string(), context: "{}", plan, created_at };
        table.apply(&task::create(&new)).await.unwrap();
        let now = Arc::new(Locked::new(created_at));
        Self { table, task, sent: Arc::default(), rejected: Arc::default(), now }
    }

    /// Hands the step's message to its worker for the second time; answers whether SQS is to keep it.
    pub(super) async fn deliver(&self, number: usize, script: Script) -> bool {
        let again = Received { receives: Some(2), ..message("message", &self.body(&name(number))) };
        let worker = Worker::new(name(number), script, self.table.clone(), self.clone(), self.clone());
        let invocation = Invocation::new("request", self.now.get() + LEASE, self.now.get());
        let kept = !worker.handle(&[again], &invocation).await.is_empty();
        assert_eq!(self.rejected(), [], "it is a message of the task");
        kept
    }

    /// Hands a message that SQS gave up on to their reader; answers whether SQS is to keep it.
    pub(super) async fn bury(&self, body: &str) -> bool {
        let letter = Received { receipt: Some("receipt".to_owned()), ..message("message", body) };
        let reader = DeadLetters::new(self.table.clone(), self.clone(), self.clone());
        !reader.handle(&[letter]).await.is_empty()
    }

    /// A minute later the watchdog looks at what is due.
    pub(super) async fn minute(&self) -> Report {
        self.watch(10).await
    }

    /// The same, for so many tasks.
    pub(super) async fn watch(&self, tasks: usize) -> Report {
        const MINUTE: Duration = Duration::from_secs(60);
        self.now.set(self.now.get() + MINUTE);
        let watchdog = Watchdog::new(self.table.clone(), self.clone(), self.clone());
        watchdog.run(Bounds { until: self.now.get() + MINUTE, tasks }).await.unwrap()
    }

    /// The message of a step of the task, as text.
    pub(super) fn body(&self, step: &str) -> String {
        json!({ "task_id": self.task, "step": step }).to_string()
    }

    /// What was rejected, with the reasons.
    pub(super) fn rejected(&self) -> Vec<(String, String)> {
        self.rejected.lock().clone()
    }

    /// Somebody to whom nothing happens.
    pub(super) fn client(&self) -> Client<MemoryTable, Self, Self> {
        Client::new(self.table.clone(), self.clone(), self.clone())
    }

    /// The steps that everything was sent to, in its order.
    pub(super) fn sent(&self) -> Vec<String> {
        self.sent.lock().iter().map(|message| message.step.clone()).collect()
    }
}
