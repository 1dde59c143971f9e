//! The command `outage`: an hour of gateway outage at a hundred checkouts a second, in virtual time and scaled down.

#![allow(clippy::print_stdout, reason = "the report is this command's output")]

use clap::Parser;
use std::process::ExitCode;
use stepwell_tests::outage::{Outage, OutageKind, Report};

/// Lets the payment gateway be out for an hour, once refusing each call in 100 ms and once hanging until the timeout, while 100
/// checkouts a second arrive, scaled down to one in 100 and to one in 1,000.
///
/// Exits with 1 unless every claim holds at both scales.
#[derive(Parser)]
struct Options {
    /// Only this kind of outage.
    #[arg(long)]
    kind: Option<OutageKind>,
    /// The scales: one checkout stands for so many.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [100, 1_000])]
    scale: Vec<u64>,
    /// The seed of all random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let Options { kind, scale, seed } = Options::parse();
    let largest = scale.iter().copied().min().unwrap_or(1).max(1);
    let mut holds_all = true;
    for kind in kind.map_or(vec![OutageKind::Refuses, OutageKind::Hangs], |kind| vec![kind]) {
        let mut of_scales = Vec::new();
        for &scale in &scale {
            // As many checkouts at each scale, so that chance weighs the same.
            let runs: Vec<Report> =
                (0..(scale / largest).max(1)).map(|run| Outage { kind, scale, seed: seed + run }.run()).collect();
            println!("{kind:?}, scale 1:{scale}, seed {seed} of {} runs", runs.len());
            runs.iter().take(1).for_each(|first| tell(first, scale));
            let claims: Vec<_> = runs.iter().map(|run| run.claims(scale)).collect();
            for (number, (claim, _)) in claims.iter().take(1).flatten().enumerate() {
                let holds = claims.iter().all(|of_run| of_run.get(number).is_some_and(|(_, holds)| *holds));
                holds_all &= holds;
                println!("{} {claim}", if holds { "holds:" } else { "BROKEN:" });
            }
            println!();
            of_scales.push((runs, scale));
        }
        if let [first, second] = &of_scales[..] {
            println!("{kind:?}, difference of 1:{} from 1:{}, by the means", second.1, first.1);
            for (what, of) in COMPARED {
                let mean = |(runs, scale): &(Vec<Report>, u64)| {
                    runs.iter().map(|run| of(run, *scale)).sum::<f64>() / runs.len() as f64
                };
                let (a, b) = (mean(first), mean(second));
                println!("{:>9.1} %  {what}: {a:.0} and {b:.0}", (b - a) * 100.0 / a);
            }
            println!();
        }
    }
    if holds_all { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A figure of a report at full scale.
type Figure = fn(&Report, u64) -> f64;

const COMPARED: [(&str, Figure); 5] = [
    ("seconds until the breaker is open", |report, _| report.opened_after),
    ("payments parked at the return, at full scale", |report, scale| (report.payments_parked * scale) as f64),
    ("most in flight, at full scale", |report, scale| (report.most_in_flight * scale) as f64),
    ("seconds until payments begin again", |report, _| report.payments_from),
    ("seconds until the backlog is drained", |report, _| report.drained_after),
];

fn tell(report: &Report, scale: u64) {
    let full = |count: u64| count * scale;
    println!("{:>9}  checkouts, which stand for {}", report.checkouts, full(report.checkouts));
    println!("{:>9.1}  seconds until the breaker was open", report.opened_after);
    println!("{:>9}  attempts at the gateway before that", report.attempts_before_open);
    println!("{:>9}  attempts while it was open: probes", report.attempts_while_open);
    println!("{:>9}  redrives and refunds had to begin or to be parked on time", report.punctual);
    println!("{:>9.1}  seconds was the latest redrive late", report.latest_redrive);
    println!("{:>9.1}  seconds was the latest refund late", report.latest_refund);
    println!(
        "{:>9}  in flight in one queue at most, {} at full scale",
        report.most_in_flight,
        full(report.most_in_flight)
    );
    println!(
        "{:>9}  payments parked at the return, {} at full scale",
        report.payments_parked,
        full(report.payments_parked)
    );
    println!("{:>9}  refunds parked at the return", report.refunds_parked);
    println!("{:>9.1}  seconds after the return the breaker was closed", report.closed_after);
    println!("{:>9.1}  seconds after the return the last refund of before was made", report.refunds_done_after);
    println!("{:>9.1}  seconds after the return payments began again, the probe aside", report.payments_from);
    println!("{:>9.1}  seconds after the return nothing of before was left", report.drained_after);
    for (status, count) in &report.ended {
        println!("{count:>9}  checkouts ended as {status}");
    }
}
