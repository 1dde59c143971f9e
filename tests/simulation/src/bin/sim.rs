//! Many simulated runs of the engine, each made of one seed. See `stepwell_simulation::sim`.

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
    time::Instant,
};
use stepwell_simulation::sim::{self, Fault, Mode, Report, oracle};

/// Runs the engine in simulation, with everything going wrong that can, and checks that nothing is lost, done twice or
/// stuck. The first run that fails ends it, with the command that makes this run again.
///
/// A run is split, as on AWS: the engine makes a transition and, call by call, what follows from it. Every tenth seed is
/// made twice more: as a whole run, over a store that holds its own messages, where all of it is one transaction; and with
/// processes of two versions beside each other, the one that is shipped and a newer one whose items it may not act on.
#[derive(Parser)]
struct Options {
    /// How many split runs to make. With ten or more of them come those of the other modes, a tenth as many of each.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    runs: u64,
    /// The seed of the first run; each of the others has the next number.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// Make runs of this mode, and no others.
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Print what happens, line by line.
    #[arg(long)]
    trace: bool,
    /// Go on after a failure, and count them.
    #[arg(long)]
    keep_going: bool,
    /// Make the run of `--seed` alone, and print what it writes and sends, one entry a line: what the oracle hashes.
    #[arg(long, conflicts_with_all = ["runs", "mode", "trace", "keep_going"])]
    writes: bool,
    /// Make no run but the oracle's, and keep their hashes in the place of those in tests/simulation/fixtures/oracle/. Only for a
    /// stated change of what is stored, sent or simulated: with it goes the proof that nothing else has changed.
    #[arg(long, conflicts_with_all = ["writes", "seed", "runs", "mode", "trace", "keep_going"])]
    write_oracle: bool,
}

impl Options {
    /// The modes in which the seed of this number is run.
    fn modes(&self, number: u64) -> Vec<Mode> {
        match self.mode {
            Some(mode) => vec![mode],
            None if (number + 1).is_multiple_of(OTHERS) => Mode::ALL.to_vec(),
            None => vec![Mode::Split],
        }
    }
}

/// After how many runs progress is told.
const EVERY: u64 = 5_000;

/// Of so many seeds, the last is run in the other modes as well.
const OTHERS: u64 = 10;

/// What all threads share.
struct Progress {
    next: AtomicU64,
    /// The seeds that are done.
    done: AtomicU64,
    /// The runs that were made, in the order of [`Mode::ALL`].
    made: [AtomicU64; Mode::ALL.len()],
    calls: AtomicU64,
    stop: AtomicBool,
    faults: Mutex<[u64; Fault::COUNT]>,
    failed: Mutex<Vec<Report>>,
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
    let faults = progress.faults.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (fault, struck) in Fault::ALL.into_iter().zip(faults) {
        println!("{struck:>12}  {}", fault.name());
    }
    let mut failed = progress.failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_by_key(|report| (report.seed, report.mode as usize));
    if options.keep_going {
        println!("{:>12}  runs that failed", failed.len());
        for report in &failed {
            println!("{}", told(report));
        }
    }
    let Some(first) = failed.first() else { return ExitCode::SUCCESS };
    // The same run once more, for its trace; and if it were not the same, that would be worth knowing too.
    let again = sim::run_as(first.mode, first.seed, true);
    if again.problem != first.problem {
        eprintln!("the run of seed {} is not the same when it is made again", first.seed);
    }
    if !options.keep_going {
        eprintln!("{}", again.trace);
    }
    eprintln!("{}", told(first));
    let mode = first.mode.name();
    eprintln!("cargo run -p stepwell-simulation --bin sim -- --runs 1 --seed {} --mode {mode} --trace", first.seed);
    ExitCode::FAILURE
}

/// What was wrong with a run.
fn told(report: &Report) -> String {
    let (mode, problem) = (report.mode.name(), report.problem.as_deref().unwrap_or_default());
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
            count(sim::run_as(mode, seed, options.trace), options, progress);
        }
        tell(options, progress, begin);
    }
}

/// Adds a run to the others.
fn count(report: Report, options: &Options, progress: &Progress) {
    if options.trace {
        print!("{}", report.trace);
    }
    if let Some(made) = progress.made.get(report.mode as usize) {
        made.fetch_add(1, Ordering::Relaxed);
    }
    progress.calls.fetch_add(report.calls, Ordering::Relaxed);
    for (all, one) in progress.faults.lock().unwrap_or_else(PoisonError::into_inner).iter_mut().zip(report.faults) {
        *all += one;
    }
    if report.problem.is_some() {
        progress.failed.lock().unwrap_or_else(PoisonError::into_inner).push(report);
        progress.stop.fetch_or(!options.keep_going, Ordering::Relaxed);
    }
}

/// Tells how far it has come, now and then.
fn tell(options: &Options, progress: &Progress, begin: Instant) {
    let done = progress.done.fetch_add(1, Ordering::Relaxed) + 1;
    if done.is_multiple_of(EVERY) {
        let a_minute = done as f64 * 60.0 / begin.elapsed().as_secs_f64();
        eprintln!("{done} of {} seeds, {a_minute:.0} a minute", options.runs);
    }
}
