//! The harness: runs a workflow and its steps in memory, in virtual time.

use super::{
    Memory, Meter, Undeliverable, VirtualClock,
    crashable::{Calls, CrashAt, CrashablePorts, plan, take},
};
use crate::{
    core::{
        id::TaskId,
        index::{IndexPartition, IndexPosition},
        inspection,
        message::{DEAD_LETTERS, Message, QueueName, StepQueue},
        plan::UndeclaredDependency,
        record::AttemptRecord,
        settlement::{Delivery, Disposition},
        snapshot::TaskSnapshot,
        timestamp::Timestamp,
        workflow::Workflow,
    },
    ports::{FailureKind, Queue, Received, Runtime, Store, TableError},
    runtime::{
        breaker::ServiceBreaker,
        client::{Client, StartError},
        dead_letters::DeadLetters,
        error::EngineError,
        pauses::PauseKeeper,
        step::{Input, Step, StepContext, StepError},
        timer_feeder::TimerFeeder,
        watchdog::{RunBudget, Watchdog},
        worker::{Invocation, Worker},
    },
};
use futures::future::{BoxFuture, join_all};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    panic::resume_unwind,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// How much longer an invocation lasts than the step's timeout.
const MARGIN: Duration = Duration::from_secs(5);

/// How long an invocation of the dead-letter handler lasts.
const INVOCATION: Duration = Duration::from_secs(60);

/// The time between two runs of the watchdog.
const MINUTE: Duration = Duration::from_secs(60);

/// The time after the end of a lease from which it can be taken over. A delivery whose message is kept also takes this long.
/// Otherwise a message that is given back at once would be delivered again and again at the same time.
const MOMENT: Duration = Duration::from_millis(1);

/// More deliveries and runs of the watchdog than any test needs. A task that goes on after them never ends.
const MAX_ROUNDS: usize = 100_000;

/// Runs a workflow and its steps with the shipped worker, client, watchdog and dead-letter handler on the backend
/// `memory`, in virtual time. It processes one message at a time, so every run is the same.
///
/// It follows tokio's clock: under `#[tokio::test(start_paused = true)]` a backoff of an hour takes no time.
///
/// ```
/// # use serde_json::{Value, json};
/// # use stepwell::{Context, Step, StepContext, StepError, Workflow, retryable, core::state::TaskStatus};
/// # use stepwell::testing::{Harness, StepFault};
/// struct Greet;
///
/// impl Step for Greet {
///     type Input = Context<Value>;
///     type Output = String;
///
///     async fn run(&self, Context(name): Context<Value>, _: &StepContext) -> Result<String, StepError> {
///         Ok(format!("Hello {name}"))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let workflow = Workflow::from_yaml("{name: greeting, namespace_name: docs, step_templates: [{name: greet}]}")?;
/// let harness = Harness::new(workflow).with("greet", Greet);
/// harness.fail("greet", [StepFault::Error(retryable("BUSY", "try again"))]);
/// let task = harness.start(&json!("you")).await?;
/// assert_eq!(harness.run(task).await?.status(), TaskStatus::Complete);
/// assert_eq!(harness.attempts(task, "greet").await?.len(), 2);
/// # Ok(())
/// # }
/// ```
pub struct Harness {
    workflow: Workflow,
    beside: Vec<Workflow>,
    memory: Memory<VirtualClock>,
    steps: BTreeMap<StepQueue, Box<dyn Hosted>>,
    faults: Mutex<BTreeMap<String, VecDeque<StepFault>>>,
    crashes: Mutex<BTreeMap<String, VecDeque<CrashAt>>>,
    calls: Calls,
    /// The breakers of the functions' processes. Each function has one process.
    breakers: Mutex<BTreeMap<StepQueue, Arc<ServiceBreaker>>>,
    copies: usize,
    invocations: AtomicU64,
    watched_at: Mutex<Timestamp>,
    fed_at: Mutex<Timestamp>,
    stopped: Mutex<Stopped>,
}

/// Functions that stand still.
#[derive(Clone, Copy, Debug, Default)]
struct Stopped {
    watchdog: bool,
    feeder_until: Option<Timestamp>,
}

/// What is due next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    Message,
    Feeder,
    Watchdog,
}

/// A fault of a run of a step, in the place of its work or after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepFault {
    /// The step fails with this error, without having done anything.
    Error(StepError),
    /// The step does its work, and then fails with this error, as if the answer had been lost.
    ErrorAfterEffect(StepError),
    /// The step panics.
    Panic,
    /// The step takes longer than its timeout.
    Timeout,
}

/// An error of the harness.
///
/// `Debug` prints the same sentence as `Display`, for a test that unwraps it and a `main` that returns it.
#[derive(thiserror::Error)]
pub enum HarnessError {
    /// The harness has no handlers for these steps of the workflow.
    #[error("the workflow has steps that the harness was not given: {}. Give it each by `with`", .0.join(", "))]
    StepsMissing(Vec<String>),
    /// The harness has no workflow with this name.
    #[error("the harness has no workflow `{0}`. Give it by `beside`")]
    NoWorkflow(String),
    /// A step takes the result of a step that is not among its ancestors.
    #[error(transparent)]
    Undeclared(#[from] UndeclaredDependency),
    /// The task does not exist.
    #[error("there is no task {0}")]
    NotFound(TaskId),
    /// The task came to rest before the expected state, or never came to rest.
    #[error("task {task} does not get there; it is {status}", status = .snapshot.status())]
    NeverThere {
        /// The task.
        task: TaskId,
        /// The task as it is now.
        snapshot: Box<TaskSnapshot>,
    },
    /// The task was not started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A result is missing, or of another type.
    #[error("the result of step `{step}` cannot be read: {problem}")]
    Result {
        /// The step.
        step: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl fmt::Debug for HarnessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        match self {
            Self::NeverThere { snapshot, .. } => write!(f, ". It stands so: {snapshot:#?}"),
            _ => Ok(()),
        }
    }
}

impl From<TableError> for HarnessError {
    fn from(error: TableError) -> Self {
        Self::Engine(error.into())
    }
}

/// A step in the harness.
trait Hosted: Send + Sync {
    /// The steps whose results it takes.
    fn takes(&self) -> Vec<&'static str>;

    /// Processes one message.
    fn handle<'a>(&'a self, delivery: Hosting<'a>) -> BoxFuture<'a, Option<Vec<String>>>;
}

/// A message, and the environment of the step's worker.
struct Hosting<'a> {
    queue: &'a StepQueue,
    message: &'a Received,
    invocation: Invocation,
    ports: CrashablePorts<Memory<VirtualClock>>,
    clock: VirtualClock,
    breaker: Option<Arc<ServiceBreaker>>,
    faults: &'a Mutex<BTreeMap<String, VecDeque<StepFault>>>,
}

/// A step, and the planned faults of its next runs.
struct Faulty<'a, S> {
    step: &'a S,
    faults: &'a Mutex<BTreeMap<String, VecDeque<StepFault>>>,
}

impl<S: Step> Step for Faulty<'_, S> {
    type Input = S::Input;
    type Output = S::Output;

    async fn run(&self, input: S::Input, ctx: &StepContext) -> Result<S::Output, StepError> {
        let fault = take(&mut lock(self.faults), &ctx.step);
        match fault {
            None => self.step.run(input, ctx).await,
            Some(StepFault::Error(error)) => Err(error),
            Some(StepFault::ErrorAfterEffect(error)) => self.step.run(input, ctx).await.and(Err(error)),
            // Without the panic hook, which would print it.
            Some(StepFault::Panic) => resume_unwind(Box::new("as the test wants it")),
            Some(StepFault::Timeout) => std::future::pending().await,
        }
    }
}

impl<S: Step> Hosted for S {
    fn takes(&self) -> Vec<&'static str> {
        S::Input::wanted()
    }

    fn handle<'a>(&'a self, hosting: Hosting<'a>) -> BoxFuture<'a, Option<Vec<String>>> {
        let Hosting { queue, message, invocation, ports, clock, breaker, faults } = hosting;
        Box::pin(async move {
            let worker = Worker::new(queue.clone(), Faulty { step: self, faults }, ports.clone(), ports.clone(), clock);
            let worker = worker.guarded_by(breaker);
            ports.run_until_crash(worker.handle(std::slice::from_ref(message), &invocation)).await
        })
    }
}

fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Harness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness")
            .field("steps", &self.steps.keys().map(|queue| &queue.step).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Harness {
    /// A harness for tasks of this workflow, without steps.
    pub fn new(workflow: Workflow) -> Self {
        Self {
            workflow,
            beside: Vec::new(),
            memory: Memory::new(VirtualClock::new()),
            steps: BTreeMap::new(),
            faults: Mutex::default(),
            crashes: Mutex::default(),
            calls: Calls::default(),
            breakers: Mutex::default(),
            copies: 1,
            invocations: AtomicU64::new(0),
            watched_at: Mutex::new(VirtualClock::START),
            fed_at: Mutex::new(VirtualClock::START),
            stopped: Mutex::default(),
        }
    }

    /// Adds another workflow, with another name, on the same store and queues. Steps that are added after it belong to it.
    /// [`start_of`](Self::start_of) starts its tasks.
    #[must_use]
    pub fn beside(mut self, workflow: Workflow) -> Self {
        self.beside.push(workflow);
        self
    }

    /// The workflow to which added steps belong.
    fn newest(&self) -> &Workflow {
        self.beside.last().unwrap_or(&self.workflow)
    }

    /// The workflow with this name.
    fn workflow(&self, name: &str) -> Option<&Workflow> {
        [&self.workflow].into_iter().chain(&self.beside).find(|workflow| workflow.id().name == name)
    }

    /// Adds the handler of the step or compensation with this name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, step: impl Step + 'static) -> Self {
        let queue = StepQueue::new(&self.newest().id().name, name);
        self.steps.insert(queue, Box::new(step));
        self
    }

    /// Adds this handler for every step and every compensation of the workflow.
    #[must_use]
    pub fn with_all(self, step: impl Step + Clone + 'static) -> Self {
        let plan = self.newest().plan().clone();
        let all = plan.steps().iter().chain(plan.compensations());
        all.fold(self, |harness, plan| harness.with(&plan.name, step.clone()))
    }

    /// Carries out settlements in the protocol's order, call by call, as on AWS. Otherwise each is one transaction.
    #[must_use]
    pub fn call_by_call(mut self) -> Self {
        self.memory.whole = false;
        self
    }

    /// Carries out settlements call by call, as on AWS, and counts the calls. Each takes some virtual time.
    #[must_use]
    pub fn metered_by(self, meter: &Meter) -> Self {
        let mut harness = self.call_by_call();
        harness.memory.meter = Some(meter.clone());
        harness
    }

    /// Delivers every message of a step to this many workers concurrently, and to one more when they are done.
    #[must_use]
    pub fn copies(mut self, copies: usize) -> Self {
        self.copies = copies;
        self
    }

    /// Plans these faults for the next runs of a step, one each.
    pub fn fail(&self, step: &str, faults: impl IntoIterator<Item = StepFault>) {
        plan(&mut lock(&self.faults), step, faults);
    }

    /// Plans these crashes for the workers of the next deliveries to this step, one each. A worker crashes only if its
    /// delivery makes the call. Its message is delivered again when the worker's invocation would have ended.
    pub fn crash(&self, step: &str, at: impl IntoIterator<Item = CrashAt>) {
        plan(&mut lock(&self.crashes), step, at);
    }

    /// Plans a crash for the worker that makes this call, whatever its step. Calls are counted from now on, over all
    /// deliveries.
    pub fn crash_at(&self, at: CrashAt<usize>) {
        self.calls.crash_at(at);
    }

    /// The number of workers that have crashed.
    pub fn crashes(&self) -> usize {
        self.calls.crashes()
    }

    /// Plans failures of the next calls with this name, whatever the caller. They have no effect. [`CrashAt`] defines the
    /// names of calls.
    pub fn fail_call(&self, call: &str, kinds: impl IntoIterator<Item = FailureKind>) {
        self.calls.fail(call, kinds);
    }

    /// Plans a concurrent action right before the next call with this name has its effect. A read of a task is split: its
    /// steps are read before the action, and its own item after it.
    pub fn meanwhile(&self, call: &str, what: impl Future<Output = ()> + Send + 'static) {
        self.calls.meanwhile(call, what);
    }

    /// Loses all messages.
    pub fn lose_messages(&self) {
        self.memory.queue.purge();
    }

    /// Stops the watchdog for good.
    pub fn stop_watchdog(&self) {
        lock(&self.stopped).watchdog = true;
    }

    /// Stops the timer feeder for this long from now.
    pub fn stop_feeder_for(&self, time: Duration) {
        lock(&self.stopped).feeder_until = Some(self.now() + time);
    }

    /// Puts a message with any text into the queue of a step of the first workflow, or into `dead_letters`.
    pub fn put_message(&self, queue: &str, body: impl Into<String>) {
        let of_step = || StepQueue::new(&self.workflow.id().name, queue).into();
        let queue = if queue == DEAD_LETTERS { QueueName::DeadLetters } else { of_step() };
        self.memory.queue.put(queue, body);
    }

    /// Starts a task with this context.
    ///
    /// # Errors
    /// The handler of a step is missing, a step takes the result of a step that is not among its ancestors, or the context
    /// does not fit the workflow's schema.
    pub async fn start(&self, context: &Value) -> Result<TaskId, HarnessError> {
        self.start_with(&self.workflow, context).await
    }

    /// Starts a task of the workflow with this name.
    ///
    /// # Errors
    /// As [`start`](Self::start); also if there is no such workflow.
    pub async fn start_of(&self, workflow: &str, context: &Value) -> Result<TaskId, HarnessError> {
        let found = self.workflow(workflow).ok_or_else(|| HarnessError::NoWorkflow(workflow.to_owned()))?;
        self.start_with(found, context).await
    }

    async fn start_with(&self, workflow: &Workflow, context: &Value) -> Result<TaskId, HarnessError> {
        let (name, plan) = (&workflow.id().name, workflow.plan());
        let all = plan.steps().iter().chain(plan.compensations()).map(|step| &step.name);
        let is_missing = |step: &&String| !self.steps.contains_key(&StepQueue::new(name, *step));
        let missing: Vec<String> = all.filter(is_missing).cloned().collect();
        if !missing.is_empty() {
            return Err(HarnessError::StepsMissing(missing));
        }
        for (queue, step) in self.steps.iter().filter(|(queue, _)| queue.workflow == *name) {
            plan.check_inputs(&queue.step, &step.takes())?;
        }
        Ok(self.client().start(workflow, context, None).await?.task_id)
    }

    /// The client, for starts with an idempotency key and for operators' actions.
    pub fn client(&self) -> Client<impl Store + Clone + use<>, impl Queue + Clone + use<>, VirtualClock> {
        Client::new(self.ports(), self.ports(), self.memory.runtime.clone())
    }

    /// The store and the queues.
    pub fn memory(&self) -> &Memory<VirtualClock> {
        &self.memory
    }

    /// The store and the queues, for a worker that the test makes itself. The faults that [`fail_call`](Self::fail_call) and
    /// [`meanwhile`](Self::meanwhile) plan apply to its calls, too.
    pub fn ports(&self) -> CrashablePorts<Memory<VirtualClock>> {
        CrashablePorts::uncrashable(self.memory.clone(), self.calls.clone())
    }

    /// The current virtual time.
    pub fn now(&self) -> Timestamp {
        self.memory.runtime.now()
    }

    /// Lets this time pass without any delivery or watchdog run.
    pub async fn skip(&self, time: Duration) {
        self.memory.runtime.wait_until(self.now() + time).await;
    }

    /// Runs until the task is at rest: the engine has nothing more to do for it. Returns the task as it is then.
    ///
    /// # Errors
    /// The task does not exist, it never comes to rest, or the engine fails.
    pub async fn run(&self, task: TaskId) -> Result<TaskSnapshot, HarnessError> {
        self.run_while(task, |harness, snapshot| !harness.is_at_rest(snapshot)).await
    }

    /// Runs until `is_there` holds for the task. Returns the task as it is then.
    ///
    /// # Errors
    /// The task does not exist, it comes to rest before, or the engine fails.
    pub async fn run_until(
        &self,
        task: TaskId,
        is_there: impl Fn(&TaskSnapshot) -> bool,
    ) -> Result<TaskSnapshot, HarnessError> {
        let snapshot =
            self.run_while(task, |harness, snapshot| !is_there(snapshot) && !harness.is_at_rest(snapshot)).await?;
        if is_there(&snapshot) {
            return Ok(snapshot);
        }
        Err(HarnessError::NeverThere { task, snapshot: Box::new(snapshot) })
    }

    /// Runs for this long.
    ///
    /// # Errors
    /// The engine fails.
    pub async fn run_for(&self, time: Duration) -> Result<(), HarnessError> {
        let until = self.now() + time;
        for _ in 0..MAX_ROUNDS {
            match self.next().filter(|(moment, _)| *moment <= until) {
                Some((moment, next)) => self.work_at(moment, next).await?,
                None => break,
            }
        }
        self.memory.runtime.wait_until(until).await;
        Ok(())
    }

    /// The task with all of its steps, as it is now.
    ///
    /// # Errors
    /// The task does not exist.
    pub async fn snapshot(&self, task: TaskId) -> Result<TaskSnapshot, HarnessError> {
        TaskSnapshot::new(self.memory.store.all(task)).ok_or(HarnessError::NotFound(task))
    }

    /// All attempts of a step, in order.
    ///
    /// # Errors
    /// The task does not exist.
    pub async fn attempts(&self, task: TaskId, step: &str) -> Result<Vec<AttemptRecord>, HarnessError> {
        let snapshot = self.snapshot(task).await?;
        Ok(snapshot.step(step).map(|record| record.all_attempts().to_vec()).unwrap_or_default())
    }

    /// The result of a step.
    ///
    /// # Errors
    /// The task does not exist, or the step has no result or one of another type.
    pub async fn result<T: DeserializeOwned>(&self, task: TaskId, step: &str) -> Result<T, HarnessError> {
        let snapshot = self.snapshot(task).await?;
        let unreadable = |problem: String| HarnessError::Result { step: step.to_owned(), problem };
        let result = snapshot.step(step).and_then(|record| record.result.as_deref());
        let result = result.ok_or_else(|| unreadable("there is none".to_owned()))?;
        serde_json::from_str(result).map_err(|error| unreadable(error.to_string()))
    }

    /// All messages that were sent to steps, in order.
    pub fn sent(&self) -> Vec<Message> {
        self.memory.queue.sent()
    }

    /// The undeliverable messages.
    pub fn undeliverable(&self) -> Vec<Undeliverable> {
        self.memory.queue.undeliverable()
    }

    async fn run_while(
        &self,
        task: TaskId,
        goes_on: impl Fn(&Self, &TaskSnapshot) -> bool,
    ) -> Result<TaskSnapshot, HarnessError> {
        for _ in 0..MAX_ROUNDS {
            let snapshot = self.snapshot(task).await?;
            if !goes_on(self, &snapshot) {
                return Ok(snapshot);
            }
            match self.next() {
                Some((moment, next)) => self.work_at(moment, next).await?,
                None => return Err(HarnessError::NeverThere { task, snapshot: Box::new(snapshot) }),
            }
        }
        let snapshot = Box::new(self.snapshot(task).await?);
        Err(HarnessError::NeverThere { task, snapshot })
    }

    /// Whether the engine has nothing more to do for a task.
    fn is_at_rest(&self, snapshot: &TaskSnapshot) -> bool {
        let has_timer = || self.first_timer(|place| place.task == snapshot.task.id).is_some();
        inspection::is_at_rest(snapshot, self.now())
            && !self.memory.queue.holds_any_of(snapshot.task.id)
            && !has_timer()
    }

    /// What is due next, a message, the timer feeder or the watchdog, and when.
    fn next(&self) -> Option<(Timestamp, Next)> {
        let message = self.memory.queue.next_due().map(|due| (due, Next::Message));
        let feeder = self.next_feed().map(|due| (due, Next::Feeder));
        let watchdog = self.next_watch().map(|due| (due, Next::Watchdog));
        [message, feeder, watchdog].into_iter().flatten().min()
    }

    fn first_timer(&self, fits: impl Fn(&IndexPosition) -> bool) -> Option<IndexPosition> {
        self.memory.store.first_listed(|place| place.partition == IndexPartition::Timer && fits(place))
    }

    /// The time of the next run of the timer feeder that finds a timer to feed.
    fn next_feed(&self) -> Option<Timestamp> {
        let listed = self.first_timer(|_| true)?;
        let next = listed.at.max(*lock(&self.fed_at) + MINUTE);
        Some(lock(&self.stopped).feeder_until.map_or(next, |until| next.max(until)))
    }

    /// The time of the next run of the watchdog that finds a task to inspect.
    fn next_watch(&self) -> Option<Timestamp> {
        if lock(&self.stopped).watchdog {
            return None;
        }
        let watched = self.memory.store.first_listed(|place| IndexPartition::WATCHED.contains(&place.partition))?;
        let last = *lock(&self.watched_at);
        Some(watched.at.max(last + MINUTE))
    }

    /// Waits until this time, and then processes what is due.
    async fn work_at(&self, moment: Timestamp, next: Next) -> Result<(), HarnessError> {
        self.memory.runtime.wait_until(moment).await;
        let clock = self.memory.runtime.clone();
        let budget = RunBudget { until: self.now() + MINUTE, tasks: MAX_ROUNDS };
        match next {
            Next::Message => {
                let received = self.memory.queue.receive(|queue| self.now() + self.invocation_of(queue) + MOMENT);
                if let Some((queue, message)) = received {
                    self.deliver(&queue, &message).await;
                }
            }
            Next::Feeder => {
                *lock(&self.fed_at) = self.now();
                TimerFeeder::new(self.ports(), self.ports(), clock).run(budget).await?;
            }
            Next::Watchdog => {
                *lock(&self.watched_at) = self.now();
                let watchdog = Watchdog::new(self.ports(), self.ports(), clock.clone());
                // Past the calls that are counted and fail by plan: nothing is paused in most tests.
                let (store, queue) = (self.memory.store.clone(), self.memory.queue.clone());
                let keeper = PauseKeeper::new(store, queue.clone(), queue, clock);
                let pauses = keeper.read().await?;
                keeper.tell(&pauses).await;
                watchdog.sparing(pauses.held()).run(budget).await?;
            }
        }
        Ok(())
    }

    /// How long an invocation of this queue's function lasts.
    fn invocation_of(&self, queue: &QueueName) -> Duration {
        let step = match queue {
            QueueName::Step(StepQueue { workflow, step }) => {
                self.workflow(workflow).and_then(|workflow| workflow.plan().step(step))
            }
            QueueName::DeadLetters | QueueName::Undeliverable => None,
        };
        step.map_or(INVOCATION, |step| Duration::from_secs(step.timeout_seconds.into()) + MARGIN)
    }

    async fn deliver(&self, queue: &QueueName, message: &Received) {
        let is_kept = match queue {
            QueueName::Step(queue) => match self.steps.get(queue) {
                Some(step) => self.hand_out(step.as_ref(), queue, message).await,
                // This queue has no worker.
                None => true,
            },
            QueueName::DeadLetters => {
                let dead_letters = DeadLetters::new(self.ports(), self.ports(), self.memory.runtime.clone());
                !dead_letters.handle(std::slice::from_ref(message)).await.is_empty()
            }
            QueueName::Undeliverable => true,
        };

        match &message.receipt {
            Some(receipt) if !is_kept => {
                self.memory.queue.end(&Delivery { receipt: receipt.clone(), disposition: Disposition::Acknowledge });
            }
            _ => self.skip(MOMENT).await,
        }
    }

    /// Delivers a message to the configured number of workers. Returns whether all of them keep it.
    async fn hand_out(&self, step: &dyn Hosted, queue: &StepQueue, message: &Received) -> bool {
        let mut kept = join_all((0..self.copies).map(|_| self.invoke(step, queue, message))).await;
        if self.copies > 1 {
            let again = Received { receives: message.receives.map(|count| count + 1), ..message.clone() };
            kept.push(self.invoke(step, queue, &again).await);
        }
        kept.into_iter().all(|is_kept| is_kept)
    }

    /// The breaker of the process that serves this queue, if its step has one.
    fn breaker_of(&self, queue: &StepQueue) -> Option<Arc<ServiceBreaker>> {
        let service = self.workflow(&queue.workflow)?.breaker_of(&queue.step)?;
        let mut breakers = lock(&self.breakers);
        Some(breakers.entry(queue.clone()).or_insert_with(|| Arc::new(ServiceBreaker::new(service))).clone())
    }

    /// Delivers a message to a worker of the step. Returns whether the worker keeps it, which a crashed one does.
    async fn invoke(&self, step: &dyn Hosted, queue: &StepQueue, message: &Received) -> bool {
        let request_id = format!("invocation-{}", self.invocations.fetch_add(1, Relaxed));
        let life = self.invocation_of(&queue.clone().into());
        let invocation = Invocation::new(request_id, self.now() + life, self.now());
        let crash = take(&mut lock(&self.crashes), &queue.step);
        let ports = CrashablePorts::new(self.memory.clone(), crash, self.calls.clone());
        let clock = self.memory.runtime.clone();
        let breaker = self.breaker_of(queue);
        let hosting = Hosting { queue, message, invocation, ports, clock, breaker, faults: &self.faults };
        let began = self.now();
        let kept = step.handle(hosting).await;
        if let Some(meter) = &self.memory.meter {
            meter.delivered(&queue.step, self.now().since(began));
        }
        kept.is_none_or(|kept| !kept.is_empty())
    }
}
