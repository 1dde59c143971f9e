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
    Ambient, Step, TaskId,
    core::history::History,
    ports::Received,
    runtime::worker::{Invocation, Worker},
};
use stepwell_aws::{DynamoTable, SqsQueue};
use stepwell_simulation::{
    locked::Locked,
    steps::{Script, name},
};
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
    workers: BTreeMap<String, Box<dyn AnyWorker>>,
    pace: Pace,
    /// How many messages a queue had been sent when it was last found empty.
    dry: Locked<BTreeMap<String, usize>>,
    deliveries: Locked<Vec<(String, Range<usize>)>>,
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

    /// With a worker for the step of this name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, step: impl Step + 'static) -> Self {
        let name = name.into();
        let (table, queue) = (self.sandbox.table.clone(), self.sandbox.queue.clone());
        self.workers.insert(name.clone(), Box::new(Worker::new(name, step, table, queue, Clock)));
        self
    }

    /// With workers for the steps `s00` up to, but without, this number, which all do the same.
    #[must_use]
    pub fn with_numbered(self, count: usize, script: &Script) -> Self {
        (0..count).fold(self, |poller, number| poller.with(name(number), script.clone()))
    }

    /// With another order of work.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// The batches that have been handed to workers: the step, and which of the meter's calls were made meanwhile.
    pub fn deliveries(&self) -> Vec<(String, Range<usize>)> {
        self.deliveries.lock().clone()
    }

    /// Works until no queue holds a message any more, and answers with the task's history then.
    ///
    /// # Panics
    /// Where that takes for ever, or the task is not there.
    pub async fn run(&self, task: TaskId) -> History {
        self.drain().await;
        let history = self.sandbox.client().history(task).await.expect("the table can be read");
        history.expect("the task is there")
    }

    /// Works until no queue holds a message any more.
    ///
    /// # Panics
    /// Where that takes for ever.
    pub async fn drain(&self) {
        for _ in 0..MANY_ROUNDS {
            let waiting: Vec<&str> =
                self.workers.keys().map(String::as_str).filter(|step| !self.is_dry(step)).collect();
            if waiting.is_empty() {
                return;
            }
            let batches = join_all(waiting.iter().map(|step| self.receive(step))).await;
            let worked: usize = batches.iter().map(|(_, batch)| batch.len()).sum();
            match self.pace {
                Pace::Parallel => drop(join_all(batches.into_iter().map(|batch| self.work(batch))).await),
                Pace::Backlog => {
                    for message in one_by_one(batches) {
                        self.work(message).await;
                    }
                }
            }
            if worked == 0 && !waiting.iter().all(|step| self.is_dry(step)) {
                // What is hidden comes back in its time, as it does for Lambda.
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        panic!("the queues do not run dry");
    }

    fn is_dry(&self, step: &str) -> bool {
        self.dry.lock().get(step).copied().unwrap_or_default() == self.sandbox.sent_to(step)
    }

    async fn delete(&self, step: &str, receipt_handle: &str) {
        let delete = self.sandbox.sqs.delete_message().queue_url(self.sandbox.url(step)).receipt_handle(receipt_handle);
        delete.send().await.expect("a message that is done can be deleted");
    }

    async fn receive(&self, step: &str) -> (String, Vec<Received>) {
        let receive = self.sandbox.sqs.receive_message().queue_url(self.sandbox.url(step)).max_number_of_messages(10);
        let received = receive.message_system_attribute_names(MessageSystemAttributeName::All).send().await;
        let messages = received.expect("the queue can be read").messages.unwrap_or_default();
        if messages.is_empty() {
            let sent = self.sandbox.sent_to(step);
            if !self.sandbox.holds_messages(step).await {
                self.dry.lock().insert(step.to_owned(), sent);
            }
        }
        (step.to_owned(), messages.into_iter().map(record).collect())
    }

    /// Hands a batch to an invocation, and deletes what it is done with.
    async fn work(&self, (step, batch): (String, Vec<Received>)) {
        if batch.is_empty() {
            return;
        }
        let kept = self.deliver(&step, &batch).await;
        for message in batch.iter().filter(|message| !kept.contains(&message.id)) {
            self.delete(&step, message.receipt.as_deref().expect("SQS hands out a receipt")).await;
        }
    }

    /// Hands a batch to the step's worker, and answers with the ids of the messages that it wants back.
    pub async fn deliver(&self, step: &str, batch: &[Received]) -> Vec<String> {
        let now = Clock.now();
        let invocation = Invocation::new(Uuid::new_v4().to_string(), now + INVOCATION, now);
        let mark = self.sandbox.meter.mark();
        let kept = self.workers[step].handle(batch, &invocation).await;
        self.deliveries.lock().push((step.to_owned(), mark..self.sandbox.meter.mark()));
        kept
    }
}
