//! The metrics of both hosts, each made of log lines that are written anyway.
//!
//! A metric has the same name and dimensions on both hosts: in CloudWatch in the namespace of the stack, and for Prometheus with
//! `stepwell_` before its name. A dimension is the name of a workflow or of a step, or a word of a closed list, so there is a bounded number of
//! series. No metric has a task, a person or a text.

use crate::fields::Fields;
use serde_json::{Value, json};

/// A metric, and the log lines that it is made of.
#[derive(Debug)]
pub struct Metric {
    /// Its name, as it is in the log line.
    pub name: &'static str,
    /// What it measures.
    pub help: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// The fields of the line that tell its series apart.
    pub dimensions: &'static [&'static str],
    lines: Lines,
    amount: Amount,
}

/// What the values of a metric are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// How many of something there were: the values add up.
    Counter,
    /// How many of something there are now: the last value counts.
    Gauge,
    /// How long something took, in seconds. The number of values says how often it happened.
    Seconds,
}

impl Kind {
    /// The unit in CloudWatch.
    const fn unit(self) -> &'static str {
        match self {
            Self::Counter | Self::Gauge => "Count",
            Self::Seconds => "Seconds",
        }
    }
}

/// The log lines that a metric is made of.
#[derive(Debug)]
enum Lines {
    /// Those with one of these messages.
    Messages(&'static [&'static str]),
    /// Those with this error code, whatever their message.
    Code(&'static str),
}

/// What a line adds to a metric.
#[derive(Debug)]
enum Amount {
    One,
    /// The number in this field; nothing if the line does not have it.
    Field(&'static str),
    /// One if one of these fields is at least this number, where `true` is 1. Otherwise nothing.
    OneIf(&'static [(&'static str, f64)]),
}

const NO_DIMENSIONS: &[&str] = &[];
const WORKFLOW: &[&str] = &["workflow"];
const STEP: &[&str] = &["workflow", "step"];

/// The value of a dimension that the line does not have.
const UNKNOWN: &str = "none";

impl Metric {
    /// The number of lines with one of these messages.
    const fn lines(name: &'static str, dimensions: &'static [&'static str], messages: &'static [&'static str]) -> Self {
        let (lines, amount) = (Lines::Messages(messages), Amount::One);
        Self { name, help: "", kind: Kind::Counter, dimensions, lines, amount }
    }

    /// The number of lines with this error code.
    const fn code(name: &'static str, code: &'static str) -> Self {
        Self { lines: Lines::Code(code), ..Self::lines(name, NO_DIMENSIONS, &[]) }
    }

    /// The field of this name of the lines with one of these messages.
    const fn field(
        kind: Kind,
        name: &'static str,
        dimensions: &'static [&'static str],
        messages: &'static [&'static str],
    ) -> Self {
        Self { kind, amount: Amount::Field(name), ..Self::lines(name, dimensions, messages) }
    }

    const fn of(self, amount: Amount) -> Self {
        Self { amount, ..self }
    }

    const fn means(self, help: &'static str) -> Self {
        Self { help, ..self }
    }

    /// What a line with these fields adds.
    fn value(&self, fields: &Fields) -> Option<f64> {
        let is_one = match &self.lines {
            Lines::Messages(messages) => fields.text("message").is_some_and(|message| messages.contains(&message)),
            Lines::Code(code) => fields.text("code") == Some(code),
        };
        match &self.amount {
            _ if !is_one => None,
            Amount::One => Some(1.0),
            Amount::Field(name) => fields.number(name),
            Amount::OneIf(any) => {
                let is_reached = |(name, least): &(&str, f64)| fields.number(name).is_some_and(|value| value >= *least);
                any.iter().any(is_reached).then_some(1.0)
            }
        }
    }

    /// The values of the dimensions in a line, in their order.
    fn series<'a>(&self, fields: &'a Fields) -> Vec<&'a str> {
        self.dimensions.iter().map(|dimension| fields.text(dimension).unwrap_or(UNKNOWN)).collect()
    }
}

/// All metrics. A row says which lines make it, so a new one needs no other place but the alarm or the panel that shows it.
pub const METRICS: &[Metric] = &[
    Metric::lines("tasks_started", WORKFLOW, &["task started"]).means("Tasks that were started"),
    Metric::lines("tasks_completed", WORKFLOW, &["task completed"]).means("Tasks that have completed"),
    Metric::lines("tasks_failed", WORKFLOW, &["task failed"])
        .means("Steps that failed for good, and their tasks with them; a redrive may still complete the task"),
    Metric::field(Kind::Seconds, "task_seconds", WORKFLOW, &["task completed"])
        .means("The time from the start of a task to its completion"),
    Metric::field(Kind::Seconds, "attempt_seconds", STEP, &["attempt ended"]).means("The time of an attempt"),
    Metric::field(Kind::Seconds, "queued_seconds", STEP, &["attempt ended"])
        .means("The time that the message of an attempt waited in its queue, without planned waits"),
    Metric::field(Kind::Seconds, "retry_wait_seconds", STEP, &["attempt ended"])
        .means("The planned wait before a retry"),
    Metric::lines("claims_refused", STEP, &["claim refused"])
        .means("Messages of steps that were done, or that another attempt owned"),
    Metric::field(Kind::Gauge, "needs_person", NO_DIMENSIONS, &["tasks that need a person"])
        .means("Tasks that wait for a person, as the watchdog counts them each minute"),
    Metric::lines("overdue_messages", NO_DIMENSIONS, &["overdue: message sent again"])
        .means("Messages that the watchdog sent again, because their steps stood still"),
    Metric::lines(
        "compensations_failed",
        NO_DIMENSIONS,
        &["compensation failed", "a compensation has not succeeded for an hour"],
    )
    .means("Compensations that failed for good, or have been tried for more than an hour"),
    Metric::lines("warnings", NO_DIMENSIONS, &["optional step failed", "breaker open", "overloaded"])
        .means("Optional steps that failed for good, services that do not answer, and refusals of new tasks"),
    Metric::lines("deliveries_exhausted", NO_DIMENSIONS, &["delivery exhausted", "delivery exhausted: sent again"])
        .means("Messages that their queue gave up on"),
    Metric::lines("left_to_a_person", NO_DIMENSIONS, &["the redrives are used up, and the task waits for a person"])
        .means("Tasks whose redrives are used up, told at once and then once a day each"),
    Metric::code("newer_formats", "NEWER_FORMAT").means("Tasks that only a newer version may act on"),
    Metric::lines("unreadable_rows", NO_DIMENSIONS, &["unreadable row"])
        .means("Reads of products that cannot be sold, because their rows are invalid"),
    Metric::lines("watchdog_runs", NO_DIMENSIONS, &["watchdog"]).means("Runs of the watchdog"),
    Metric::lines("watchdog_inspections", NO_DIMENSIONS, &["watchdog"])
        .of(Amount::Field("inspected"))
        .means("Tasks that the watchdog has inspected"),
    Metric::lines("watchdog_behind", NO_DIMENSIONS, &["watchdog"])
        .of(Amount::OneIf(&[("unfinished", 1.0)]))
        .means("Runs of the watchdog that ended with work left"),
    Metric::field(Kind::Gauge, "steps_paused", NO_DIMENSIONS, &["watchdog"])
        .means("Steps that an operator has paused, as the watchdog counts them each minute"),
    Metric::lines("timer_feeder_runs", NO_DIMENSIONS, &["timer feeder"]).means("Runs of the timer feeder"),
    Metric::lines("timers_fed", NO_DIMENSIONS, &["timer feeder"])
        .of(Amount::Field("fed"))
        .means("Messages of long waits that the timer feeder has sent"),
    Metric::lines("timer_feeder_behind", NO_DIMENSIONS, &["timer feeder"])
        .of(Amount::OneIf(&[("unfinished", 1.0), ("failed", 1.0)]))
        .means("Runs of the timer feeder that ended with work left, or with messages that could not be sent"),
    Metric::field(Kind::Gauge, "findings", NO_DIMENSIONS, &["reconciliation"])
        .means("What the last run of the reconciliation has found"),
    Metric::lines("findings_of_kind", &["kind"], &["reconciliation finding"])
        .means("What the reconciliation has found, by kind"),
    Metric::lines("reconcile_behind", NO_DIMENSIONS, &["reconciliation"])
        .of(Amount::OneIf(&[("unfinished", 1.0), ("not_judged", 1.0)]))
        .means("Runs of the reconciliation that ended with checkouts left"),
    Metric::lines("server_errors", NO_DIMENSIONS, &["request"])
        .of(Amount::OneIf(&[("status", 500.0)]))
        .means("Requests that were answered with a status of 500 or above"),
    Metric::lines("process_starts", NO_DIMENSIONS, &["process started"])
        .means("Starts of processes; in Lambda these are cold starts"),
];

/// What a line adds to which series.
pub(crate) fn samples(fields: &Fields) -> impl Iterator<Item = (&'static Metric, f64)> {
    METRICS.iter().filter_map(|metric| Some((metric, metric.value(fields)?)))
}

/// Tells `record` what a line adds to which series.
pub(crate) fn record(fields: &Fields, record: &impl Fn(&'static Metric, &[&str], f64)) {
    for (metric, value) in samples(fields) {
        record(metric, &metric.series(fields), value);
    }
}

/// Adds to a line what CloudWatch needs to make metrics of it, in the embedded metric format; nothing to a line of which none is made. CloudWatch
/// takes values and dimensions from the line itself, by their names.
pub(crate) fn embed(fields: &mut Fields, namespace: &str, millis: u64) {
    let made: Vec<_> = samples(fields).collect();
    let mut directives: Vec<(&[&str], Vec<Value>)> = Vec::new();
    for (metric, value) in made {
        let named = json!({"Name": metric.name, "Unit": metric.kind.unit()});
        match directives.iter_mut().find(|(dimensions, _)| *dimensions == metric.dimensions) {
            Some((_, metrics)) => metrics.push(named),
            None => directives.push((metric.dimensions, vec![named])),
        }
        fields.add(metric.name, || value.into());
        for &dimension in metric.dimensions {
            fields.add(dimension, || UNKNOWN.into());
        }
    }
    if directives.is_empty() {
        return;
    }
    let directive = |(dimensions, metrics): (&[&str], Vec<Value>)| json!({"Namespace": namespace, "Dimensions": [dimensions], "Metrics": metrics});
    let directives: Vec<Value> = directives.into_iter().map(directive).collect();
    fields.add("_aws", || json!({"Timestamp": millis, "CloudWatchMetrics": directives}));
}
