//! What one run is about: the graph, its tasks, and what their handlers will meet. All of it drawn before the run.

use crate::graph::{Graph, UNDOING};
use fastrand::Rng;

/// The most steps a graph has.
pub(super) const MOST_STEPS: usize = 30;

/// What a handler meets when it is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HandlerScript {
    /// It does its work.
    Succeed,
    /// It fails before it has done anything, in a way that will pass.
    Refuse,
    /// It does its work, but does not learn of it, and says that it failed in a way that will pass.
    LoseAnswer,
    /// It fails for good, before it has done anything.
    FailForGood,
    /// It panics after its work.
    Panic,
    /// It does its work and takes longer than it may.
    TakeTooLong,
}

/// What one run is about.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    /// The graph of each task.
    pub(super) graph: Graph,
    /// How many tasks there are.
    pub(super) tasks: usize,
    /// How many seconds an attempt may take.
    pub(super) timeout_seconds: u32,
    /// By task, and then by step with the compensations after the steps: what each run of the handler meets, in order;
    /// after them all is well.
    scripts: Vec<Vec<Vec<HandlerScript>>>,
}

impl Scenario {
    /// What the handler of the step, or compensation, of this number meets in the task of this number.
    pub(super) fn scripts(&self, task: usize, step: usize) -> &[HandlerScript] {
        let place = step.checked_sub(UNDOING).map_or(step, |undone| self.graph.len() + undone);
        self.scripts.get(task).and_then(|scripts| scripts.get(place)).map_or(&[], Vec::as_slice)
    }

    /// A scenario from this seed's numbers.
    pub(super) fn random(rng: &mut Rng) -> Self {
        let (timeout_seconds, max_attempts) = (rng.u32(1..=10), rng.u32(1..=5));
        let base_seconds = rng.u32(0..=3);
        let graph = graph(rng).timeout_seconds(timeout_seconds).max_attempts(max_attempts).base_seconds(base_seconds);
        let graph = compensated(rng, graph);
        let graph = if rng.u8(0..4) == 0 { graph.redrives(rng.u32(1..=3)) } else { graph };
        let tasks = [1, 1, 1, 2, 2, 3][rng.usize(0..6)];
        let trouble = if rng.bool() { 0.0 } else { rng.f64().powi(2) };
        let for_good = if rng.bool() { 0.0 } else { 0.2 * rng.f64() };
        let steps = graph.len();
        let scripts = (0..tasks).map(|_| (0..2 * steps).map(|_| scripts(rng, trouble, for_good)).collect()).collect();
        Self { graph, tasks, timeout_seconds, scripts }
    }
}

/// Half of the graphs have compensations, for some of their steps.
fn compensated(rng: &mut Rng, graph: Graph) -> Graph {
    if rng.bool() {
        return graph;
    }
    let part = rng.f64();
    let undone = (0..graph.len()).filter(|_| rng.f64() < part).collect();
    let (when, after_seconds) = match rng.u8(0..5) {
        0 => ("manual", None),
        1 => ("on_cancel", None),
        2 => ("on_error", None),
        _ => ("on_error", Some(rng.u32(0..=300))),
    };
    graph.undone(undone).compensate(when, after_seconds)
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

/// A graph of any shape. Small ones come more often: they are run quickly, and most faults need few steps.
fn graph(rng: &mut Rng) -> Graph {
    let most = if rng.u8(0..8) == 0 { MOST_STEPS } else { 6 };
    let size = rng.usize(1..=most);
    match rng.u8(0..5) {
        0 => Graph::chain(size),
        1 => Graph::fan(size.min(MOST_STEPS - 2)),
        2 => Graph::diamonds((size / 3).clamp(1, (MOST_STEPS - 1) / 3)),
        _ => random(rng, size),
    }
}

/// Any acyclic graph of this size, from one without an edge to one that is almost a chain.
fn random(rng: &mut Rng, size: usize) -> Graph {
    let density = rng.f64() * 3.0;
    Graph::new((0..size).map(|step| {
        let chance = density / (step.max(1) as f64);
        (0..step).filter(|_| rng.f64() < chance).collect()
    }))
}
