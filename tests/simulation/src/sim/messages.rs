//! The messages of a run: in queues in memory, or in the file of a host.

use super::{backend::Undeliverable, host::Host, process::SimulatedProcess, queue::MemoryQueues};
use std::{sync::Arc, time::Duration};
use stepwell::{
    core::message::{Outgoing, QueueName, StepQueue},
    ports::{Deliveries, Queue, QueueError, Received},
};

/// The messages. Clones share them.
#[derive(Clone, Debug)]
pub(super) enum Messages {
    /// In memory.
    Queues(MemoryQueues),
    /// With a host.
    Host(Arc<Host>),
}

impl Messages {
    /// Puts any text into the queue of a step.
    pub(super) fn put(&self, step: &str, body: &str) {
        match self {
            Self::Queues(queues) => queues.put(step, body),
            Self::Host(host) => host.put(step, body),
        }
    }

    /// Acknowledges a message.
    pub(super) fn delete(&self, queue: &str, message: &Received) {
        match self {
            Self::Queues(queues) => queues.delete(queue, message.receipt.as_deref().unwrap_or_default()),
            Self::Host(host) => host.acknowledge(message),
        }
    }

    /// Whether there is no message, visible or hidden. Rejected messages do not count.
    pub(super) fn are_none(&self) -> bool {
        match self {
            Self::Queues(queues) => queues.are_empty(),
            Self::Host(host) => host.has_no_messages(),
        }
    }

    /// The rejected messages.
    pub(super) fn undeliverable(&self) -> Vec<Undeliverable> {
        match self {
            Self::Queues(queues) => queues.undeliverable(),
            Self::Host(host) => host.undeliverable(),
        }
    }

    // ---- The engine's queue, as a process reaches it

    pub(super) async fn send(&self, by: &SimulatedProcess, outgoing: &Outgoing) -> Result<(), QueueError> {
        match self {
            Self::Queues(queues) => queues.send(outgoing).await,
            Self::Host(host) => host.send(by, outgoing).await,
        }
    }

    pub(super) async fn hide(
        &self,
        by: &SimulatedProcess,
        queue: &QueueName,
        receipt: &str,
        wait: Duration,
    ) -> Result<(), QueueError> {
        match self {
            Self::Queues(queues) => queues.hide(queue, receipt, wait).await,
            Self::Host(host) => host.hide(by, queue, receipt, wait).await,
        }
    }

    pub(super) async fn deliver(&self, by: &SimulatedProcess, queue: &StepQueue, on: bool) -> Result<(), QueueError> {
        match self {
            Self::Queues(queues) => queues.deliver(queue, on).await,
            Self::Host(host) => host.deliver(by, queue, on).await,
        }
    }

    pub(super) async fn reject(&self, by: &SimulatedProcess, body: &str, reason: &str) -> Result<(), QueueError> {
        match self {
            Self::Queues(queues) => queues.reject(body, reason).await,
            Self::Host(host) => host.reject(by, body, reason).await,
        }
    }
}
