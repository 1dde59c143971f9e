//! The scenario of one run: its graph, its tasks and its handlers' scripts. All of it is drawn before the run.

use crate::graph::{COMPENSATION_OFFSET, Graph};
use fastrand::Rng;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// The largest number of steps of a graph.
pub(super) const MAX_STEPS: usize = 30;

/// The service that compensated steps call.
pub(super) const SERVICE: &str = "service";

/// The script of one run of a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandlerScript {
    /// It makes its effect and succeeds.
    Succeed,
    /// It fails with a retryable error before it has made its effect.
    Refuse,
    /// It makes its effect, loses the answer, and fails with a retryable error.
    LoseAnswer,
    /// It fails with a permanent error before it has made its effect.
    FailForGood,
    /// It refuses to make its effect. Only compensations do.
    Decline,
    /// It panics after its effect.
    Panic,
    /// It makes its effect and runs past its timeout.
    TakeTooLong,
}

/// How a service behaves during an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutageKind {
    /// It refuses every call at once.
    Refuses,
    /// It answers no call.
    Hangs,
    /// It takes one call in this many, because thousands of other tasks call it too, and turns the others away.
    TurnsAway(u64),
}

/// An outage of hours of the service that the compensated steps and their compensations call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outage {
    /// How the service behaves.
    pub(super) kind: OutageKind,
    /// When it begins, in the time of the run.
    from: Duration,
    /// When it is over.
    until: Duration,
}

impl Outage {
    /// The share of runs with an outage is one in this many.
    const ONE_RUN_IN: u64 = 8;

    /// Draws whether there is an outage, apart from everything else, so that the other runs stay as they are.
    fn random(seed: u64) -> Option<Self> {
        let mut rng = Rng::with_seed(seed.rotate_left(32) ^ u64::MAX);
        let kinds = [OutageKind::Refuses, OutageKind::Hangs, OutageKind::TurnsAway(rng.u64(5..=50))];
        let from = Duration::from_secs(rng.u64(0..=60));
        let outage = Self {
            kind: kinds[rng.usize(0..kinds.len())],
            from,
            until: from + Duration::from_secs(rng.u64(3_600..=28_800)),
        };
        rng.u64(0..Self::ONE_RUN_IN).eq(&0).then_some(outage)
    }

    /// Whether the service is out at this time of the run.
    pub(super) fn is_on(&self, elapsed: Duration) -> bool {
        (self.from..self.until).contains(&elapsed)
    }
}

/// When the watchdog and the timer feeder stand still.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standstill {
    /// The watchdog, from the beginning of the run.
    watchdog: Duration,
    /// The feeder, in each period of its own length.
    feeder: Option<Duration>,
}

impl Standstill {
    /// The period after which the feeder stands still again.
    const PERIOD: Duration = Duration::from_secs(15 * 60);

    fn random(rng: &mut Rng) -> Self {
        let watchdog = if rng.bool() { Duration::from_secs(rng.u64(0..=36_000)) } else { Duration::ZERO };
        // The next run is a minute later, so the feeder stands still for less than 13 minutes.
        let feeder = rng.bool().then(|| Duration::from_secs(rng.u64(60..12 * 60)));
        Self { watchdog, feeder }
    }

    /// Whether the watchdog stands still at this time of the run.
    pub(super) fn of_watchdog(&self, elapsed: Duration) -> bool {
        elapsed < self.watchdog
    }

    /// Whether the feeder stands still at this time of the run.
    pub(super) fn of_feeder(&self, elapsed: Duration) -> bool {
        self.feeder.is_some_and(|still| elapsed.as_secs() % Self::PERIOD.as_secs() < still.as_secs())
    }
}

/// The scenario of one run.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    /// The graph of every task.
    pub(super) graph: Graph,
    /// The number of tasks.
    pub(super) tasks: usize,
    /// The timeout of an attempt.
    pub(super) timeout_seconds: u32,
    /// When the watchdog and the timer feeder stand still.
    pub(super) standstill: Standstill,
    outage: Option<Outage>,
    /// Whether an operator pauses steps.
    pub(super) pauses: bool,
    /// By task and by step, the compensations after the steps: the script of each run of the handler, in order. Further
    /// runs succeed.
    scripts: Vec<Vec<Vec<HandlerScript>>>,
}

/// How much longer an invocation may take than an attempt; the deployed stack's figure.
const MARGIN: Duration = Duration::from_secs(5);

impl Scenario {
    /// The longest time of a delivery.
    pub(super) fn delivery_time(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds.into()) + MARGIN
    }

    /// The scripts of this step, or compensation, in this task.
    pub(super) fn scripts(&self, task: usize, step: usize) -> &[HandlerScript] {
        let place = step.checked_sub(COMPENSATION_OFFSET).map_or(step, |compensated| self.graph.len() + compensated);
        self.scripts.get(task).and_then(|scripts| scripts.get(place)).map_or(&[], Vec::as_slice)
    }

    /// The outage that this step, or compensation, meets at this time of the run.
    pub(super) fn outage_of(&self, step: usize, elapsed: Duration) -> Option<OutageKind> {
        let step = step.checked_sub(COMPENSATION_OFFSET).unwrap_or(step);
        let calls = self.graph.compensated_steps().contains(&step);
        self.outage.filter(|outage| calls && outage.is_on(elapsed)).map(|outage| outage.kind)
    }

    /// Makes leaves optional in a third of the scenarios, and lets more of them fail for good.
    pub(super) fn with_optional(mut self, rng: &mut Rng) -> Self {
        if rng.u8(0..3) > 0 {
            return self;
        }
        let optional: BTreeSet<usize> = self.graph.leaves().filter(|_| rng.bool()).collect();
        for scripts in &mut self.scripts {
            for step in &optional {
                let fails = if rng.bool() { rng.usize(1..=2) } else { 0 };
                scripts[*step].extend(std::iter::repeat_n(HandlerScript::FailForGood, fails));
            }
        }
        self.graph = self.graph.with_optional(optional);
        self
    }

    /// Draws when watchdog and feeder stand still. In a third of the scenarios steps wait for up to an hour, and failed tasks for
    /// up to two.
    pub(super) fn with_waits(mut self, rng: &mut Rng) -> Self {
        self.standstill = Standstill::random(rng);
        if rng.u8(0..3) == 0 {
            self.graph = self.graph.compensate_after(rng.u32(0..=7_200));
            if rng.bool() {
                self.graph = self.graph.redrives(rng.u32(1..=6));
            }
            for scripts in &mut self.scripts {
                let step = rng.usize(0..self.graph.len());
                // All attempts of some sets, or of one.
                let fails = if rng.bool() { vec![HandlerScript::Refuse; rng.usize(1..=25)] } else { Vec::new() };
                let for_good = rng.bool().then_some(HandlerScript::FailForGood);
                scripts[step].splice(0..0, fails.into_iter().chain(for_good));
            }
            if rng.bool() {
                self.graph = self.graph.base_seconds(rng.u32(60..=2_000)).max_seconds(3_600);
            }
        }
        self
    }

    /// Gives compensations an `after` in half of the scenarios, and in a third lets services refuse some of them for good: a
    /// declined refund, a product that vanished.
    pub(super) fn with_compensation_graph(mut self, rng: &mut Rng) -> Self {
        let compensated: Vec<usize> = self.graph.compensated_steps().iter().copied().collect();
        if rng.u8(0..3) == 0 {
            let (share, most) = (rng.f64(), rng.usize(1..=3));
            for scripts in &mut self.scripts {
                for step in &compensated {
                    let refusals = if rng.f64() < share { rng.usize(1..=most) } else { 0 };
                    let kinds = [HandlerScript::FailForGood, HandlerScript::Decline];
                    let refusals = std::iter::repeat_with(|| kinds[rng.usize(0..2)]).take(refusals);
                    scripts[self.graph.len() + step].extend(refusals);
                }
            }
        }
        // Of steps whose order is that of their numbers, no two can wait for each other: a dependent has the higher number. In any other
        // order, each compensation needs an `after`.
        let in_any_order = match rng.u8(0..4) {
            0 => false,
            1 => true,
            _ => return self,
        };
        let (chance, mut order) = (rng.f64(), compensated);
        order.reverse();
        if in_any_order {
            rng.shuffle(&mut order);
        }
        let mut after = BTreeMap::new();
        for (place, step) in order.iter().enumerate() {
            let waits_for = order[..place].iter().copied().filter(|_| rng.f64() < chance).collect();
            if in_any_order || rng.bool() {
                after.insert(*step, waits_for);
            }
        }
        self.graph = self.graph.with_after(after);
        self
    }

    /// Makes compensations optional in a third of the scenarios, and lets more of them fail: for good, or in all attempts.
    pub(super) fn with_optional_compensations(mut self, rng: &mut Rng) -> Self {
        if rng.u8(0..3) > 0 {
            return self;
        }
        let optional: BTreeSet<usize> = self.graph.last_compensated().filter(|_| rng.bool()).collect();
        for scripts in &mut self.scripts {
            for step in &optional {
                let kinds = [HandlerScript::FailForGood, HandlerScript::Decline, HandlerScript::Refuse];
                let (kind, most) = (kinds[rng.usize(0..kinds.len())], rng.usize(1..=6));
                let fails = if rng.bool() { rng.usize(1..=most) } else { 0 };
                scripts[self.graph.len() + step].extend(std::iter::repeat_n(kind, fails));
            }
        }
        self.graph = self.graph.with_optional_compensations(optional);
        self
    }

    /// Gives the tasks a deadline in a quarter of the scenarios: of a minute, of half an hour or of two hours at most. In two thirds
    /// of these it holds up to a point of no return.
    pub(super) fn with_deadline(mut self, rng: &mut Rng) -> Self {
        if rng.u8(0..4) > 0 {
            return self;
        }
        let most = [60, 1_800, 7_200][rng.usize(0..3)];
        let seconds = rng.u32(1..=most);
        let needed: Vec<usize> =
            (0..self.graph.len()).filter(|step| !self.graph.optional_steps().contains(step)).collect();
        let point = (!needed.is_empty() && rng.u8(0..3) > 0).then(|| needed[rng.usize(0..needed.len())]);
        self.graph = self.graph.complete_within(seconds, point);
        self
    }

    /// Guards the service that compensated steps call with a breaker, in half of the scenarios with an outage and in a quarter of the
    /// others. In half of those with an outage more tasks come, and the deadline of most steps is over before they are attempted.
    pub(super) fn with_breaker(mut self, rng: &mut Rng) -> Self {
        let share = if self.outage.is_some() { 2 } else { 4 };
        if rng.u8(0..share) == 0 {
            self.graph = self.graph.waits_on(SERVICE);
            if self.outage.is_none() || rng.bool() {
                return self;
            }
            self.tasks += 5;
            self.graph = self.graph.complete_within(rng.u32(5..=300), None);
        }
        self
    }

    /// Lets an operator pause steps, in a seventh of the scenarios. Those of the oracle, which are the first, stay as they were.
    pub(super) fn with_pauses(self, seed: u64) -> Self {
        const OF_ORACLE: u64 = 2_000;
        Self { pauses: seed >= OF_ORACLE && seed % 7 == 5, ..self }
    }

    /// Draws a scenario from the seed's random numbers.
    pub(super) fn random(rng: &mut Rng) -> Self {
        let (timeout_seconds, max_attempts) = (rng.u32(1..=10), rng.u32(1..=5));
        // A backoff without waits would spend an outage with calls.
        let base_seconds = rng.u32(0..=3);
        let outage = Outage::random(rng.get_seed()).filter(|_| base_seconds > 0);
        let graph = graph(rng).timeout_seconds(timeout_seconds).max_attempts(max_attempts).base_seconds(base_seconds);
        let graph = compensated(rng, graph);
        // Draws no number, so that the other runs stay as they are.
        let graph = if rng.get_seed().is_multiple_of(4) { graph.searched() } else { graph };
        let graph = if rng.u8(0..4) == 0 { graph.redrives(rng.u32(1..=3)) } else { graph };
        let tasks = [1, 1, 1, 2, 2, 3][rng.usize(0..6)];
        let trouble = if rng.bool() { 0.0 } else { rng.f64().powi(2) };
        let for_good = if rng.bool() { 0.0 } else { 0.2 * rng.f64() };
        let steps = graph.len();
        let scripts = (0..tasks).map(|_| (0..2 * steps).map(|_| scripts(rng, trouble, for_good)).collect()).collect();
        Self { graph, tasks, timeout_seconds, standstill: Standstill::default(), outage, pauses: false, scripts }
    }
}

/// Adds compensations for some of the steps to half of the graphs.
fn compensated(rng: &mut Rng, graph: Graph) -> Graph {
    if rng.bool() {
        return graph;
    }
    let part = rng.f64();
    let compensated = (0..graph.len()).filter(|_| rng.f64() < part).collect();
    let (when, after_seconds) = match rng.u8(0..5) {
        0 => ("manual", None),
        1 => ("on_cancel", None),
        2 => ("on_error", None),
        _ => ("on_error", Some(rng.u32(0..=300))),
    };
    graph.with_compensations(compensated).compensate(when, after_seconds)
}

fn scripts(rng: &mut Rng, trouble: f64, for_good: f64) -> Vec<HandlerScript> {
    let mut scripts = Vec::new();
    while rng.f64() < trouble && scripts.len() < 10 {
        scripts.push(
            [
                HandlerScript::Refuse,
                HandlerScript::Refuse,
                HandlerScript::LoseAnswer,
                HandlerScript::Panic,
                HandlerScript::TakeTooLong,
            ][rng.usize(0..5)],
        );
    }
    if rng.f64() < for_good {
        scripts.push(HandlerScript::FailForGood);
    }
    scripts
}

/// Draws a graph of any shape. Small ones are more frequent: they run quickly, and most faults need few steps.
fn graph(rng: &mut Rng) -> Graph {
    let most = if rng.u8(0..8) == 0 { MAX_STEPS } else { 6 };
    let size = rng.usize(1..=most);
    match rng.u8(0..5) {
        0 => Graph::chain(size),
        1 => Graph::fan(size.min(MAX_STEPS - 2)),
        2 => Graph::diamonds((size / 3).clamp(1, (MAX_STEPS - 1) / 3)),
        _ => random(rng, size),
    }
}

/// Draws a DAG of this size, from one without edges to one that is almost a chain.
fn random(rng: &mut Rng, size: usize) -> Graph {
    let density = rng.f64() * 3.0;
    Graph::new((0..size).map(|step| {
        let chance = density / (step.max(1) as f64);
        (0..step).filter(|_| rng.f64() < chance).collect()
    }))
}
