//! The actions on one task or on all that fit, and the bulk actions.

use super::{
    Common, Filter,
    answers::{Bulk, BulkList, DryRun, ResultPage, TaskResult},
    api::{Answer, Api, read},
    failure::{Failure, Kind},
    output::{Progress, confirm, print, say},
    render::counted,
    tasks,
};
use clap::Args;
use serde_json::{Map, Value, json};
use std::{num::NonZeroU32, time::Duration};
use tokio::{signal::ctrl_c, time::sleep};

/// The progress of a bulk action is asked for each few seconds; the engine carries it on each minute.
const LOOK_EACH: Duration = Duration::from_secs(5);

/// An action on one task, or on all that fit.
#[derive(Debug, Args)]
pub struct OneOrMany {
    /// The task's id, or else a filter: --status error is all that failed
    #[arg(conflicts_with = "Filter", required_unless_present = "Filter")]
    task: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// Why; the audit trail keeps it, and who did it
    #[arg(long, value_name = "WHY", required_unless_present = "dry_run")]
    reason: Option<String>,
    /// Of many: only count them; needs no reason
    #[arg(long, conflicts_with = "task")]
    dry_run: bool,
    /// Of many: do not ask
    #[arg(long, conflicts_with = "task")]
    yes: bool,
    /// Of many: so many tasks a minute, at most 10000; 2000 if it is not said
    #[arg(long, value_name = "NUMBER", conflicts_with = "task")]
    pace: Option<NonZeroU32>,
    #[command(flatten)]
    to: Common,
}

impl OneOrMany {
    pub(super) fn to(&self) -> &Common {
        &self.to
    }
}

pub(super) async fn one_or_many(api: &Api, action: &str, options: &OneOrMany) -> Result<(), Failure> {
    let OneOrMany { task, reason, to, .. } = options;
    match task {
        Some(task) => tasks::act(api, task, action, reason.as_deref().unwrap_or_default(), to.json).await,
        None => many(api, action, options).await,
    }
}

/// Counts the tasks that fit, asks, starts the bulk action and follows it.
async fn many(api: &Api, action: &str, options: &OneOrMany) -> Result<(), Failure> {
    const PATH: [&str; 2] = ["tasks", "bulk"];
    let OneOrMany { filter, reason, dry_run, yes, pace, to, .. } = options;
    let filter: Map<String, Value> =
        filter.fields().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    let reason = reason.as_deref().unwrap_or("only counted");
    let mut body = json!({"action": action, "filter": filter, "reason": reason, "pace": pace});
    let counted_now = api.count(&PATH, body.to_string()).await?;
    if *dry_run && to.json {
        return print(counted_now.text);
    }
    let DryRun { count, or_more, sample } = counted_now.read()?;
    // Whoever answers the question has to see what it is about.
    if !yes {
        sample.iter().for_each(say);
        if or_more || count > sample.len() {
            say("...");
        }
    }
    let at_least = if or_more { "at least " } else { "" };
    say(format_args!("{at_least}{} to {action}", counted(count, "task")));
    if *dry_run || count == 0 {
        return Ok(());
    }
    if !yes {
        let them = if count == 1 { "it" } else { "them" };
        confirm(&format!("{} {them}?", capitalized(action)))?;
    }
    if let Some(fields) = body.as_object_mut() {
        let agreed = [("dry_run", json!(false)), ("expected_count", json!(count)), ("or_more", json!(or_more))];
        fields.extend(agreed.map(|(name, value)| (name.to_owned(), value)));
    }
    let begun = api.post_once(&PATH, body.to_string()).await.map_err(|failure| match failure.kind {
        Kind::NoAnswer => {
            let why = format!("{}\n  stepwell bulk{} lists what was begun", failure.message, api.options);
            Failure { message: why, ..failure }
        }
        _ => failure,
    })?;
    follow(api, begun, to.json).await
}

/// Prints the progress until the bulk action is over. It is the engine that carries it on: this only looks.
async fn follow(api: &Api, begun: Answer, as_json: bool) -> Result<(), Failure> {
    let (mut answer, mut bulk) = (begun.read::<Bulk>().map(|bulk| (begun, bulk)))?;
    let (id, options) = (bulk.bulk_id.clone(), &api.options);
    say(format_args!("bulk action {id}: the engine begins within a minute"));
    let goes_on = |kind, why: String| {
        let text = format!(
            "{why}The bulk action goes on without you. See stepwell bulk {id}{options}, or end it with stepwell stop {id}{options} \
             --reason WHY"
        );
        Failure::new(kind, text)
    };
    let mut progress = Progress::new();
    let look = async {
        while bulk.goes_on() {
            sleep(LOOK_EACH).await;
            (answer, bulk) = api.get_as(&["tasks", "bulk", &id]).await?;
            progress.show(&bulk.progress(), Some(bulk.part()));
        }
        Ok::<_, Failure>(())
    };
    let looked = tokio::select! {
        looked = look => looked.map_err(|failure| goes_on(failure.kind, format!("{failure}. "))),
        _ = ctrl_c() => Err(goes_on(Kind::Interrupted, String::new())),
    };
    progress.end(true);
    looked?;
    if as_json {
        print(answer.text)?;
    } else if !bulk.refused.is_empty() {
        say(format_args!("stepwell results {id}{options} says which were refused"));
    }
    if bulk.refused.is_empty() && bulk.status == "complete" { Ok(()) } else { Err(Failure::told()) }
}

/// One bulk action, or all of them, the newest first.
pub(super) async fn show(api: &Api, bulk: Option<&str>, as_json: bool) -> Result<(), Failure> {
    let path: Vec<&str> = ["tasks", "bulk"].into_iter().chain(bulk).collect();
    let answer = api.get(&path, &[]).await?;
    if as_json {
        return print(answer.text);
    }
    let all = match bulk {
        Some(_) => vec![answer.read::<Bulk>()?],
        None => answer.read::<BulkList>()?.bulk_actions,
    };
    all.iter().try_for_each(print)
}

/// What became of each task.
pub(super) async fn results(api: &Api, bulk: &str, as_json: bool) -> Result<(), Failure> {
    let (mut found, mut next) = (Vec::new(), None);
    loop {
        let query: Vec<_> = next.take().map(|next: String| ("next", next)).into_iter().collect();
        let answer = api.get(&["tasks", "bulk", bulk, "results"], &query).await?;
        let page: ResultPage = answer.read()?;
        for raw in page.results {
            if as_json {
                found.push(raw);
            } else {
                print(read::<TaskResult>(raw.get())?)?;
            }
        }
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    if as_json {
        let found: Vec<&str> = found.iter().map(|raw| raw.get()).collect();
        print(format_args!(r#"{{"results":[{}]}}"#, found.join(",")))?;
    }
    Ok(())
}

pub(super) async fn stop(api: &Api, bulk: &str, reason: &str, as_json: bool) -> Result<(), Failure> {
    let answer = api.post(&["tasks", "bulk", bulk, "stop"], json!({"reason": reason}).to_string()).await?;
    if as_json { print(answer.text) } else { print(answer.read::<Bulk>()?.progress()) }
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
