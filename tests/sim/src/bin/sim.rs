//! The command `sim`: many simulated runs of the engine, each from one seed. See `stepwell_simulation::sim`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the report is this command's output")]

use clap::Parser;
use std::{
    num::NonZero,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use stepwell_sim::Mode;
use stepwell_simulation::sim::{Fault, RunReport, oracle};

/// Simulates the engine with every kind of fault, and checks that nothing is lost, done twice or stuck. It stops at the
/// first run that fails, and prints the command that repeats that run.
///
/// A split run works as on AWS: the engine makes a transition and then its consequences, call by call. Every tenth seed
/// is run in two more modes: as a whole run, over a store that holds its own messages and makes all of it in one
/// transaction; and with processes of two versions, the shipped one and a newer one whose items the shipped one may not
/// act on. Every hundredth is also run over the backend `local`, on a real file.
#[derive(Parser)]
struct Options {
    /// The number of split runs. Runs of the other modes are added: a tenth as many, and a hundredth of mode `local`.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    runs: u64,
    /// The seed of the first run. Each further run has the next number.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// Make runs of this mode only.
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Print the trace of each run.
    #[arg(long)]
    trace: bool,
    /// Continue after a failure, and count the failures.
    #[arg(long)]
    keep_going: bool,
    /// Make only the run of `--seed`, and print its writes and messages, one entry a line: what the oracle hashes.
    #[arg(long, conflicts_with_all = ["runs", "mode", "trace", "keep_going"])]
    writes: bool,
    /// Make only the oracle's runs, and replace the hashes in tests/simulation/fixtures/oracle/. Only for a stated
    /// change of what is stored, sent or simulated: afterwards the oracle no longer proves that nothing else has
    /// changed.
    #[arg(long, conflicts_with_all = ["writes", "seed", "runs", "mode", "trace", "keep_going"])]
    write_oracle: bool,
}

impl Options {
    /// The modes in which this seed is run.
    fn modes(&self, number: u64) -> Vec<Mode> {
        match self.mode {
            Some(mode) => vec![mode],
            None => Mode::ALL.into_iter().filter(|mode| (number + 1).is_multiple_of(one_in(*mode))).collect(),
        }
    }
}

/// The number of runs between two reports of progress.
const EVERY: u64 = 5_000;

/// One seed in this many is run in this mode.
const fn one_in(mode: Mode) -> u64 {
    match mode {
        Mode::Split => 1,
        Mode::Whole | Mode::TwoVersions => 10,
        Mode::Local => 100,
    }
}

/// The counters that all threads share.
struct Progress {
    next: AtomicU64,
    /// The number of seeds that are done.
    done: AtomicU64,
    /// The number of runs, in the order of [`Mode::ALL`].
    made: [AtomicU64; Mode::ALL.len()],
    calls: AtomicU64,
    punctual: AtomicU64,
    latest_millis: AtomicU64,
    opened: AtomicU64,
    probes: AtomicU64,
    stop: AtomicBool,
    faults: Mutex<[u64; Fault::COUNT]>,
    failed: Mutex<Vec<(Mode, RunReport)>>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.writes {
        let (entries, problem) = oracle::entries(options.seed);
        print!("{entries}");
        return problem.map_or(ExitCode::SUCCESS, |problem| {
            eprintln!("seed {}: {problem}", options.seed);
            ExitCode::FAILURE
        });
    }
    if options.write_oracle {
        return write_oracle();
    }
    let progress = Progress {
        next: AtomicU64::new(0),
        done: AtomicU64::new(0),
        made: [const { AtomicU64::new(0) }; Mode::ALL.len()],
        calls: AtomicU64::new(0),
        punctual: AtomicU64::new(0),
        latest_millis: AtomicU64::new(0),
        opened: AtomicU64::new(0),
        probes: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        faults: Mutex::new([0; Fault::COUNT]),
        failed: Mutex::default(),
    };
    let begin = Instant::now();
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| work(&options, &progress, begin));
        }
    });

    let took = begin.elapsed().as_secs_f64();
    let made = progress.made.map(AtomicU64::into_inner);
    let calls = progress.calls.load(Ordering::Relaxed);
    let all = made.iter().sum::<u64>() as f64;
    let by_mode = Mode::ALL.iter().zip(made).map(|(mode, made)| format!("{made} {}", mode.name()));
    println!(
        "{} runs with {calls} calls in {took:.1} s on {threads} threads: {:.0} runs a minute",
        by_mode.collect::<Vec<_>>().join(", "),
        all * 60.0 / took
    );
    let latest = Duration::from_millis(progress.latest_millis.load(Ordering::Relaxed));
    println!(
        "{:>12}  redrives and compensations had to begin on time; the longest delay was {latest:?}",
        progress.punctual.load(Ordering::Relaxed)
    );
    println!("{:>12}  times a breaker was opened", progress.opened.load(Ordering::Relaxed));
    println!("{:>12}  probes while it was open", progress.probes.load(Ordering::Relaxed));
    let faults = progress.faults.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (fault, struck) in Fault::ALL.into_iter().zip(faults) {
        println!("{struck:>12}  {}", fault.name());
    }
    let mut failed = progress.failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_by_key(|(mode, report)| (report.seed, *mode as usize));
    if options.keep_going {
        println!("{:>12}  runs that failed", failed.len());
        for (mode, report) in &failed {
            println!("{}", told(*mode, report));
        }
    }
    let Some((mode, first)) = failed.first() else { return ExitCode::SUCCESS };
    // Repeats the run for its trace. A different outcome would mean that the simulation is not deterministic.
    let again = mode.run(first.seed, true);
    if again.problem != first.problem {
        eprintln!("the run of seed {} is not the same when it is made again", first.seed);
    }
    if !options.keep_going {
        eprintln!("{}", again.trace);
    }
    eprintln!("{}", told(*mode, first));
    eprintln!("cargo run -p stepwell-sim --bin sim -- --runs 1 --seed {} --mode {} --trace", first.seed, mode.name());
    ExitCode::FAILURE
}

/// The problem of a run, with the command that repeats it.
fn told(mode: Mode, report: &RunReport) -> String {
    let (mode, problem) = (mode.name(), report.problem.as_deref().unwrap_or_default());
    format!("seed {}, {mode}: {problem}", report.seed)
}

fn write_oracle() -> ExitCode {
    match oracle::rewrite() {
        Ok(changed) => {
            println!("the hashes of {changed} seeds have changed");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("the oracle's fixture stays as it is: {error}");
            ExitCode::FAILURE
        }
    }
}

fn work(options: &Options, progress: &Progress, begin: Instant) {
    while !progress.stop.load(Ordering::Relaxed) {
        let number = progress.next.fetch_add(1, Ordering::Relaxed);
        if number >= options.runs {
            return;
        }
        let seed = options.seed.wrapping_add(number);
        for mode in options.modes(number) {
            count(mode, mode.run(seed, options.trace), options, progress);
        }
        tell(options, progress, begin);
    }
}

/// Adds a run to the counters.
fn count(mode: Mode, report: RunReport, options: &Options, progress: &Progress) {
    if options.trace {
        print!("{}", report.trace);
    }
    if let Some(made) = progress.made.get(mode as usize) {
        made.fetch_add(1, Ordering::Relaxed);
    }
    progress.calls.fetch_add(report.calls, Ordering::Relaxed);
    progress.punctual.fetch_add(report.punctual, Ordering::Relaxed);
    progress.opened.fetch_add(report.opened, Ordering::Relaxed);
    progress.probes.fetch_add(report.probes, Ordering::Relaxed);
    let latest = u64::try_from(report.latest.as_millis()).unwrap_or(u64::MAX);
    progress.latest_millis.fetch_max(latest, Ordering::Relaxed);
    for (all, one) in progress.faults.lock().unwrap_or_else(PoisonError::into_inner).iter_mut().zip(report.faults) {
        *all += one;
    }
    if report.problem.is_some() {
        progress.failed.lock().unwrap_or_else(PoisonError::into_inner).push((mode, report));
        progress.stop.fetch_or(!options.keep_going, Ordering::Relaxed);
    }
}

/// Reports progress now and then.
fn tell(options: &Options, progress: &Progress, begin: Instant) {
    let done = progress.done.fetch_add(1, Ordering::Relaxed) + 1;
    if done.is_multiple_of(EVERY) {
        let a_minute = done as f64 * 60.0 / begin.elapsed().as_secs_f64();
        eprintln!("{done} of {} seeds, {a_minute:.0} a minute", options.runs);
    }
}
