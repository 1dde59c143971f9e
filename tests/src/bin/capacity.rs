//! The command `capacity`.

#![allow(clippy::print_stdout, reason = "the report is this command's output")]

use clap::Parser;
use std::time::Duration;
use stepwell_tests::capacity::{
    cloud::{Load, Seen, run},
    limits::{LASTS, MEASURED_FROM, uses},
    setup::{Setup, Stated},
};

/// thin slice
#[derive(Parser)]
struct Options {
    #[arg(long, value_delimiter = ',', default_values_t = [100, 300, 1_000])]
    rate: Vec<u64>,
    #[arg(long, default_value_t = 100)]
    scale: u64,
}

fn main() {
    let options = Options::parse();
    let workflow = checkout::workflow().expect("the workflow");
    let ms = Duration::from_millis;
    let stated = Stated { call: ms(5), handler: ms(20), cpu: ms(2), service: ms(300), requests: 2.0, log_bytes: 1_000 };
    let setup = Setup::shipped(&workflow, stated);
    for rate in options.rate {
        let load = Load { rate, lasts: LASTS, measured_from: MEASURED_FROM, outage: None };
        let seen: Seen = run(&setup, load, options.scale, 1);
        println!("{rate}: {:?}", seen.measured_starts);
        println!(
            "  completed {} p50 {:?} p99 {:?}",
            seen.completed,
            seen.took.get(seen.took.len() / 2),
            seen.took.get(seen.took.len() * 99 / 100)
        );
        println!("  {:?}", seen.used.units);
        println!(
            "  throttled {} given up {} rates {:?} ended {:?}",
            seen.used.throttled, seen.used.given_up, seen.write_rates, seen.ended
        );
        for it in uses(&setup, &seen) {
            println!(
                "  {:>6.1} % {:?} {:.1} of {:.0}: {}",
                it.share() * 100.0,
                it.resource,
                it.used,
                it.limit,
                it.setting
            );
        }
    }
}
