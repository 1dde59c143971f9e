//! A run: checkouts come at a rate, and the engine's own client, workers, timer feeder and watchdog serve them under AWS's quotas, in virtual
//! time.
//!
//! One checkout of a run stands for `scale` of them. So a call takes `scale` times its units, and a step has so many times fewer places for
//! messages. Where that leaves less than one place, or a part of one, the message keeps its place for longer after its end, so that as many
//! are served in a second as at full scale, while each takes as long as there.
//!
//! A message goes to the first copy of a function that is free, as with Lambda, so a busy copy counts its own failures as fast as at full
//! scale. The probe of an open breaker is one message at any scale: one of those that a message stands for.

use super::{
    buckets::Bucket,
    meters::{Meters, Used},
    setup::{Function, Setup, Stated},
    table::{Calls, LimitedTable, MeteredQueues},
};
use crate::{
    lock,
    outage::{OutageKind, call, request},
    queues::{Clock, Sqs},
};
use checkout_api::OUT_FOR as REFUSED_AFTER;
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use stepwell::{
    Client, Runtime, TaskId, Timestamp, Workflow,
    core::{
        breaker::{self, Breaker},
        item::Key,
        message::{QueueName, StepQueue},
        state::TaskStatus,
    },
    runtime::{
        backlog::BacklogView,
        breaker::ServiceBreaker,
        timer_feeder::TimerFeeder,
        watchdog::{RunBudget, Watchdog},
        worker::{Invocation, Worker},
    },
    testing::{MemoryStore, VirtualClock, stored_bytes},
};
use stepwell_simulation::steps::{Script, StepRun};
use tokio::{
    sync::Notify,
    task::{LocalSet, spawn_local},
    time::{Instant, sleep, sleep_until},
};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// For how long as many checkouts have to be completed as come, until an outage counts as over.
const RECOVERED_WITHIN: Duration = Duration::from_secs(30);

/// How many tasks are measured, to know how large one is.
const MEASURED_TASKS: usize = 100;

/// The service that every checkout needs.
const GATEWAY: &str = "payment_gateway";

/// What comes in.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Checkouts a second at full scale.
    pub rate: u64,
    /// For how long they come.
    pub lasts: Duration,
    /// From when on the run is measured.
    pub measured_from: Duration,
    /// How the payment gateway is out, if it is.
    pub outage: Option<Out>,
}

/// An outage of the payment gateway.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    /// How it is out.
    pub kind: OutageKind,
    /// From when on.
    pub from: Duration,
    /// Until when.
    pub until: Duration,
}

impl Out {
    /// How it is out at this time, if it is.
    pub(super) fn is_out(&self, now: Timestamp) -> Option<OutageKind> {
        (self.from..self.until).contains(&now.since(VirtualClock::START)).then_some(self.kind)
    }
}

/// What a run shows, at full scale.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The checkouts that customers wanted to start, by what became of that.
    pub starts: Starts,
    /// The same, of the time that is measured.
    pub measured_starts: Starts,
    /// Checkouts that were completed in the time that is measured.
    pub completed: u64,
    /// How long they took, in seconds, in order.
    pub took: Vec<f64>,
    /// What was used in the time that is measured.
    pub used: Used,
    /// Its length in seconds.
    pub seconds: f64,
    /// The most write units a second that the table and its index take at the end.
    pub write_rates: [f64; 2],
    /// The most read units a second that the table takes at the end.
    pub read_rate: f64,
    /// The write units a second of the partitions of the index, all shards of each together.
    pub shards: BTreeMap<String, f64>,
    /// The share of the places for messages that were in use in the time that is measured, by step.
    pub busy: BTreeMap<String, f64>,
    /// The most messages in flight in one queue.
    pub in_flight: u64,
    /// The most concurrent invocations of all functions together.
    pub concurrency: f64,
    /// The most checkouts that were open at a time.
    pub open: u64,
    /// Seconds from the begin of the outage until the breaker was open.
    pub opened_after: f64,
    /// Seconds from the end of the outage until as many checkouts are completed as come.
    pub recovered_after: f64,
    /// The most tasks that one run of the watchdog inspected.
    pub inspected: u64,
    /// The bytes of a task and its steps in the table, as a mean.
    pub bytes: f64,
    /// How the checkouts had ended by the end of the run.
    pub ended: BTreeMap<String, u64>,
}

impl Seen {
    /// How long this share of the checkouts took at most, in seconds.
    pub fn took_at(&self, share: f64) -> f64 {
        let number = (self.took.len() as f64 * share) as usize;
        self.took.get(number).or(self.took.last()).copied().unwrap_or(f64::INFINITY)
    }
}

/// Starts of checkouts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Starts {
    /// All that customers wanted.
    pub wanted: u64,
    /// The API's throttle turned them away, with 429.
    pub throttled: u64,
    /// The API refused them, with 503, because they would not have been completed soon.
    pub refused: u64,
    /// DynamoDB's throttling was longer than the client's patience. They got 503, too.
    pub failed: u64,
    /// They were started.
    pub started: u64,
}

type TimedQueues = MeteredQueues<Sqs>;
type CopyWorker = Worker<Script, LimitedTable, TimedQueues, Clock>;

/// The function of one step, with its queue.
struct Pool {
    step: String,
    queue: QueueName,
    function: Function,
    most_in_flight: u64,
    state: Mutex<PoolState>,
    freed: Notify,
}

struct PoolState {
    copies: Vec<Rc<CopyWorker>>,
    free: BTreeSet<usize>,
    /// The places that are in use.
    busy: usize,
    /// The messages in flight at full scale.
    in_flight: u64,
    /// The batches that Lambda's pollers bring at a time now.
    concurrency: f64,
    /// The time that messages have kept places, in seconds, at full scale.
    place_seconds: f64,
}

struct Cloud {
    setup: Setup,
    load: Load,
    scale: u64,
    workflow: Workflow,
    clock: Clock,
    table: LimitedTable,
    queues: TimedQueues,
    pools: Vec<Rc<Pool>>,
    gateway: ServiceBreaker,
    backlog: BacklogView,
    api: Mutex<Bucket>,
    seen: Mutex<Watched>,
}

/// What a run has shown so far.
#[derive(Default)]
struct Watched {
    seen: Seen,
    tasks: Vec<TaskId>,
    open: Vec<TaskId>,
    opened_at: Option<Timestamp>,
    at_measured: Option<Totals>,
}

/// What was used from the begin of a run on.
#[derive(Clone, Default)]
struct Totals {
    used: Used,
    /// By partition of the index, without the shard.
    shards: BTreeMap<String, f64>,
    /// By step.
    place_seconds: BTreeMap<String, f64>,
}

/// Runs a load on a setup.
///
/// # Panics
/// The run cannot be set up.
pub fn run(setup: &Setup, load: Load, scale: u64, seed: u64) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let (runtime, tasks) = (runtime.expect("a runtime"), LocalSet::new());
    let seen = tasks.block_on(&runtime, async { Cloud::new(setup.clone(), load, scale, seed).play().await });
    drop(tasks);
    seen
}

impl Pool {
    fn state(&self) -> MutexGuard<'_, PoolState> {
        lock(&self.state)
    }

    /// The places for messages at the scale of the run, and how many of them there are as a whole.
    fn places(&self, state: &PoolState, scale: u64) -> (f64, usize) {
        let places = state.concurrency * self.function.batch_size / scale as f64;
        (places, places.ceil().max(1.0) as usize)
    }

    fn has_place(&self, scale: u64) -> bool {
        let state = self.state();
        state.in_flight + scale <= self.most_in_flight && state.busy < self.places(&state, scale).1
    }

    /// The share of its places that is in use.
    fn share(&self, scale: u64) -> f64 {
        let state = self.state();
        state.busy as f64 / self.places(&state, scale).1 as f64
    }
}

impl Cloud {
    fn new(setup: Setup, load: Load, scale: u64, seed: u64) -> Rc<Self> {
        let (clock, call) = (Clock::new(seed), setup.stated.call);
        let meters = Arc::new(Mutex::new(Meters::new(&setup, scale)));
        let calls = Calls { meters, clock: clock.clone(), call };
        let queues = MeteredQueues { queues: Sqs::new(clock.clone()), calls: calls.clone() };
        let (store, service) = (MemoryStore::default(), setup.stated.service);
        let table = LimitedTable { store, calls, outage: load.outage, service };
        let pools = setup.functions.iter().map(|(step, function)| {
            let concurrency = setup.quotas.event_source_mapping.first.min(function.max_concurrency);
            let (copies, free) = (Vec::new(), BTreeSet::new());
            let state = PoolState { copies, free, busy: 0, in_flight: 0, concurrency, place_seconds: 0.0 };
            Rc::new(Pool {
                step: step.clone(),
                queue: StepQueue::new("checkout", step).into(),
                function: *function,
                most_in_flight: setup.quotas.sqs.in_flight as u64,
                state: Mutex::new(state),
                freed: Notify::new(),
            })
        });
        let pools = pools.collect();
        Rc::new(Self {
            workflow: checkout::workflow().expect("the workflow"),
            gateway: ServiceBreaker::new(GATEWAY),
            backlog: BacklogView::default(),
            api: Mutex::default(),
            seen: Mutex::default(),
            setup,
            load,
            scale,
            clock,
            table,
            queues,
            pools,
        })
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        lock(&self.seen)
    }

    fn meters(&self) -> MutexGuard<'_, Meters> {
        lock(&self.table.calls.meters)
    }

    fn totals(&self) -> Totals {
        let used = self.meters().used.clone();
        Totals { used, shards: self.shards(), place_seconds: self.place_seconds() }
    }

    fn elapsed(&self) -> Duration {
        self.clock.now().since(VirtualClock::START)
    }

    async fn play(self: Rc<Self>) -> Seen {
        for pool in &self.pools {
            spawn_local(self.clone().poll(pool.clone()));
        }
        spawn_local(self.clone().seconds());
        spawn_local(self.clone().minutes());
        let begin = Instant::now();
        let arrivals = self.load.lasts.as_secs() * self.load.rate / self.scale;
        for number in 0..arrivals {
            sleep_until(begin + Duration::from_micros(number * 1_000_000 * self.scale / self.load.rate)).await;
            spawn_local(self.clone().customer());
        }
        sleep_until(begin + self.load.lasts).await;
        self.report()
    }

    /// A customer.
    async fn customer(self: Rc<Self>) {
        let is_measured = self.elapsed() >= self.load.measured_from;
        let count = |which| self.count(is_measured, which);
        let (now, requests) = (self.clock.now(), self.setup.stated.requests * self.scale as f64);
        if !self.api_admits(requests, now) {
            return count(|starts| &mut starts.throttled);
        }
        let client = Client::new(self.table.clone(), self.queues.clone(), self.clock.clone());
        let refused = match client.out_since(&self.gateway).await {
            Some(since) if since + REFUSED_AFTER <= self.clock.now() => true,
            _ => client.overload(&self.backlog, &self.workflow).await.is_some(),
        };
        let started = match refused {
            true => None,
            false => Some(client.start(&self.workflow, &request(), None).await),
        };
        let (took, Stated { cpu, .. }) = (self.clock.now().since(now), self.setup.stated);
        self.meters().invoked("checkout_api", took, cpu, self.setup.api_memory_mb);
        match started {
            None => count(|starts| &mut starts.refused),
            Some(Err(_)) => count(|starts| &mut starts.failed),
            Some(Ok(started)) => {
                count(|starts| &mut starts.started);
                let mut watched = self.watched();
                watched.tasks.push(started.task_id);
                watched.open.push(started.task_id);
            }
        }
    }

    /// Whether API Gateway lets these requests pass.
    fn api_admits(&self, requests: f64, now: Timestamp) -> bool {
        let (mut api, limit) = (lock(&self.api), self.setup.api);
        let admits = api.has_some(limit.requests, limit.burst, now);
        if admits {
            api.take(requests);
            self.meters().used.api_requests += requests as u64;
        }
        admits
    }

    fn count(&self, is_measured: bool, which: fn(&mut Starts) -> &mut u64) {
        let mut watched = self.watched();
        let Seen { starts, measured_starts, .. } = &mut watched.seen;
        for starts in [Some(starts), is_measured.then_some(measured_starts)].into_iter().flatten() {
            starts.wanted += self.scale;
            *which(starts) += self.scale;
        }
    }

    /// Lambda's pollers of one queue.
    async fn poll(self: Rc<Self>, pool: Rc<Pool>) {
        loop {
            self.queues.queues.due(&pool.queue).await;
            if !pool.has_place(self.scale) {
                pool.freed.notified().await;
                continue;
            }
            let Some((message, _)) = self.queues.queues.receive(&pool.queue, pool.function.timeout) else { continue };
            let (number, worker) = self.take_copy(&pool);
            let (cloud, pool) = (self.clone(), pool.clone());
            spawn_local(async move {
                let now = cloud.clock.now();
                let life = pool.function.timeout;
                let invocation = Invocation::new(format!("{}/{}", pool.step, message.id), now + life, now);
                let kept = worker.handle(std::slice::from_ref(&message), &invocation).await;
                let took = cloud.clock.now().since(now);
                let deletes = u64::from(kept.is_empty());
                if kept.is_empty() {
                    let mut state = pool.state();
                    state.in_flight = state.in_flight.saturating_sub(cloud.scale);
                    drop(state);
                    cloud.queues.queues.delete(message.receipt.as_deref().unwrap_or_default());
                }
                {
                    let mut meters = cloud.meters();
                    meters.invoked(&pool.step, took, cloud.setup.stated.cpu, pool.function.memory_mb);
                    meters.used.sqs_requests += (1 + deletes) * meters.scale;
                }
                pool.state().free.insert(number);
                pool.state().place_seconds += took.as_secs_f64() * cloud.scale as f64;
                cloud.keep_place(&pool, took).await;
                pool.state().busy -= 1;
                pool.freed.notify_one();
            });
        }
    }

    /// Keeps the place of a message that took this long, until as much time of the places has passed as at full scale.
    async fn keep_place(&self, pool: &Pool, took: Duration) {
        let share = |pool: &Pool| {
            let (places, whole) = pool.places(&pool.state(), self.scale);
            places / whole as f64
        };
        let mut left = took.as_secs_f64() * (1.0 - share(pool));
        while left > 0.0 && !self.holds_back(&pool.step) {
            let share = share(pool);
            let step = (left / share).clamp(0.001, 1.0);
            sleep(Duration::from_secs_f64(step)).await;
            left -= step * share;
        }
    }

    /// Whether the breaker of the step's service is open, so that the messages at full scale would not be attempted either.
    fn holds_back(&self, step: &str) -> bool {
        self.workflow.waits_on(step).is_some_and(|service| is_open(&self.table.store, service))
    }

    /// The first copy that is free, or another one.
    fn take_copy(&self, pool: &Pool) -> (usize, Rc<CopyWorker>) {
        let mut state = pool.state();
        let number = state.free.pop_first().unwrap_or(state.copies.len());
        if number == state.copies.len() {
            state.copies.push(Rc::new(self.new_copy(pool)));
        }
        state.in_flight += self.scale;
        state.busy += 1;
        (number, state.copies[number].clone())
    }

    fn new_copy(&self, pool: &Pool) -> CopyWorker {
        let service = self.workflow.waits_on(&pool.step).map(str::to_owned);
        let (clock, load) = (self.clock.clone(), self.load);
        let takes = if service.is_some() { self.setup.stated.service } else { self.setup.stated.handler };
        let script = Script::slow(move |run: StepRun| {
            let out = load.outage.filter(|_| service.as_deref() == Some(GATEWAY));
            let out = out.and_then(|out| out.is_out(clock.now()));
            let work = call(out, takes);
            // The number by which an order is found.
            async move { work.await.map(|_| serde_json::json!({ "order_number": run.facts.task_id })) }
        });
        let worker = Worker::new(
            StepQueue::new("checkout", &pool.step),
            script,
            self.table.clone(),
            self.queues.clone(),
            self.clock.clone(),
        );
        let breaker = self.workflow.breaker_of(&pool.step).map(|service| Arc::new(ServiceBreaker::new(service)));
        worker.guarded_by(breaker)
    }

    /// Runs the timer feeder and the watchdog each minute, with as much time as they need. `Seen::inspected` says how much that is.
    async fn minutes(self: Rc<Self>) {
        loop {
            sleep(MINUTE).await;
            let budget = || RunBudget { until: self.clock.now() + MINUTE, tasks: usize::MAX };
            let ports = || (self.table.store.clone(), self.queues.queues.clone(), self.clock.clone());
            let (store, queues, clock) = ports();
            TimerFeeder::new(store, queues, clock).run(budget()).await.expect("the feeder runs");
            let (store, queues, clock) = ports();
            let report = Watchdog::new(store, queues, clock).run(budget()).await.expect("the watchdog runs");
            let seen = &mut self.watched().seen;
            seen.inspected = seen.inspected.max(report.inspected as u64 * self.scale);
        }
    }

    /// Looks each second at what is in use.
    async fn seconds(self: Rc<Self>) {
        let mapping = self.setup.quotas.event_source_mapping.clone();
        loop {
            sleep(SECOND).await;
            let (mut concurrency, mut most_in_flight) = (0.0, 0);
            let in_flight = self.queues.queues.in_flight();
            for pool in &self.pools {
                let in_flight = in_flight.get(&pool.queue).copied().unwrap_or_default() * self.scale;
                most_in_flight = in_flight.max(most_in_flight);
                pool.state().in_flight = in_flight;
                let (is_full, function) = (!pool.has_place(self.scale), pool.function);
                let share = pool.share(self.scale).min(1.0);
                let mut state = pool.state();
                // Batches fill only when there are more messages than invocations.
                concurrency += (share * state.concurrency * function.batch_size).min(state.concurrency);
                if is_full {
                    let most = function.max_concurrency.min(mapping.most);
                    state.concurrency = (state.concurrency + mapping.more_a_minute / 60.0).min(most);
                }
                drop(state);
                pool.freed.notify_one();
            }
            self.watch(concurrency, most_in_flight);
            self.probe();
        }
    }

    /// Probes the gateway if that is due. At full scale enough messages wait for it that one of them comes each second.
    fn probe(&self) {
        let now = self.clock.now();
        let waits = |pool: &Rc<Pool>| {
            self.workflow.waits_on(&pool.step) == Some(GATEWAY) && !self.queues.queues.is_empty(&pool.queue)
        };
        if let Breaker::Open(open) = self.breaker()
            && open.probe_at <= now
            && self.pools.iter().any(waits)
        {
            self.table.probe(&breaker::claim_probe(GATEWAY, &open, now)).expect("a breaker can be read");
        }
    }

    fn breaker(&self) -> Breaker {
        Breaker::of(&self.table.store.item(&Key::Breaker(GATEWAY.to_owned())))
    }

    fn watch(&self, concurrency: f64, in_flight: u64) {
        let (now, elapsed) = (self.clock.now(), self.elapsed());
        let has_ended =
            |task: &TaskId| self.table.store.with_task(*task, |task| task.finished_at.is_some()).unwrap_or_default();
        let mut watched = self.watched();
        let Watched { seen, open, opened_at, at_measured, .. } = &mut *watched;
        seen.concurrency = seen.concurrency.max(concurrency);
        seen.in_flight = seen.in_flight.max(in_flight);
        open.retain(|task| !has_ended(task));
        seen.open = seen.open.max(open.len() as u64 * self.scale);
        if at_measured.is_none() && elapsed >= self.load.measured_from {
            *at_measured = Some(self.totals());
        }
        let Some(out) = self.load.outage else { return };
        if opened_at.is_none() && elapsed >= out.from && is_open(&self.table.store, GATEWAY) {
            *opened_at = Some(now);
            seen.opened_after = (elapsed - out.from).as_secs_f64();
        }
    }

    /// When, after the return, as many checkouts were completed within [`RECOVERED_WITHIN`] as come.
    fn recovered_after(&self, completed_at: &[f64]) -> f64 {
        let Some(out) = self.load.outage else { return 0.0 };
        let (back, within) = (out.until.as_secs_f64(), RECOVERED_WITHIN.as_secs_f64());
        let after = &completed_at[completed_at.partition_point(|at| *at < back)..];
        let as_many = (0.95 * within * self.load.rate as f64 / self.scale as f64) as usize;
        let first = after.windows(as_many.max(1)).find(|these| these[these.len() - 1] - these[0] <= within);
        first.map_or(f64::INFINITY, |these| these[0] - back)
    }

    /// The units taken in the partitions of the index, by partition without the shard.
    fn shards(&self) -> BTreeMap<String, f64> {
        let mut taken = BTreeMap::new();
        for (partition, bucket) in &self.meters().shards {
            let (partition, _) = partition.split_once('#').expect("a partition and its shard");
            *taken.entry(partition.to_owned()).or_default() += bucket.taken;
        }
        taken
    }

    fn place_seconds(&self) -> BTreeMap<String, f64> {
        self.pools.iter().map(|pool| (pool.step.clone(), pool.state().place_seconds)).collect()
    }

    fn report(&self) -> Seen {
        let Totals { used, shards, place_seconds } = self.totals();
        let now = self.clock.now();
        let watched = self.watched();
        let mut seen = watched.seen.clone();
        let before = watched.at_measured.clone().unwrap_or_default();
        seen.seconds = (self.load.lasts - self.load.measured_from).as_secs_f64();
        seen.used = used.since(&before.used);
        {
            let meters = self.meters();
            seen.write_rates = [meters.writes.rate(now), meters.index.rate(now)];
            seen.read_rate = meters.reads.rate(now);
        }
        let since = |now: BTreeMap<String, f64>, before: &BTreeMap<String, f64>| {
            let of = |(name, value): (String, f64)| {
                let before = before.get(&name).copied().unwrap_or_default();
                (name, (value - before) / seen.seconds)
            };
            now.into_iter().map(of).collect::<BTreeMap<_, _>>()
        };
        seen.shards = since(shards, &before.shards);
        seen.busy = since(place_seconds, &before.place_seconds);
        for (step, places) in &mut seen.busy {
            *places /= self.setup.functions[step].messages_at_a_time();
        }
        let from = VirtualClock::START + self.load.measured_from;
        let mut completed_at = Vec::new();
        let bytes = |task: &TaskId| {
            let steps = self.table.store.all(*task).steps;
            let steps = steps.keys().map(|step| Key::Step(*task, step.clone()));
            let keys = steps.chain([Key::Task(*task)]);
            keys.map(|key| stored_bytes(&key, &self.table.store.item(&key))).sum::<usize>()
        };
        let some = &watched.tasks[..watched.tasks.len().min(MEASURED_TASKS)];
        seen.bytes = some.iter().map(bytes).sum::<usize>() as f64 / some.len() as f64;
        for task in &watched.tasks {
            let (status, began, ended) = self
                .table
                .store
                .with_task(*task, |task| (task.state.status(), task.created_at, task.finished_at))
                .expect("a task");
            *seen.ended.entry(status.as_str().to_owned()).or_default() += self.scale;
            let is_complete = status == TaskStatus::Complete;
            if let Some(ended) = ended.filter(|ended| is_complete && *ended >= from) {
                completed_at.push(ended.since(VirtualClock::START).as_secs_f64());
                seen.completed += self.scale;
                seen.took.push(ended.since(began).as_secs_f64());
            }
        }
        seen.took.sort_by(f64::total_cmp);
        completed_at.sort_by(f64::total_cmp);
        seen.recovered_after = self.recovered_after(&completed_at);
        seen
    }
}

fn is_open(store: &MemoryStore, service: &str) -> bool {
    matches!(Breaker::of(&store.item(&Key::Breaker(service.to_owned()))), Breaker::Open(_))
}
