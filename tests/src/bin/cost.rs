//! Prints what a task costs in AWS calls and units, next to what the design allows.

#![allow(clippy::print_stdout, reason = "it is what this program is for")]

use clap::Parser;
use std::collections::{BTreeMap, BTreeSet};
use stepwell_tests::{
    cost::{Budget, Cost, Shape, measure},
    meter::Units,
};

/// Runs tasks on the stack at AWS_ENDPOINT_URL, nothing failing, and counts the engine's own AWS calls.
///
/// Write units are what DynamoDB says it used; read units are worked out from the items that were read, by DynamoDB's
/// published rules, because MiniStack does not report them. The shop's calls are left out, and so are the receives and
/// deletes, which Lambda makes. Every task gets a table and queues of its own, which are deleted afterwards.
#[derive(Parser)]
struct Arguments {
    /// Also list the requests by operation, and the calls in sequence step by step.
    #[arg(long)]
    details: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let Arguments { details } = Arguments::parse();
    heading(["", "table", "writes", "index", "read", "", "other", "longest", "edges into"]);
    heading(["task", "writes", "per step", "writes", "units", "sends", "SQS", "sequence", "joins"]);
    let Budget { steps, table_writes, index_writes, reads, sends, in_sequence } = Budget::of_checkout("success");
    row("allowed for the checkout", table_writes, steps, index_writes, reads, [sends, 0, in_sequence, 0]);
    let shapes = [
        Shape::Checkout("success"),
        Shape::KeyedCheckout("success"),
        Shape::Checkout("everything"),
        Shape::Chain(5),
        Shape::Chain(20),
        Shape::Chain(100),
        Shape::Fan(20),
    ];
    let mut costs = Vec::new();
    for shape in shapes {
        let cost = measure(shape).await;
        print(&cost);
        costs.push(cost);
    }
    if details {
        costs.iter().for_each(print_details);
    }
}

fn heading(titles: [&str; 9]) {
    let [task, titles @ ..] = titles;
    println!("{task:<28}{}", titles.map(|title| format!("{title:>11}")).concat());
}

fn print(cost: &Cost) {
    let Units { table_writes, index_writes, reads } = cost.units;
    let other = cost.sqs.values().sum::<usize>() - cost.sends();
    let counts = [cost.sends(), other, cost.longest_sequence(), cost.joining_edges];
    row(&cost.name, table_writes, cost.steps, index_writes, reads, counts);
}

fn row(task: &str, table_writes: f64, steps: usize, index_writes: f64, reads: f64, counts: [usize; 4]) {
    let per_step = table_writes / u32::try_from(steps).map_or(f64::INFINITY, f64::from);
    let counts = counts.map(|count| format!("{count:>11}")).concat();
    println!("{task:<28}{table_writes:>11}{per_step:>11.2}{index_writes:>11}{reads:>11}{counts}");
}

fn print_details(cost: &Cost) {
    let list = |counts: &BTreeMap<String, usize>| {
        counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
    };
    println!("\n{}", cost.name);
    println!("  DynamoDB: {}", list(&cost.dynamodb));
    println!("  SQS: {}", list(&cost.sqs));
    for length in cost.in_sequence.values().collect::<BTreeSet<_>>() {
        let steps = cost.in_sequence.values().filter(|other| *other == length).count();
        println!("  in sequence: {length} for {steps} of the steps");
    }
}
