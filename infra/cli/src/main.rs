//! The command `stepwell`. `stepwell --help` says what it can.

use clap::{Parser, Subcommand};
use std::{io::Write, path::PathBuf, process::ExitCode};
use stepwell_cli::{Findings, Project};

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
}

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
    match arguments.command {
        Command::Check => Ok(format!("ok: {} workflows\n", project.workflows.len())),
    }
}
