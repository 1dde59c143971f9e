//! Many checkouts at once, and then the books: was none lost, none charged twice, is the stock exact? With `--faults`
//! while workers are killed, messages come twice, DynamoDB fails, and some customers change their minds.
//!
//! Every checkout goes through the API. Its end is read off the engine's table, a hundred tasks with one call, so that
//! the looking costs the stack next to nothing; how long it took is its own `finished_at` less the moment before the
//! request, by the clock of this one machine.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the report is this command's output")]
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a set-up that is wrong ends the run, with a message")]

mod chaos;
mod checkouts;
mod orders;
mod reconcile;
mod report;

use crate::{
    chaos::{Chaos, ChaosOptions},
    checkouts::{End, Load},
    report::{Report, Speed},
};
use clap::Parser;
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};
use stepwell::Timestamp;
use stepwell_tests::{cpu, stack::Stack};

/// Checkouts through the API, and whether each of them came out right.
///
/// The stack is found by the environment: eval "$(infra/local.sh env)". Stock is topped up by what is going to be
/// bought, so afterwards it has to be what it was before. Nothing else may buy meanwhile.
#[derive(Parser)]
struct Options {
    /// How many checkouts to make.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    checkouts: u32,
    /// How many of them are under way at the same time.
    #[arg(long, value_name = "C", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: u32,
    /// How many checkouts to make before the measurement, so that the functions are warm.
    #[arg(long, value_name = "N", default_value_t = 20)]
    warm_up: u32,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    chaos: ChaosOptions,
}

/// After this long without an end a checkout counts as lost.
const PATIENCE: Duration = Duration::from_secs(180);

/// The same where things go wrong on purpose: a worker's lease and the watchdog's rounds are counted in minutes.
const PATIENCE_WITH_FAULTS: Duration = Duration::from_secs(600);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let options = Options::parse();
    let stack = Stack::from_env().await;
    let catalogue = orders::active_products(&stack).await;

    let warm_up = orders::orders(&catalogue, options.warm_up);
    let measured = orders::orders(&catalogue, options.checkouts);
    let before = reconcile::Before::read(&stack, &catalogue).await;
    let units = orders::units(warm_up.iter().chain(&measured));
    for (&product, &units) in &units {
        stack.add_stock(product, units).await;
    }

    let warming = Load { stack: &stack, chaos: None, patience: PATIENCE, concurrency: options.concurrency };
    let mut results = warming.run(&warm_up, "warming up").await;

    let chaos = if options.chaos.faults { Some(Chaos::begin(&stack, &options.chaos).await) } else { None };
    let patience = if chaos.is_some() { PATIENCE_WITH_FAULTS } else { PATIENCE };
    let cpu_before = cpu::of_functions(&stack);
    let begin = Instant::now();
    let load = Load { chaos: chaos.as_ref(), patience, ..warming };
    let measured = load.run(&measured, "checkouts").await;
    let took = begin.elapsed();
    let left_over = reconcile::until_queues_are_as(&stack, &before, patience).await;
    let cpu = cpu::since(&cpu_before, &cpu::of_functions(&stack));
    let done_to_it = match chaos {
        Some(chaos) => Some(chaos.end().await),
        None => None,
    };

    let speed = Speed::of(&measured, took);
    results.extend(measured);
    // What was put there for a checkout that did not come about. One that is lost may still buy.
    for made in results.iter().filter(|made| !matches!(made.end, End::Complete { .. } | End::Lost)) {
        for &(product, _, quantity) in &made.order.lines {
            stack.add_stock(product, -quantity).await;
        }
    }
    let audit = reconcile::audit(&stack, &results, &before, &units, left_over).await;
    let report = Report { options: &options, speed, cpu, chaos: done_to_it, audit };
    if options.json {
        println!("{}", report.json());
    } else {
        report.print();
    }
    if report.audit.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).expect("a clock of our time"))
}
