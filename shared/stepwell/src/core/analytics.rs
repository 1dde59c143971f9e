//! Figures of tasks: how they end, and how long their steps run and wait.
//!
//! No counters are kept. The figures are computed from the audit trails of a sample of tasks, so they cost nothing until somebody asks, and
//! then a read of each task. They are exact for the sample: who asks gets its size and its time with them.

use crate::core::{
    id::TaskId,
    record::{Outcome, StepRecord},
    snapshot::TaskSnapshot,
    state::{StepState, TaskStatus},
    timeline::{What, timeline},
    timestamp::Timestamp,
    trail::LOST,
    usage::Usage,
};
use serde::{Serialize, Serializer};
use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

/// How many of the slowest tasks are named.
const SLOWEST: usize = 5;

/// A sample of tasks, as they are added.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    times: Option<(Timestamp, Timestamp)>,
    tasks: u32,
    left_out: u32,
    workflows: BTreeMap<String, Workflow>,
}

/// What is gathered of the tasks of one workflow, in all of its versions.
#[derive(Clone, Debug, Default)]
struct Workflow {
    statuses: BTreeMap<&'static str, u32>,
    ended: u32,
    durations: Vec<(Duration, TaskId)>,
    usage: Usage,
    /// In the order in which they were met, which is that of a plan.
    steps: Vec<(String, Step)>,
}

/// What is gathered of one step.
#[derive(Clone, Debug, Default)]
struct Step {
    tasks: u32,
    attempts: u32,
    failed: u32,
    runs: Vec<Duration>,
    waits: Vec<Duration>,
    codes: BTreeMap<String, u32>,
}

/// The figures of a sample.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct Analytics {
    /// The number of tasks in the sample.
    pub tasks: u32,
    /// The number of tasks that are left out, because they cannot be read or a newer version wrote them.
    pub left_out: u32,
    /// Whether there may be more tasks that match.
    pub or_more: bool,
    /// When the first and the last one of them were started.
    pub started: Option<Times>,
    /// How many were started a minute between these two times; `null` of fewer than two tasks.
    pub started_per_minute: Option<f64>,
    /// The workflows, by name.
    pub workflows: Vec<WorkflowFigures>,
}

/// Two times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Times {
    /// The earlier one.
    pub first: Timestamp,
    /// The later one.
    pub last: Timestamp,
}

/// The figures of one workflow, in all of its versions.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct WorkflowFigures {
    /// The workflow, as `namespace/name`.
    pub workflow: String,
    /// The number of tasks.
    pub tasks: u32,
    /// The number of tasks by status.
    pub statuses: BTreeMap<&'static str, u32>,
    /// The share of the ended tasks that are complete, from 0 to 1; `null` if none has ended.
    pub completion_rate: Option<f64>,
    /// The share of the ended tasks that failed, from 0 to 1.
    pub error_rate: Option<f64>,
    /// The time from the start to the end of the complete tasks, in milliseconds.
    pub duration_ms: Spread,
    /// The complete tasks that took longest, the slowest first.
    pub slowest: Vec<Slow>,
    /// The steps in the order of the plan, and then the compensations.
    pub steps: Vec<StepFigures>,
    /// What all of its tasks have used. Whoever shows the figures prices it.
    #[serde(skip)]
    pub usage: Usage,
}

/// A slow task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Slow {
    /// The task.
    pub task_id: TaskId,
    /// The time from its start to its end, in milliseconds.
    #[serde(serialize_with = "in_millis")]
    #[schemars(with = "u64")]
    pub duration_ms: Duration,
}

/// The figures of a step or a compensation.
#[derive(Clone, Debug, PartialEq, Serialize, schemars::JsonSchema)]
pub struct StepFigures {
    /// The name.
    pub name: String,
    /// The number of tasks that attempted it.
    pub tasks: u32,
    /// The number of attempts.
    pub attempts: u32,
    /// The number of attempts that were not the first one of their task.
    pub retries: u32,
    /// The number of tasks in which it has failed for good.
    pub failed: u32,
    /// The time that an attempt ran, in milliseconds. A lost attempt is not counted: nobody knows when it ended.
    pub run_ms: Spread,
    /// The time that it waited in one task, in milliseconds: for its messages, between its attempts, and for a redrive. A task in which it
    /// still waits is not counted, and neither is a compensation that waits for no other: when it could begin is not stored.
    pub wait_ms: Spread,
    /// The number of attempts that ended in an error, by its code; `others` are attempts that the audit trail has without their codes. A step
    /// that failed without an attempt is counted by the code of its error.
    pub codes: BTreeMap<String, u32>,
}

/// How times are spread: percentiles by the nearest-rank method, so each is a time that was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Spread {
    /// The number of times.
    pub count: usize,
    /// The median; 0 without times.
    #[serde(serialize_with = "in_millis")]
    #[schemars(with = "u64")]
    pub p50: Duration,
    /// 95 % are not longer.
    #[serde(serialize_with = "in_millis")]
    #[schemars(with = "u64")]
    pub p95: Duration,
    /// 99 % are not longer.
    #[serde(serialize_with = "in_millis")]
    #[schemars(with = "u64")]
    pub p99: Duration,
    /// The longest one.
    #[serde(serialize_with = "in_millis")]
    #[schemars(with = "u64")]
    pub max: Duration,
}

fn in_millis<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

impl Spread {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let rank = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100);
            times.get(rank.saturating_sub(1)).copied().unwrap_or_default()
        };
        Self { count: times.len(), p50: rank(50), p95: rank(95), p99: rank(99), max: rank(100) }
    }
}

impl Sample {
    /// Adds a task that has used so much.
    pub fn add(&mut self, snapshot: &TaskSnapshot, used: Usage) {
        let (task, status) = (&snapshot.task, snapshot.status());
        self.tasks += 1;
        let started = task.created_at;
        self.times =
            Some(self.times.map_or((started, started), |(first, last)| (first.min(started), last.max(started))));
        let name = task.workflow.split_once('@').map_or(&*task.workflow, |(name, _)| name);
        let workflow = self.workflows.entry(name.to_owned()).or_default();
        workflow.usage += used;
        *workflow.statuses.entry(status.as_str()).or_default() += 1;
        if let Some(ended) = task.finished_at.filter(|_| !task.state.is_compensating()) {
            workflow.ended += 1;
            if status == TaskStatus::Complete {
                workflow.durations.push((ended.since(started), task.id));
            }
        }
        let mut waits: BTreeMap<&str, Option<Duration>> = BTreeMap::new();
        for span in timeline(snapshot) {
            if let (What::Wait(_), Some(step)) = (&span.what, span.step) {
                let waited = waits.entry(step).or_insert(Some(Duration::ZERO));
                *waited = waited.zip(span.until).map(|(waited, until)| waited + until.since(span.from));
            }
        }
        for record in &snapshot.steps {
            workflow.add(record, waits.get(&*record.name).copied().unwrap_or(Some(Duration::ZERO)));
        }
        for record in &snapshot.compensations {
            // When the compensation of a task began is not stored, so the first wait of one that waits for no other is not known.
            let plan = task.compensations.iter().flatten().find(|plan| plan.name == record.name);
            let is_known = plan.is_some_and(|plan| !plan.depends_on.is_empty());
            let waited = waits.get(&*record.name).copied().unwrap_or(Some(Duration::ZERO));
            workflow.add(record, waited.filter(|_| is_known));
        }
    }

    /// Leaves a task out.
    pub fn leave_out(&mut self) {
        self.left_out += 1;
    }

    /// The figures. `or_more` says whether there may be more tasks that match.
    pub fn figures(self, or_more: bool) -> Analytics {
        let started_per_minute = self.times.and_then(|(first, last)| {
            let minutes = last.since(first).as_secs_f64() / 60.0;
            (minutes > 0.0).then(|| rounded(f64::from(self.tasks.saturating_sub(1)) / minutes))
        });
        Analytics {
            tasks: self.tasks,
            left_out: self.left_out,
            or_more,
            started: self.times.map(|(first, last)| Times { first, last }),
            started_per_minute,
            workflows: self.workflows.into_iter().map(|(name, workflow)| workflow.figures(name)).collect(),
        }
    }
}

impl Workflow {
    /// Adds a step of a task, which has waited so long; `None` if it still waits.
    fn add(&mut self, record: &StepRecord, waited: Option<Duration>) {
        let number = match self.steps.iter().position(|(name, _)| *name == record.name) {
            Some(number) => number,
            None => {
                self.steps.push((record.name.clone(), Step::default()));
                self.steps.len() - 1
            }
        };
        let Some((_, step)) = self.steps.get_mut(number) else { return };
        step.failed += u32::from(record.state == StepState::Error);
        if record.attempt == 0 {
            // It failed without an attempt, as after a deadline. No attempt has its error.
            let failed = record.error.as_ref().filter(|_| record.state == StepState::Error);
            failed.into_iter().for_each(|error| *step.codes.entry(error.code.clone()).or_default() += 1);
            return;
        }
        step.tasks += 1;
        step.attempts += record.attempt;
        step.waits.extend(waited);
        for attempt in record.all_attempts() {
            let ended = attempt.finished_at.filter(|_| attempt.outcome != Outcome::Lost);
            step.runs.extend(ended.map(|at| at.since(attempt.started_at)));
            if let Some(error) = attempt.error {
                *step.codes.entry(error.code).or_default() += 1;
            }
        }
        let omitted = record.omitted_attempts.iter().filter(|(code, _)| *code != LOST);
        omitted.for_each(|(code, count)| *step.codes.entry(code.clone()).or_default() += count);
    }

    fn figures(mut self, workflow: String) -> WorkflowFigures {
        let tasks = self.statuses.values().sum();
        let rate = |status: TaskStatus| {
            let count = self.statuses.get(status.as_str()).copied().unwrap_or_default();
            (self.ended > 0).then(|| rounded(f64::from(count) / f64::from(self.ended)))
        };
        let (completion_rate, error_rate) = (rate(TaskStatus::Complete), rate(TaskStatus::Error));
        self.durations.sort_unstable_by_key(|slow| Reverse(*slow));
        let slowest = self.durations.iter().take(SLOWEST).map(|&(duration_ms, task_id)| Slow { task_id, duration_ms });
        WorkflowFigures {
            workflow,
            tasks,
            completion_rate,
            error_rate,
            slowest: slowest.collect(),
            duration_ms: Spread::of(self.durations.into_iter().map(|(duration, _)| duration).collect()),
            statuses: self.statuses,
            usage: self.usage,
            steps: self.steps.into_iter().map(|(name, step)| step.figures(name)).collect(),
        }
    }
}

impl Step {
    fn figures(self, name: String) -> StepFigures {
        let Self { tasks, attempts, failed, runs, waits, codes } = self;
        let (run_ms, wait_ms) = (Spread::of(runs), Spread::of(waits));
        StepFigures { name, tasks, attempts, retries: attempts.saturating_sub(tasks), failed, run_ms, wait_ms, codes }
    }
}

/// To four digits after the point.
fn rounded(figure: f64) -> f64 {
    (figure * 10_000.0).round() / 10_000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{core::record::Failure, testing::fixtures::snapshot};
    use std::iter::repeat_n;

    fn seconds(seconds: impl IntoIterator<Item = u64>) -> Spread {
        Spread::of(seconds.into_iter().map(Duration::from_secs).collect())
    }

    /// <https://en.wikipedia.org/wiki/Percentile#The_nearest-rank_method>: of n times the p-th percentile is that of rank p·n/100, rounded up.
    #[test]
    fn percentile_is_the_time_of_the_nearest_rank() {
        let of = |spread: Spread| [spread.p50, spread.p95, spread.p99, spread.max].map(|time| time.as_secs());
        assert_eq!(of(seconds([])), [0, 0, 0, 0]);
        assert_eq!(of(seconds([7])), [7, 7, 7, 7]);
        assert_eq!(of(seconds([4, 1, 3, 2])), [2, 4, 4, 4]);
        assert_eq!(of(seconds(1..=100)), [50, 95, 99, 100]);
        assert_eq!(of(seconds(repeat_n(1, 99).chain([60]))), [1, 1, 1, 60]);
    }
    #[test]
    fn step_that_failed_without_an_attempt_is_counted_with_its_code() {
        let mut late = snapshot(&[&[]], &[]);
        late.steps[0].state = StepState::Error;
        late.steps[0].error = Some(Failure { code: "DEADLINE_EXCEEDED".to_owned(), message: String::new() });
        let mut sample = Sample::default();
        sample.add(&late, Usage::default());
        let figures = sample.figures(false);
        let step = &figures.workflows[0].steps[0];
        assert_eq!((step.tasks, step.attempts, step.failed, step.wait_ms.count), (0, 0, 1, 0));
        assert_eq!(step.codes, [("DEADLINE_EXCEEDED".to_owned(), 1)].into());
    }
}
