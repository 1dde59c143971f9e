//! The command `capacity`: how far Stepwell goes under AWS's quotas.

#![allow(clippy::print_stdout, reason = "the report is this command's output")]
#![allow(clippy::expect_used, reason = "the workflow file and the prices are part of the program, and tests read them")]

use clap::Parser;
use cloud_prices::Prices;
use rust_decimal::{Decimal, RoundingStrategy::MidpointAwayFromZero, prelude::ToPrimitive};
use std::process::ExitCode;
use stepwell::{
    core::{breaker::CACHED_FOR, index::IndexPartition, record::RETENTION},
    runtime::watchdog::CONCURRENCY,
};
use stepwell_aws::WATCHDOG_RESERVE;
use stepwell_tests::{
    capacity::{
        Used,
        bill::bill,
        cloud::{Seen, run},
        limits::{Change, Counted, Resource, TARGET, Use, are_close, climb, outage, steady},
        setup::{Setup, Stated},
    },
    outage::OutageKind,
};

/// Runs the shipped engine under AWS's published quotas and the numbers of the rendered template, in virtual time and scaled down.
///
/// Prints where each limit is and which setting moves it, what rising rates meet first, what an hour of gateway outage does, and what ten
/// thousand checkouts a second would take. Exits with 1 unless two scales agree within 5 %.
#[derive(Parser)]
struct Options {
    /// The rates, in checkouts a second.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [100, 300, 1_000, 3_000])]
    rate: Vec<u64>,
    /// The rate of the outage, in checkouts a second.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    outage_rate: u64,
    /// The two scales that are compared: one checkout stands for so many.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [100, 1_000])]
    scale: Vec<u64>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let (fine, coarse) = match options.scale[..] {
        [fine, coarse] if fine > 0 && coarse > 0 => (fine, coarse),
        _ => {
            println!("--scale takes two numbers above zero, such as 100,1000");
            return ExitCode::from(2);
        }
    };
    let workflow = checkout::workflow().expect("the workflow");
    let shipped = Setup::shipped(&workflow, Stated::default());
    let Stated { call, handler, cpu, service, requests, .. } = shipped.stated;
    println!(
        "Quotas of {}, default account; numbers of infra/template.yaml. Stated: {} ms a call, {} ms a handler,",
        shipped.quotas.as_of,
        call.as_millis(),
        handler.as_millis()
    );
    println!(
        "{} ms of a core an invocation, {} ms a service that a step waits on, {requests} requests a checkout.",
        cpu.as_millis(),
        service.as_millis()
    );

    let seen = run(&shipped, steady(TARGET), 250, 1);
    let counted = Counted::of(&seen);
    where_limits_are(&shipped, &counted);
    println!("\nRising rates, one checkout for {fine} (for {coarse} above 1,000 a second)");
    for &rate in &options.rate {
        rise(&shipped, rate, if rate > 1_000 { coarse } else { fine }, &counted);
    }
    let fitted = fitted(&shipped, options.outage_rate, &counted);
    let mut holds = true;
    println!("\nThe two scales");
    let runs = [fine, coarse].map(|scale| run(&shipped, steady(1_000), scale, 1));
    holds &= compare("1,000 a second, as shipped", &runs, &STEADY);
    let runs = [fine, coarse].map(|scale| run(&fitted, steady(options.outage_rate), scale, 1));
    holds &= compare(&format!("{} a second, fitted", options.outage_rate), &runs, &STEADY);
    let calm = &runs[0];
    let mut outages = Vec::new();
    for kind in [OutageKind::Refuses, OutageKind::Hangs] {
        let runs = [fine, coarse].map(|scale| run(&fitted, outage(options.outage_rate, kind), scale, 1));
        holds &=
            compare(&format!("{} a second, the gateway {kind:?} for an hour", options.outage_rate), &runs, &OUTAGE);
        outages.push((kind, runs));
    }
    println!("\nAn hour without the gateway at {} a second, with the settings fitted to that", options.outage_rate);
    for (kind, [seen, _]) in &outages {
        tell_outage(*kind, seen, calm, &shipped);
    }
    computed(&shipped, &counted);
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The shipped setup with all settings as this rate needs them.
fn fitted(shipped: &Setup, rate: u64, counted: &Counted) -> Setup {
    let mut setup = shipped.clone();
    let steps = setup.functions.keys().cloned().map(Resource::Step);
    let all = [Resource::Api, Resource::TableWrites, Resource::IndexWrites, Resource::Reads].into_iter().chain(steps);
    for resource in all.chain([Resource::Concurrency]).collect::<Vec<_>>() {
        setup.fit(&resource, rate as f64, counted);
    }
    setup
}

/// Each limit, by the rate at which it is reached.
fn where_limits_are(setup: &Setup, counted: &Counted) {
    let quotas = &setup.quotas;
    let dynamodb = &quotas.dynamodb;
    let mapping = &quotas.event_source_mapping;
    let payment = counted.seconds_of("process_payment");
    let requests = setup.stated.requests;
    let in_steps: f64 = counted.seconds.values().sum();
    let mut limits = vec![
        (setup.api.requests / requests, "requests, ThrottlingRateLimit of ApiStage".to_owned()),
        (quotas.api_gateway.requests / requests, "requests, the account's quota of API Gateway".to_owned()),
        (
            setup.warm_write_units / counted.table_writes,
            "write units of a new table; WarmThroughput of TasksTable, or half an hour".to_owned(),
        ),
        (
            dynamodb.table_write_units / counted.table_writes,
            "write units of a table, the account's quota of DynamoDB".to_owned(),
        ),
        (
            setup.warm_index_units / counted.index_writes,
            "write units of a new index; WarmThroughput of by_status, or half an hour".to_owned(),
        ),
        (
            setup.warm_read_units / counted.reads,
            "read units of a new table; WarmThroughput of TasksTable, or half an hour".to_owned(),
        ),
        (
            dynamodb.partition_write_units * f64::from(IndexPartition::SHARDS) / counted.shard_writes,
            format!("write units of a partition of the index; {} IndexPartition::SHARDS", IndexPartition::SHARDS),
        ),
        (
            dynamodb.partition_write_units / STOCK_WRITE_UNITS,
            "write units of one product's stock, if all buy that one; two products".to_owned(),
        ),
        (
            mapping.most_of_maximum_concurrency / payment,
            "max_concurrency of process_payment at Lambda's most; then its batch_size".to_owned(),
        ),
        (
            quotas.lambda.concurrency / (in_steps + counted.start_seconds),
            "concurrent invocations without batches, the account's quota of Lambda".to_owned(),
        ),
        (
            quotas.lambda.concurrency / (in_steps + counted.start_seconds + counted.half_took),
            "the same, if each customer waits for the end (`wait`)".to_owned(),
        ),
    ];
    for (step, function) in &setup.functions {
        let seconds = counted.seconds_of(step);
        if seconds > 0.0 {
            limits.push((
                function.messages_at_a_time() / seconds,
                format!("messages at a time, max_concurrency {} of {step}", function.max_concurrency),
            ));
        }
    }
    limits.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    println!(
        "\nWhere each limit is: a checkout takes {:.0} write units on the table, {:.0} on its index, {:.1} read units, {:.1} SQS requests",
        counted.table_writes, counted.index_writes, counted.reads, counted.sqs_requests
    );
    for (rate, what) in limits {
        println!("{rate:>8.0} a second  {what}");
    }
    let copies: f64 = setup.functions.values().map(|function| function.max_concurrency).sum();
    println!(
        "Not a limit: {:.0} read units a second of the breaker's partition, if all {copies} copies were to read it, of {}",
        copies / 2.0 / CACHED_FOR.as_secs_f64(),
        dynamodb.partition_read_units
    );
    println!("Not known here: SES takes as many e-mails a second as the account was given (`aws ses get-send-quota`).");
}

/// The units of a product's stock for one checkout: one write in a transaction (`hold` in shared/checkout_aws/src/stock.rs).
const STOCK_WRITE_UNITS: f64 = 2.0;

/// The bytes of a checkout in the memory of the reconciliation, stated: `infra/settings.yaml` says some hundred.
const RECONCILED_BYTES: f64 = 300.0;

const DAY: f64 = 24.0 * 60.0 * 60.0;

fn rise(shipped: &Setup, rate: u64, scale: u64, counted: &Counted) {
    let mut setup = shipped.clone();
    println!("{rate} a second");
    let tell = |seen: &Seen, full: &Use, changes: &[Change]| {
        let carried = seen.completed as f64 / seen.seconds;
        let changes: Vec<_> =
            changes.iter().map(|(setting, from, to)| format!("{setting} from {from} to {to}")).collect();
        let changes = if changes.is_empty() { "nothing is left to change".to_owned() } else { changes.join(", ") };
        println!("  {carried:>6.0} completed; full: {:?}, {}. Changed: {changes}", full.resource, full.setting);
    };
    let seen = climb(&mut setup, rate, scale, counted, tell);
    println!(
        "  {:>6.0} completed; half within {:.2} s, 99 % within {:.2} s; at most {:.0} concurrent invocations",
        seen.completed as f64 / seen.seconds,
        seen.took_at(0.5),
        seen.took_at(0.99),
        seen.concurrency
    );
}

/// A figure that has to be the same at both scales.
type Figure = (&'static str, fn(&Seen) -> f64);

const STEADY: [Figure; 5] = [
    ("completed a second", |seen| seen.completed as f64 / seen.seconds),
    ("seconds for half of them", |seen| seen.took_at(0.5)),
    ("write units a second", |seen| seen.used.units.table_writes as f64 / seen.seconds),
    ("SQS requests a second", |seen| seen.used.sqs_requests as f64 / seen.seconds),
    ("share of the places of process_payment", |seen| seen.busy.get("process_payment").copied().unwrap_or_default()),
];

const OUTAGE: [Figure; 5] = [
    ("checkouts started", |seen| seen.starts.started as f64),
    ("open at most", |seen| seen.open as f64),
    ("seconds after the return until as many are completed as come", |seen| seen.recovered_after),
    ("most in flight in a queue", |seen| seen.in_flight as f64),
    ("US dollars", |seen| {
        dollars(&seen.used).iter().map(|(_, amount)| *amount).sum::<Decimal>().to_f64().unwrap_or(f64::NAN)
    }),
];

/// What was used, in US dollars.
fn dollars(used: &Used) -> Vec<(&'static str, Decimal)> {
    bill(used, &Prices::read().expect("the prices"), Stated::default().log_bytes)
}

fn compare(what: &str, [fine, coarse]: &[Seen; 2], figures: &[Figure]) -> bool {
    println!("{what}");
    let mut holds = true;
    for (name, of) in figures {
        let (a, b) = (of(fine), of(coarse));
        let close = are_close(a, b);
        holds &= close;
        println!("{:>8} {name}: {a:.2} and {b:.2}", if close { "holds:" } else { "BROKEN:" });
    }
    holds
}

/// The calls in sequence of an inspection that finds nothing to do: it reads the task, and moves it in the index.
const INSPECTION_CALLS: f64 = 2.0;

fn tell_outage(kind: OutageKind, seen: &Seen, calm: &Seen, setup: &Setup) {
    println!("It {kind:?}");
    println!("{:>10.1}  seconds until the breaker is open", seen.opened_after);
    println!("{:>10}  checkouts refused with 503, {} throttled with 429", seen.starts.refused, seen.starts.throttled);
    println!("{:>10}  open at most", seen.open);
    println!("{:>10}  in flight in one queue at most, of {}", seen.in_flight, setup.quotas.sqs.in_flight);
    println!("{:>10.0}  seconds after the return as many are completed as come", seen.recovered_after);
    let watchdog = (setup.watchdog_timeout - WATCHDOG_RESERVE).as_secs_f64() * CONCURRENCY as f64;
    let inspections = watchdog / (INSPECTION_CALLS * setup.stated.call.as_secs_f64());
    println!(
        "{:>10}  tasks to inspect at most in a run of the watchdog; it has time for {inspections:.0}",
        seen.inspected
    );
    for (status, count) in &seen.ended {
        println!("{count:>10}  checkouts are {status} a quarter of an hour after the return");
    }
    // The run without an outage is shorter.
    let longer = Decimal::from(seen.seconds as u64) / Decimal::from(calm.seconds as u64);
    let outage = dollars(&seen.used);
    let same: Vec<_> = dollars(&calm.used).into_iter().map(|(service, amount)| (service, amount * longer)).collect();
    println!(
        "{:>10}  US dollars for the hour and the quarter of an hour after it, {} without an outage",
        total(&outage),
        total(&same)
    );
    for ((service, amount), (_, calm)) in outage.iter().zip(&same) {
        println!("{:>12} {service}, {}", cents(*amount), cents(*calm));
    }
}

fn total(bill: &[(&str, Decimal)]) -> String {
    cents(bill.iter().map(|(_, amount)| *amount).sum())
}

fn cents(amount: Decimal) -> String {
    format!("{:.2}", amount.round_dp_with_strategy(2, MidpointAwayFromZero))
}

/// What ten thousand checkouts a second and a hundred million stored tasks take, by formula.
fn computed(setup: &Setup, counted: &Counted) {
    let rate = 10_000.0;
    println!("\nComputed, not simulated: {rate} checkouts a second");
    let payment = rate * counted.seconds_of("process_payment");
    println!(
        "{:>10.0}  write units a second on the table, {:.0} on its index, {:.0} read units",
        rate * counted.table_writes,
        rate * counted.index_writes,
        rate * counted.reads
    );
    println!(
        "{:>10.0}  shards at least of a partition of the index; there are {}",
        (rate * counted.shard_writes / setup.quotas.dynamodb.partition_write_units).ceil(),
        IndexPartition::SHARDS
    );
    println!(
        "{payment:>10.0}  payments at a time: batches of {:.0} at least, as Lambda brings at most {} at a time",
        (payment / setup.quotas.event_source_mapping.most_of_maximum_concurrency).ceil(),
        setup.quotas.event_source_mapping.most_of_maximum_concurrency
    );
    println!("{:>10.0}  requests a second to the API", rate * setup.stated.requests);
    println!(
        "{:>10.0}  products at least, if each sells the same",
        (rate * STOCK_WRITE_UNITS / setup.quotas.dynamodb.partition_write_units).ceil()
    );
    let stored = 100_000_000.0;
    let days = RETENTION.as_secs_f64() / DAY;
    println!(
        "Computed, not simulated: {stored} stored checkouts, which are {:.0} a second for {days} days",
        stored / RETENTION.as_secs_f64()
    );
    println!("{:>10.0}  GB in the tasks table, {:.0} bytes each", stored * counted.bytes / 1e9, counted.bytes);
    println!(
        "{:>10.0}  GB in memory for the hourly reconciliation, at {RECONCILED_BYTES} bytes each: its function has {:.1}, enough for {:.1} million",
        stored * RECONCILED_BYTES / 1e9,
        setup.reconcile_memory_mb / 1_024.0,
        setup.reconcile_memory_mb * 1_048_576.0 / RECONCILED_BYTES / 1e6
    );
}
