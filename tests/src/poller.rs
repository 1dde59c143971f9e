//! A stand-in for Lambda's event source mappings: brings the messages of the queues to the workers, and deletes those
//! that no worker wants back.

use crate::{
    emulator::{Clock, Sandbox},
    events::{batch, one_by_one, received_again, record},
    steps::{Numbered, Script, Scripted},
};
use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use aws_sdk_sqs::types::MessageSystemAttributeName;
use futures::{
    FutureExt,
    future::{LocalBoxFuture, join_all},
};
use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    fmt,
    ops::Range,
    time::Duration,
};
use stepwell::{
    Ambient, Step, StepResult, TaskId,
    history::History,
    queue::SqsQueue,
    table::DynamoTable,
    worker::{Invocation, Worker},
};
use uuid::Uuid;

/// How long an invocation lasts, unless a test says otherwise.
const INVOCATION: Duration = Duration::from_secs(30);

/// More rounds than any test needs: what goes on after them goes on for ever.
const MANY_ROUNDS: usize = 2_000;

trait AnyWorker {
    fn handle<'a>(&'a self, event: SqsEvent, invocation: &'a Invocation) -> LocalBoxFuture<'a, SqsBatchResponse>;
}

impl<S: Step> AnyWorker for Worker<S, DynamoTable, SqsQueue, Clock> {
    fn handle<'a>(&'a self, event: SqsEvent, invocation: &'a Invocation) -> LocalBoxFuture<'a, SqsBatchResponse> {
        Worker::handle(self, event, invocation).boxed_local()
    }
}

/// How the poller passes the time until a message comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// It puts the engine's clock forward, and makes SQS show the message at once.
    Skipped,
    /// It waits, as Lambda does.
    Real,
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
    workers: BTreeMap<&'static str, Box<dyn AnyWorker>>,
    waits: Waits,
    pace: Pace,
    copies: usize,
    invocation: Duration,
    /// What was given back: the last receipt handle, by queue and message id.
    kept: RefCell<BTreeMap<(String, String), String>>,
    /// How many messages a queue had been sent when it was last found empty.
    dry: RefCell<BTreeMap<String, usize>>,
    deliveries: RefCell<Vec<(String, Range<usize>)>>,
    deaths: Cell<usize>,
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
            waits: Waits::Skipped,
            pace: Pace::Parallel,
            copies: 1,
            invocation: INVOCATION,
            kept: RefCell::default(),
            dry: RefCell::default(),
            deliveries: RefCell::default(),
            deaths: Cell::default(),
        }
    }

    /// With a worker for this step.
    #[must_use]
    pub fn with<S: Step + 'static>(mut self, step: S) -> Self {
        let (table, queue, clock) =
            (self.sandbox.table.clone(), self.sandbox.queue.clone(), self.sandbox.clock.clone());
        self.workers.insert(S::Output::STEP, Box::new(Worker::new(step, table, queue, clock)));
        self
    }

    /// With workers for the steps `s00` up to, but without, this number, which all do the same.
    #[must_use]
    pub fn with_numbered(self, count: usize, script: &Script) -> Self {
        (0..count).fold(self, |poller, number| poller.with_number(number, script.clone()))
    }

    /// With another way to pass the time.
    #[must_use]
    pub fn waits(mut self, waits: Waits) -> Self {
        self.waits = waits;
        self
    }

    /// With every batch handed to this many invocations at the same time, and to one more when they are done.
    #[must_use]
    pub fn copies(mut self, copies: usize) -> Self {
        self.copies = copies;
        self
    }

    /// With another order of work.
    #[must_use]
    pub fn pace(mut self, pace: Pace) -> Self {
        self.pace = pace;
        self
    }

    /// With invocations that last this long.
    #[must_use]
    pub fn invocation(mut self, invocation: Duration) -> Self {
        self.invocation = invocation;
        self
    }

    /// The batches that have been handed to workers: the step, and which of the meter's calls were made meanwhile.
    pub fn deliveries(&self) -> Vec<(String, Range<usize>)> {
        self.deliveries.borrow().clone()
    }

    /// How many rounds have ended with the workers dead.
    pub fn deaths(&self) -> usize {
        self.deaths.get()
    }

    /// Puts a message into a queue, whatever it says.
    pub async fn inject(&self, queue: &str, body: &str) {
        self.sandbox.send(queue, body).await;
    }

    /// Works until no queue holds a message any more, and answers with the task's history then.
    ///
    /// # Panics
    /// Where that takes for ever, or the task is not there.
    pub async fn run(&self, task: TaskId) -> History {
        self.drain().await;
        self.sandbox.faults.set(None);
        let history = self.sandbox.client().history(task).await.expect("the table can be read");
        history.expect("the task is there")
    }

    /// Works until no queue holds a message any more.
    ///
    /// # Panics
    /// Where that takes for ever.
    pub async fn drain(&self) {
        for _ in 0..MANY_ROUNDS {
            let waiting: Vec<&str> = self.workers.keys().copied().filter(|step| !self.is_dry(step)).collect();
            if waiting.is_empty() {
                return;
            }
            let batches = join_all(waiting.iter().map(|step| self.receive(step))).await;
            let worked: usize = batches.iter().map(|(_, event)| event.records.len()).sum();
            match self.pace {
                Pace::Parallel => drop(join_all(batches.into_iter().map(|batch| self.work(batch))).await),
                Pace::Backlog => {
                    for message in one_by_one(batches) {
                        self.work(message).await;
                    }
                }
            }
            if self.sandbox.faults.tripped() {
                // Lambda starts another in the place of a worker that has died.
                self.deaths.set(self.deaths.get() + 1);
                self.sandbox.faults.set(None);
            }
            if worked == 0 && !waiting.iter().all(|step| self.is_dry(step)) {
                self.pass_the_time().await;
            }
        }
        panic!("the queues do not run dry: {:?}", self.kept);
    }

    fn is_dry(&self, step: &str) -> bool {
        self.dry.borrow().get(step).copied().unwrap_or_default() == self.sandbox.sent_to(step)
    }

    async fn delete(&self, step: &str, receipt_handle: &str) {
        let delete = self.sandbox.sqs.delete_message().queue_url(self.sandbox.url(step)).receipt_handle(receipt_handle);
        delete.send().await.expect("a message that is done can be deleted");
    }

    async fn pass_the_time(&self) {
        let kept = self.kept.take();
        match self.waits {
            Waits::Real => {
                self.kept.replace(kept);
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Waits::Skipped => {
                assert!(!kept.is_empty(), "a message is hidden that nobody has given back");
                self.sandbox.clock.advance(Duration::from_secs(12 * 60 * 60));
                join_all(kept.iter().map(|((queue, _), receipt_handle)| self.show(queue, receipt_handle))).await;
            }
        }
    }

    /// Makes SQS show a message now that it has hidden.
    async fn show(&self, queue: &str, receipt_handle: &str) {
        let show = self.sandbox.sqs.change_message_visibility().queue_url(self.sandbox.url(queue));
        let show = show.receipt_handle(receipt_handle).visibility_timeout(0);
        show.send().await.expect("a message that was given back can be shown");
    }

    async fn receive(&self, step: &str) -> (String, SqsEvent) {
        let receive = self.sandbox.sqs.receive_message().queue_url(self.sandbox.url(step)).max_number_of_messages(10);
        let received = receive.message_system_attribute_names(MessageSystemAttributeName::All).send().await;
        let messages = received.expect("the queue can be read").messages.unwrap_or_default();
        if messages.is_empty() {
            let sent = self.sandbox.sent_to(step);
            if !self.sandbox.holds_messages(step).await {
                self.dry.borrow_mut().insert(step.to_owned(), sent);
            }
        }
        (step.to_owned(), batch(messages.into_iter().map(record).collect()))
    }

    /// Hands a batch to invocations, and deletes what they are done with.
    async fn work(&self, (step, event): (String, SqsEvent)) {
        if event.records.is_empty() {
            return;
        }
        let mut answers = join_all((0..self.copies).map(|_| self.deliver(&step, event.clone()))).await;
        if self.copies > 1 {
            answers.push(self.deliver(&step, received_again(event.clone())).await);
        }
        for message in &event.records {
            let id = message.message_id.as_deref().expect("SQS names its messages");
            let receipt_handle = message.receipt_handle.as_deref().expect("SQS hands out a receipt");
            if answers.iter().all(|kept| kept.iter().any(|kept| kept == id)) {
                self.kept.borrow_mut().insert((step.clone(), id.to_owned()), receipt_handle.to_owned());
            } else {
                self.kept.borrow_mut().remove(&(step.clone(), id.to_owned()));
                self.delete(&step, receipt_handle).await;
            }
        }
    }

    /// Hands a batch to the step's worker, and answers with the ids of the messages that it wants back.
    pub async fn deliver(&self, step: &str, event: SqsEvent) -> Vec<String> {
        let now = self.sandbox.clock.now();
        let invocation = Invocation::new(Uuid::new_v4().to_string(), now + self.invocation, now);
        let mark = self.sandbox.meter.mark();
        let answer = self.workers[step].handle(event, &invocation).await;
        self.deliveries.borrow_mut().push((step.to_owned(), mark..self.sandbox.meter.mark()));
        answer.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
    }
}

macro_rules! numbered {
    ($($number:literal)+) => {
        impl Poller<'_> {
            /// With a worker for the step of this number.
            ///
            /// # Panics
            /// For a number above 99.
            #[must_use]
            pub fn with_number(self, number: usize, script: Script) -> Self {
                match number {
                    $($number => self.with(Scripted::<Numbered<$number>>::new(script)),)+
                    _ => panic!("there is no numbered step {number}"),
                }
            }
        }
    };
}

numbered!(
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41
    42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76 77 78 79 80
    81 82 83 84 85 86 87 88 89 90 91 92 93 94 95 96 97 98 99
);
