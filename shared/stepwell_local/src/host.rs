//! The process that hosts the steps: it delivers messages to their workers, and does what scheduled functions do on AWS.

use crate::{
    error::FileError,
    local::Local,
    queues::{Held, Serving},
};
use futures::{FutureExt, future::BoxFuture};
use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use stepwell::{
    Runtime, Step, Workflow,
    core::{
        limits::FUNCTION_MARGIN,
        message::{QueueName, StepQueue},
    },
    ports::Received,
    runtime::{
        breaker::ServiceBreaker,
        bulk::BulkRunner,
        dead_letters::DeadLetters,
        pauses::PauseKeeper,
        timer_feeder::TimerFeeder,
        watchdog::{RunBudget, Watchdog},
        worker::{Invocation, Worker},
    },
};
use tokio::{task::JoinSet, time::Instant};

/// How many deliveries of a step are in flight at most, unless the host is told otherwise. A step mostly waits for others.
pub const DEFAULT_SLOTS: usize = 64;

/// The time between two runs of what is done regularly.
const MINUTE: Duration = Duration::from_secs(60);

/// How long a run of the watchdog, the timer feeder or the bulk actions may take.
const RUN_TIME: Duration = Duration::from_secs(50);

/// The time of a dead letter's delivery.
const DEAD_LETTER_TIME: Duration = Duration::from_secs(60);

/// The items that are deleted, and the pages that are returned, in one transaction.
const CLEANED_AT_ONCE: u32 = 500;

/// A worker, whatever its step is.
trait Serve: Send + Sync {
    /// Handles a delivery. Returns whether its message is done with.
    fn serve<'a>(&'a self, message: &'a Received, invocation: &'a Invocation) -> BoxFuture<'a, bool>;
}

impl<S: Step, A: Runtime + Clone> Serve for Worker<S, Local<A>, Local<A>, A> {
    fn serve<'a>(&'a self, message: &'a Received, invocation: &'a Invocation) -> BoxFuture<'a, bool> {
        Box::pin(async move { self.handle(std::slice::from_ref(message), invocation).await.is_empty() })
    }
}

impl<A: Runtime + Clone> Serve for DeadLetters<Local<A>, Local<A>, A> {
    fn serve<'a>(&'a self, message: &'a Received, _: &'a Invocation) -> BoxFuture<'a, bool> {
        Box::pin(async move { self.handle(std::slice::from_ref(message)).await.is_empty() })
    }
}

type Job = Box<dyn FnMut() -> BoxFuture<'static, ()> + Send + Sync>;

/// Hosts the steps of workflows over one file.
pub struct Host<A> {
    local: Local<A>,
    runtime: A,
    workers: BTreeMap<QueueName, Arc<dyn Serve>>,
    breakers: BTreeMap<String, Arc<ServiceBreaker>>,
    jobs: Vec<(&'static str, Duration, Job)>,
}

impl<A: Runtime + Clone + 'static> Host<A> {
    /// A host without steps. It handles dead letters, and does the work of the watchdog, the timer feeder and the bulk actions.
    pub fn new(local: Local<A>, runtime: A) -> Self {
        let dead_letters = DeadLetters::new(local.clone(), local.clone(), runtime.clone());
        let jobs = Vec::new();
        let mut host = Self { local, runtime, workers: BTreeMap::new(), breakers: BTreeMap::new(), jobs };
        host.serve(
            QueueName::DeadLetters,
            Serving { slots: 1, time: DEAD_LETTER_TIME, claims: false },
            Arc::new(dead_letters),
        );
        host
    }

    /// Hosts the handler of a step or a compensation, with at most this many deliveries at once. A step that its workflow file does not
    /// name is not hosted.
    pub fn step(&mut self, workflow: &Workflow, name: &str, slots: usize, step: impl Step + 'static) {
        let Some(plan) = workflow.plan().step(name) else { return };
        let time = Duration::from_secs(plan.timeout_seconds.into()) + FUNCTION_MARGIN;
        let queue = StepQueue::new(&workflow.id().name, name);
        let breaker = workflow.waits_on(name).map(|service| {
            let breaker = self.breakers.entry(service.to_owned());
            breaker.or_insert_with(|| Arc::new(ServiceBreaker::new(service))).clone()
        });
        let (store, queues) = (self.local.clone(), self.local.clone());
        // A guarded worker looks at the breaker before it claims.
        let serving = Serving { slots, time, claims: breaker.is_none() };
        let worker = Worker::new(queue.clone(), step, store, queues, self.runtime.clone()).guarded_by(breaker);
        self.serve(queue.into(), serving, Arc::new(worker));
    }

    fn serve(&mut self, queue: QueueName, serving: Serving, worker: Arc<dyn Serve>) {
        self.local.serve(queue.clone(), serving);
        self.workers.insert(queue, worker);
    }

    /// Does this now and then once in every period, one run after the other. It is broken off when the host stops.
    pub fn every<F>(&mut self, period: Duration, what: &'static str, mut job: impl FnMut() -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.jobs.push((what, period, Box::new(move || Box::pin(job()))));
    }

    /// Hands a message to the worker of a step, which has this much time, outside of all queues. Returns false if the step is not hosted.
    pub async fn hand(&self, queue: StepQueue, message: &Received, time: Duration) -> bool {
        let Some(worker) = self.workers.get(&queue.into()) else { return false };
        let now = self.runtime.now();
        worker.serve(message, &Invocation::new(message.id.clone(), now + time, now)).await;
        true
    }

    /// Runs until `stop` is done: then it takes no more messages, and waits for the deliveries in flight for at most `grace`. What is
    /// not done by then, or when the process is ended earlier, is begun anew by the next process.
    ///
    /// # Errors
    /// A write has failed in such a way that it is not known what is on the disk. The process has to end.
    pub async fn run(mut self, stop: impl Future<Output = ()>, grace: Duration) -> Result<(), FileError> {
        self.warn_of_unserved()?;
        self.add_regular_jobs();
        let mut jobs = JoinSet::new();
        for (what, period, job) in std::mem::take(&mut self.jobs) {
            jobs.spawn(regularly(what, period, job));
        }
        let mut in_flight = JoinSet::new();
        let delivered = tokio::select! {
            () = stop => Ok(()),
            broken = self.deliver(&mut in_flight) => Err(broken),
        };
        self.local.serve_none();
        // At once: the process may be ended before the grace is over.
        if delivered.is_ok()
            && let Err(error) = self.local.told_to_end().await
        {
            tracing::warn!(%error, "the next process takes the end of this one for a crash");
        }
        jobs.shutdown().await;
        // What was delivered before that is claimed already.
        while let (Ok(()), Ok(Some(held))) = (&delivered, self.local.receive().await) {
            self.spawn(held, &mut in_flight);
        }
        let over = async { while in_flight.join_next().await.is_some() {} };
        if delivered.is_ok() && tokio::time::timeout(grace, over).await.is_err() {
            tracing::warn!(deliveries = in_flight.len(), "not done in time: the next process begins them anew");
        }
        delivered
    }

    /// Gives deliveries to their workers, as long as the file can be written.
    async fn deliver(&self, in_flight: &mut JoinSet<()>) -> FileError {
        let mut broken = std::pin::pin!(self.local.file().broken());
        loop {
            while in_flight.try_join_next().is_some() {}
            match self.local.receive().await {
                Ok(Some(held)) => {
                    self.spawn(held, in_flight);
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!(%error, "no messages can be received");
                    tokio::select! {
                        error = &mut broken => return error,
                        () = self.runtime.sleep(Duration::from_secs(1)) => continue,
                    }
                }
            }
            let next = self.local.next_due().map(|due| due.since(self.runtime.now()));
            tokio::select! {
                error = &mut broken => return error,
                () = self.local.changed() => {}
                () = wait(&self.runtime, next) => {}
            }
        }
    }

    fn spawn(&self, held: Held, in_flight: &mut JoinSet<()>) {
        let worker = self.workers.get(&held.queue).cloned();
        in_flight.spawn(handle(worker, self.local.clone(), self.runtime.clone(), held));
    }

    fn warn_of_unserved(&self) -> Result<(), FileError> {
        let served: Vec<String> = self.workers.keys().map(crate::messages::name).collect();
        for (queue, messages) in self.local.file().read(crate::messages::names)? {
            if !served.contains(&queue) {
                tracing::warn!(queue, messages, "messages wait for a step that this program does not have");
            }
        }
        Ok(())
    }

    fn add_regular_jobs(&mut self) {
        let (local, runtime) = (self.local.clone(), self.runtime.clone());
        let watchdog = Watchdog::new(local.clone(), local.clone(), runtime.clone());
        let keeper = Arc::new(PauseKeeper::new(local.clone(), local.clone(), local.clone(), runtime.clone()));
        let feeder = Arc::new(TimerFeeder::new(local.clone(), local.clone(), runtime.clone()));
        let bulks = Arc::new(BulkRunner::new(local.clone(), local.clone(), runtime.clone()));
        let budget = {
            let runtime = runtime.clone();
            move || RunBudget { until: runtime.now() + RUN_TIME, tasks: usize::MAX }
        };
        let of_watchdog = budget.clone();
        self.every(MINUTE, "watchdog", move || {
            let (keeper, watchdog, budget) = (keeper.clone(), watchdog.clone(), of_watchdog());
            async move {
                let watchdog = match keeper.read().await {
                    Ok(pauses) => {
                        keeper.tell(&pauses).await;
                        watchdog.sparing(pauses.held())
                    }
                    Err(error) => {
                        tracing::error!(%error, "the pauses of steps cannot be read");
                        watchdog
                    }
                };
                if let Err(error) = watchdog.run(budget).await {
                    tracing::error!(%error, "the watchdog failed");
                }
                watchdog.count_needs_person(budget.until).await;
            }
        });
        let of_feeder = budget.clone();
        self.every(MINUTE, "timer feeder", move || {
            let (feeder, budget) = (feeder.clone(), of_feeder());
            async move {
                if let Err(error) = feeder.run(budget).await {
                    tracing::error!(%error, "the timer feeder failed");
                }
            }
        });
        self.every(MINUTE, "bulk actions", move || {
            let (bulks, budget) = (bulks.clone(), budget());
            async move {
                if let Err(error) = bulks.run(budget.until).await {
                    tracing::error!(%error, "the bulk actions cannot be listed");
                }
            }
        });
        self.every(MINUTE, "retention", move || {
            let local = local.clone();
            async move {
                if let Err(error) = delete_expired(&local).await {
                    tracing::error!(%error, "what has expired could not be deleted");
                }
                // On a full disk as well: its log may have taken the last of the space.
                match local.file().empty_log().await {
                    Ok(true) => {}
                    Ok(false) => tracing::info!("somebody reads the file, and its log is emptied the next time"),
                    Err(error) => tracing::error!(%error, "the log of the file could not be emptied"),
                }
            }
        });
    }
}

/// Deletes what has expired, and returns its pages to the file system.
async fn delete_expired<A: Runtime>(local: &Local<A>) -> Result<(), FileError> {
    while local.delete_expired(CLEANED_AT_ONCE).await? > 0 {}
    local.file().shrink(CLEANED_AT_ONCE).await
}

/// Handles a delivery, and acknowledges its message if that is done with.
async fn handle<A: Runtime>(worker: Option<Arc<dyn Serve>>, local: Local<A>, runtime: A, held: Held) {
    // Only served queues are delivered.
    let Some(worker) = worker else { return };
    let delivered = &held.delivered;
    let invocation = Invocation::new(delivered.receipt.clone(), delivered.until, runtime.now());
    if worker.serve(&delivered.message, &invocation).await
        && let Err(error) = local.acknowledge(&delivered.message).await
    {
        tracing::warn!(message_id = delivered.message.id, %error, "a message could not be deleted, and is delivered again");
    }
}

async fn wait(runtime: &impl Runtime, time: Option<Duration>) {
    match time {
        Some(time) => runtime.sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Does a job in every period. If it takes longer than one, the runs that it has missed are left out.
async fn regularly(what: &'static str, period: Duration, mut job: Job) {
    let mut due = Instant::now();
    loop {
        // It is done again next time. A panic must not end it for good.
        if AssertUnwindSafe(job()).catch_unwind().await.is_err() {
            tracing::error!(what, "it panicked");
        }
        due = (due + period).max(Instant::now());
        tracing::debug!(what, "done");
        tokio::time::sleep_until(due).await;
    }
}
