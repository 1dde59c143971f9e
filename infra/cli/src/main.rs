//! The command `stepwell`. `stepwell --help` lists what it does.

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::{Generator, Shell};
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};
use stepwell_cli::{Findings, Project, check, cost, dev, findings, new_step, operate, project, render, sizes};

/// Operates the tasks of a shop; derives what is deployed from the workflows, and checks what has to fit together.
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
    #[command(after_long_help = findings::EXIT_CODES)]
    Check,
    /// Render infra/template.yaml and infra/functions.txt
    #[command(after_long_help = findings::EXIT_CODES)]
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
    /// Print what a million runs of a workflow cost on AWS, by service and by the functions' memory; or what one task of a shop has cost
    ///
    /// The engine runs the workflow once in memory, without failures, and its calls are counted. The output states all assumptions. What
    /// the handlers themselves call is not in it. Of a task with --task it is what the shop has on record, at the prices of AWS wherever it runs.
    #[command(after_long_help = cost::EXIT_CODES)]
    Cost(Box<cost::CostOptions>),
    /// Run the shop on this machine, and rebuild and replace it after each change of a source
    ///
    /// A change that does not compile leaves the running program as it is, and the compiler says why. Otherwise the program is stopped, as
    /// SIGTERM does it, and the new one goes on with all tasks of the data folder. Ctrl-C ends both, and so does a closed terminal.
    #[command(after_long_help = dev::EXIT_CODES)]
    Dev(dev::DevOptions),
    /// Create something new in the repository
    #[command(subcommand)]
    New(New),
    #[command(flatten)]
    Operate(Box<operate::Command>),
    /// Print what makes a shell complete this command
    ///
    /// For bash, in ~/.bashrc: eval "$(stepwell completions bash)". For zsh and fish, write it into a file of theirs.
    Completions {
        /// The shell
        shell: Shell,
    },
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
    let root = arguments.root.as_deref();
    let done = match &arguments.command {
        Command::Operate(command) => return ended(operate::run(root, command)),
        Command::Cost(options) => match &options.task {
            Some(task) => return ended(operate::cost(root, task, &options.target, options.json)),
            None => run(root, &arguments.command),
        },
        Command::Completions { shell } => {
            return ended(completions(*shell));
        }
        command => run(root, command),
    };
    match done {
        Ok(code) => code,
        Err(findings) => {
            let _ = writeln!(std::io::stderr(), "{findings}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what makes a shell complete the command.
fn completions(shell: Shell) -> Result<(), operate::Failure> {
    let (mut command, mut script) = (Arguments::command(), Vec::new());
    command.set_bin_name("stepwell");
    command.build();
    shell.try_generate(&command, &mut script).map_err(|error| operate::Failure::unprinted(&error))?;
    operate::write(&String::from_utf8_lossy(&script))
}

/// Says why something was not done.
fn ended(done: Result<(), operate::Failure>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let told = failure.to_string();
            if !told.is_empty() {
                let _ = writeln!(std::io::stderr(), "stepwell: {told}");
            }
            failure.exit_code().into()
        }
    }
}

fn run(root: Option<&Path>, command: &Command) -> Result<ExitCode, Findings> {
    let project = Project::read(&project::root(root, &std::env::current_dir().unwrap_or_default())?)?;
    let text = match command {
        Command::Check => check::check(&project)?,
        Command::Render { sizes: true, .. } => sizes::table(&project)?,
        Command::Render { rights: true, stage, .. } => render::rights(&project, stage)?,
        Command::Render { check: true, .. } => {
            let (files, _) = render::render(&project)?;
            Findings::none_of(render::stale(&project.root, &files))?;
            String::new()
        }
        Command::Cost(options) => match &options.file {
            Some(file) => cost::run(&project, file, options)?,
            // Of a task, which `main` has done.
            None => String::new(),
        },
        Command::New(New::Step(wanted)) => new_step::run(&project, wanted)?,
        Command::Render { .. } => {
            let (files, _) = render::render(&project)?;
            render::write(&project.root, &files)?
        }
        Command::Dev(options) => return Ok(dev::run(&project.root, options)?.into()),
        // `main` has done these.
        Command::Operate(_) | Command::Completions { .. } => String::new(),
    };
    Ok(ended(operate::write(&text)))
}
