//! The shop on one machine: `checkout_local serve` runs it, `checkout_local demo` shows it, `checkout_local backup` copies it, and
//! `checkout_local step` and `checkout_local replay` run one step of it by hand. `--help` says the rest.

mod backup;
mod demo;
mod failure;
mod measure;
mod noop;
mod reconciliation;
mod replay;
mod serve;
mod server;
mod step;

use clap::{Parser, Subcommand};
use failure::{EXIT_CODES, Failure};
use std::{io::Write, process::ExitCode};

/// Runs the shop's checkout in one process, with everything it stores in one folder.
#[derive(Debug, Parser)]
#[command(name = "checkout_local", version, after_long_help = EXIT_CODES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the shop until SIGTERM or SIGINT (Ctrl-C)
    ///
    /// Then open requests are answered and steps in flight finished, for ten seconds at most. What is not done by then is done after the
    /// next start. A second signal ends the process at once, which loses nothing either.
    #[command(after_long_help = EXIT_CODES)]
    Serve(serve::Options),
    /// Take six checkouts through a shop of their own, and show every step of them as it happens
    ///
    /// The shop is in a temporary folder, which is deleted at the end, and on free ports.
    #[command(after_long_help = EXIT_CODES)]
    Demo,
    /// Copy the shop's file, also while the shop runs
    ///
    /// The copy is one file for its owner only: tasks, messages, orders, stock and the records of payments, as they were when the command
    /// began. It appears when it is whole. After a power failure or a kill a file `backup-*.partial` may be left beside it: delete it, it has what the
    /// copy lacks.
    ///
    /// The copy lacks the tokens of cards, which are deleted when the card is charged and should not live on in a copy. It also lacks the
    /// other files of the folder: the secret `task-key`, by which customers' URLs are valid and which never changes, so keep it apart once;
    /// `gateway.sqlite` and `mail/`, which stand for systems that are not the shop's and do not go back with it; and `log/`, which goes on.
    ///
    /// `checkout_local restore` puts a copy back.
    #[command(after_long_help = EXIT_CODES)]
    Backup(backup::Options),
    /// Put a copy in the place of the shop's file, while the shop does not run
    ///
    /// The file that was there is moved into a folder beside it, together with its log. Checkouts that were in flight go on: one that is
    /// paid already is not charged again, and one that is not needs its card once more. For each charge after the copy the reconciliation
    /// says `charge_without_record` in the log, an hour after the charge: refund it at the gateway.
    #[command(after_long_help = EXIT_CODES)]
    Restore(backup::Options),
    /// Run one step of a checkout, and show its answer and what it changed
    ///
    /// It works on a copy, which is deleted at the end: of the folder --data, also while the shop runs, or without it on a new shop that
    /// sells the sample products. So nothing of it is charged, mailed or kept.
    #[command(after_long_help = EXIT_CODES)]
    Step(step::Options),
    /// Run one step of a stored task once more, on a shop in memory, and show what it asks of that shop
    ///
    /// `stepwell replay` fetches the task from any shop, and runs this. Nothing is charged, mailed or kept. The step gets the stored results and the
    /// number and the time of its last attempt. What had completed before is run first, so that the step finds what that has left; what a failed
    /// attempt has left is missing.
    #[command(after_long_help = EXIT_CODES)]
    Replay(replay::Options),
    /// Serve a workflow of five steps that do nothing, to measure the engine
    ///
    /// POST a JSON object with an `order_id` to /noop?wait=25. The answer is the result of the last step.
    #[command(after_long_help = EXIT_CODES)]
    Noop(noop::Options),
    /// Measure the engine: latency, throughput and processor time of five steps that do nothing
    ///
    /// It runs `checkout_local noop` in a process of its own. A build with `--profile local` is the one that counts, on a machine that does
    /// nothing else.
    #[command(after_long_help = EXIT_CODES)]
    Measure(measure::Options),
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve(options) => serve::serve(options).await,
        Command::Demo => demo::demo().await,
        Command::Backup(options) => backup::backup(&options),
        Command::Restore(options) => backup::restore(&options),
        Command::Step(options) => step::step(&options).await,
        Command::Replay(options) => replay::replay(&options).await,
        Command::Noop(options) => noop::noop(options).await,
        Command::Measure(options) => measure::measure(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell if stderr is closed.
            let _ = writeln!(std::io::stderr(), "checkout_local: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Writes a line for the user.
fn say(line: impl std::fmt::Display) -> Result<(), Failure> {
    writeln!(std::io::stdout(), "{line}").map_err(|error| Failure::Other(format!("nothing can be printed: {error}")))
}
