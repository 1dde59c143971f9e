//! The hour of outage: checkouts go on arriving while the payment gateway is out, in virtual time.
//!
//! The engine's own worker, client, timer feeder and watchdog run over a store in memory and queues with SQS's semantics. The steps do
//! nothing but take their time; those that wait on the gateway meet its outage. Every fiftieth customer cancels ten minutes after the
//! checkout, so refunds become due before, during and after the outage. New checkouts are not refused: that is the API's part, and
//! without it the backlog is as large as it can be.
//!
//! A run is scaled: one of [`CHECKOUTS_A_SECOND`] stands for so many, and a step's function has so many times fewer copies. What a
//! copy does takes as long as at full scale.

use crate::{
    lock,
    queues::{Clock, Sqs},
};
use futures::future::join_all;
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use stepwell::{
    Actor, Client, Runtime, StepError, TaskId, Timestamp, Workflow,
    core::{
        breaker::Breaker,
        item::Key,
        message::{QueueName, StepQueue},
        state::StepState,
    },
    ports::Received,
    retryable,
    runtime::{
        breaker::ServiceBreaker,
        timer_feeder::TimerFeeder,
        watchdog::{RunBudget, Watchdog},
        worker::{Invocation, Worker},
    },
    testing::{MemoryStore, VirtualClock},
};
use stepwell_simulation::steps::{Script, StepRun};
use tokio::{
    task::{LocalSet, spawn_local},
    time::{Instant, sleep, sleep_until},
};

/// The arrivals at full scale.
pub const CHECKOUTS_A_SECOND: u64 = 100;

/// The copies of a step's function at full scale. A gateway that answers in 0.3 s keeps 30 of them busy.
pub const COPIES: u64 = 1_000;

/// How many probes hang at a time: one each ten seconds, for thirty. There are as many at each scale, so a function has a copy more for each.
pub const PROBES_AT_A_TIME: u64 = 3;

/// What SQS allows in flight in one queue.
pub const MOST_IN_FLIGHT: u64 = 120_000;

/// The latest time at which a redrive or a refund has to begin, or to be parked.
pub const PUNCTUAL: Duration = Duration::from_secs(60);

/// When the outage begins, its length, and how much longer checkouts arrive.
const CALM: Duration = Duration::from_secs(15 * 60);
const OUT_FOR: Duration = Duration::from_secs(60 * 60);

/// The longest time that a run may take after the gateway is back.
const LONGEST_DRAIN: Duration = Duration::from_secs(2 * 60 * 60);

const MINUTE: Duration = Duration::from_secs(60);

/// How much longer an invocation lasts than an attempt: the deployed stack's figure.
const MARGIN: Duration = Duration::from_secs(5);

/// How often an idle copy looks for a message.
const POLL: Duration = Duration::from_millis(200);

/// One customer in so many cancels, ten minutes after the start.
const CANCELS_ONE_IN: u64 = 50;

/// How the gateway is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum OutageKind {
    /// It refuses each call after 100 ms.
    Refuses,
    /// It answers no call, so that each attempt ends with its timeout.
    Hangs,
}

/// An hour of outage.
#[derive(Clone, Copy, Debug)]
pub struct Outage {
    /// How the gateway is out.
    pub kind: OutageKind,
    /// How many checkouts one checkout of the run stands for.
    pub scale: u64,
    /// The seed of all random numbers.
    pub seed: u64,
}

/// What a run shows. Counts are as measured; multiply them by the scale.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The checkouts started.
    pub checkouts: u64,
    /// The attempts at the gateway during the outage before the breaker was opened, and after that.
    pub attempts_before_open: u64,
    /// The attempts that began while it was open.
    pub attempts_while_open: u64,
    /// Seconds from the outage's begin until the breaker was open.
    pub opened_after: f64,
    /// Seconds from the return until the breaker was closed.
    pub closed_after: f64,
    /// Longest delay in seconds with which a redrive began: the delivery of its message, after its time.
    pub latest_redrive: f64,
    /// Longest delay in seconds with which a refund began or was parked.
    pub latest_refund: f64,
    /// The redrives and the refunds that had to begin on time.
    pub punctual: u64,
    /// The most messages in flight in one queue.
    pub most_in_flight: u64,
    /// The payments that were parked when the gateway came back.
    pub payments_parked: u64,
    /// The refunds that were. Most are of payments that were tried as probes, of which there are as many at each scale.
    pub refunds_parked: u64,
    /// Seconds from the return until the last refund that was due before had been made.
    pub refunds_done_after: f64,
    /// Seconds from the return until the first payment, the probe aside, began.
    pub payments_from: f64,
    /// Seconds from the return until nothing of before was left.
    pub drained_after: f64,
    /// How the checkouts ended.
    pub ended: BTreeMap<String, u64>,
}

/// A run under way.
struct World {
    outage: Outage,
    workflow: Workflow,
    clock: Clock,
    store: MemoryStore,
    queues: Sqs,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    report: Report,
    tasks: BTreeSet<TaskId>,
    /// The refunds and payments that were due when the gateway came back.
    waiting: BTreeSet<(TaskId, String)>,
    opened_at: Option<Timestamp>,
    closed_at: Option<Timestamp>,
    /// The attempts after the return: when they began, and whether they were refunds.
    after: Vec<(Timestamp, bool)>,
}

impl Outage {
    /// Runs it.
    ///
    /// # Panics
    /// The run cannot be set up.
    pub fn run(&self) -> Report {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let (runtime, tasks) = (runtime.expect("a runtime"), LocalSet::new());
        let report = tasks.block_on(&runtime, async { World::new(*self).play().await });
        drop(tasks);
        report
    }
}

fn back_at() -> Timestamp {
    VirtualClock::START + CALM + OUT_FOR
}

impl World {
    fn new(outage: Outage) -> Rc<Self> {
        let clock = Clock::new(outage.seed);
        Rc::new(Self {
            outage,
            workflow: checkout::workflow().expect("the workflow"),
            queues: Sqs::new(clock.clone()),
            clock,
            store: MemoryStore::default(),
            seen: Mutex::default(),
        })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    fn client(&self) -> Client<MemoryStore, Sqs, Clock> {
        Client::new(self.store.clone(), self.queues.clone(), self.clock.clone())
    }

    fn breaker(&self) -> Breaker {
        Breaker::of(&self.store.item(&Key::Breaker("payment_gateway".to_owned())))
    }

    async fn play(self: Rc<Self>) -> Report {
        let plan = self.workflow.plan();
        for step in plan.steps().iter().chain(plan.compensations()) {
            for _ in 0..COPIES / self.outage.scale + PROBES_AT_A_TIME {
                let life = Duration::from_secs(step.timeout_seconds.into()) + MARGIN;
                spawn_local(self.clone().serve(step.name.clone(), life));
            }
        }
        spawn_local(self.clone().minutes());
        spawn_local(self.clone().watch_in_flight());
        let begin = Instant::now();
        let arrivals = (CALM + OUT_FOR + CALM).as_secs() * CHECKOUTS_A_SECOND / self.outage.scale;
        let mut customers = Vec::new();
        for number in 0..arrivals {
            let at = Duration::from_millis(number * 1_000 * self.outage.scale / CHECKOUTS_A_SECOND);
            sleep_until(begin + at).await;
            customers.push(spawn_local(self.clone().customer(number)));
        }
        join_all(customers).await;
        let until = back_at() + LONGEST_DRAIN;
        while !self.is_drained() && self.clock.now() < until {
            sleep(Duration::from_secs(1)).await;
        }
        // What is left fails at its deadline, and is undone.
        sleep(Duration::from_secs(60 * 60)).await;
        self.report()
    }

    /// A checkout, which may be cancelled ten minutes later.
    async fn customer(self: Rc<Self>, number: u64) {
        let started = self.client().start(&self.workflow, &request(), None).await.expect("a start");
        {
            let mut seen = self.seen();
            seen.report.checkouts += 1;
            seen.tasks.insert(started.task_id);
        }
        if number.is_multiple_of(CANCELS_ONE_IN) {
            sleep(10 * MINUTE).await;
            let who = Actor::new("customer", "has thought again").expect("an actor");
            // A checkout that has failed meanwhile cannot be cancelled, or is undone anyway.
            let _ = self.client().cancel(started.task_id, &who).await;
        }
    }

    /// One copy of a step's function.
    async fn serve(self: Rc<Self>, step: String, life: Duration) {
        let serves = StepQueue::new("checkout", &step);
        let queue = QueueName::from(serves.clone());
        let breaker = self.workflow.breaker_of(&step).map(|service| Arc::new(ServiceBreaker::new(service)));
        let calls_gateway = self.workflow.waits_on(&step) == Some("payment_gateway");
        let (clock, outage) = (self.clock.clone(), self.outage);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let begun = seen.clone();
        let script = Script::slow(move |run: StepRun| {
            lock(&begun).push(run.facts.task_id);
            let clock = clock.clone();
            async move {
                let is_out = calls_gateway && (CALM..CALM + OUT_FOR).contains(&clock.now().since(VirtualClock::START));
                let takes = Duration::from_millis(if calls_gateway { 300 } else { 20 });
                call(is_out.then_some(outage.kind), takes).await
            }
        });
        let mut number = 0_u64;
        loop {
            let Some((message, due)) = self.queues.receive(&queue, life) else {
                sleep(POLL).await;
                continue;
            };
            self.received(&step, &message, due);
            number += 1;
            let now = self.clock.now();
            let invocation = Invocation::new(format!("request-{number}"), now + life, now);
            let worker = Worker::new(
                serves.clone(),
                script.clone(),
                self.store.clone(),
                self.queues.clone(),
                self.clock.clone(),
            );
            let was_open = matches!(self.breaker(), Breaker::Open(_));
            let kept = worker.guarded_by(breaker.clone()).handle(std::slice::from_ref(&message), &invocation).await;
            if kept.is_empty() {
                self.queues.delete(message.receipt.as_deref().unwrap_or_default());
            }
            for task in std::mem::take(&mut *lock(&seen)) {
                if calls_gateway {
                    self.attempted(task, &step, now, was_open);
                }
            }
        }
    }

    /// Takes note of a delivery, and of how late it is.
    fn received(&self, step: &str, message: &Received, due: Timestamp) {
        let late = self.clock.now().since(due).as_secs_f64();
        let task: Value = serde_json::from_str(&message.body).expect("JSON");
        let task = task["task_id"].as_str().and_then(|id| id.parse().ok()).expect("a task");
        let mut seen = self.seen();
        let report = &mut seen.report;
        if step == "refund_payment" {
            report.latest_refund = report.latest_refund.max(late);
            report.punctual += 1;
        } else if self.store.step(task, step).state == StepState::Error {
            report.latest_redrive = report.latest_redrive.max(late);
            report.punctual += 1;
        }
    }

    /// Takes note of an attempt at the gateway.
    fn attempted(&self, task: TaskId, step: &str, begun_at: Timestamp, was_open: bool) {
        let is_refund = step == "refund_payment";
        let mut seen = self.seen();
        if begun_at >= back_at() {
            if !was_open {
                seen.after.push((begun_at, is_refund));
            }
        } else if begun_at >= VirtualClock::START + CALM {
            match was_open {
                true => seen.report.attempts_while_open += 1,
                false => seen.report.attempts_before_open += 1,
            }
        }
        let (now, back) = (self.clock.now(), back_at());
        let after = now.since(back).as_secs_f64();
        if now >= back && self.store.step(task, step).state.is_done() && seen.waiting.remove(&(task, step.to_owned())) {
            seen.report.drained_after = seen.report.drained_after.max(after);
            if is_refund {
                seen.report.refunds_done_after = seen.report.refunds_done_after.max(after);
            }
        }
    }

    /// Whether nothing is left that was due when the gateway came back, apart from what has failed meanwhile.
    fn is_drained(&self) -> bool {
        let mut seen = self.seen();
        let waits = |(task, step): &(TaskId, String)| {
            matches!(
                self.store.step(*task, step).state,
                StepState::Pending | StepState::Retrying | StepState::InProgress
            )
        };
        seen.waiting.retain(waits);
        self.clock.now() > back_at() && seen.waiting.is_empty()
    }

    /// Runs the timer feeder and the watchdog each minute.
    async fn minutes(self: Rc<Self>) {
        loop {
            sleep(MINUTE).await;
            let budget = || RunBudget { until: self.clock.now() + MINUTE, tasks: usize::MAX };
            let ports = || (self.store.clone(), self.queues.clone(), self.clock.clone());
            let (store, queues, clock) = ports();
            TimerFeeder::new(store, queues, clock).run(budget()).await.expect("the feeder runs");
            let (store, queues, clock) = ports();
            Watchdog::new(store, queues, clock).run(budget()).await.expect("the watchdog runs");
        }
    }

    /// Looks each second at what is in flight and at the breaker, and at the return at what waits.
    async fn watch_in_flight(self: Rc<Self>) {
        let mut is_back = false;
        loop {
            sleep(Duration::from_secs(1)).await;
            let in_flight = self.queues.in_flight().into_values().max().unwrap_or_default();
            let (now, breaker) = (self.clock.now(), self.breaker());
            let mut seen = self.seen();
            seen.report.most_in_flight = seen.report.most_in_flight.max(in_flight);
            match breaker {
                Breaker::Open(open) => seen.opened_at = seen.opened_at.or(Some(open.since)),
                Breaker::Closed { reopened } if now >= back_at() => {
                    seen.closed_at = seen.closed_at.or(reopened.map(|reopened| reopened.at));
                }
                Breaker::Closed { .. } => {}
            }
            if now >= back_at() && !is_back {
                is_back = true;
                let places =
                    seen.tasks.iter().flat_map(|task| ["process_payment", "refund_payment"].map(|step| (*task, step)));
                let parked = places.filter(|(task, step)| self.store.step(*task, step).state == StepState::Retrying);
                let parked: BTreeSet<_> = parked.map(|(task, step)| (task, step.to_owned())).collect();
                let (refunds, payments) = parked.iter().partition::<Vec<_>, _>(|(_, step)| step == "refund_payment");
                (seen.report.payments_parked, seen.report.refunds_parked) =
                    (payments.len() as u64, refunds.len() as u64);
                seen.waiting = parked;
            }
        }
    }

    fn report(&self) -> Report {
        let seen = self.seen();
        let mut report = seen.report.clone();
        let since =
            |at: Option<Timestamp>, from: Timestamp| at.map_or(f64::INFINITY, |at| at.since(from).as_secs_f64());
        report.opened_after = since(seen.opened_at, VirtualClock::START + CALM);
        report.closed_after = since(seen.closed_at, back_at());
        let first = seen.after.iter().filter(|(_, is_refund)| !is_refund).map(|(at, _)| *at).min();
        report.payments_from = since(first, back_at());
        for task in &seen.tasks {
            let status = self.store.with_task(*task, |task| task.state.status()).expect("a task");
            *report.ended.entry(status.as_str().to_owned()).or_default() += 1;
        }
        report
    }
}

/// A call of a service, or other work, that takes this long while the service is there.
pub(crate) async fn call(out: Option<OutageKind>, takes: Duration) -> Result<Value, StepError> {
    match out {
        None => {
            sleep(takes).await;
            Ok(json!({}))
        }
        Some(OutageKind::Refuses) => {
            sleep(Duration::from_millis(100)).await;
            Err(retryable("GATEWAY_TEMPORARY_FAILURE", "the gateway is out").from_service())
        }
        Some(OutageKind::Hangs) => std::future::pending().await,
    }
}

/// A valid request of a customer.
pub(crate) fn request() -> Value {
    json!({
        "cart_items": [{"product_id": 1, "quantity": 1}],
        "payment_info": {"token": "tok_visa", "amount": 10},
        "customer_info": {"email": "test@example.com", "name": "Test Customer"},
    })
}

impl Report {
    /// What has to hold, and whether it does.
    pub fn claims(&self, scale: u64) -> Vec<(String, bool)> {
        let punctual = PUNCTUAL.as_secs_f64();
        let probes = OUT_FOR.as_secs() / 10;
        vec![
            (
                format!("every redrive and every refund begins, or is parked, within {punctual} s of its time"),
                self.latest_redrive <= punctual && self.latest_refund <= punctual,
            ),
            (
                format!("fewer than {MOST_IN_FLIGHT} messages of a queue are in flight at full scale"),
                self.most_in_flight * scale < MOST_IN_FLIGHT,
            ),
            (
                format!("at most one attempt each ten seconds while the breaker is open ({probes})"),
                self.attempts_while_open <= probes + 1,
            ),
            (
                "refunds that were due come before payments after the return".to_owned(),
                self.refunds_done_after <= self.payments_from,
            ),
            (
                "the backlog drains".to_owned(),
                self.drained_after.is_finite() && !self.ended.contains_key("compensating"),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hour_of_outage_passes_at_a_small_scale() {
        for kind in [OutageKind::Refuses, OutageKind::Hangs] {
            let report = Outage { kind, scale: 1_000, seed: 1 }.run();
            let broken: Vec<_> = report.claims(1_000).into_iter().filter(|(_, holds)| !holds).collect();
            assert!(broken.is_empty(), "{kind:?}: {broken:?} {report:#?}");
        }
    }
}
