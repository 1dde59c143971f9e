//! The table and the queues as one process sees them: far away.

use super::{
    fault::Fault,
    process::{Kind, Process},
    queue::MemoryQueues,
};
use crate::far::{Operation, Transport};
use std::{fmt, time::Duration};
use stepwell::{
    CallError,
    core::{
        message::{Outgoing, QueueName},
        snapshot::Loaded,
    },
    ports::{Queue, QueueError, TableError},
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

impl Transport for Process {
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

    /// DynamoDB reads each item for itself: of two writes between them, either may be seen.
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

fn mix(process: &Process, first: Loaded, mut second: Loaded) -> Loaded {
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

/// An answer that is too long to be shown in full.
struct Shown(Loaded);

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.task.as_ref().map_or("no task", |task| task.state.status().as_str()))?;
        self.0.steps.values().try_for_each(|step| write!(f, " {} {}", step.name, step.state))
    }
}

/// The queues, and the process that calls them.
#[derive(Clone, Debug)]
pub(super) struct FarQueues {
    process: Process,
    queues: MemoryQueues,
}

impl FarQueues {
    /// The queues as this process reaches them.
    pub(super) fn new(process: &Process, queues: MemoryQueues) -> Self {
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

impl Queue for FarQueues {
    async fn send(&self, outgoing: &Outgoing) -> Result<(), QueueError> {
        self.call("send", &outgoing.queue(), || self.queues.send(outgoing)).await
    }

    async fn hide(&self, queue: &QueueName, receipt_handle: &str, wait: Duration) -> Result<(), QueueError> {
        self.call("hide", queue, || self.queues.hide(queue, receipt_handle, wait)).await
    }

    async fn reject(&self, body: &str, reason: &str) -> Result<(), QueueError> {
        self.call("reject", &QueueName::Undeliverable, || self.queues.reject(body, reason)).await
    }
}
