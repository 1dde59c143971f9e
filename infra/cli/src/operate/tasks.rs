//! The commands about one task or one order, and the list.

use super::{
    Filter,
    answers::{Accepted, Copied, CostAsSaid, Graph, ListedTask, Rerun, Resent, Shipped, Task, TaskPage, Workflows},
    api::{Answer, Api, read},
    failure::{Failure, Kind},
    output::{Progress, print, say},
    render::counted,
};
use serde_json::{json, value::RawValue};
use std::{collections::HashSet, fs, io, num::NonZeroU32};
use stepwell::TaskId;
use uuid::Uuid;

/// A list goes on in this many tasks at a time.
const PAGE: usize = 200;

/// Tasks that fit.
pub(super) struct Found {
    /// Each with the API's words.
    pub(super) tasks: Vec<(ListedTask, Box<RawValue>)>,
    /// Whether there are more.
    pub(super) or_more: bool,
}

impl Found {
    /// The tasks with the API's words.
    pub(super) fn as_json(&self) -> String {
        let tasks: Vec<&str> = self.tasks.iter().map(|(_, raw)| raw.get()).collect();
        format!(r#"{{"tasks":[{}],"count":{},"or_more":{}}}"#, tasks.join(","), tasks.len(), self.or_more)
    }
}

/// Finds so many tasks that fit, each once: one that changes meanwhile may be on two pages. A page may be empty although there are more.
pub(super) async fn find(
    api: &Api,
    filter: &[(&'static str, String)],
    limit: usize,
    mut so_far: impl FnMut(usize),
) -> Result<Found, Failure> {
    let (mut tasks, mut ids, mut next) = (Vec::new(), HashSet::new(), None);
    while tasks.len() < limit {
        let mut query = filter.to_vec();
        query.push(("limit", limit.saturating_sub(tasks.len()).min(PAGE).to_string()));
        query.extend(next.take().map(|next| ("next", next)));
        let answer = api.get(&["tasks"], &query).await?;
        let page: TaskPage = answer.read()?;
        for raw in page.tasks {
            let task: ListedTask = read(raw.get())?;
            if ids.insert(task.task_id.clone()) {
                tasks.push((task, raw));
            }
        }
        next = page.next;
        if next.is_none() {
            break;
        }
        so_far(tasks.len());
    }
    Ok(Found { tasks, or_more: next.is_some() })
}

/// Lists the tasks that fit, the oldest first. Where there are more than the limit: the newest, but any of them with a filter about how
/// tasks stand.
pub(super) async fn list(
    api: &Api,
    filter: &Filter,
    key: Option<&str>,
    limit: Option<NonZeroU32>,
    as_json: bool,
) -> Result<(), Failure> {
    let mut fields = filter.fields();
    match (key, limit) {
        (Some(key), _) => fields.push(("key", key.to_owned())),
        // The list of the newest has no tasks of before the version that brought it.
        (None, None) => fields.push(("order", "status".to_owned())),
        (None, Some(_)) => {}
    }
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit.get()).unwrap_or(usize::MAX));
    let mut progress = Progress::new();
    let show = |found| progress.show_on_terminal(&format!("{} so far", counted(found, "task")));
    let found = find(api, &fields, limit, show).await;
    progress.end(false);
    let mut found = found?;
    found.tasks.sort_by(|(one, _), (other, _)| one.created_at.cmp(&other.created_at));
    if as_json {
        return print(found.as_json());
    }
    found.tasks.iter().try_for_each(|(task, _)| print(task))?;
    say(counted(found.tasks.len(), "task"));
    if found.tasks.is_empty() {
        // A hint that cannot be had is left out: the list is told.
        let _ = say_what_is_unknown(api, filter).await;
    }
    Ok(())
}

/// Says which names of the filter this deployment does not know. Tasks of an older one may have them all the same, so it is no refusal.
async fn say_what_is_unknown(api: &Api, filter: &Filter) -> Result<(), Failure> {
    let step = filter.step.as_deref().and_then(|step| step.split(':').next());
    let steps: Vec<&str> = step.into_iter().chain(filter.failed_step.as_deref()).collect();
    let workflow = filter
        .workflow
        .as_deref()
        .map(|id| id.split('@').next().unwrap_or(id))
        .map(|id| id.rsplit('/').next().unwrap_or(id));
    if steps.is_empty() && workflow.is_none() {
        return Ok(());
    }
    let (_, Workflows { workflows }) = api.get_as(&["workflows"]).await?;
    let lists = format!("stepwell workflows{} lists them", api.options);
    if let Some(name) = workflow.filter(|name| workflows.iter().all(|workflow| workflow.name != *name)) {
        say(format_args!("This deployment has no workflow {name}; {lists}"));
    }
    for name in steps {
        let mut all = workflows.iter().flat_map(|workflow| workflow.steps.iter().chain(&workflow.compensations));
        if all.all(|step| step.name != name) {
            say(format_args!("No workflow of this deployment has a step {name}; {lists}"));
        }
    }
    Ok(())
}

pub(super) async fn show(api: &Api, task: &str, as_json: bool) -> Result<(), Failure> {
    let shown = api.get_as::<Task>(&["tasks", task]).await;
    let is_id = task.parse::<TaskId>().is_ok();
    let by_key = format!(
        "A task is found by a search key: stepwell list{} --key order_number:{task}, or --key email:...",
        api.options
    );
    let (answer, task) = shown.map_err(|failure| if is_id { failure } else { failure.or_if_not_found(&by_key) })?;
    if as_json { print(answer.text) } else { print(task.to_string().trim_end()) }
}

pub(super) async fn cost(api: &Api, task: &str, as_json: bool) -> Result<(), Failure> {
    let (answer, task) = api.get_as::<Task>(&["tasks", task]).await?;
    let cost = task.cost.ok_or_else(|| {
        Failure::refused("the shop is of a version before that which says what a task has cost: deploy a newer one")
    })?;
    if as_json { print(answer.read::<CostAsSaid>()?.cost) } else { print(cost) }
}

pub(super) async fn graph(api: &Api, task: &str, mermaid: bool, as_json: bool) -> Result<(), Failure> {
    let format = if mermaid { "mermaid" } else { "json" };
    let answer = api.get(&["tasks", task, "graph"], &[("format", format.to_owned())]).await?;
    if as_json || mermaid {
        print(answer.text.trim_end())
    } else {
        print(answer.read::<Graph>()?.to_string().trim_end())
    }
}

/// Does an action to one task.
pub(super) async fn act(api: &Api, task: &str, action: &str, reason: &str, as_json: bool) -> Result<(), Failure> {
    let body = json!({"reason": reason}).to_string();
    let answer = api.post(&["tasks", task, action], body).await?;
    accepted(&answer, as_json)
}

/// The result that a person gives, as it was written: JSON, or @FILE with it.
pub(super) fn given_result(text: &str) -> Result<Box<RawValue>, Failure> {
    let wrong = |why: String| Failure::new(Kind::Usage, format!("--result {text}: {why}"));
    let found = match text.strip_prefix('@') {
        Some(file) => fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?,
        None => text.to_owned(),
    };
    serde_json::from_str(&found).map_err(|error| wrong(format!("is not JSON: {error}")))
}

pub(super) async fn resolve_step(
    api: &Api,
    (task, step): (&str, &str),
    result: &RawValue,
    attempts_checked: bool,
    reason: &str,
    as_json: bool,
) -> Result<(), Failure> {
    let reason = json!(reason);
    // The result is put in as it is, so that its numbers stay as they were written.
    let body = format!(r#"{{"result": {result}, "reason": {reason}, "attempts_checked": {attempts_checked}}}"#);
    let answer = api.post(&["tasks", task, "steps", step, "resolve"], body).await?;
    accepted(&answer, as_json)
}

/// How the input of a rerun is made, as a field of the request. It may hold the token of a card, so no error shows it.
pub(super) fn given_edit(
    patch: Option<&str>,
    input: Option<&str>,
) -> Result<Option<(&'static str, Box<RawValue>)>, Failure> {
    let given = patch.map(|text| ("patch", text)).or(input.map(|text| ("input", text)));
    let Some((name, text)) = given else { return Ok(None) };
    let wrong = |why: String| Failure::new(Kind::Usage, format!("--{name}: {why}"));
    let found = match text.strip_prefix('@') {
        Some("-") => io::read_to_string(io::stdin()).map_err(|error| wrong(error.to_string()))?,
        Some(file) => fs::read_to_string(file).map_err(|error| wrong(format!("{file}: {error}")))?,
        None => text.to_owned(),
    };
    let json = serde_json::from_str(&found).map_err(|error| wrong(format!("it is not JSON: {error}")))?;
    Ok(Some((name, json)))
}

/// What is asked of a rerun.
pub(super) struct RerunAsked<'a> {
    pub(super) edit: Option<(&'static str, Box<RawValue>)>,
    pub(super) again: bool,
    /// The step at which it begins.
    pub(super) from: Option<&'a str>,
    pub(super) reason: &'a str,
}

pub(super) async fn rerun(api: &Api, task: &str, asked: RerunAsked<'_>, as_json: bool) -> Result<(), Failure> {
    let RerunAsked { edit, again, from, reason } = asked;
    // As it was written, so that its numbers stay as they are.
    let edit = edit.map(|(name, json)| format!(r#""{name}": {json}, "#)).unwrap_or_default();
    let body = format!(r#"{{{edit}"again": {again}, "from": {}, "reason": {}}}"#, json!(from), json!(reason));
    let asked = api.post(&["tasks", task, "rerun"], body).await;
    let wants_again = |failure: &Failure| failure.message.contains(r#""again": true"#);
    let answer = asked.map_err(|failure| {
        let hint = wants_again(&failure).then_some("Here that is the option --again");
        failure.with_hint(hint)
    })?;
    if as_json {
        return print(answer.text);
    }
    let Rerun { task_id, rerun_of, status } = answer.read()?;
    print(format_args!("{task_id} is the rerun of {rerun_of}, and {status} now"))
}

/// Starts a task like another one.
pub(super) async fn copy(
    api: &Api,
    task: &str,
    edit: Option<(&str, Box<RawValue>)>,
    (reason, key): (&str, Option<&str>),
    as_json: bool,
) -> Result<(), Failure> {
    const UNCONFIRMED: &str = "unconfirmed";
    // As it was written, so that its numbers stay as they are.
    let edit = edit.map(|(name, json)| format!(r#""{name}": {json}, "#)).unwrap_or_default();
    let body = format!(r#"{{{edit}"reason": {}}}"#, json!(reason));
    let key = key.map_or_else(|| Uuid::new_v4().to_string(), str::to_owned);
    // Whoever types the command again would start another one.
    let again =
        format!("Nobody knows whether it was started. The same command with --idempotency-key {key} goes on with it");
    let ask = async || {
        let asked = api.post_once_as(&key, &["tasks", task, "copy"], body.clone()).await;
        asked.map_err(|failure| {
            let hint = failure.look_first.then_some(again.as_str());
            Failure { look_first: false, ..failure }.with_hint(hint)
        })
    };
    let mut answer = ask().await?;
    let mut copied: Copied = answer.read()?;
    if copied.status == UNCONFIRMED {
        answer = ask().await?;
        copied = answer.read()?;
    }
    let Copied { task_id, copy_of, status } = copied;
    if as_json {
        print(answer.text)?;
    } else if status != UNCONFIRMED {
        print(format_args!("{task_id} is a copy of {copy_of}, and {status} now"))?;
    }
    if status == UNCONFIRMED { Err(Failure::new(Kind::NoAnswer, again)) } else { Ok(()) }
}

pub(super) async fn ship(api: &Api, order: &str, reason: &str, as_json: bool) -> Result<(), Failure> {
    let answer = api.post(&["orders", order, "ship"], json!({"reason": reason}).to_string()).await?;
    if as_json {
        return print(answer.text);
    }
    let Shipped { order_id, shipped_at } = answer.read()?;
    print(format_args!("{order_id} was shipped at {shipped_at}, and cannot be cancelled any more"))
}

pub(super) async fn resend(
    api: &Api,
    order: &str,
    email: Option<&str>,
    reason: &str,
    as_json: bool,
) -> Result<(), Failure> {
    let body = json!({"reason": reason, "email": email}).to_string();
    let answer = api.post(&["orders", order, "resend"], body).await?;
    if as_json {
        return print(answer.text);
    }
    let Resent { order_id, status, recipient } = answer.read()?;
    print(format_args!("{recipient} was sent an e-mail that order {order_id} is {status}"))
}

fn accepted(answer: &Answer, as_json: bool) -> Result<(), Failure> {
    if as_json {
        return print(&answer.text);
    }
    let Accepted { task_id, status } = answer.read()?;
    print(format_args!("{task_id} is {status} now"))
}
