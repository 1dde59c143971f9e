//! The transport from one process to the table, and its view of the queues.

use super::{
    fault::Fault,
    messages::Messages,
    process::{Kind, SimulatedProcess},
};
use crate::faulty_store::{Operation, Transport};
use std::{fmt, time::Duration};
use stepwell::{
    CallError,
    core::{
        message::{Outgoing, QueueName, StepQueue},
        snapshot::Loaded,
    },
    ports::{Deliveries, Queue, QueueError, TableError},
};

impl From<Operation> for Kind {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::BatchGet | Operation::Query => Self::Read,
            Operation::Put | Operation::Update | Operation::Delete => Self::Write,
            Operation::Transact => Self::Transaction,
        }
    }
}

impl Transport for SimulatedProcess {
    const SKIPS_EMPTY_PARTS: bool = true;

    async fn call<R: fmt::Debug + Send, F: Future<Output = Result<R, TableError>> + Send>(
        &self,
        operation: Operation,
        what: impl Fn() -> String + Send + Sync,
        effect: impl Fn() -> F + Send + Sync,
    ) -> Result<R, TableError> {
        let failed = |kind, cause: &'static str| TableError::from(CallError::new(operation.as_str(), kind, cause));
        self.make(operation.into(), what, failed, effect).await
    }

    /// DynamoDB reads each item by itself: between two writes either version may be seen.
    async fn read<F: Future<Output = Result<Loaded, TableError>> + Send>(
        &self,
        operation: Operation,
        what: impl Fn() -> String + Send + Sync,
        effect: impl Fn() -> F + Send + Sync,
    ) -> Result<Loaded, TableError> {
        let torn = self.strikes(Fault::TornRead);
        let effect = &effect;
        let read = || async move {
            let first = effect().await?;
            if !torn {
                return Ok(Shown(first));
            }
            self.point().await;
            Ok(Shown(mix(self, first, effect().await?)))
        };
        Ok(Transport::call(self, operation, what, read).await?.0)
    }
}

fn mix(process: &SimulatedProcess, first: Loaded, mut second: Loaded) -> Loaded {
    let scheduler = process.scheduler();
    for (name, step) in first.steps {
        if scheduler.one_in(2) {
            second.steps.insert(name, step);
        }
    }
    if scheduler.one_in(2) {
        second.task = first.task;
    }
    second
}

/// A read's answer, shortened for the trace.
struct Shown(Loaded);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.task.as_ref().map_or("no task", |task| task.state.status().as_str()))?;
        self.0.steps.values().try_for_each(|step| write!(f, " {} {}", step.name, step.state))
    }
}

/// The queues of one process.
#[derive(Clone, Debug)]
pub(super) struct SimulatedQueues {
    process: SimulatedProcess,
    queues: Messages,
}

impl SimulatedQueues {
    /// The queues as this process reaches them.
    pub(super) fn new(process: &SimulatedProcess, queues: Messages) -> Self {
        Self { process: process.clone(), queues }
    }

    async fn call<F: Future<Output = Result<(), QueueError>> + Send>(
        &self,
        operation: &'static str,
        queue: &QueueName,
        call: impl Fn() -> F + Send + Sync,
    ) -> Result<(), QueueError> {
        let failed = |kind, cause: &'static str| QueueError::new(queue.clone(), CallError::new(operation, kind, cause));
        self.process.make(Kind::Write, || format!("{operation} {queue}"), failed, call).await
    }
}

impl Deliveries for SimulatedQueues {
    async fn deliver(&self, queue: &StepQueue, on: bool) -> Result<(), QueueError> {
        let what = if on { "deliver" } else { "stop" };
        self.call(what, &queue.clone().into(), || self.queues.deliver(&self.process, queue, on)).await
    }
}

impl Queue for SimulatedQueues {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), QueueError> {
        self.call("send", &outgoing.queue(), || self.queues.send(&self.process, outgoing)).await
    }

    async fn hide(&self, queue: &QueueName, receipt_handle: &str, wait: Duration) -> Result<(), QueueError> {
        self.call("hide", queue, || self.queues.hide(&self.process, queue, receipt_handle, wait)).await
    }

    async fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        self.call("reject", &QueueName::Undeliverable, || self.queues.reject(&self.process, body, reason)).await
    }
}
