//! Says which rights the functions of the local stack lack, and which they have and do not need.

#![allow(clippy::print_stdout, reason = "it is what this program is for")]

use clap::Parser;
use serde_json::Value;
use std::{collections::BTreeSet, error::Error, fs, path::PathBuf, process::ExitCode};
use stepwell_tests::rights::{compare, granted, of_lambda, recorded};

/// Compares what the roles of a stack's functions grant with the calls that the functions have made.
///
/// tests/run.sh runs this at the end, on what scenarios, faults and crashes have recorded together. Each finding is a line,
/// and the exit code is 1 if there is any.
#[derive(Parser)]
struct Arguments {
    /// What `aws iam get-account-authorization-details --filter Role` prints.
    #[arg(long)]
    roles: PathBuf,
    /// What `aws lambda list-functions` prints.
    #[arg(long)]
    functions: PathBuf,
    /// What `aws lambda list-event-source-mappings` prints.
    #[arg(long)]
    mappings: PathBuf,
    /// The records of one or more emulators: the file `calls` in the state folder of each.
    #[arg(required = true)]
    calls: Vec<PathBuf>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments = Arguments::parse();
    let read = |path: &PathBuf| fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    let json = |path| Ok::<Value, Box<dyn Error>>(serde_json::from_str(&read(path)?)?);

    let (roles, functions) = (json(&arguments.roles)?, json(&arguments.functions)?);
    let rights = granted(&roles, &functions)?;
    let mut calls: BTreeSet<_> = of_lambda(&functions, &json(&arguments.mappings)?);
    for path in &arguments.calls {
        calls.extend(recorded(&read(path)?)?);
    }

    let findings = compare(&rights, &calls);
    findings.iter().for_each(|finding| println!("{finding}"));
    println!("{} rights, {} kinds of calls, {} findings", rights.len(), calls.len(), findings.len());
    Ok(if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
