//! The command `stepwell`. `stepwell --help` says what it can.

use clap::{Parser, Subcommand};
use std::{io::Write, path::PathBuf, process::ExitCode};
use stepwell_cli::{Findings, Project, check, new_step, render, sizes};

/// Derives what is deployed from the workflows, and checks what has to fit together.
#[derive(Debug, Parser)]
#[command(name = "stepwell", version)]
struct Arguments {
    /// The root of the repository; if not said, the nearest folder upwards that has infra/settings.yaml
    #[arg(long, global = true, value_name = "FOLDER")]
    root: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the workflows, and all that has to fit to them
    Check,
    /// Render infra/template.yaml and infra/functions.txt
    Render {
        /// Write nothing; fail with the first difference where a file is stale
        #[arg(long)]
        check: bool,
        /// Print how large the template is for this project and for workflows of 5 to 100 steps, against AWS's quotas
        #[arg(long, conflicts_with = "check")]
        sizes: bool,
        /// Print as JSON what each function may do
        #[arg(long, conflicts_with_all = ["check", "sizes"])]
        rights: bool,
        /// The stage of the names that --rights prints
        #[arg(long, requires = "rights", default_value = "local")]
        stage: String,
    },
    /// Make something that the repository does not have yet
    #[command(subcommand)]
    New(New),
}

#[derive(Debug, Subcommand)]
enum New {
    /// Make a step: its package with handler and tests, and everything that has to know of it
    ///
    /// The step is put between the steps of --after and those that waited for nothing else; --before names these, and --beside
    /// leaves them as they are. What is printed says which steps wait for which, and what is left to be done by hand. Where
    /// anything is in the way, all of it is said and no file is touched. Once more the same is no change.
    #[command(after_long_help = EXAMPLE)]
    Step(new_step::NewStep),
}

const EXAMPLE: &str = "\
Example: a step that looks for fraud before the card is charged

    stepwell new step checkout check_fraud --after validate_cart \\
        --read-by send_confirmation --compensation forget_suspicion\n";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(text) => {
            // Nobody is left to tell that nobody listens.
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
