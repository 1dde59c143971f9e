//! `checkout_local step`: runs one step of a checkout by hand, on a copy, and shows its answer and what it changed.
//!
//! `bench` takes a task to the step and runs it; `changes` compares the files before and after.

mod bench;
mod changes;

use crate::{
    failure::{Failure, other},
    say,
    serve::{Log, init_logging, until_a_signal},
    server::{GATEWAY, MAIL, SHOP},
};
use bench::Bench;
use changes::{Change, Email};
use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use std::{
    fs,
    path::{Path, PathBuf},
};
use stepwell::{
    TaskId, Timestamp,
    core::{
        message::Message,
        record::{Outcome, StepRecord},
        snapshot::TaskSnapshot,
        state::StepState,
    },
};
use stepwell_local::back_up;
use tracing::Level;

/// The request of a task of a sample event, on a new shop.
const SAMPLE: &str = include_str!("../../../../../../events/requests/success.json");

/// The field of a request with the checkout.
const REQUEST: &str = "checkout";

/// The options of `step`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The step or the compensation, by its name in the workflow file
    #[arg(value_name = "NAME")]
    name: String,
    /// An event with one message of the step, such as events/NAME.json, or a request for a checkout, such as events/requests/success.json
    ///
    /// A request starts a checkout in the copy. It is taken to the step first: the steps that it waits for are run, and for a compensation
    /// the checkout is cancelled. The sample events name a task that does not exist; without --data the request success.json stands for it.
    #[arg(long, value_name = "FILE", required_unless_present = "task", conflicts_with = "task")]
    event: Option<PathBuf>,
    /// A task in the folder --data. If the step waits for its retry or has failed, it gets its next attempt now
    #[arg(long, value_name = "ID", requires = "data")]
    task: Option<TaskId>,
    /// The folder of all data, of which a copy is used
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Where the task comes from.
enum Source {
    /// It is in the data.
    Stored(TaskId),
    /// This request starts it.
    Request(Value),
}

/// What is printed.
#[derive(Serialize)]
struct Report<'a> {
    task_id: TaskId,
    step: &'a str,
    attempt: u32,
    answer: Answer<'a>,
    changes: &'a [Change],
    emails: &'a [Email],
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Answer<'a> {
    Result(&'a RawValue),
    Error {
        code: &'a str,
        message: &'a str,
        /// Whether another attempt may help.
        retryable: bool,
        /// When it is, if there is one.
        next_retry_at: Option<Timestamp>,
    },
}

/// Runs the step.
///
/// # Errors
/// The step cannot be run, or its attempt has failed.
pub(crate) async fn step(options: &Options) -> Result<(), Failure> {
    let source = source(options)?;
    // Before there is anything to leave behind.
    let stop = until_a_signal()?;
    // It is deleted when it is dropped.
    let folder = tempfile::Builder::new().prefix("stepwell-step-").tempdir();
    let folder = folder.map_err(|source| Failure::Folder { path: std::env::temp_dir(), source })?;
    tokio::select! {
        done = run(options, source, folder.path()) => done,
        () = stop => Err(other("interrupted")),
    }
}

/// Runs the step in this folder.
async fn run(options: &Options, source: Source, folder: &Path) -> Result<(), Failure> {
    let (data, before) = (folder.join("data"), folder.join("before"));
    for folder in [&data, &before] {
        fs::create_dir(folder).map_err(|source| Failure::Folder { path: folder.clone(), source })?;
    }
    if let Some(original) = &options.data {
        copy_files(original, &data)?;
    }
    let bench = Bench::open(&data).await?;
    // What is logged before that is about the copy.
    init_logging(Log::Text, Level::WARN, None, None, None);
    let name = options.name.as_str();
    let task = match source {
        Source::Stored(task) => task,
        Source::Request(request) => bench.start(&request, name).await?,
    };
    let ready = bench.ready(task, name).await?;
    copy_files(&data, &before)?;
    let mail = data.join(MAIL);
    let earlier = changes::emails(&mail)?;
    let after = bench.run(ready, name).await?;
    let changes = changes::between(&before, &data, &[SHOP, GATEWAY])?;
    let mut emails = changes::emails(&mail)?;
    emails.retain(|email| !earlier.contains(email));
    let report = Report::of(&after, name, &changes, &emails)?;
    if options.json {
        say(serde_json::to_string_pretty(&report).map_err(other)?)?;
    } else {
        report.print()?;
    }
    match report.answer {
        Answer::Result(_) => Ok(()),
        Answer::Error { .. } => Err(Failure::Step(name.to_owned())),
    }
}

/// Copies the files of a shop, which may be running.
fn copy_files(from: &Path, to: &Path) -> Result<(), Failure> {
    for file in [SHOP, GATEWAY] {
        back_up(&from.join(file), &to.join(file), &[], || false)?;
    }
    Ok(())
}

/// An event as Lambda gets it from SQS, as far as it is read.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    records: Vec<EventRecord>,
}

#[derive(Deserialize)]
struct EventRecord {
    body: String,
}

fn source(options: &Options) -> Result<Source, Failure> {
    let Some(file) = &options.event else {
        // One of the two is there.
        return options.task.map(Source::Stored).ok_or_else(|| other("neither --event nor --task is given"));
    };
    let text = fs::read_to_string(file).map_err(|source| Failure::Folder { path: file.clone(), source })?;
    let wrong = |why: String| Failure::Option(format!("{}: {why}", file.display()));
    let content: Value = serde_json::from_str(&text).map_err(|error| wrong(format!("it is not JSON: {error}")))?;
    if let Some(request) = content.get(REQUEST) {
        return Ok(Source::Request(request.clone()));
    }
    let Ok(Event { records }) = serde_json::from_value(content) else {
        let why = "it is neither an event with `Records`, such as events/validate_cart.json, nor a request with `checkout`, such as \
                   events/requests/success.json";
        return Err(wrong(why.to_owned()));
    };
    let [record] = records.as_slice() else {
        return Err(wrong(format!("it has {} messages, and a step is handed one", records.len())));
    };
    let message: Message =
        serde_json::from_str(&record.body).map_err(|error| wrong(format!("its message cannot be read: {error}")))?;
    if message.step != options.name {
        return Err(wrong(format!("its message is for the step {}, not for {}", message.step, options.name)));
    }
    if options.data.is_some() {
        return Ok(Source::Stored(message.task_id));
    }
    let sample: Value = serde_json::from_str(SAMPLE).map_err(other)?;
    Ok(Source::Request(sample.get(REQUEST).cloned().unwrap_or_default()))
}

impl<'a> Report<'a> {
    fn of(
        snapshot: &'a TaskSnapshot,
        name: &'a str,
        changes: &'a [Change],
        emails: &'a [Email],
    ) -> Result<Self, Failure> {
        let step = snapshot.step(name).ok_or_else(|| other(format!("{name} is gone")))?;
        let attempt = step.attempts.last().ok_or_else(|| other(format!("{name} has no attempt")))?;
        let answer = match (&step.result, &attempt.error) {
            (Some(result), None) => Answer::Result(serde_json::from_str(result).map_err(other)?),
            (_, Some(error)) => Answer::Error {
                code: &error.code,
                message: &error.message,
                retryable: attempt.outcome == Outcome::RetryableError,
                next_retry_at: attempt.next_retry_at,
            },
            (None, None) => return Err(other(format!("{name} ended without an answer, as {}", step.state))),
        };
        Ok(Self { task_id: snapshot.task.id, step: name, attempt: attempt.number, answer, changes, emails })
    }

    fn print(&self) -> Result<(), Failure> {
        say(format_args!("{}, attempt {} of task {}", self.step, self.attempt, self.task_id))?;
        match &self.answer {
            Answer::Result(result) => {
                let result: Value = serde_json::from_str(result.get()).map_err(other)?;
                say(format_args!("\nresult: {}", serde_json::to_string_pretty(&result).map_err(other)?))?;
            }
            Answer::Error { code, message, retryable, next_retry_at } => {
                say(format_args!("\nerror: {code}: {message}"))?;
                say(match (retryable, next_retry_at) {
                    (_, Some(at)) => format!("retryable; the next attempt is at {at}"),
                    (true, None) => "retryable, but the attempts are used up".to_owned(),
                    (false, None) => "not retryable".to_owned(),
                })?;
            }
        }
        say(if self.changes.is_empty() { "\nchanged: nothing" } else { "\nchanged:" })?;
        for change in self.changes {
            say(change)?;
        }
        if self.emails.is_empty() {
            say("\ne-mails: none")?;
        }
        for email in self.emails {
            say(format_args!("\ne-mail {}:\n{}", email.file, email.text.trim_end()))?;
        }
        Ok(())
    }
}

/// The state of a step, for a person: with its error.
fn state_of(step: &StepRecord) -> String {
    match (&step.error, step.state) {
        (Some(error), StepState::Error | StepState::Retrying) => {
            format!("{} ({}: {})", step.state, error.code, error.message)
        }
        _ => step.state.to_string(),
    }
}
