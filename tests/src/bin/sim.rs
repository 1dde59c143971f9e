//! Many simulated runs of the engine, each made of one seed. See `stepwell_tests::sim`.

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
use stepwell_tests::sim::{self, Fault, Report, oracle};

/// Runs the engine in simulation, with everything going wrong that can, and checks that nothing is lost, done twice or
/// stuck. The first run that fails ends it, with the command that makes this run again.
#[derive(Parser)]
struct Options {
    /// How many runs to make.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    runs: u64,
    /// The seed of the first run; each of the others has the next number.
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    seed: u64,
    /// Print what happens, line by line.
    #[arg(long)]
    trace: bool,
    /// Go on after a failure, and count them.
    #[arg(long)]
    keep_going: bool,
    /// Let processes of two versions run beside each other: the one that is shipped, and a newer one whose items it may not
    /// act on.
    #[arg(long, conflicts_with_all = ["writes", "write_oracle"])]
    two_versions: bool,
    /// Make the run of `--seed` alone, and print what it writes and sends, one entry a line: what the oracle hashes.
    #[arg(long, conflicts_with_all = ["runs", "trace", "keep_going"])]
    writes: bool,
    /// Make no run but the oracle's, and keep their hashes in the place of those in tests/fixtures/oracle/. Only for a
    /// stated change of what is stored, sent or simulated: with it goes the proof that nothing else has changed.
    #[arg(long, conflicts_with_all = ["writes", "seed", "runs", "trace", "keep_going"])]
    write_oracle: bool,
}

impl Options {
    fn run(&self, seed: u64, traced: bool) -> Report {
        if self.two_versions { sim::run_two_versions(seed, traced) } else { sim::run(seed, traced) }
    }
}

/// After how many runs progress is told.
const EVERY: u64 = 5_000;

/// What all threads share.
struct Progress {
    next: AtomicU64,
    done: AtomicU64,
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
    let done = progress.done.load(Ordering::Relaxed);
    let calls = progress.calls.load(Ordering::Relaxed);
    let minute = 60.0 / took;
    println!(
        "{done} runs with {calls} calls in {took:.1} s on {threads} threads: {:.0} runs a minute",
        done as f64 * minute
    );
    let faults = progress.faults.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (fault, struck) in Fault::ALL.into_iter().zip(faults) {
        println!("{struck:>12}  {}", fault.name());
    }
    let mut failed = progress.failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_by_key(|report| report.seed);
    if options.keep_going {
        println!("{:>12}  runs that failed", failed.len());
        for report in &failed {
            println!("seed {}: {}", report.seed, report.problem.as_deref().unwrap_or_default());
        }
    }
    let Some(first) = failed.first() else { return ExitCode::SUCCESS };
    // The same run once more, for its trace; and if it were not the same, that would be worth knowing too.
    let again = options.run(first.seed, true);
    if again.problem != first.problem {
        eprintln!("the run of seed {} is not the same when it is made again", first.seed);
    }
    if !options.keep_going {
        eprintln!("{}", again.trace);
    }
    eprintln!("seed {}: {}", first.seed, first.problem.as_deref().unwrap_or_default());
    let versions = if options.two_versions { " --two-versions" } else { "" };
    eprintln!("cargo run --release -p stepwell-tests --bin sim -- --runs 1 --seed {} --trace{versions}", first.seed);
    ExitCode::FAILURE
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
        let report = options.run(options.seed.wrapping_add(number), options.trace);
        if options.trace {
            print!("{}", report.trace);
        }
        progress.calls.fetch_add(report.calls, Ordering::Relaxed);
        for (all, one) in progress.faults.lock().unwrap_or_else(PoisonError::into_inner).iter_mut().zip(report.faults) {
            *all += one;
        }
        if report.problem.is_some() {
            progress.failed.lock().unwrap_or_else(PoisonError::into_inner).push(report);
            progress.stop.fetch_or(!options.keep_going, Ordering::Relaxed);
        }
        tell(options, progress, begin);
    }
}

/// Tells how far it has come, now and then.
fn tell(options: &Options, progress: &Progress, begin: Instant) {
    let done = progress.done.fetch_add(1, Ordering::Relaxed) + 1;
    if done.is_multiple_of(EVERY) {
        let a_minute = done as f64 * 60.0 / begin.elapsed().as_secs_f64();
        eprintln!("{done} of {} runs, {a_minute:.0} a minute", options.runs);
    }
}
