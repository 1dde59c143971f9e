//! Our checkout: the engine's own client and workers over the deployed steps, each delivery in a process of its own
//! that may die.
//!
//! What stands in for AWS is here and in its neighbours: messages that are handed out until somebody is done with them,
//! a table in memory, and a page that sends its request again, under the same idempotency key, until it has an answer.

use super::{
    customers::Customer,
    faults::Faults,
    locked,
    messages::Queues,
    process::{Clock, Process, Trail},
    report::End,
    services::Services,
    tables::ProcessWay,
    world::World,
};
use crate::{each_checkout_step, events::message};
use checkout::ConfigError;
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
use stepwell_simulation::{far::FaultyStore, sim::MemoryTable};
use tokio::{
    task::spawn_local,
    time::{Instant, interval, sleep, sleep_until},
};

/// How long the API's function may take; the template's figure.
const API_LIMIT: Duration = Duration::from_secs(10);

/// What a step's function may take longer than its handler; the template's figure.
const AROUND_THE_HANDLER: Duration = Duration::from_secs(5);

/// How often the watchdog runs; the template's figure.
const WATCH_EVERY: Duration = Duration::from_secs(60);

/// How long one run may take; the template's figure.
const WATCH_LIMIT: Duration = Duration::from_secs(55);

/// What a run keeps back of it, as `stepwell_aws::serve_watchdog` does.
const WATCH_RESERVE: Duration = Duration::from_secs(5);

/// Nothing takes that many runs: what goes on after them goes on for ever.
const MOST_RUNS: usize = 7 * 24 * 60;

/// How often SQS hands out a message before it gives it up; the template's figure.
const MAX_RECEIVES: u32 = 100;

/// Between a message's arrival and its worker's start.
const POLL: Duration = Duration::from_millis(20);

/// How long the page goes on sending a request that has had no answer.
pub const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// The longest pause of the page between two requests.
pub const MAX_INSPECTION_INTERVAL: Duration = Duration::from_secs(30);

/// Our shop, running.
#[derive(Debug)]
pub struct Engine {
    world: Arc<World>,
    table: MemoryTable,
    clock: Clock,
    faults: Arc<Faults>,
    workflow: Workflow,
    messages: AtomicU64,
    in_flight: AtomicUsize,
    closed: AtomicBool,
    trails: Mutex<BTreeMap<TaskId, Arc<Trail>>>,
    buried: Mutex<Vec<String>>,
}

/// What has become of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its end.
    pub end: End,
    /// When it came to it.
    pub at: Option<Timestamp>,
    /// Whether it had failed in between, and was then redriven by itself.
    pub redriven: bool,
}

impl Engine {
    /// A shop without tasks.
    pub fn new(world: &Arc<World>, clock: &Clock, faults: &Arc<Faults>, workflow: Workflow) -> Arc<Self> {
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
            buried: Mutex::default(),
        })
    }

    /// Sends a customer's request until it is taken, for as long as the page has patience.
    pub async fn order(self: &Arc<Self>, customer: &Customer, trail: &Arc<Trail>) -> Option<TaskId> {
        let key: IdempotencyKey = format!("checkout-{}", trail.number).parse().expect("a key");
        let until = Instant::now() + PATIENCE;
        let mut pause = Duration::from_secs(1);
        loop {
            let process = Process::start(&self.clock, &self.faults, trail);
            locked(&self.trails).insert(process.task_id(), Arc::clone(trail));
            let (table, queues) = self.in_hands_of(&process, &Arc::new(Mutex::new(Instant::now())));
            let client = Client::new(table, queues, &*process);
            let start = client.start(&self.workflow, &customer.request, Some(&key));
            if let Some(Ok(started)) = process.live(API_LIMIT, start).await {
                return Some(started.task_id);
            }
            if Instant::now() + pause > until {
                return None;
            }
            sleep(pause).await;
            pause = (pause * 2).min(MAX_INSPECTION_INTERVAL);
        }
    }

    /// How the checkout of this task has ended; without a task none of its requests got through.
    ///
    /// # Panics
    /// Where there is no such task.
    pub async fn end_of(&self, task: Option<TaskId>) -> Ended {
        let Some(id) = task else {
            return Ended { end: End::Failed("no request got through".to_owned()), at: None, redriven: false };
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
        Ended { end, at: task.finished_at, redriven }
    }

    /// What no step could use, or came too often, and why.
    pub fn buried(&self) -> Vec<String> {
        locked(&self.buried).clone()
    }

    /// Puts a message into its queue: from there it comes to workers until one is done with it.
    pub fn carry(self: &Arc<Self>, step: &str, body: &str, trail: &Arc<Trail>) {
        let number = self.messages.fetch_add(1, Relaxed);
        let (engine, trail) = (Arc::clone(self), Arc::clone(trail));
        let (step, body) = (step.to_owned(), body.to_owned());
        self.in_flight.fetch_add(1, Relaxed);
        spawn_local(async move {
            engine.hand_out(number, &step, &body, &trail).await;
            engine.in_flight.fetch_sub(1, Relaxed);
        });
    }

    /// The workflow of all tasks.
    pub fn workflow(&self) -> &Workflow {
        &self.workflow
    }

    /// The trail of a task's checkout.
    ///
    /// # Panics
    /// Where no customer has ordered it.
    pub fn trail_of(&self, task: TaskId) -> Arc<Trail> {
        Arc::clone(locked(&self.trails).get(&task).expect("a customer has ordered it"))
    }

    /// Runs the watchdog every minute, for as long as it may find something to do.
    pub async fn watch(self: &Arc<Self>) {
        let mut minutes = interval(WATCH_EVERY);
        for run in 0.. {
            minutes.tick().await;
            if self.closed.load(Relaxed) && self.in_flight.load(Relaxed) == 0 && !self.table.is_watched()
                || run > MOST_RUNS
            {
                return;
            }
            // Its calls meet faults of their own, for it belongs to no checkout.
            let process = Process::start(&self.clock, &self.faults, &Trail::new(usize::MAX - run));
            let (table, queues) = self.in_hands_of(&process, &Arc::new(Mutex::new(Instant::now())));
            let watchdog = Watchdog::new(table, queues, self.clock.clone());
            let bounds =
                RunBudget { until: self.clock.now() + WATCH_LIMIT.saturating_sub(WATCH_RESERVE), tasks: 2_000 };
            let _ = process.live(WATCH_LIMIT, watchdog.run(bounds)).await;
        }
    }

    /// No customer comes any more.
    pub fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    /// Puts what no step can use aside.
    pub fn bury(&self, body: &str, reason: &str) {
        locked(&self.buried).push(format!("{reason}: {body}"));
    }

    async fn hand_out(self: &Arc<Self>, number: u64, step: &str, body: &str, trail: &Arc<Trail>) {
        for received in 1..=MAX_RECEIVES {
            sleep(POLL).await;
            let limit = self.function_limit(step);
            let hidden_until = Arc::new(Mutex::new(Instant::now() + limit));
            let process = Process::start(&self.clock, &self.faults, trail);
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
        self.bury(body, "received too often");
    }

    /// One invocation of a step's function; answers whether SQS may delete the message.
    async fn work(
        self: &Arc<Self>,
        step: &str,
        batch: &[Received],
        invocation: &Invocation,
        process: &Arc<Process>,
        hidden_until: &Arc<Mutex<Instant>>,
    ) -> bool {
        let shop = &Services::new(&self.world, process);
        let hands = self.in_hands_of(process, hidden_until);
        let queue = StepQueue::new(&self.workflow.id().name, step);
        let run = Run { queue, hands, clock: &self.clock, batch, invocation };
        macro_rules! run_it {
            ($name:literal, $library:ident) => {
                if step == $name {
                    return run.of($library::step(shop)).await;
                }
            };
        }
        each_checkout_step!(run_it);
        panic!("there is no function for step `{step}`")
    }

    fn in_hands_of(
        self: &Arc<Self>,
        process: &Arc<Process>,
        hidden_until: &Arc<Mutex<Instant>>,
    ) -> (FaultyStore<ProcessWay>, Queues) {
        (
            FaultyStore::new(ProcessWay(Arc::clone(process)), self.table.clone()),
            Queues::new(self, process, hidden_until),
        )
    }

    fn function_limit(&self, step: &str) -> Duration {
        let plan = self.workflow.plan();
        let handler = plan.step(step).expect("a step of the checkout").timeout_seconds;
        Duration::from_secs(handler.into()) + AROUND_THE_HANDLER
    }
}

/// One invocation: what is handed to the worker of this queue, and through whose hands it works.
struct Run<'a> {
    queue: StepQueue,
    hands: (FaultyStore<ProcessWay>, Queues),
    clock: &'a Clock,
    batch: &'a [Received],
    invocation: &'a Invocation,
}

impl Run<'_> {
    /// Has this step work the batch; answers whether SQS may delete all of it.
    async fn of<S: Step>(self, step: Result<S, ConfigError>) -> bool {
        let step = step.expect("the defaults make sense");
        let (table, queues) = self.hands;
        let worker = Worker::new(self.queue, step, table, queues, self.clock.clone());
        worker.handle(self.batch, self.invocation).await.is_empty()
    }
}
