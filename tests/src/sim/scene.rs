//! One task over the table in memory, for what is made to happen by hand: one call after the other.

use super::MemoryTable;
use crate::{
    events::{batch, message, received_again},
    graph::Graph,
    steps::{Numbered, Script, Scripted, name},
};
use serde_json::json;
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};
use stepwell::{
    Ambient, Client, TaskId, Timestamp,
    queue::{Message, Queue, QueueError},
    table::{Claim, ClaimRequest, Lease, NewTask, Table},
    worker::{Invocation, Worker},
};

pub(super) const LEASE: Duration = Duration::from_secs(30);

/// One task, what has been sent for it, and the time.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) table: MemoryTable,
    pub(super) task: TaskId,
    sent: Rc<RefCell<Vec<Message>>>,
    pub(super) now: Rc<Cell<Timestamp>>,
}

impl Ambient for Scene {
    fn now(&self) -> Timestamp {
        self.now.get()
    }

    fn draw(&self) -> f64 {
        0.5
    }
}

impl Queue for Scene {
    async fn send(&self, message: &Message) -> Result<(), QueueError> {
        self.sent.borrow_mut().push(message.clone());
        Ok(())
    }

    async fn hide(&self, _: &str, _: &str, _: Duration) -> Result<(), QueueError> {
        Ok(())
    }

    async fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        panic!("{body} is rejected: {reason}")
    }
}

impl Scene {
    pub(super) async fn new(graph: Graph) -> Self {
        let (task, created_at) = (TaskId::new(), Timestamp::from_millis(1_800_000_000_000));
        let workflow = graph.workflow();
        let table = MemoryTable::default();
        let plan = workflow.plan();
        let new = NewTask { id: task, workflow: workflow.id().to_string(), context: "{}", plan, created_at };
        table.create(&new).await.unwrap();
        Self { table, task, sent: Rc::default(), now: Rc::new(Cell::new(created_at)) }
    }

    /// Somebody claims the step; answers with their lease.
    pub(super) async fn claim(&self, step: &str) -> Lease {
        let request = self.request(step);
        let Claim::Granted(lease) = self.table.claim(&request).await.unwrap() else { panic!("{step} can be claimed") };
        lease
    }

    fn request<'a>(&self, step: &'a str) -> ClaimRequest<'a> {
        let now = self.now.get();
        ClaimRequest { task: self.task, step, owner: "somebody/else", now, lease_until: now + LEASE }
    }

    /// The lease of the step's worker comes to its end, and somebody else takes the step over.
    pub(super) async fn replace(&self, step: &str) {
        self.now.set(self.now.get() + LEASE + Duration::from_secs(1));
        let lost = self.table.step(self.task, step);
        let answer = self.table.take_over(&self.request(step), &lost).await.unwrap();
        assert!(matches!(answer, Claim::Granted(_)), "{answer:?}");
    }

    /// Hands the step's message to its worker for the second time; answers whether SQS is to keep it.
    pub(super) async fn deliver<const N: u8>(&self, script: Script) -> bool {
        let body = json!({ "task_id": self.task, "step": name(N.into()) }).to_string();
        let event = received_again(batch(vec![message("message", &body)]));
        let worker = Worker::new(Scripted::<Numbered<N>>::new(script), self.table.clone(), self.clone(), self.clone());
        let invocation = Invocation::new("request", self.now.get() + LEASE, self.now.get());
        !worker.handle(event, &invocation).await.batch_item_failures.is_empty()
    }

    /// Somebody to whom nothing happens.
    pub(super) fn client(&self) -> Client<MemoryTable, Self, Self> {
        Client::new(self.table.clone(), self.clone(), self.clone())
    }

    /// Everything that was sent, in its order.
    pub(super) fn messages(&self) -> Vec<Message> {
        self.sent.borrow().clone()
    }

    /// The steps that everything was sent to, in its order.
    pub(super) fn sent(&self) -> Vec<String> {
        self.sent.borrow().iter().map(|message| message.step.clone()).collect()
    }
}
