//! The command `flash_sale`: many buyers for few pieces, over the engine with faults, in virtual time.

#![allow(clippy::print_stdout, reason = "the report is this command's output")]

use clap::Parser;
use serde_json::json;
use std::process::ExitCode;
use stepwell_tests::comparison::{faults, flash_sale::FlashSale};

/// Sells a few pieces to many buyers who come at the same moment, while calls fail and processes die.
///
/// Everything runs in this process and in virtual time, and the same seed gives the same figures. The books are read after
/// every effect on the shop.
///
/// Exits with 1 unless there are never more charges than pieces, nobody is charged for whom no piece is held, every piece
/// is sold, and all other buyers are refused without a charge.
#[derive(Parser)]
struct Options {
    /// The number of buyers, each of whom wants one piece.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    buyers: u32,
    /// The number of pieces.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pieces: u32,
    /// The seed of all random numbers.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The rate of faults, from 0 to below 1.
    #[arg(long, value_name = "RATE", default_value = "0.05", value_parser = faults::rate)]
    rate: f64,
    /// One buyer in this many has a card that is declined; 0 for none.
    #[arg(long, value_name = "N", default_value_t = 0)]
    declined_every: u32,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let Options { buyers, pieces, seed, rate, declined_every, json } = Options::parse();
    let sale = FlashSale { seed, buyers, pieces, rate, declined_every };
    let end = sale.run();
    let claims = sale.claims(&end);
    if json {
        let claims: Vec<_> = claims.iter().map(|(claim, holds)| json!({"claim": claim, "holds": holds})).collect();
        println!("{:#}", json!({"buyers": buyers, "pieces": pieces, "seed": seed, "sale": end, "claims": claims}));
    } else {
        println!("{buyers} buyers for {pieces} pieces, seed {seed}, faults at a rate of {} %\n", rate * 100.0);
        println!("{:>8}  served", end.served);
        println!("{:>8}  refused, the goods were gone", end.refused);
        println!("{:>8}  refused, the card was declined", end.declined);
        end.others.iter().for_each(|(how, count)| println!("{count:>8}  {how}"));
        println!("{:>8}  met a failure that survived the client's retries", end.met_failures);
        println!("{:>8}  effects on the shop, each followed by a look into the books", end.books.effects);
        println!("{:>8}  charges in force at most\n", end.books.most_charges);
        claims.iter().for_each(|(claim, holds)| println!("{} {claim}", if *holds { "holds:" } else { "BROKEN:" }));
    }
    if claims.iter().all(|(_, holds)| *holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
