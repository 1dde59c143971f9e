//! The command `comparison`: a monolith and Stepwell over the same services, with the same faults.

#![allow(clippy::print_stdout, reason = "the report is this command's output")]

use clap::Parser;
use serde_json::json;
use std::process::ExitCode;
use stepwell_tests::comparison::{
    Design, Settings, faults,
    report::{self, Claim},
};

/// Compares how often a monolithic checkout and a Stepwell checkout fail, over the same services with the same faults.
///
/// Everything runs in this process and in virtual time, and the same seed gives the same figures. The documentation of
/// `stepwell_tests::comparison` says what is compared and what favours which design.
///
/// Exits with 1 unless, of the Stepwell checkouts, at most 0.2 % fail, all of them for customers who cannot be served;
/// none is charged without an order or a refund; none needs reconciliation; and every transient failure is recovered
/// without a person.
#[derive(Parser)]
struct Options {
    /// The number of customers within a day.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    checkouts: u32,
    /// The seed of all random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often the monolith has to fail, in percent. The command finds the rate of faults at which it does.
    #[arg(long, value_name = "PERCENT", default_value_t = 15.0)]
    failing: f64,
    /// A fixed rate of faults, from 0 to below 1, instead of a search for it.
    #[arg(long, value_name = "RATE", conflicts_with = "failing", value_parser = faults::rate)]
    rate: Option<f64>,
    /// The attempts of every Stepwell step, instead of what checkout.yaml says.
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let settings = Settings::new(options.seed, options.checkouts as usize);
    let settings = options.max_attempts.into_iter().fold(settings, Settings::with_max_attempts);
    let rate = options.rate.unwrap_or_else(|| settings.calibrate(options.failing / 100.0));

    let monolith = settings.run(Design::Monolith, rate);
    let resent = settings.run(Design::MonolithResent, rate);
    let ours = settings.run(Design::Stepwell, rate);
    let claims = report::claims(&ours);
    if options.json {
        let report = json!({
            "checkouts": options.checkouts, "seed": options.seed, "rate": rate,
            "monolith": monolith, "monolith_resent": resent, "stepwell": ours, "claims": claims,
        });
        println!("{report:#}");
    } else {
        println!("{} checkouts, seed {}, faults at a rate of {:.2} %\n", options.checkouts, options.seed, rate * 100.0);
        let columns = [("monolith", &monolith), ("monolith, resent", &resent), ("stepwell", &ours)];
        println!("{}", report::table(&columns));
        for (name, figures) in columns {
            println!("why they failed, {name}:");
            figures.reasons.iter().for_each(|(why, count)| println!("{count:>8}  {why}"));
        }
        println!();
        claims
            .iter()
            .for_each(|Claim { claim, holds }| println!("{} {claim}", if *holds { "holds:" } else { "BROKEN:" }));
    }
    if claims.iter().all(|claim| claim.holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
