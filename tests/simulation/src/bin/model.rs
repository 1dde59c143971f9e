//! Checks the protocol's model and prints how many states there are.

#![allow(clippy::print_stdout, reason = "it is what this program is for")]

use clap::Parser;
use std::{process::ExitCode, time::Instant};
use stepwell_simulation::model::{Scope, large_scopes, small_scopes, verify};

/// Checks every state of the protocol's model, scope by scope: safety, and that everything comes to its end.
#[derive(Parser)]
struct Arguments {
    /// Also the scopes that take minutes and gigabytes.
    #[arg(long)]
    large: bool,
    /// Only scopes with this in their name.
    #[arg(default_value = "")]
    name: String,
    /// On this many threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    let Arguments { large, name, threads } = Arguments::parse();
    let mut scopes = small_scopes();
    scopes.extend(if large { large_scopes() } else { vec![] });
    println!("{:<66}{:>12}{:>14}{:>10}", "scope", "states", "transitions", "seconds");
    let wanted = scopes.iter().filter(|scope| scope.name.contains(&name));
    let passed: Vec<bool> = wanted.map(|scope| print(scope, threads)).collect();
    if passed.into_iter().all(|passed| passed) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(scope: &Scope, threads: usize) -> bool {
    let begin = Instant::now();
    let found = verify(scope, threads);
    let seconds = begin.elapsed().as_secs_f64();
    match &found {
        Ok(found) => {
            println!("{:<66}{:>12}{:>14}{seconds:>10.1}", scope.name, found.states, found.transitions)
        }
        Err(flaw) => println!("{:<66} {flaw}", scope.name),
    }
    found.is_ok()
}
