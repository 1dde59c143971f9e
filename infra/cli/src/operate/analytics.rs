//! `stepwell analytics`: how tasks end, and how long their steps run and wait.

use super::{api::Api, failure::Failure, output::print, render::counted};
use clap::Args;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fmt::{self, Display, Formatter},
    num::NonZeroU32,
};

/// Which tasks the figures are of.
#[derive(Debug, Args)]
pub struct Options {
    /// Of this workflow: NAMESPACE/NAME, or NAMESPACE/NAME@VERSION
    #[arg(long)]
    workflow: Option<String>,
    /// Started at this moment or later, such as 2026-11-23T07:00:00Z
    #[arg(long, value_name = "MOMENT")]
    created_from: Option<String>,
    /// Started before this moment
    #[arg(long, value_name = "MOMENT")]
    created_before: Option<String>,
    /// Of how many tasks at most, the newest: 200, and no more than 1000
    #[arg(long, value_name = "NUMBER")]
    tasks: Option<NonZeroU32>,
}

#[derive(Deserialize)]
struct Analytics {
    tasks: usize,
    left_out: usize,
    or_more: bool,
    started: Option<Times>,
    started_per_minute: Option<f64>,
    workflows: Vec<Workflow>,
    /// Empty from an API of an older version.
    #[serde(default)]
    dollars_per_task: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Times {
    first: String,
    last: String,
}

#[derive(Deserialize)]
struct Workflow {
    workflow: String,
    tasks: usize,
    statuses: BTreeMap<String, u32>,
    completion_rate: Option<f64>,
    error_rate: Option<f64>,
    duration_ms: Spread,
    slowest: Vec<Slow>,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
struct Slow {
    task_id: String,
    duration_ms: u64,
}

#[derive(Deserialize)]
struct Step {
    name: String,
    tasks: u32,
    attempts: u32,
    retries: u32,
    failed: u32,
    run_ms: Spread,
    wait_ms: Spread,
    codes: BTreeMap<String, u32>,
}

#[derive(Deserialize)]
struct Spread {
    count: usize,
    p50: u64,
    p95: u64,
    p99: u64,
    max: u64,
}

/// Prints the figures.
pub(super) async fn show(api: &Api, options: &Options, as_json: bool) -> Result<(), Failure> {
    let Options { workflow, created_from, created_before, tasks } = options;
    let tasks = tasks.map(|tasks| tasks.to_string());
    let fields =
        [("workflow", workflow), ("created_from", created_from), ("created_before", created_before), ("tasks", &tasks)];
    let query: Vec<_> = fields.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect();
    let answer = api.get(&["analytics"], &query).await?;
    if as_json { print(answer.text.trim_end()) } else { print(answer.read::<Analytics>()?.to_string().trim_end()) }
}

/// The sample, and of each workflow a table of its steps. Times are in milliseconds.
impl Display for Analytics {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&counted(self.tasks, "task"))?;
        if let Some(Times { first, last }) = &self.started {
            write!(f, ", started {first} to {last}")?;
        }
        if let Some(rate) = self.started_per_minute {
            write!(f, ", {rate} a minute")?;
        }
        if self.or_more {
            f.write_str("; there may be more")?;
        }
        if self.left_out > 0 {
            write!(f, "; left out, because this version cannot read them: {}", self.left_out)?;
        }
        f.write_str("\n")?;
        self.workflows.iter().try_for_each(|workflow| {
            workflow.fmt(f)?;
            let cost = self.dollars_per_task.get(&workflow.workflow);
            cost.map_or(Ok(()), |dollars| writeln!(f, "a task costs {dollars} US dollars on AWS, on average"))
        })
    }
}

impl Display for Workflow {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let statuses: Vec<String> = self.statuses.iter().map(|(status, count)| format!("{count} {status}")).collect();
        writeln!(f, "\n{}: {}: {}", self.workflow, counted(self.tasks, "task"), statuses.join(", "))?;
        if let (Some(complete), Some(failed)) = (self.completion_rate, self.error_rate) {
            let percent = |rate: f64| format!("{:.1} %", rate * 100.0);
            writeln!(f, "of the ended ones {} are complete, and {} failed", percent(complete), percent(failed))?;
        }
        if self.duration_ms.count > 0 {
            let Spread { p50, p95, p99, max, .. } = self.duration_ms;
            writeln!(f, "start to end in ms: p50 {p50}, p95 {p95}, p99 {p99}, longest {max}")?;
        }
        let widest =
            self.steps.iter().map(|step| step.name.chars().count()).max().unwrap_or_default().max("step".len());
        let head = ["run ms p50", "p95", "p99", "wait ms p50", "p95", "p99"];
        let [a, b, c, d, e, g] = head;
        writeln!(
            f,
            "{:<widest$}  {:>6} {:>8} {:>7} {:>6}  {a:>10} {b:>7} {c:>7}  {d:>11} {e:>7} {g:>7}  errors",
            "step", "tasks", "attempts", "retries", "failed",
        )?;
        for Step { name, tasks, attempts, retries, failed, run_ms, wait_ms, codes } in &self.steps {
            let codes: Vec<String> = codes.iter().map(|(code, count)| format!("{count} {code}")).collect();
            let line = format!(
                "{name:<widest$}  {tasks:>6} {attempts:>8} {retries:>7} {failed:>6}  {:>10} {:>7} {:>7}  {:>11} {:>7} {:>7}  {}",
                run_ms.p50,
                run_ms.p95,
                run_ms.p99,
                wait_ms.p50,
                wait_ms.p95,
                wait_ms.p99,
                codes.join(", "),
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        if !self.slowest.is_empty() {
            let slowest = self.slowest.iter().map(|slow| format!("{} ({} ms)", slow.task_id, slow.duration_ms));
            writeln!(f, "slowest: {}", slowest.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}
