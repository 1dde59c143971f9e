//! The engine in a world made of one number.
//!
//! The real worker and the real client run against a table and queues in memory, in virtual time. What they run over
//! (the graph, what its handlers meet), what goes wrong, and in which order everything happens: all of it is drawn from
//! one seed, so a run that fails can be run again, exactly as it was.
//!
//! | file | what |
//! |---|---|
//! | `table`, `queue` | DynamoDB and SQS, in memory |
//! | `fate`, `fault` | time and chance: what happens when, and what goes wrong |
//! | `process`, `network` | a process with its own clock, which can die; its way to the table (`../far.rs`) and the queues |
//! | `lambda`, `handler`, `world` | invocations, what their steps do, and the world outside that they do it to |
//! | `people` | clients, operators, and strangers with messages of their own |
//! | `version` | processes of two versions beside each other |
//! | `oracle` | what a run writes and sends, held against what it did in an earlier version |
//! | `audit`, `check` | what has to hold: at every write, and when all is quiet |
//! | `conformance` | every write is one that the protocol's model allows |
//! | `scene`: `races`, `client`, `letters`, `limits`, `alarm`, `newer` | what chance brings about too seldom, made by hand |

#[cfg(test)]
mod alarm;
mod audit;
mod check;
#[cfg(test)]
mod client;
mod conformance;
mod fate;
mod fault;
mod handler;
mod house;
mod lambda;
#[cfg(test)]
mod letters;
#[cfg(test)]
mod limits;
mod network;
#[cfg(test)]
mod newer;
pub mod oracle;
mod people;
mod process;
mod queue;
#[cfg(test)]
mod races;
mod scenario;
#[cfg(test)]
mod scene;
mod table;
mod version;
mod world;

pub use fault::Fault;
pub use table::MemoryTable;

use crate::graph::UNDOING;
use conformance::Rules;
use fastrand::Rng;
use fate::Fate;
use fault::Odds;
use house::House;
use lambda::Function;
use oracle::Recorder;
use scenario::Scenario;
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

/// Makes the run of this seed.
///
/// # Panics
/// Where the machine has no memory for a runtime.
pub fn run(seed: u64, traced: bool) -> Report {
    run_recorded(seed, traced, None, Arc::default())
}

/// Makes the run of this seed with processes of two versions beside each other. Which process is of which is up to the seed
/// as well, and not drawn with the rest: what else happens is drawn as in [`run`], and goes on otherwise.
///
/// # Panics
/// Where the machine has no memory for a runtime.
pub fn run_two_versions(seed: u64, traced: bool) -> Report {
    run_of(seed, traced, None, Arc::default(), Some(Rng::with_seed(!seed)))
}

/// The same as [`run`], with a recorder of what is written and sent, and with rules to which what is written is held.
fn run_recorded(seed: u64, traced: bool, recorder: Option<Arc<Recorder>>, rules: Arc<Rules>) -> Report {
    run_of(seed, traced, recorder, rules, None)
}

fn run_of(
    seed: u64,
    traced: bool,
    recorder: Option<Arc<Recorder>>,
    rules: Arc<Rules>,
    versions: Option<Rng>,
) -> Report {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let tasks = LocalSet::new();
    let report = tasks.block_on(&runtime, simulate(seed, traced, recorder, rules, versions));
    // What is still running holds what it runs in; without this it would never be let go.
    drop(tasks);
    report
}

async fn simulate(
    seed: u64,
    traced: bool,
    recorder: Option<Arc<Recorder>>,
    rules: Arc<Rules>,
    versions: Option<Rng>,
) -> Report {
    let mut rng = Rng::with_seed(seed);
    let scenario = Scenario::draw(&mut rng);
    let odds = Odds::draw(&mut rng);
    let house = Arc::new(House::new(Fate::new(rng, odds, traced), scenario, recorder, rules, versions));
    let fate = house.fate.clone();
    fate.note(|| format!("{:?}", house.scenario));
    fate.note(|| format!("{:?}", fate.odds()));

    let problem = match tokio::time::timeout(LONGEST, play(&house)).await {
        Ok(()) => fate.violation().or_else(|| check::check(&house).err()),
        Err(_) => Some("the queues do not run dry".to_owned()),
    };
    let (faults, calls, newer_met) = (fate.struck(), fate.calls(), house.newer_met());
    Report { seed, problem, faults, calls, newer_met, trace: fate.trace() }
}

async fn play(house: &Arc<House>) {
    let workflow = Arc::new(house.scenario.graph.workflow());
    let plan = workflow.plan();
    let undoing = house.scenario.graph.compensated_steps().iter().map(|step| UNDOING + step);
    for number in (0..house.scenario.graph.len()).chain(undoing) {
        house.spawn(lambda::serve(house.clone(), Function::Step(number)));
    }
    house.spawn(lambda::serve(house.clone(), Function::DeadLetters));
    house.spawn(lambda::watch(house.clone()));
    for number in 0..house.scenario.tasks {
        house.spawn(people::start(house.clone(), workflow.clone(), number));
    }
    house.spawn(people::operate(house.clone(), plan.clone()));
    house.spawn(people::meddle(house.clone(), plan.clone()));
    tokio::task::yield_now().await;
    house.calm().await;
    // Long after everything has come to rest an operator tries once more.
    if house.fate.one_in(2) {
        retry_all(house, |state| matches!(state, TaskState::Failed | TaskState::Compensated(End::Error))).await;
    }
    // A compensation that has failed is never left so.
    while house.fate.violation().is_none() && !house.tasks_in(TaskState::is_compensating).is_empty() {
        retry_all(house, TaskState::is_compensating).await;
    }
    if house.fate.violation().is_none() {
        people::find(house).await;
    }
}

async fn retry_all(house: &Arc<House>, fits: fn(TaskState) -> bool) {
    if house.fate.violation().is_none() {
        for task in house.tasks_in(fits) {
            people::retry(house, task).await;
        }
        house.calm().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs that find a message thrown away while its claim still stands, and a compensation that does not wait for what
    /// is in flight.
    const FOUND_SOMETHING: [u64; 4] = [423, 655, 682, 1324];

    const RUNS: u64 = 300;

    #[test]
    fn some_hundred_runs_end_well_and_see_every_fault() {
        let mut struck = [0; Fault::COUNT];
        for seed in (0..RUNS).chain(FOUND_SOMETHING) {
            let report = run(seed, false);
            assert_eq!(report.problem, None, "seed {seed}");
            for (all, one) in struck.iter_mut().zip(report.faults) {
                *all += one;
            }
        }
        // An acknowledgement with an old receipt is too rare for so few runs.
        for (fault, struck) in Fault::ALL.into_iter().zip(struck).filter(|(fault, _)| *fault != Fault::StaleAck) {
            assert!(struck > 0, "{} never happened", fault.name());
        }
    }

    #[test]
    fn processes_of_two_versions_bring_every_task_to_its_end_together() {
        let mut met = 0;
        for seed in 0..RUNS {
            let report = run_two_versions(seed, false);
            assert_eq!(report.problem, None, "seed {seed}");
            met += u64::from(report.newer_met > 0);
        }
        assert!(met > RUNS / 2, "in {met} runs of {RUNS} the older version met what the newer one had made");
    }

    #[test]
    fn the_same_seed_makes_the_same_run() {
        for seed in 0..30 {
            let [first, second] = [run(seed, true), run(seed, true)];
            assert!(first.trace.lines().count() > 5, "seed {seed} does something");
            assert_eq!(first.trace, second.trace, "seed {seed}");
        }
    }
}
