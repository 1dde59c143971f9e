//! The command `stepwell`. `stepwell --help` lists what it does.

use clap::{Parser, Subcommand};
use std::{io::Write, path::PathBuf, process::ExitCode};
use stepwell_cli::{Findings, Project, check, new_step, render, sizes};

/// Derives what is deployed from the workflows, and checks what has to fit together.
#[derive(Debug, Parser)]
#[command(name = "stepwell", version)]
struct Arguments {
    /// The root of the repository; by default the nearest parent folder that has infra/settings.yaml
    #[arg(long, global = true, value_name = "FOLDER")]
    root: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check that the workflows and everything derived from them are consistent
    Check,
    /// Render infra/template.yaml and infra/functions.txt
    Render {
        /// Write nothing; fail with the first difference if a file is stale
        #[arg(long)]
        check: bool,
        /// Print the size of the template for this project and for workflows of 5 to 100 steps, against AWS's quotas
        #[arg(long, conflicts_with = "check")]
        sizes: bool,
        /// Print each function's permissions as JSON
        #[arg(long, conflicts_with_all = ["check", "sizes"])]
        rights: bool,
        /// The stage of the names that --rights prints
        #[arg(long, requires = "rights", default_value = "local")]
        stage: String,
    },
    /// Create something new in the repository
    #[command(subcommand)]
    New(New),
}

#[derive(Debug, Subcommand)]
enum New {
    /// Create a step: its package with handler and tests, and every file that names a step
    ///
    /// The step becomes a dependent of the steps of --after, and a dependency of those that depended on nothing else; --before
    /// names other dependents, and --beside changes none. The output shows the new dependencies, and what is left to do by hand.
    /// If there are obstacles, the command reports all of them and changes no file. Repeating the command changes nothing.
    #[command(after_long_help = EXAMPLE)]
    Step(new_step::NewStep),
}

const EXAMPLE: &str = "\
Example: a step that checks for fraud before the card is charged

    cargo stepwell new step checkout check_fraud --after validate_cart \\
        --read-by send_confirmation --compensation forget_suspicion\n";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(text) => {
            // A closed output has no reader, so its error has none either.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(findings) => {
            let _ = writeln!(std::io::stderr(), "{findings}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<String, Findings> {
    let project = match &arguments.root {
        Some(root) => Project::read(root)?,
        None => Project::find(&std::env::current_dir().unwrap_or_default())?,
    };
    match &arguments.command {
        Command::Check => check::check(&project),
        Command::Render { sizes: true, .. } => sizes::table(&project),
        Command::Render { rights: true, stage, .. } => render::rights(&project, stage),
        Command::Render { check: true, .. } => {
            let (files, _) = render::render(&project)?;
            Findings::none_of(render::stale(&project.root, &files))?;
            Ok(String::new())
        }
        Command::New(New::Step(wanted)) => new_step::run(&project, wanted),
        Command::Render { .. } => {
            let (files, _) = render::render(&project)?;
            Ok(render::write(&project.root, &files)?)
        }
    }
}
