//! The commands for operators: they list, inspect and repair the tasks of a shop, wherever it runs, through its operators' API.
//!
//! `target` finds the API, `api` asks it, `answers` are its answers, and `render` makes texts of them. Data goes to stdout, everything
//! else to stderr.

mod analytics;
mod answers;
mod api;
mod aws;
mod bulk;
mod console;
mod failure;
mod logs;
mod output;
mod pause;
mod reconcile;
mod render;
mod replay;
mod shop;
mod target;
mod tasks;
mod watch;

pub use bulk::OneOrMany;
pub use failure::{EXIT_CODES, Failure};
pub use logs::Options as LogOptions;
pub use output::write;
pub use target::Target;

use checkout_demo::DemoError;
use clap::{Args, Subcommand};
use replay::Replay;
use std::{num::NonZeroU32, path::Path};

/// A command for operators.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "a field without a text for the help is a group of options")]
pub enum Command {
    /// List the tasks that fit, the oldest first; all without a filter
    #[command(after_long_help = EXIT_CODES)]
    List {
        #[command(flatten)]
        filter: Filter,
        /// Those with this value of a search key of the workflow file, such as email:ann@example.com
        #[arg(long, value_name = "NAME:VALUE")]
        key: Option<String>,
        /// No more than so many tasks: the newest, but any of them with a filter about how tasks stand
        #[arg(long, value_name = "NUMBER")]
        limit: Option<NonZeroU32>,
        #[command(flatten)]
        to: Common,
    },
    /// Show one task: its steps, every attempt, who did what and why
    #[command(after_long_help = EXIT_CODES)]
    Show {
        /// The task's id
        task: String,
        #[command(flatten)]
        to: Common,
    },
    /// Show a task as it changes, until it has ended; without a task how many run, are compensated and need a person
    ///
    /// On a terminal the view is redrawn. Elsewhere each change is a line, and with --json each is JSON on a line. Ctrl-C ends it.
    #[command(after_long_help = EXIT_CODES)]
    Watch {
        /// The task's id; the whole shop if it is left out
        task: Option<String>,
        /// The seconds between two looks at the shop
        #[arg(long, value_name = "SECONDS", default_value = "1", conflicts_with = "task")]
        every: NonZeroU32,
        #[command(flatten)]
        to: Common,
    },
    /// Show the graph of a task's steps, each with its status
    #[command(after_long_help = EXIT_CODES)]
    Graph {
        /// The task's id
        task: String,
        /// In Mermaid's words, for a page that draws it
        #[arg(long, conflicts_with = "json")]
        mermaid: bool,
        #[command(flatten)]
        to: Common,
    },
    /// Show the workflows of the shop: their steps and compensations with what each waits for, and their limits
    #[command(after_long_help = EXIT_CODES)]
    Workflows {
        #[command(flatten)]
        to: Common,
    },
    /// Count the open tasks, by how they stand, and say how old the oldest is
    #[command(after_long_help = EXIT_CODES)]
    Health {
        #[command(flatten)]
        to: Common,
    },
    /// Show figures of the newest tasks: how they end, and how long each step runs and waits
    #[command(after_long_help = EXIT_CODES)]
    Analytics {
        #[command(flatten)]
        of: analytics::Options,
        #[command(flatten)]
        to: Common,
    },
    /// Take six checkouts through a stack, and show every step of them as it happens
    ///
    /// It buys, so it is for a stack that sells nothing real. `checkout_local demo` does the same on one machine.
    #[command(after_long_help = EXIT_CODES)]
    Demo {
        #[command(flatten)]
        target: Target,
    },
    /// Serve the console on this machine: pages for operators, about any shop
    ///
    /// It prints a link that logs a browser in, once. What the pages ask is passed on in your name: to a stack it is signed with your own
    /// AWS credentials, or carries your token. So a stack needs nothing more than it has. Ctrl-C ends it.
    #[command(after_long_help = EXIT_CODES)]
    Console {
        /// The port on 127.0.0.1, by which a browser keeps views and the operator's name; 0 is any free one
        #[arg(long, value_name = "PORT", default_value_t = 8083)]
        port: u16,
        /// Let the pages only look
        #[arg(long)]
        read_only: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Print what the shop logs, the oldest line first: when, the step, or the function or crate that writes it, the line
    ///
    /// Of a stack it asks CloudWatch. Of one machine it reads the files in the folder `log` of the data, also while the shop does not run; they
    /// have the last 128 MiB.
    #[command(after_long_help = EXIT_CODES)]
    Logs(LogOptions),
    /// Give what failed a fresh set of attempts
    ///
    /// What is compensated can have no other attempt. With --status complete it runs the optional steps that failed, which `show` prints
    /// as warnings, once more.
    // The older name goes with version 0.3.0, as that of the API does.
    #[command(alias = "retry", after_long_help = MANY)]
    Redrive(OneOrMany),
    /// Make the attempts of a task at once that wait for their time: a retry, or a redrive that the engine has planned
    ///
    /// No step gets more attempts by it.
    #[command(after_long_help = EXIT_CODES)]
    RunNow {
        /// The task's id
        task: String,
        #[command(flatten)]
        why: Reason,
        #[command(flatten)]
        to: Common,
    },
    /// Start no new step, and compensate the attempted ones
    #[command(after_long_help = MANY)]
    Cancel(OneOrMany),
    /// Compensate the attempted steps of a failed or cancelled task
    #[command(after_long_help = MANY)]
    Compensate(OneOrMany),
    /// Show one bulk action, or all of the last 90 days, the newest first
    #[command(after_long_help = EXIT_CODES)]
    Bulk {
        /// The bulk action's id
        bulk: Option<String>,
        #[command(flatten)]
        to: Common,
    },
    /// Show what became of each task of a bulk action
    #[command(after_long_help = EXIT_CODES)]
    Results {
        /// The bulk action's id
        bulk: String,
        #[command(flatten)]
        to: Common,
    },
    /// End a bulk action; the tasks that it has not reached stay as they are
    #[command(after_long_help = EXIT_CODES)]
    Stop {
        /// The bulk action's id
        bulk: String,
        #[command(flatten)]
        why: Reason,
        #[command(flatten)]
        to: Common,
    },
    /// Let no attempt of a step begin, after some seconds, until it is resumed; its tasks wait, and all others go on
    ///
    /// An attempt that has begun comes to its end. The deadlines of tasks go on. It is safe to repeat.
    #[command(after_long_help = EXIT_CODES)]
    Pause(Step),
    /// Let a paused step go on; the tasks that have waited for it go on with it
    #[command(after_long_help = EXIT_CODES)]
    Resume {
        #[command(flatten)]
        of: Step,
        /// All of its pauses are over; needed only if it is paused for several reasons
        #[arg(long)]
        all: bool,
    },
    /// Declare a task done, for good: compensate nothing, start nothing
    ///
    /// It is refused while a step is in flight.
    #[command(after_long_help = EXIT_CODES)]
    Resolve {
        /// The task's id
        task: String,
        #[command(flatten)]
        why: Reason,
        #[command(flatten)]
        to: Common,
    },
    /// Give the result of a step that was done by hand; what depends on it runs
    ///
    /// The result has to fit the step's type; `show --json` of a task that succeeded shows its shape.
    #[command(after_long_help = EXIT_CODES)]
    ResolveStep {
        /// The task's id
        task: String,
        /// The step's name
        step: String,
        /// The result: JSON, or @FILE with it
        #[arg(long, value_name = "JSON|@FILE")]
        result: String,
        /// A step that was attempted may have had its effect: look first, then say this
        #[arg(long)]
        attempts_checked: bool,
        #[command(flatten)]
        why: Reason,
        #[command(flatten)]
        to: Common,
    },
    /// Start a task that has come to its end once more, as a new task with an edited input
    ///
    /// Nothing of the old task runs any more afterwards, and it is rerun once: its rerun is what can be rerun next. What was secret in its
    /// input is not used again, so a checkout needs a new card. Repeated, the command prints the same task. With @- the input comes from
    /// stdin, and stands in no history of the shell.
    #[command(after_long_help = EXIT_CODES)]
    Rerun {
        /// The task's id
        task: String,
        /// What changes in the input: a JSON merge patch (RFC 7396), or @FILE or @- with it
        #[arg(long, value_name = "JSON|@FILE|@-", conflicts_with = "input")]
        patch: Option<String>,
        /// The whole new input: JSON, or @FILE or @- with it
        #[arg(long, value_name = "JSON|@FILE|@-")]
        input: Option<String>,
        /// Also if what the task has done stands or may stand, or it was cancelled: the customer of a complete checkout is charged once more
        #[arg(long)]
        again: bool,
        /// Begin at this step, and keep the results of those before it, which were made of the old input; for workflows without compensations
        #[arg(long, value_name = "STEP")]
        from: Option<String>,
        #[command(flatten)]
        why: Reason,
        #[command(flatten)]
        to: Common,
    },
    /// Start a task like another one, with an edited input
    ///
    /// The other task stays as it is, in whatever state that is: so two checkouts charge two times. What was secret in its input is not used again: a
    /// checkout needs a card. With @- the input comes from stdin, and stands in no history of the shell.
    #[command(after_long_help = EXIT_CODES)]
    Copy {
        /// The task's id
        task: String,
        /// What changes in the input: a JSON merge patch (RFC 7396), or @FILE or @- with it
        #[arg(long, value_name = "JSON|@FILE|@-", conflicts_with = "input")]
        patch: Option<String>,
        /// The whole new input: JSON, or @FILE or @- with it
        #[arg(long, value_name = "JSON|@FILE|@-")]
        input: Option<String>,
        /// Why; the log keeps it, and who did it
        #[arg(long, value_name = "WHY")]
        reason: String,
        /// The key of the same command before whose answer was lost, so that it starts one task only
        #[arg(long, value_name = "KEY")]
        idempotency_key: Option<String>,
        #[command(flatten)]
        to: Common,
    },
    /// Run a step of a task once more on a shop in memory, with the code of this repository, and show what it asks of that shop
    ///
    /// The step gets the stored results, and the number and the time of its last attempt. What had completed before it is run first on the same shop.
    /// So nothing is charged, mailed or kept. The task's input is fetched for it, which needs a right of its own and is logged. What is secret in it is
    /// missing: the token of a card is deleted when the card is charged, and --patch gives another. What is printed has no text of the input of eight bytes or more. Prices
    /// are made with the taxes and shipping of this machine, not the stack's.
    #[command(after_long_help = EXIT_CODES)]
    Replay {
        /// The task's id
        task: String,
        /// The step or the compensation, by its name in the workflow file
        #[arg(long, value_name = "NAME")]
        step: String,
        /// What changes in the input: a JSON merge patch (RFC 7396), or @FILE or @- with it
        #[arg(long, value_name = "JSON|@FILE|@-")]
        patch: Option<String>,
        #[command(flatten)]
        to: Common,
    },
    /// Hold the payments, orders, reservations and tasks of a shop against each other
    ///
    /// It lists what does not fit together, and changes nothing without --mend. Each shop does it by itself each hour, and mends what is certain.
    /// infra/RUNBOOK.md says what each kind of finding means and what to do. Of a stack it needs the right lambda:InvokeFunction on the function
    /// reconcile.
    #[command(after_long_help = reconcile::HELP)]
    Reconcile(reconcile::Options),
    /// Mark an order as handed over: from now on it is not cancelled any more
    #[command(after_long_help = EXIT_CODES)]
    Ship {
        /// The order's id, which is that of its task
        order: String,
        #[command(flatten)]
        why: Reason,
        #[command(flatten)]
        to: Common,
    },
    /// Send the e-mail of an order again: that it is confirmed, or cancelled and refunded. Repeated, it sends twice
    #[command(after_long_help = EXIT_CODES)]
    Resend {
        /// The order's id, which is that of its task
        order: String,
        /// Where to; it becomes the order's address
        #[arg(long, value_name = "ADDRESS")]
        email: Option<String>,
        #[command(flatten)]
        why: Reason,
        #[command(flatten)]
        to: Common,
    },
}

/// The help of an action on one task or on many.
const MANY: &str = concat!(
    "\
With a filter in the place of the task it is a bulk action: the command counts the tasks, asks, starts it, and prints its progress.
The engine carries it on, whether or not somebody looks. Without --status a redrive and a compensation are for failed tasks, a
cancellation for running ones.

",
    failure::exit_codes!()
);

/// A step to pause or to resume.
#[derive(Debug, Args)]
pub struct Step {
    /// The name of the step or the compensation
    step: String,
    /// The name of its workflow; needed only if several workflows have such a step
    #[arg(long, value_name = "NAME")]
    workflow: Option<String>,
    /// Why; the step's trail keeps it, and who did it
    #[arg(long, value_name = "WHY")]
    reason: String,
    #[command(flatten)]
    to: Common,
}

/// The options of every command.
#[derive(Debug, Args)]
pub struct Common {
    #[command(flatten)]
    target: Target,
    /// Print JSON: the API's answer, and of a list all pages as one
    #[arg(long)]
    json: bool,
}

/// The reason of a change.
#[derive(Debug, Args)]
pub struct Reason {
    /// Why; the audit trail keeps it, and who did it
    #[arg(long, value_name = "WHY")]
    reason: String,
}

/// Which tasks. All that is said has to fit.
#[derive(Debug, Args)]
pub struct Filter {
    /// Their status, such as error
    #[arg(long, help_heading = "Filter")]
    status: Option<String>,
    /// Their workflow: NAME, or more of NAMESPACE/NAME@VERSION
    #[arg(long, help_heading = "Filter")]
    workflow: Option<String>,
    /// A step that failed for good
    #[arg(long, value_name = "STEP", help_heading = "Filter")]
    failed_step: Option<String>,
    /// The code of the error of a failed step
    #[arg(long, value_name = "CODE", help_heading = "Filter")]
    error_code: Option<String>,
    /// A step or compensation and its state, such as process_payment:retrying; --error-code is then its last error's
    #[arg(long, value_name = "STEP:STATE", help_heading = "Filter")]
    step: Option<String>,
    /// Whether they are compensated: true or false
    #[arg(long, value_name = "true|false", help_heading = "Filter")]
    compensated: Option<bool>,
    /// What they wait for: person
    #[arg(long, value_name = "person", help_heading = "Filter")]
    needs: Option<String>,
    /// Started at this moment or later, such as 2026-11-23T07:00:00Z
    #[arg(long, value_name = "MOMENT", help_heading = "Filter")]
    created_from: Option<String>,
    /// Started before this moment
    #[arg(long, value_name = "MOMENT", help_heading = "Filter")]
    created_before: Option<String>,
    /// Started longer ago than this: 90s, 15m, 2h, 3d
    #[arg(long, value_name = "AGE", help_heading = "Filter")]
    older_than: Option<String>,
}

impl Filter {
    /// What is said, with the names of a request.
    fn fields(&self) -> Vec<(&'static str, String)> {
        let compensated = self.compensated.map(|compensated| compensated.to_string());
        let all = [
            ("status", &self.status),
            ("workflow", &self.workflow),
            ("failed_step", &self.failed_step),
            ("error_code", &self.error_code),
            ("step", &self.step),
            ("compensated", &compensated),
            ("needs", &self.needs),
            ("created_from", &self.created_from),
            ("created_before", &self.created_before),
            ("older_than", &self.older_than),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}

/// Does what a command says. `root` is the root of the repository if it is said.
///
/// # Errors
/// It was not done. With `--json` the API's answer to it, if there is one, is printed.
pub fn run(root: Option<&Path>, command: &Command) -> Result<(), Failure> {
    block_on(perform(root, command), command.prints_json())
}

/// Prints what a task has cost.
///
/// # Errors
/// As [`run`].
pub fn cost(root: Option<&Path>, task: &str, target: &Target, as_json: bool) -> Result<(), Failure> {
    block_on(async { tasks::cost(&target.api(root).await?, task, as_json).await }, as_json)
}

fn block_on(work: impl Future<Output = Result<(), Failure>>, prints_json: bool) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::refused(format!("the command cannot run: {error}")))?;
    let done = runtime.block_on(work);
    if let Err(failure) = &done
        && let Some(answer) = &failure.answer
        && prints_json
    {
        // It stays refused, whether or not somebody reads the answer.
        if let Err(Failure { message: unprinted, .. }) = output::print(answer)
            && !unprinted.is_empty()
        {
            output::say(format_args!("stepwell: {unprinted}"));
        }
    }
    done
}

async fn perform(root: Option<&Path>, command: &Command) -> Result<(), Failure> {
    let api = async |to: &Common| to.target.api(root).await;
    match command {
        Command::List { filter, key, limit, to } => {
            tasks::list(&api(to).await?, filter, key.as_deref(), *limit, to.json).await
        }
        Command::Show { task, to } => tasks::show(&api(to).await?, task, to.json).await,
        Command::Watch { task, every, to } => watch::watch(&api(to).await?, task.as_deref(), *every, to.json).await,
        Command::Graph { task, mermaid, to } => tasks::graph(&api(to).await?, task, *mermaid, to.json).await,
        Command::Workflows { to } => shop::workflows(&api(to).await?, to.json).await,
        Command::Health { to } => shop::health(&api(to).await?, to.json).await,
        Command::Analytics { of, to } => analytics::show(&api(to).await?, of, to.json).await,
        Command::Demo { target } => {
            let customers = target.customers(root).await?;
            checkout_demo::play(&customers).await.map_err(|error| match error {
                DemoError::Wrong { .. } => Failure::refused(error.to_string()),
                DemoError::Output(error) => Failure::unprinted(&error),
            })
        }
        Command::Console { port, read_only, target } => {
            console::serve(target.api(root).await?, *port, *read_only).await
        }
        Command::Logs(options) => logs::run(root, options).await,
        Command::Redrive(options) => bulk::one_or_many(&api(options.to()).await?, "redrive", options).await,
        Command::RunNow { task, why, to } => tasks::act(&api(to).await?, task, "run-now", &why.reason, to.json).await,
        Command::Cancel(options) => bulk::one_or_many(&api(options.to()).await?, "cancel", options).await,
        Command::Compensate(options) => bulk::one_or_many(&api(options.to()).await?, "compensate", options).await,
        Command::Bulk { bulk, to } => bulk::show(&api(to).await?, bulk.as_deref(), to.json).await,
        Command::Results { bulk, to } => bulk::results(&api(to).await?, bulk, to.json).await,
        Command::Stop { bulk, why, to } => bulk::stop(&api(to).await?, bulk, &why.reason, to.json).await,
        Command::Pause(of) => pause_step(root, pause::Action::Pause, of).await,
        Command::Resume { of, all } => pause_step(root, pause::Action::Resume { all: *all }, of).await,
        Command::Resolve { task, why, to } => tasks::act(&api(to).await?, task, "resolve", &why.reason, to.json).await,
        Command::ResolveStep { task, step, result, attempts_checked, why, to } => {
            // Before anything is asked.
            let result = tasks::given_result(result)?;
            let api = api(to).await?;
            tasks::resolve_step(&api, (task, step), &result, *attempts_checked, &why.reason, to.json).await
        }
        Command::Rerun { task, patch, input, again, from, why, to } => {
            // Before anything is asked.
            let edit = tasks::given_edit(patch.as_deref(), input.as_deref())?;
            let asked = tasks::RerunAsked { edit, again: *again, from: from.as_deref(), reason: &why.reason };
            tasks::rerun(&api(to).await?, task, asked, to.json).await
        }
        Command::Copy { task, patch, input, reason, idempotency_key, to } => {
            // Before anything is asked.
            let edit = tasks::given_edit(patch.as_deref(), input.as_deref())?;
            tasks::copy(&api(to).await?, task, edit, (reason, idempotency_key.as_deref()), to.json).await
        }
        Command::Replay { task, step, patch, to } => {
            // Before anything is asked.
            let replay = Replay::new(root, patch.as_deref(), to.json)?;
            replay.run(&api(to).await?, task, step).await
        }
        Command::Reconcile(options) => reconcile::run(root, options).await,
        Command::Ship { order, why, to } => tasks::ship(&api(to).await?, order, &why.reason, to.json).await,
        Command::Resend { order, email, why, to } => {
            tasks::resend(&api(to).await?, order, email.as_deref(), &why.reason, to.json).await
        }
    }
}

async fn pause_step(root: Option<&Path>, action: pause::Action, options: &Step) -> Result<(), Failure> {
    let Step { step, workflow, reason, to } = options;
    pause::act(&to.target.api(root).await?, (workflow.as_deref(), step), action, reason, to.json).await
}

impl Command {
    fn prints_json(&self) -> bool {
        match self {
            Self::List { to, .. }
            | Self::Show { to, .. }
            | Self::Watch { to, .. }
            | Self::Graph { to, .. }
            | Self::Workflows { to }
            | Self::Health { to }
            | Self::Analytics { to, .. }
            | Self::Bulk { to, .. }
            | Self::Results { to, .. }
            | Self::RunNow { to, .. }
            | Self::Stop { to, .. }
            | Self::Resolve { to, .. }
            | Self::ResolveStep { to, .. }
            | Self::Rerun { to, .. }
            | Self::Copy { to, .. }
            | Self::Replay { to, .. }
            | Self::Ship { to, .. }
            | Self::Resend { to, .. } => to.json,
            Self::Redrive(options) | Self::Cancel(options) | Self::Compensate(options) => options.to().json,
            Self::Reconcile(options) => options.prints_json(),
            Self::Pause(of) | Self::Resume { of, .. } => of.to.json,
            Self::Console { .. } | Self::Demo { .. } | Self::Logs(_) => false,
        }
    }
}
