//! The comparison, measured: a checkout written in one piece and ours, over the same services with the same faults.

#![allow(clippy::print_stdout, reason = "the report is this command's output")]

use clap::Parser;
use serde_json::json;
use std::process::ExitCode;
use stepwell_tests::comparison::{
    Design, Settings,
    report::{self, Claim},
};

/// How often a checkout fails that is written in one piece, and how often ours does, over the same services with the
/// same faults.
///
/// Everything runs in this process and in virtual time, and the same seed gives the same figures. What is compared, and
/// what is in whose favour, stands in the documentation of `stepwell_tests::comparison`.
///
/// Exits with 1 unless, of ours, at most 0.2 % fail, and these are customers who cannot be served; none is charged
/// without an order or a refund; none needs hands; and every transient failure is recovered by itself.
#[derive(Parser)]
struct Options {
    /// How many customers come within a day.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    checkouts: u32,
    /// What all chance is drawn from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often the checkout in one piece is to fail, in percent. The rate of faults is found by that.
    #[arg(long, value_name = "PERCENT", default_value_t = 15.0)]
    failing: f64,
    /// The rate of faults itself, from 0 to below 1, instead of looking for it.
    #[arg(long, value_name = "RATE", conflicts_with = "failing", value_parser = rate)]
    rate: Option<f64>,
    /// What if every step of ours had so many attempts, instead of what checkout.yaml says.
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.0..1.0).contains(rate));
    rate.ok_or_else(|| format!("`{text}` is not a number from 0 to below 1"))
}

fn main() -> ExitCode {
    let options = Options::parse();
    let settings = Settings::new(options.seed, options.checkouts as usize);
    let settings = options.max_attempts.into_iter().fold(settings, Settings::with_max_attempts);
    let rate = options.rate.unwrap_or_else(|| settings.calibrate(options.failing / 100.0));

    let monolith = settings.run(Design::Monolith, rate);
    let sent_again = settings.run(Design::OnePieceSentAgain, rate);
    let ours = settings.run(Design::Stepwell, rate);
    let claims = report::claims(&ours);
    if options.json {
        let report = json!({
            "checkouts": options.checkouts, "seed": options.seed, "rate": rate,
            "in_one_piece": monolith, "in_one_piece_sent_again": sent_again, "stepwell": ours, "claims": claims,
        });
        println!("{report:#}");
    } else {
        println!("{} checkouts, seed {}, faults at a rate of {:.2} %\n", options.checkouts, options.seed, rate * 100.0);
        let columns = [("in one piece", &monolith), ("in one piece, sent again", &sent_again), ("stepwell", &ours)];
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
