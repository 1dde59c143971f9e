//! The engine in a world made of one number.
//!
//! The real worker and the real client run against a table and queues in memory, in virtual time. What they run over
//! (the graph, what its handlers meet), what goes wrong, and in which order everything happens: all of it is drawn from
//! one seed, so a run that fails can be run again, exactly as it was.
//!
//! | file | what |
//! |---|---|
//! | `table`, `queue` | DynamoDB and SQS, in memory |
//! | `scheduler`, `fault` | time and chance: what happens when, and what goes wrong |
//! | `process`, `network` | a process with its own clock, which can die; its way to the table (`../far.rs`) and the queues |
//! | `store` | the store as a process sees it, whose settlements are split or whole |
//! | `lambda`, `handler`, `world` | invocations, what their steps do, and the world outside that they do it to |
//! | `actors` | clients, operators, and strangers with messages of their own |
//! | `version` | processes of two versions beside each other |
//! | `oracle` | what a run writes and sends, held against what it did in an earlier version |
//! | `audit`, `check` | what has to hold: at every write, and when all is quiet |
//! | `conformance` | every write is one that the protocol's model allows |
//!
//! What chance brings about too seldom is made by hand beside the engine's modules, on its harness.

mod actors;
mod audit;
mod check;
mod conformance;
mod fault;
mod handler;
mod lambda;
mod network;
pub mod oracle;
mod process;
mod queue;
mod scenario;
mod scheduler;
mod simulation;
mod store;
mod table;
mod version;
mod world;

pub use fault::Fault;
pub use table::MemoryTable;

use crate::graph::UNDOING;
use conformance::Rules;
use fastrand::Rng;
use fault::Odds;
use lambda::Function;
use oracle::Recorder;
use scenario::Scenario;
use scheduler::Scheduler;
use simulation::Simulation;
use std::{sync::Arc, time::Duration};
use stepwell::core::state::{End, TaskState};
use tokio::task::LocalSet;

/// No run lasts longer, in its own time, unless it is stuck.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What one run was like.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed that it was made of.
    pub seed: u64,
    /// What it was about.
    pub mode: Mode,
    /// What should not have happened.
    pub problem: Option<String>,
    /// How often each fault struck, in the order of [`Fault::ALL`].
    pub faults: [u64; Fault::COUNT],
    /// How many calls to the table and the queues were made.
    pub calls: u64,
    /// How often a process met what only a newer version may act on.
    pub newer_met: u64,
    /// What happened, line by line, where that was wanted.
    pub trace: String,
}

/// Makes the run of this seed. Its settlements are split, as on AWS: the transition, and what follows call by call.
///
/// # Panics
/// Where the machine has no memory for a runtime.
pub fn run(seed: u64, traced: bool) -> Report {
    run_recorded(seed, Mode::Split, traced, None, Arc::default())
}

/// What a run is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Each settlement is split into calls, in the protocol's order.
    #[default]
    Split,
    /// The store holds its own messages: each settlement is one call, and one transaction.
    Whole,
    /// Processes of two versions run beside each other. Which process is of which is up to the seed as well, and not drawn
    /// with the rest: what else happens is drawn as in a split run, and goes on otherwise.
    TwoVersions,
}

impl Mode {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::Split, Self::Whole, Self::TwoVersions];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Split => "split",
            Self::Whole => "whole",
            Self::TwoVersions => "two-versions",
        }
    }
}

/// Makes the run of this seed in another mode than [`Mode::Split`].
///
/// # Panics
/// Where the machine has no memory for a runtime.
pub fn run_as(mode: Mode, seed: u64, traced: bool) -> Report {
    run_recorded(seed, mode, traced, None, Arc::default())
}

/// Makes a run, with a recorder of what is written and sent, and with rules to which what is written is held.
fn run_recorded(seed: u64, mode: Mode, traced: bool, recorder: Option<Arc<Recorder>>, rules: Arc<Rules>) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let tasks = LocalSet::new();
    let report = tasks.block_on(&runtime, simulate(seed, mode, traced, recorder, rules));
    // What is still running holds what it runs in; without this it would never be let go.
    drop(tasks);
    report
}

async fn simulate(seed: u64, mode: Mode, traced: bool, recorder: Option<Arc<Recorder>>, rules: Arc<Rules>) -> Report {
    let mut rng = Rng::with_seed(seed);
    let scenario = Scenario::random(&mut rng);
    let odds = Odds::random(&mut rng);
    let odds = if mode == Mode::Whole { odds.whole() } else { odds };
    let versions = (mode == Mode::TwoVersions).then(|| Rng::with_seed(!seed));
    let simulation = Arc::new(Simulation::new(Scheduler::new(rng, odds, traced), scenario, recorder, rules, versions));
    let scheduler = simulation.scheduler.clone();
    scheduler.note(|| format!("{:?}", simulation.scenario));
    scheduler.note(|| format!("{:?}", scheduler.odds()));

    let problem = match tokio::time::timeout(LONGEST, play(&simulation)).await {
        Ok(()) => scheduler.violation().or_else(|| check::check(&simulation).err()),
        Err(_) => Some("the queues do not run dry".to_owned()),
    };
    let (faults, calls, newer_met) = (scheduler.struck(), scheduler.calls(), simulation.newer_met());
    Report { seed, mode, problem, faults, calls, newer_met, trace: scheduler.trace() }
}

async fn play(simulation: &Arc<Simulation>) {
    let workflow = Arc::new(simulation.scenario.graph.workflow());
    let plan = workflow.plan();
    let undoing = simulation.scenario.graph.compensated_steps().iter().map(|step| UNDOING + step);
    for number in (0..simulation.scenario.graph.len()).chain(undoing) {
        simulation.spawn(lambda::serve(simulation.clone(), Function::Step(number)));
    }
    simulation.spawn(lambda::serve(simulation.clone(), Function::DeadLetters));
    simulation.spawn(lambda::watch(simulation.clone()));
    for number in 0..simulation.scenario.tasks {
        simulation.spawn(actors::start(simulation.clone(), workflow.clone(), number));
    }
    simulation.spawn(actors::operate(simulation.clone(), plan.clone()));
    simulation.spawn(actors::meddle(simulation.clone(), plan.clone()));
    tokio::task::yield_now().await;
    simulation.quiescent().await;
    // Long after everything has come to rest an operator tries once more.
    if simulation.scheduler.one_in(2) {
        redrive_all(simulation, |state| matches!(state, TaskState::Failed | TaskState::Compensated(End::Error))).await;
    }
    // A compensation that has failed is never left so.
    while simulation.scheduler.violation().is_none() && !simulation.tasks_in(TaskState::is_compensating).is_empty() {
        redrive_all(simulation, TaskState::is_compensating).await;
    }
    if simulation.scheduler.violation().is_none() {
        actors::find(simulation).await;
    }
}

async fn redrive_all(simulation: &Arc<Simulation>, fits: fn(TaskState) -> bool) {
    if simulation.scheduler.violation().is_none() {
        for task in simulation.tasks_in(fits) {
            actors::retry(simulation, task).await;
        }
        simulation.quiescent().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs that find a message thrown away while its claim still stands, and a compensation that does not wait for what
    /// is in flight.
    const FOUND_SOMETHING: [u64; 4] = [423, 655, 682, 1324];

    const RUNS: u64 = 300;

    /// Makes these runs, which end well; answers with the faults that never struck.
    fn unseen(seeds: impl Iterator<Item = u64>, run: fn(u64, bool) -> Report) -> Vec<Fault> {
        let mut struck = [0; Fault::COUNT];
        for seed in seeds {
            let report = run(seed, false);
            assert_eq!(report.problem, None, "seed {seed}");
            for (all, one) in struck.iter_mut().zip(report.faults) {
                *all += one;
            }
        }
        Fault::ALL.into_iter().zip(struck).filter(|(_, struck)| *struck == 0).map(|(fault, _)| fault).collect()
    }

    #[test]
    fn some_hundred_runs_end_well_and_see_every_fault() {
        let mut unseen = unseen((0..RUNS).chain(FOUND_SOMETHING), run);
        // An acknowledgement with an old receipt is too rare for so few runs.
        unseen.retain(|fault| *fault != Fault::StaleAck);
        assert_eq!(unseen, []);
    }

    #[test]
    fn some_hundred_whole_runs_end_well_and_see_every_fault_that_such_a_store_has() {
        assert_eq!(
            unseen(0..RUNS, |seed, traced| run_as(Mode::Whole, seed, traced)),
            [Fault::LostMessage, Fault::StaleAck]
        );
    }

    #[test]
    fn processes_of_two_versions_bring_every_task_to_its_end_together() {
        let mut met = 0;
        for seed in 0..RUNS {
            let report = run_as(Mode::TwoVersions, seed, false);
            assert_eq!(report.problem, None, "seed {seed}");
            met += u64::from(report.newer_met > 0);
        }
        assert!(met > RUNS / 2, "in {met} runs of {RUNS} the older version met what the newer one had made");
    }

    #[test]
    fn the_same_seed_makes_the_same_run() {
        for mode in [Mode::Split, Mode::Whole, Mode::TwoVersions] {
            for seed in 0..30 {
                let [first, second] = [run_as(mode, seed, true), run_as(mode, seed, true)];
                assert!(first.trace.lines().count() > 5, "seed {seed} does something");
                assert_eq!(first.trace, second.trace, "seed {seed}");
            }
        }
    }
}
