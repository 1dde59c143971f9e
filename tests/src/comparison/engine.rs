//! The checkout as a Stepwell workflow: the engine's own client and workers over the deployed steps. Each delivery runs
//! in a process of its own, which may die.
//!
//! This module and its neighbours stand in for AWS: queues that deliver a message until a worker acknowledges it, a
//! table in memory, and a page that resends its request under the same idempotency key until it has an answer.

use super::{
    customers::Customer,
    faults::Faults,
    locked,
    messages::Queues,
    process::{ServiceCaller, Trail, VirtualTime},
    report::End,
    services::Services,
    tables::ServiceTransport,
    world::ShopWorld,
};
use crate::events::message;
use checkout::{
    ConfigError,
    reconciliation::{MIN_AGE, Reconciliation, ReconciliationReport, Scope},
};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use stepwell::{
    Client, IdempotencyKey, Runtime, Step, TaskId, Timestamp, Workflow,
    core::{
        message::StepQueue,
        record::ActionKind,
        snapshot::Loaded,
        state::{self, TaskState},
    },
    ports::{Received, Store},
    runtime::{
        watchdog::{RunBudget, Watchdog},
        worker::{Invocation, Worker},
    },
};
use stepwell_simulation::{faulty_store::FaultyStore, sim::MemoryTable};
use tokio::{
    task::spawn_local,
    time::{Instant, interval, sleep, sleep_until},
};

/// How long a request that starts a checkout may take: a little more than the API's limit for it.
const API_TIMEOUT: Duration = Duration::from_secs(10);

/// How much longer a step's function may run than its handler; the template's figure.
const HANDLER_OVERHEAD: Duration = Duration::from_secs(5);

/// How often the watchdog runs; the template's figure.
const WATCHDOG_INTERVAL: Duration = Duration::from_secs(60);

/// The timeout of one watchdog run; the template's figure.
const WATCHDOG_TIMEOUT: Duration = Duration::from_secs(55);

/// The part of the timeout in which a run begins nothing new, as in `stepwell_aws::serve_watchdog`.
const WATCHDOG_RESERVE: Duration = Duration::from_secs(5);

/// The limit of watchdog runs: one a minute for a week. A task that is still open then never ends.
const MAX_WATCHDOG_RUNS: usize = 7 * 24 * 60;

/// SQS's `maxReceiveCount`: after so many receives a message becomes a dead letter; the template's figure.
const MAX_RECEIVES: u32 = 100;

/// The time between a message's arrival in its queue and the start of its worker.
const POLL_DELAY: Duration = Duration::from_millis(20);

/// How long the page resends a request that has had no answer.
pub const RESEND_FOR: Duration = Duration::from_secs(10 * 60);

/// The longest pause between two requests of the page.
pub const MAX_RESEND_PAUSE: Duration = Duration::from_secs(30);

/// The shop over the engine, with its table, queues and tasks.
#[derive(Debug)]
pub struct Engine {
    world: Arc<ShopWorld>,
    table: MemoryTable,
    clock: VirtualTime,
    faults: Arc<Faults>,
    workflow: Workflow,
    messages: AtomicU64,
    in_flight: AtomicUsize,
    closed: AtomicBool,
    trails: Mutex<BTreeMap<TaskId, Arc<Trail>>>,
    undeliverable: Mutex<Vec<String>>,
}

/// How a checkout's task ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineEnd {
    /// Its end.
    pub end: End,
    /// When it ended; `None` while it is open, or without a task.
    pub at: Option<Timestamp>,
    /// Whether it had failed in between and the engine redrove it.
    pub redriven: bool,
}

impl Engine {
    /// Makes a shop without tasks.
    pub fn new(world: &Arc<ShopWorld>, clock: &VirtualTime, faults: &Arc<Faults>, workflow: Workflow) -> Arc<Self> {
        let (world, clock, faults) = (Arc::clone(world), clock.clone(), Arc::clone(faults));
        Arc::new(Self {
            world,
            table: MemoryTable::default(),
            clock,
            faults,
            workflow,
            messages: AtomicU64::default(),
            in_flight: AtomicUsize::default(),
            closed: AtomicBool::default(),
            trails: Mutex::default(),
            undeliverable: Mutex::default(),
        })
    }

    /// Sends a customer's request until it is accepted, for at most [`RESEND_FOR`].
    pub async fn order(self: &Arc<Self>, customer: &Customer, trail: &Arc<Trail>) -> Option<TaskId> {
        let key: IdempotencyKey = format!("checkout-{}", trail.number).parse().expect("a key");
        let until = Instant::now() + RESEND_FOR;
        let mut pause = Duration::from_secs(1);
        loop {
            let process = ServiceCaller::start(&self.clock, &self.faults, trail);
            locked(&self.trails).insert(process.task_id(), Arc::clone(trail));
            let (table, queues) = self.ports_of(&process, &Arc::new(Mutex::new(Instant::now())));
            let client = Client::new(table, queues, &*process);
            let start = client.start(&self.workflow, &customer.request, Some(&key));
            if let Some(Ok(started)) = process.live(API_TIMEOUT, start).await {
                return Some(started.task_id);
            }
            if Instant::now() + pause > until {
                return None;
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_RESEND_PAUSE);
        }
    }

    /// Says how this task ended. `None` is a checkout none of whose requests got through.
    ///
    /// # Panics
    /// The task does not exist.
    pub async fn end_of(&self, task: Option<TaskId>) -> EngineEnd {
        let Some(id) = task else {
            return EngineEnd { end: End::Failed("no request got through".to_owned()), at: None, redriven: false };
        };
        let Loaded { task, steps } = self.table.load_all(id).await.expect("memory does not fail");
        let task = task.expect("a task that was started");
        let why = || {
            let failed = steps.values().filter_map(|step| Some(format!("{} {}", step.name, step.error.as_ref()?.code)));
            failed.collect::<Vec<_>>().join(", ")
        };
        let end = match task.state {
            TaskState::Completed => End::Ordered,
            TaskState::Failed | TaskState::Compensated(state::End::Error) => End::Failed(why()),
            other => End::Stuck(format!("{}: {}", other.status(), why())),
        };
        let redriven = task.actions.iter().any(|action| action.what == ActionKind::Redrive);
        EngineEnd { end, at: task.finished_at, redriven }
    }

    /// The messages that were rejected or received too often, each with its reason.
    pub fn undeliverable(&self) -> Vec<String> {
        locked(&self.undeliverable).clone()
    }

    /// Puts a message into its queue, which holds it back for this long. It is delivered until a worker acknowledges it.
    pub fn enqueue(self: &Arc<Self>, step: &str, body: &str, trail: &Arc<Trail>, delay: Duration) {
        let number = self.messages.fetch_add(1, Relaxed);
        let (engine, trail) = (Arc::clone(self), Arc::clone(trail));
        let (step, body) = (step.to_owned(), body.to_owned());
        self.in_flight.fetch_add(1, Relaxed);
        spawn_local(async move {
            tokio::time::sleep(delay).await;
            engine.deliver(number, &step, &body, &trail).await;
            engine.in_flight.fetch_sub(1, Relaxed);
        });
    }

    /// Reconciles the shop as the hourly run does, when everything has been at rest for long enough.
    ///
    /// # Panics
    /// Memory fails.
    pub async fn reconcile(self: &Arc<Self>) -> ReconciliationReport {
        sleep(2 * MIN_AGE).await;
        let process = ServiceCaller::start(&self.clock, &self.faults, &Trail::new(usize::MAX));
        let (_, queues) = self.ports_of(&process, &Arc::new(Mutex::new(Instant::now())));
        let tasks = Client::new(self.table.clone(), queues, self.clock.clone());
        let until = self.clock.now() + MIN_AGE;
        let scope = Scope { mend: true, all_refunds: true, min_age: MIN_AGE, until };
        let shop = &self.world.shop;
        Reconciliation::new(shop.clone(), shop.clone(), tasks).run(&scope).await.expect("memory does not fail")
    }

    /// The workflow of all tasks.
    pub fn workflow(&self) -> &Workflow {
        &self.workflow
    }

    /// The trail of a task's checkout.
    ///
    /// # Panics
    /// No customer has started the task.
    pub fn trail_of(&self, task: TaskId) -> Arc<Trail> {
        Arc::clone(locked(&self.trails).get(&task).expect("a customer has ordered it"))
    }

    /// Runs the watchdog every minute, as long as it may find something to do.
    pub async fn watch(self: &Arc<Self>) {
        let mut minutes = interval(WATCHDOG_INTERVAL);
        for run in 0.. {
            minutes.tick().await;
            if self.closed.load(Relaxed) && self.in_flight.load(Relaxed) == 0 && !self.table.is_watched()
                || run > MAX_WATCHDOG_RUNS
            {
                return;
            }
            // The watchdog belongs to no checkout, so its calls draw faults of their own.
            let process = ServiceCaller::start(&self.clock, &self.faults, &Trail::new(usize::MAX - run));
            let (table, queues) = self.ports_of(&process, &Arc::new(Mutex::new(Instant::now())));
            let watchdog = Watchdog::new(table, queues, self.clock.clone());
            let bounds = RunBudget {
                until: self.clock.now() + WATCHDOG_TIMEOUT.saturating_sub(WATCHDOG_RESERVE),
                tasks: usize::MAX,
            };
            let _ = process.live(WATCHDOG_TIMEOUT, watchdog.run(bounds)).await;
        }
    }

    /// Says that no more customers come.
    pub fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    /// Keeps a message that no step can use, with the reason.
    pub fn reject(&self, body: &str, reason: &str) {
        locked(&self.undeliverable).push(format!("{reason}: {body}"));
    }

    async fn deliver(self: &Arc<Self>, number: u64, step: &str, body: &str, trail: &Arc<Trail>) {
        for received in 1..=MAX_RECEIVES {
            sleep(POLL_DELAY).await;
            let limit = self.function_limit(step);
            let hidden_until = Arc::new(Mutex::new(Instant::now() + limit));
            let process = ServiceCaller::start(&self.clock, &self.faults, trail);
            let batch = [Received {
                receipt: Some(format!("receipt-{number}-{received}")),
                receives: Some(received),
                ..message(&format!("message-{number}"), body)
            }];
            let now = self.clock.now();
            let invocation = Invocation::new(format!("request-{number}-{received}"), now + limit, now);
            let work = self.work(step, &batch, &invocation, &process, &hidden_until);
            let done = process.live(limit, work).await == Some(true);
            if done && !self.faults.delivered_again(trail.number, number, received) {
                return;
            }
            let until = *locked(&hidden_until);
            sleep_until(until).await;
        }
        self.reject(body, "received too often");
    }

    /// Runs one invocation of a step's function; answers whether SQS may delete the message.
    async fn work(
        self: &Arc<Self>,
        step: &str,
        batch: &[Received],
        invocation: &Invocation,
        process: &Arc<ServiceCaller>,
        hidden_until: &Arc<Mutex<Instant>>,
    ) -> bool {
        let shop = &Services::new(&self.world, process);
        let ports = self.ports_of(process, hidden_until);
        let queue = StepQueue::new(&self.workflow.id().name, step);
        let run = StepInvocation { queue, ports, clock: &self.clock, batch, invocation };
        macro_rules! run_it {
            ($name:literal, $($library:tt)+) => {
                if step == $name {
                    return run.of($($library)+::step(shop)).await;
                }
            };
        }
        tasks_api::each_checkout_step!(run_it);
        panic!("there is no function for step `{step}`")
    }

    fn ports_of(
        self: &Arc<Self>,
        process: &Arc<ServiceCaller>,
        hidden_until: &Arc<Mutex<Instant>>,
    ) -> (FaultyStore<ServiceTransport>, Queues) {
        (
            FaultyStore::new(ServiceTransport(Arc::clone(process)), self.table.clone()),
            Queues::new(self, process, hidden_until),
        )
    }

    fn function_limit(&self, step: &str) -> Duration {
        let plan = self.workflow.plan();
        let handler = plan.step(step).expect("a step of the checkout").timeout_seconds;
        Duration::from_secs(handler.into()) + HANDLER_OVERHEAD
    }
}

/// One invocation of a step's function: its queue, its ports and its batch.
struct StepInvocation<'a> {
    queue: StepQueue,
    ports: (FaultyStore<ServiceTransport>, Queues),
    clock: &'a VirtualTime,
    batch: &'a [Received],
    invocation: &'a Invocation,
}

impl StepInvocation<'_> {
    /// Gives the batch to this step's worker; answers whether SQS may delete all of it.
    async fn of<S: Step>(self, step: Result<S, ConfigError>) -> bool {
        let step = step.expect("the defaults make sense");
        let (table, queues) = self.ports;
        let worker = Worker::new(self.queue, step, table, queues, self.clock.clone());
        worker.handle(self.batch, self.invocation).await.is_empty()
    }
}
