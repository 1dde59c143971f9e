//! What a million runs of a workflow cost on AWS.
//!
//! The calls are counted: the shipped engine runs the workflow once in memory, without failures. The prices are a dated table. What a call, a
//! handler and the engine's own processor work take is stated by options. Amounts are exact decimals.

mod count;

use crate::{
    findings::{Finding, Findings},
    operate::Target,
    project::Project,
    results,
    settings::DEFAULT_MEMORY_MB,
};
use clap::Args;
use cloud_prices::Prices;
use count::Count;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::Serialize;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

/// The memory sizes of the table, in MB.
pub const MEMORY_MB: [u32; 4] = [128, 256, 512, 1_024];

/// Lambda gives a function one whole core at this many MB, and a share of one below.
pub const MB_OF_A_CORE: u32 = 1_769;

/// Lambda's pollers of a queue that is empty, and the polls of each in a minute: they wait 20 seconds for a message.
const POLLS_A_MINUTE: usize = 5 * 3;

const MINUTES_A_MONTH: usize = 30 * 24 * 60;

/// What is stated where nothing else is said: the milliseconds of a call, of a handler and of the processor, and the bytes of an
/// invocation's log.
pub const CALL_MS: u32 = 5;
/// See [`CALL_MS`].
pub const HANDLER_MS: u32 = 20;
/// See [`CALL_MS`].
pub const CPU_MS: u32 = 2;
/// See [`CALL_MS`].
pub const LOG_BYTES: u32 = 1_000;

/// The exit codes, for the help.
pub const EXIT_CODES: &str = "Exit codes:
  0    done
  1    the workflow cannot be read, or does not run; or there is no such task
  2    an option that does not exist, or is wrong or missing
  3    no answer: nothing runs there, or it is out of order; or the output cannot be written
  4    not let in: credentials or a token are missing, or are not accepted
  130  interrupted";

/// Options of `stepwell cost`.
#[derive(Args, Clone, Debug)]
#[allow(missing_docs, reason = "a field without a text for the help is a group of options")]
pub struct CostOptions {
    /// The workflow file, from the current folder
    #[arg(value_name = "WORKFLOW", required_unless_present = "task", conflicts_with = "Target")]
    pub file: Option<PathBuf>,
    /// Print instead what this task of a shop has cost so far, as `show` does
    #[arg(long, value_name = "TASK", conflicts_with_all = ["file", "Assumed"])]
    pub task: Option<String>,
    #[command(flatten)]
    pub assumed: Assumed,
    /// Print JSON; amounts are texts, in US dollars
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub target: Target,
}

/// What is stated of the runs of a workflow.
#[derive(Args, Clone, Debug)]
pub struct Assumed {
    /// The number of runs
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,
    /// The milliseconds that an AWS call takes
    #[arg(long, value_name = "MS", default_value_t = CALL_MS)]
    pub call_ms: u32,
    /// The milliseconds that a handler waits for its own calls
    #[arg(long, value_name = "MS", default_value_t = HANDLER_MS)]
    pub handler_ms: u32,
    /// The milliseconds of processor time that an invocation takes on a whole core
    #[arg(long, value_name = "MS", default_value_t = CPU_MS)]
    pub cpu_ms: u32,
    /// The bytes of a task's context; the default is that of events/requests/success.json
    #[arg(long, value_name = "BYTES", default_value_t = 174, value_parser = clap::value_parser!(u32).range(..=262_144))]
    pub context_bytes: u32,
    /// The bytes that an invocation logs, Lambda's own lines included
    #[arg(long, value_name = "BYTES", default_value_t = LOG_BYTES)]
    pub log_bytes: u32,
}

/// One row of the table: an amount in US dollars for each of [`MEMORY_MB`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// What is paid for.
    pub what: String,
    /// The amounts.
    pub dollars: [String; 4],
}

/// What the runs of a workflow cost.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// The workflow's name.
    pub workflow: String,
    /// The number of runs.
    pub runs: u32,
    /// The region of the prices.
    pub region: String,
    /// The month of the prices.
    pub prices_as_of: String,
    /// The columns.
    pub memory_mb: [u32; 4],
    /// What one run was counted to take.
    pub counted: String,
    /// By service.
    pub rows: Vec<Row>,
    /// Their sum.
    pub total: Row,
    /// The same steps under Step Functions Standard, by service.
    pub step_functions: Vec<Row>,
    /// Their sum.
    pub step_functions_total: Row,
    /// What a month costs without any run.
    pub month: Row,
    /// The memory size of the lowest total.
    pub cheapest_mb: u32,
    /// The default of `infra/settings.yaml`.
    pub default_mb: u32,
    /// What the figures rest on, one a line.
    pub assumptions: Vec<String>,
}

/// Counts a run and prices it. `project` says which results the handlers of a workflow of the project read.
///
/// # Errors
/// The workflow file cannot be read, or its run does not complete.
pub fn cost(project: &Project, file: &Path, assumed: &Assumed) -> Result<Cost, Findings> {
    let workflow = count::workflow(file)?;
    let read_besides = read_besides(project, file);
    let name = workflow.id().name.clone();
    let bytes = usize::try_from(assumed.context_bytes).unwrap_or(usize::MAX);
    let count = count::count(workflow, bytes, read_besides).map_err(|error| {
        Finding::new(file, format!("does not run in memory: {error}"), "Run `cargo stepwell check`")
    })?;
    let prices = Prices::read().map_err(|error| {
        Finding::new(
            "shared/cloud_prices/src/prices.yaml",
            error.to_string(),
            "Write each price as a decimal in quotes",
        )
    })?;
    Ok(Pricing { prices: &prices, count: &count, assumed }.cost(name))
}

/// The results that steps read of steps that they do not depend on directly, if the workflow is one of the project's.
fn read_besides(project: &Project, file: &Path) -> usize {
    let file = file.canonicalize().ok();
    let of_project =
        project.workflows.iter().find(|workflow| project.root.join(&workflow.file).canonicalize().ok() == file);
    of_project.map_or(0, |workflow| {
        let plan = workflow.workflow.plan();
        let is_step = |name: &str| plan.steps().iter().find(|step| step.name == name);
        let mut read: Vec<_> = results::taken_in(&project.root, workflow)
            .into_iter()
            .filter(|taken| is_step(&taken.step).is_some_and(|step| !step.depends_on.contains(&taken.of)))
            .map(|taken| (taken.step, taken.of))
            .collect();
        read.sort_unstable();
        read.dedup();
        read.len()
    })
}

struct Pricing<'a> {
    prices: &'a Prices,
    count: &'a Count,
    assumed: &'a Assumed,
}

impl Pricing<'_> {
    fn runs(&self) -> Decimal {
        self.assumed.runs.into()
    }

    /// The GB-seconds of one invocation. Lambda rounds up to a millisecond.
    fn gb_seconds(&self, memory_mb: u32, calls: u32, handler_ms: u32) -> Decimal {
        let assumed = self.assumed;
        let cpu = Decimal::from(assumed.cpu_ms) * Decimal::from(MB_OF_A_CORE) / Decimal::from(memory_mb);
        let waits = Decimal::from(calls) * Decimal::from(assumed.call_ms) + Decimal::from(handler_ms);
        (waits + cpu).ceil() * Decimal::from(memory_mb) / Decimal::from(1_024 * 1_000)
    }

    fn row(what: String, dollars: impl Fn(u32) -> Decimal) -> (String, [Decimal; 4]) {
        (what, MEMORY_MB.map(dollars))
    }

    /// An amount that does not depend on the memory size, for this many units of each run.
    fn flat(&self, what: String, units: Decimal, per_million: Decimal) -> (String, [Decimal; 4]) {
        let dollars = units * self.runs() * per_million / million();
        Self::row(what, |_| dollars)
    }

    fn logs(&self, invocations: usize) -> (String, [Decimal; 4]) {
        let bytes = Decimal::from(invocations) * Decimal::from(self.assumed.log_bytes) * self.runs();
        let dollars = bytes / Decimal::from(1_000_000_000) * self.prices.each.log_gb;
        Self::row(format!("CloudWatch: logs of {invocations} invocations"), |_| dollars)
    }

    fn rows(&self) -> Vec<(String, [Decimal; 4])> {
        let (run, price) = (&self.count.run, &self.prices.per_million);
        let deliveries = run.deliveries.len();
        let writes = run.units.writes();
        let reads = Decimal::from(run.units.half_reads) / Decimal::from(2);
        let sqs = run.sqs_requests + 2 * deliveries;
        let handler_ms = self.assumed.handler_ms;
        let lambda = |memory_mb| {
            let steps = run.deliveries.iter().map(|d| self.gb_seconds(memory_mb, d.calls_in_sequence, handler_ms));
            let all = steps.sum::<Decimal>() + self.gb_seconds(memory_mb, self.count.start_calls, 0);
            all * self.runs() * self.prices.each.lambda_gb_second
        };
        vec![
            self.flat(format!("DynamoDB: {writes} write units"), writes.into(), price.dynamodb_write_units),
            self.flat(format!("DynamoDB: {} read units", reads.normalize()), reads, price.dynamodb_read_units),
            self.flat(format!("SQS: {sqs} requests"), sqs.into(), price.sqs_requests),
            self.flat(format!("Lambda: {} requests", deliveries + 1), (deliveries + 1).into(), price.lambda_requests),
            Self::row("Lambda: GB-seconds".to_owned(), lambda),
            self.flat("API Gateway: 1 request".to_owned(), Decimal::ONE, price.http_api_requests),
            self.logs(deliveries + 1),
        ]
    }

    fn step_functions(&self) -> Vec<(String, [Decimal; 4])> {
        let (steps, transitions, price) = (self.count.steps, self.count.transitions, &self.prices.per_million);
        let lambda = |memory_mb| {
            let gb_seconds = Decimal::from(steps) * self.gb_seconds(memory_mb, 0, self.assumed.handler_ms);
            gb_seconds * self.runs() * self.prices.each.lambda_gb_second
        };
        vec![
            self.flat(format!("{transitions} state transitions"), transitions.into(), price.state_transitions),
            self.flat(format!("Lambda: {steps} requests"), steps.into(), price.lambda_requests),
            Self::row("Lambda: GB-seconds".to_owned(), lambda),
            self.flat("API Gateway: 1 request".to_owned(), Decimal::ONE, price.http_api_requests),
            self.logs(steps),
        ]
    }

    fn month(&self) -> (String, [Decimal; 4]) {
        let (price, minutes) = (&self.prices.per_million, Decimal::from(MINUTES_A_MONTH));
        let polls = Decimal::from(self.count.queues * POLLS_A_MINUTE) * price.sqs_requests / million();
        let reads =
            Decimal::from(self.count.scheduled_half_reads) / Decimal::from(2) * price.dynamodb_read_units / million();
        let requests = Decimal::from(self.count.scheduled_calls.len()) * price.lambda_requests / million();
        Self::row("a month without any run".to_owned(), |memory_mb| {
            let lambda = self.count.scheduled_calls.map(|calls| self.gb_seconds(memory_mb, calls, 0));
            let lambda = lambda.into_iter().sum::<Decimal>() * self.prices.each.lambda_gb_second;
            (polls + reads + requests + lambda) * minutes
        })
    }

    fn cost(&self, workflow: String) -> Cost {
        let (rows, step_functions) = (self.rows(), self.step_functions());
        let total = sum(&rows);
        let cheapest = MEMORY_MB.into_iter().zip(total).min_by_key(|(_, dollars)| *dollars);
        let cheapest_mb = cheapest.map_or(DEFAULT_MEMORY_MB, |(memory_mb, _)| memory_mb);
        Cost {
            workflow,
            runs: self.assumed.runs,
            region: self.prices.region.clone(),
            prices_as_of: self.prices.as_of.clone(),
            memory_mb: MEMORY_MB,
            counted: count::describe(self.count),
            total: rounded(&("total".to_owned(), total)),
            step_functions_total: rounded(&("total with Step Functions Standard".to_owned(), sum(&step_functions))),
            month: rounded(&self.month()),
            rows: rows.iter().map(rounded).collect(),
            step_functions: step_functions.iter().map(rounded).collect(),
            cheapest_mb,
            default_mb: DEFAULT_MEMORY_MB,
            assumptions: self.assumptions(),
        }
    }

    fn assumptions(&self) -> Vec<String> {
        let Assumed { call_ms, handler_ms, cpu_ms, context_bytes, log_bytes, .. } = self.assumed;
        vec![
            format!(
                "Prices: list prices of {} as of {}, arm64, without the free tier",
                self.prices.region, self.prices.as_of
            ),
            format!("Counted, a run without failures: {}", count::describe(self.count)),
            format!(
                "Stated: {call_ms} ms a call, {handler_ms} ms a handler, {cpu_ms} ms of a whole core an invocation (--call-ms, --handler-ms, --cpu-ms)"
            ),
            format!(
                "Stated: a context of {context_bytes} bytes, small results, {log_bytes} bytes of log an invocation"
            ),
            "A message is received, run and deleted alone. Batches cost less".to_owned(),
            "A step that waits on a service reads its breaker in each run. Under load a process does so once a second"
                .to_owned(),
            format!(
                "A month: {POLLS_A_MINUTE} empty polls a minute of each of {} queues; the watchdog and the timer feeder each minute",
                self.count.queues
            ),
            "Step Functions: one transition a step and one to the end, and one a `Parallel` state; no retries"
                .to_owned(),
            "Not in it: what the handlers call, requests for the status, storage, alarms, and retries".to_owned(),
        ]
    }
}

fn million() -> Decimal {
    Decimal::from(1_000_000)
}

fn sum(rows: &[(String, [Decimal; 4])]) -> [Decimal; 4] {
    rows.iter().fold([Decimal::ZERO; 4], |[a, b, c, d], (_, [w, x, y, z])| [a + w, b + x, c + y, d + z])
}

/// Amounts to the cent.
fn rounded((what, dollars): &(String, [Decimal; 4])) -> Row {
    let cents =
        |dollars: Decimal| format!("{:.2}", dollars.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero));
    Row { what: what.clone(), dollars: dollars.map(cents) }
}

/// The command: a table, or JSON.
///
/// # Errors
/// As [`cost`].
pub fn run(project: &Project, file: &Path, options: &CostOptions) -> Result<String, Findings> {
    let cost = cost(project, file, &options.assumed)?;
    if options.json {
        let text = serde_json::to_string_pretty(&cost)
            .map_err(|error| Finding::new(file, error.to_string(), "Tell the maintainers"))?;
        return Ok(text + "\n");
    }
    Ok(table(&cost))
}

fn table(cost: &Cost) -> String {
    let mut text = format!("{}: US dollars for {} runs, by the functions' memory\n\n", cost.workflow, cost.runs);
    let columns = cost.memory_mb.map(|memory_mb| format!("{memory_mb} MB"));
    line(&mut text, "", &columns);
    cost.rows.iter().for_each(|row| line(&mut text, &row.what, &row.dollars));
    line(&mut text, &cost.total.what, &cost.total.dollars);
    let mark = |memory_mb| match (memory_mb == cost.cheapest_mb, memory_mb == cost.default_mb) {
        (true, true) => "cheapest, default",
        (true, false) => "cheapest",
        (false, true) => "default",
        (false, false) => "",
    };
    line(&mut text, "", &cost.memory_mb.map(|memory_mb| mark(memory_mb).to_owned()));
    text.push('\n');
    cost.step_functions.iter().for_each(|row| line(&mut text, &row.what, &row.dollars));
    line(&mut text, &cost.step_functions_total.what, &cost.step_functions_total.dollars);
    text.push('\n');
    line(&mut text, &cost.month.what, &cost.month.dollars);
    text.push('\n');
    for assumption in &cost.assumptions {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "- {assumption}.");
    }
    text
}

fn line(text: &mut String, what: &str, cells: &[String; 4]) {
    let cells: String = cells.iter().map(|cell| format!("{cell:>11}")).collect();
    let line = format!("{what:<38}{cells}");
    let _ = writeln!(text, "{}", line.trim_end());
}
