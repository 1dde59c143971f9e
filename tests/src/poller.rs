//! A stand-in for Lambda's event source mappings: brings the messages of the queues to the workers, and deletes those
//! that no worker wants back.

use crate::{
    emulator::{Clock, Sandbox},
    events::{one_by_one, record},
};
use aws_sdk_sqs::types::MessageSystemAttributeName;
use futures::{
    FutureExt,
    future::{BoxFuture, join_all},
};
use std::{collections::BTreeMap, fmt, ops::Range, time::Duration};
use stepwell::{
    Runtime, Step, TaskId,
    core::{message::StepQueue, snapshot::TaskSnapshot},
    ports::Received,
    runtime::worker::{Invocation, Worker},
};
use stepwell_aws::{DynamoTable, SqsQueue};
use stepwell_simulation::{graph::Graph, locked::Locked, steps::Script};
use uuid::Uuid;

/// How long an invocation lasts.
const INVOCATION: Duration = Duration::from_secs(30);

/// More rounds than any test needs: what goes on after them goes on for ever.
const MANY_ROUNDS: usize = 2_000;

trait AnyWorker {
    fn handle<'a>(&'a self, batch: &'a [Received], invocation: &'a Invocation) -> BoxFuture<'a, Vec<String>>;
}

impl<S: Step> AnyWorker for Worker<S, DynamoTable, SqsQueue, Clock> {
    fn handle<'a>(&'a self, batch: &'a [Received], invocation: &'a Invocation) -> BoxFuture<'a, Vec<String>> {
        Worker::handle(self, batch, invocation).boxed()
    }
}

/// In which order the poller works what waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// All queues at the same time, a batch from each.
    Parallel,
    /// As a fleet that is far behind would: one message after the other, from each queue in turn, and nothing that is
    /// sent meanwhile before all that waited has been worked.
    Backlog,
}

/// Brings messages to workers.
pub struct Poller<'a> {
    sandbox: &'a Sandbox,
    workers: BTreeMap<StepQueue, Box<dyn AnyWorker>>,
    pace: Pace,
    /// How many messages a queue had been sent when it was last found empty.
    dry: Locked<BTreeMap<StepQueue, usize>>,
    deliveries: Locked<Vec<(StepQueue, Range<usize>)>>,
}

impl fmt::Debug for Poller<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller").field("workers", &self.workers.keys()).finish_non_exhaustive()
    }
}

impl<'a> Poller<'a> {
    /// A poller without workers.
    pub fn new(sandbox: &'a Sandbox) -> Self {
        Self {
            sandbox,
            workers: BTreeMap::new(),
            pace: Pace::Parallel,
            dry: Locked::default(),
            deliveries: Locked::default(),
        }
    }

    /// With a worker of this queue.
    #[must_use]
    pub fn with(mut self, queue: StepQueue, step: impl Step + 'static) -> Self {
        let (table, queues) = (self.sandbox.table.clone(), self.sandbox.queue.clone());
        self.workers.insert(queue.clone(), Box::new(Worker::new(queue, step, table, queues, Clock)));
        self
    }

    /// With workers for the steps of a graph, which all do the same.
    #[must_use]
    pub fn with_steps_of(self, graph: &Graph, script: &Script) -> Self {
        graph.queues().into_iter().fold(self, |poller, queue| poller.with(queue, script.clone()))
    }

    /// With another order of work.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// The batches that have been handed to workers: their queue, and which of the meter's calls were made meanwhile.
    pub fn deliveries(&self) -> Vec<(StepQueue, Range<usize>)> {
        self.deliveries.lock().clone()
    }

    /// Works until no queue holds a message any more, and answers with the task's snapshot then.
    ///
    /// # Panics
    /// Where that takes for ever, or the task is not there.
    pub async fn run(&self, task: TaskId) -> TaskSnapshot {
        self.drain().await;
        let snapshot = self.sandbox.client().snapshot(task).await.expect("the table can be read");
        snapshot.expect("the task is there")
    }

    /// Works until no queue holds a message any more.
    ///
    /// # Panics
    /// Where that takes for ever.
    pub async fn drain(&self) {
        for _ in 0..MANY_ROUNDS {
            let waiting: Vec<&StepQueue> = self.workers.keys().filter(|queue| !self.is_dry(queue)).collect();
            if waiting.is_empty() {
                return;
            }
            let batches = join_all(waiting.iter().map(|queue| self.receive(queue))).await;
            let worked: usize = batches.iter().map(|(_, batch)| batch.len()).sum();
            match self.pace {
                Pace::Parallel => drop(join_all(batches.into_iter().map(|batch| self.work(batch))).await),
                Pace::Backlog => {
                    for message in one_by_one(batches) {
                        self.work(message).await;
                    }
                }
            }
            if worked == 0 && !waiting.iter().all(|queue| self.is_dry(queue)) {
                // What is hidden comes back in its time, as it does for Lambda.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        panic!("the queues do not run dry");
    }

    fn is_dry(&self, queue: &StepQueue) -> bool {
        let sent = self.sandbox.sent_to(&queue.clone().into());
        self.dry.lock().get(queue).copied().unwrap_or_default() == sent
    }

    async fn delete(&self, queue: &StepQueue, receipt_handle: &str) {
        let url = self.sandbox.url(&queue.clone().into());
        let delete = self.sandbox.sqs.delete_message().queue_url(url).receipt_handle(receipt_handle);
        delete.send().await.expect("a message that is done can be deleted");
    }

    async fn receive(&self, queue: &StepQueue) -> (StepQueue, Vec<Received>) {
        let name = queue.clone().into();
        let receive = self.sandbox.sqs.receive_message().queue_url(self.sandbox.url(&name)).max_number_of_messages(10);
        let received = receive.message_system_attribute_names(MessageSystemAttributeName::All).send().await;
        let messages = received.expect("the queue can be read").messages.unwrap_or_default();
        if messages.is_empty() {
            let sent = self.sandbox.sent_to(&name);
            if !self.sandbox.holds_messages(&name).await {
                self.dry.lock().insert(queue.clone(), sent);
            }
        }
        (queue.clone(), messages.into_iter().map(record).collect())
    }

    /// Hands a batch to an invocation, and deletes what it is done with.
    async fn work(&self, (queue, batch): (StepQueue, Vec<Received>)) {
        if batch.is_empty() {
            return;
        }
        let kept = self.deliver(&queue, &batch).await;
        for message in batch.iter().filter(|message| !kept.contains(&message.id)) {
            self.delete(&queue, message.receipt.as_deref().expect("SQS hands out a receipt")).await;
        }
    }

    /// Hands a batch to the queue's worker, and answers with the ids of the messages that it wants back.
    pub async fn deliver(&self, queue: &StepQueue, batch: &[Received]) -> Vec<String> {
        let now = Clock.now();
        let invocation = Invocation::new(Uuid::new_v4().to_string(), now + INVOCATION, now);
        let mark = self.sandbox.meter.mark();
        let kept = self.workers[queue].handle(batch, &invocation).await;
        self.deliveries.lock().push((queue.clone(), mark..self.sandbox.meter.mark()));
        kept
    }
}
