//! The command `load`: many concurrent checkouts, and then the reconciliation: none is lost, none is charged twice, the
//! stock is exact. With `--faults` workers are killed meanwhile, messages come twice, DynamoDB fails, and some
//! customers cancel.
//!
//! Every checkout goes through the API. Its end is read from the engine's table, a hundred tasks with one call, so that
//! the reads hardly load the stack. Its latency is its own `finished_at` less the time before the request, by the clock
//! of this one machine.

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
    report::{LoadReport, Speed},
};
use clap::Parser;
use std::{
    collections::BTreeMap,
    process::ExitCode,
    time::{Duration, Instant},
};
use stepwell::Timestamp;
use stepwell_tests::{
    cpu::{self, FunctionTime},
    floor::{self, Floor},
    requests::{self, Requests},
    stack::Stack,
};

/// Makes checkouts through the API, and verifies that each of them ended as it has to.
///
/// The environment names the stack: eval "$(infra/local.sh env)". The command adds the stock that it is going to buy,
/// so afterwards the stock has to be what it was before. Nothing else may buy meanwhile.
#[derive(Parser)]
struct Options {
    /// The number of checkouts.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    checkouts: u32,
    /// The number of open checkouts at a time.
    #[arg(long, value_name = "C", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    concurrency: u32,
    /// The number of checkouts before the measurement, so that the functions are warm.
    #[arg(long, value_name = "N", default_value_t = 20)]
    warm_up: u32,
    /// Then measure the floor of the processor time: the same requests to an empty server. Builds a function for release.
    #[arg(long, conflicts_with = "faults")]
    floor: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    chaos: ChaosOptions,
}

/// The time after which an open checkout counts as lost.
const PATIENCE: Duration = Duration::from_secs(180);

/// The same with faults: a worker's lease and the watchdog's interval take minutes.
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
    let mark = requests::mark(&stack);
    let begin = Instant::now();
    let load = Load { chaos: chaos.as_ref(), patience, ..warming };
    let measured = load.run(&measured, "checkouts").await;
    let took = begin.elapsed();
    let left_over = reconcile::until_queues_are_as(&stack, &before, patience).await;
    let cpu = cpu::since(&cpu_before, &cpu::of_functions(&stack));
    let requests = mark.map(|mark| requests::since(&stack, mark));
    let floor = match (&requests, options.floor) {
        (Some(requests), true) => Some(floor_of(requests, &stack, &options, took).await),
        _ => None,
    };
    let done_to_it = match chaos {
        Some(chaos) => Some(chaos.end().await),
        None => None,
    };

    let speed = Speed::of(&measured, took);
    results.extend(measured);
    // Takes back the stock of checkouts that did not complete. A lost one may still buy.
    for made in results.iter().filter(|made| !matches!(made.end, End::Complete { .. } | End::Lost)) {
        for &(product, _, quantity) in &made.order.lines {
            stack.add_stock(product, -quantity).await;
        }
    }
    let audit = reconcile::audit(&stack, &results, &before, &units, left_over).await;
    let report = LoadReport { options: &options, speed, cpu, requests, floor, chaos: done_to_it, audit };
    if options.json {
        println!("{}", report.json());
    } else {
        report.print();
    }
    if report.audit.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The processor time of the same requests in functions that make nothing but requests, and how long each of these took.
async fn floor_of(
    requests: &Requests,
    stack: &Stack,
    options: &Options,
    took: Duration,
) -> (Duration, Vec<FunctionTime>) {
    let mut processes = BTreeMap::<String, usize>::new();
    for (_, function) in cpu::workers(stack) {
        *processes.entry(function).or_default() += 1;
    }
    let program = floor::build().await;
    let Options { checkouts: runs, concurrency, .. } = *options;
    let number: u32 = requests.values().flat_map(BTreeMap::values).sum();
    // Each checkout of them waits for a request nearly always.
    let answer_after = took * concurrency / number.max(1);
    let floor = Floor { requests, processes: &processes, runs, concurrency, answer_after };
    (answer_after, floor.measure(&program).await)
}

fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock after 1970");
    Timestamp::from_millis(i64::try_from(since_epoch.as_millis()).expect("a clock of our time"))
}
