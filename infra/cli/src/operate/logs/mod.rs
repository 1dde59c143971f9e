//! `stepwell logs`: what a shop logs, with the functions of a stack or with the process of one machine.

mod files;
mod stack;

use super::{
    failure::{Failure, Kind},
    output::{print, say},
    target::{Place, Target},
};
use clap::Args;
use files::Files;
use serde_json::json;
use stack::Functions;
use std::{path::Path, time::Duration};
use stepwell::{Runtime, System, TaskId, Timestamp};
use tokio::time::sleep;

/// The pause before the logs are asked again for what has come since.
const PAUSE: Duration = Duration::from_secs(1);

/// Nothing logs of a task before it was started, but clocks differ.
const BEFORE_START_MS: i64 = 60_000;

/// The options of `stepwell logs`.
#[derive(Debug, Args)]
pub struct Options {
    /// Only lines with this task's id, from its start on
    task: Option<TaskId>,
    /// Only this step, such as validate_cart; or of a stack this function, and of one machine this crate
    #[arg(long, value_name = "NAME")]
    function: Option<String>,
    /// How many minutes back to start; 10 if neither they nor a task are said
    #[arg(long, value_name = "MINUTES")]
    since: Option<u32>,
    /// Go on until Ctrl-C
    #[arg(long)]
    follow: bool,
    /// Print each line as a JSON object: `at`, `function`, `message`
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    target: Target,
}

/// Which lines.
struct Wanted<'a> {
    task: Option<TaskId>,
    function: Option<&'a str>,
    /// From when on, in milliseconds since 1970.
    start: i64,
}

/// A line of a log.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    /// Milliseconds since 1970.
    moment: i64,
    /// The step or what else has written it, for people.
    shown: String,
    message: String,
}

/// The log of a shop.
enum Log {
    Functions(Functions),
    Files(Files),
}

impl Log {
    async fn find(root: Option<&Path>, target: &Target, wanted: &Wanted<'_>) -> Result<Self, Failure> {
        match target.place() {
            Place::LocalStack | Place::Stage(_) => {
                let (stack, aws) = target.stack(root).await?;
                Functions::find(root, (&stack, aws), wanted).map(Self::Functions)
            }
            Place::Data(data) => Files::find(data).map(Self::Files),
            Place::Url(_) => Err(Failure::new(
                Kind::Usage,
                "a URL does not lead to the logs: say --stage STAGE for those of a stack, --data FOLDER for those of one machine",
            )),
        }
    }

    /// What has come since the last time, by time, and whether that is all there is yet.
    async fn news(&mut self, wanted: &Wanted<'_>) -> Result<(Vec<Line>, bool), Failure> {
        let (mut news, is_all) = match self {
            Self::Functions(functions) => {
                let news = functions.news(wanted.task).await?;
                let is_all = news.is_empty();
                (news, is_all)
            }
            Self::Files(files) => (files.news(wanted)?, true),
        };
        news.sort_by_key(|line| line.moment);
        Ok((news, is_all))
    }
}

pub(super) async fn run(root: Option<&Path>, options: &Options) -> Result<(), Failure> {
    let start = start(options, System.now());
    let wanted = Wanted { task: options.task, function: options.function.as_deref(), start };
    let mut log = Log::find(root, &options.target, &wanted).await?;
    loop {
        let (news, is_all) = log.news(&wanted).await?;
        let width = match &log {
            Log::Functions(functions) => functions.width,
            Log::Files(files) => files.width(),
        };
        for Line { moment, shown, message } in &news {
            let (at, message) = (Timestamp::from_millis(*moment), message.trim_end());
            match options.json {
                true => print(json!({"at": at.to_string(), "function": shown, "message": message}))?,
                false => print(format_args!("{at} {shown:<width$} {message}"))?,
            }
        }
        match (is_all, options.follow) {
            (true, false) => break,
            (true, true) => sleep(PAUSE).await,
            (false, _) => {}
        }
    }
    if let (Log::Files(Files { names, .. }), Some(name)) = (&log, wanted.function)
        && !names.is_empty()
        && !names.contains(name)
    {
        let (since, names) = (Timestamp::from_millis(start), names.iter().map(String::as_str).collect::<Vec<_>>());
        say(format_args!("there is no line of {name} since {since}. There are lines of: {}", names.join(", ")));
    }
    Ok(())
}

/// From when on, in milliseconds since 1970.
fn start(options: &Options, now: Timestamp) -> i64 {
    let started = options.task.and_then(|task| task.made_at());
    match (options.since, started) {
        (None, Some(started)) => started.as_millis().saturating_sub(BEFORE_START_MS),
        (since, _) => now.as_millis().saturating_sub(i64::from(since.unwrap_or(10)) * 60_000),
    }
}
