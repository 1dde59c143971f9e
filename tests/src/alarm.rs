//! The alarms of the template: the lines and metrics of their causes, and their rules on these.

use crate::cloudwatch::{EARLIER, LATE, MetricKey, Metrics, Rule, State, rules};
use checkout::{
    Reservation, Stock,
    reconciliation::{MIN_AGE, Reconciliation},
    testing::MemoryShop,
};
use mock_collector::{MockServer, Protocol};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use stepwell::{
    Actor, Client, Runtime, Workflow,
    core::{
        item::{Key, attribute},
        message::StepQueue,
        recovery::{COMPENSATION_FAILED, OPTIONAL_STEP_FAILED},
        state::TaskState,
        transition::Change,
    },
    permanent,
    ports::Received,
    runtime::{
        dead_letters::DeadLetters,
        pauses::PauseKeeper,
        timer_feeder::TimerFeeder,
        watchdog::{RunBudget, Watchdog},
    },
    testing::{Harness, Memory, Meter, VirtualClock},
};
use stepwell_cli::template::Template;
use stepwell_simulation::{
    graph::{Graph, WORKFLOW},
    steps::{Script, name},
};
use telemetry::{METRICS, Traces, log_lines};
use tokio::runtime::Builder;
use tracing_subscriber::layer::SubscriberExt;

/// The captured log, in the format of the functions.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Captures the log of this thread while the guard lives.
    fn new() -> (Self, tracing::subscriber::DefaultGuard) {
        Self::of_host(Some("stepwell-dev".to_owned()), None)
    }

    /// That of a host which makes metrics in this namespace, and spans.
    fn of_host(namespace: Option<String>, traces: Option<Traces>) -> (Self, tracing::subscriber::DefaultGuard) {
        // While a process has one subscriber only, `tracing` asks the thread that comes to a line first whether the line is wanted, and
        // keeps the answer. So each thread has one.
        let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry());
        let log = Self::default();
        let writer = log.clone();
        let lines = log_lines(move || writer.clone(), namespace);
        let host = tracing_subscriber::registry().with(lines).with(traces.map(telemetry::spans));
        (log, tracing::subscriber::set_default(host))
    }

    /// The lines so far, which are forgotten.
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }

    /// The steps named by lines with this message.
    fn calls(&self, message: &str) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["message"] == message).map(|line| line["step"].clone()).collect()
    }
}

#[tokio::test(start_paused = true)]
async fn failed_compensation_is_logged_with_the_alarm_text() {
    let (log, _guard) = Log::new();
    let fails = || Script::new(|_| Err(permanent("NO", "")));
    let graph = Graph::chain(1).with_compensations([0].into());
    let harness = Harness::new(graph.workflow()).with(name(0), fails()).with("s50", fails());
    let task = harness.start(&Value::Null).await.unwrap();
    harness.run_until(task, |snapshot| snapshot.task.state.is_compensating()).await.unwrap();
    assert_eq!(log.calls(COMPENSATION_FAILED), [""; 0]);
    harness.run(task).await.unwrap();
    assert_eq!(log.calls(COMPENSATION_FAILED), ["s50"]);
    assert_eq!(log.calls(OPTIONAL_STEP_FAILED), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn failed_optional_step_is_logged_once_with_the_alarm_text() {
    let (log, _guard) = Log::new();
    let fails = Script::new(|_| Err(permanent("NO", "")));
    let harness = Harness::new(Graph::chain(1).with_optional([0].into()).workflow()).with(name(0), fails);
    let task = harness.start(&Value::Null).await.unwrap();
    harness.run(task).await.unwrap();
    assert_eq!(log.calls(OPTIONAL_STEP_FAILED), ["s00"]);
    assert_eq!(log.calls(COMPENSATION_FAILED), [""; 0]);
}

fn fails() -> Script {
    Script::new(|_| Err(permanent("NO", "")))
}

/// Runs tasks whose only step fails for good.
async fn failed_tasks(count: usize) {
    let workflow = "{name: checkout, namespace_name: tests, step_templates: [{name: s00}]}";
    let harness = Harness::new(Workflow::from_yaml(workflow).unwrap()).with(name(0), fails());
    for _ in 0..count {
        let task = harness.start(&Value::Null).await.unwrap();
        harness.run(task).await.unwrap();
    }
}

/// Runs a task whose compensation fails.
async fn failed_compensation() -> Harness {
    let graph = Graph::chain(1).with_compensations([0].into());
    let harness = Harness::new(graph.workflow()).with(name(0), fails()).with("s50", fails());
    let task = harness.start(&Value::Null).await.unwrap();
    harness.run(task).await.unwrap();
    harness
}

/// Reconciles a shop with a hold that no task has made, for so long.
async fn reconcile_a_lost_hold(time: Duration) {
    let clock = VirtualClock::new();
    let lost = clock.new_task_id();
    clock.wait_until(clock.now() + 2 * MIN_AGE).await;
    let (shop, memory) = (MemoryShop::default(), Memory::new(clock.clone()));
    shop.hold(&format!("{lost}:validate_cart"), &Reservation::default(), clock.now()).await.unwrap();
    let reconciliation = Reconciliation::new(shop.clone(), shop, Client::new(memory.clone(), memory, clock.clone()));
    let request = reconcile::Request { mend: true, ..reconcile::Request::default() };
    reconcile::handle(&reconciliation, request, clock.now() + time).await.unwrap();
}

/// A harness with a task of one step, whose message is lost.
async fn lost_message() -> Harness {
    let harness = Harness::new(Graph::chain(1).workflow()).with(name(0), fails());
    harness.start(&Value::Null).await.unwrap();
    harness
}

fn watchdog(harness: &Harness) -> Watchdog<impl stepwell::ports::Store, impl stepwell::ports::Queue, impl Runtime> {
    Watchdog::new(harness.ports(), harness.ports(), harness.memory().runtime.clone())
}

/// Makes what each alarm is for, by the code that meets it. Returns false if only AWS could tell.
async fn cause(alarm: &str) -> bool {
    match alarm {
        "failed-tasks" => failed_tasks(11).await,
        "failed-compensations" => drop(failed_compensation().await),
        "warnings" => {
            let harness = Harness::new(Graph::chain(1).with_optional([0].into()).workflow()).with(name(0), fails());
            let task = harness.start(&Value::Null).await.unwrap();
            harness.run(task).await.unwrap();
        }
        "needs-person" => {
            let harness = failed_compensation().await;
            let until = harness.now() + Duration::from_secs(60);
            assert_eq!(watchdog(&harness).count_needs_person(until).await, Some(1));
        }
        "steps-paused" => {
            let harness = lost_message().await;
            let (ports, now) = (|| harness.ports(), harness.now());
            let (step, somebody) = (StepQueue::new(WORKFLOW, name(0)), Actor::new("ann", "a test").unwrap());
            assert!(harness.client().pause(&ports(), &step, &somebody).await.unwrap().told);
            let keeper = PauseKeeper::new(ports(), ports(), ports(), harness.memory().runtime.clone());
            let until = now + Duration::from_secs(60);
            let paused = keeper.read().await.unwrap().held();
            watchdog(&harness).sparing(paused).run(RunBudget { until, tasks: 1 }).await.unwrap();
        }
        "exhausted-deliveries" => {
            let harness = lost_message().await;
            let body = serde_json::to_string(&harness.sent()[0]).unwrap();
            let dead_letter = Received { id: "m".to_owned(), body, ..Received::default() };
            let ports = || harness.ports();
            DeadLetters::new(ports(), ports(), harness.memory().runtime.clone()).handle(&[dead_letter]).await;
        }
        "overdue" => {
            let harness = lost_message().await;
            harness.lose_messages();
            harness.skip(Duration::from_secs(3_600)).await;
            let budget = RunBudget { until: harness.now() + Duration::from_secs(60), tasks: 1 };
            assert_eq!(watchdog(&harness).run(budget).await.unwrap().sent, 1);
        }
        "newer-formats" => {
            let harness = lost_message().await;
            let key = harness.memory().store.keys().into_iter().find(|key| matches!(key, Key::Task(_))).unwrap();
            let newer = [Change::Set(attribute::V, 99.into()), Change::Set(attribute::NEEDS, 99.into())];
            harness.memory().store.force(key, newer.into()).unwrap();
            harness.skip(Duration::from_secs(3_600)).await;
            let budget = RunBudget { until: harness.now() + Duration::from_secs(60), tasks: 1 };
            assert_eq!(watchdog(&harness).run(budget).await.unwrap().newer, 1);
        }
        "watchdog-behind" => {
            let harness = lost_message().await;
            let budget = RunBudget { until: harness.now(), tasks: 1 };
            assert!(watchdog(&harness).run(budget).await.unwrap().unfinished);
        }
        "timer-feeder-behind" => {
            let harness = lost_message().await;
            let budget = RunBudget { until: harness.now(), tasks: 1 };
            let feeder = TimerFeeder::new(harness.ports(), harness.ports(), harness.memory().runtime.clone());
            assert!(feeder.run(budget).await.unwrap().unfinished);
        }
        // The tests of checkout_aws show that a row that cannot be read makes this line.
        "unreadable-rows" => tracing::error!("unreadable row"),
        "findings" => reconcile_a_lost_hold(MIN_AGE).await,
        "reconcile-behind" => reconcile_a_lost_hold(Duration::ZERO).await,
        _ => return false,
    }
    true
}

/// What AWS itself would report of the cause in a period, by the alarm's name: in one of the metrics that the alarm looks at.
fn reported_by_aws(alarm: &str) -> f64 {
    match alarm {
        "oldest-message" => 1_201.0,
        "server-errors" => 6.0,
        // Write units, of which as many again cost the rest: 1.25 dollars.
        "cost" => 1_000_000.0,
        _ => 1.0,
    }
}

/// The lines of the cause of an alarm; `None` if only AWS could tell.
async fn lines_of_cause(alarm: &str, log: &Log) -> Option<String> {
    log.take();
    let is_logged = cause(alarm).await;
    let lines = log.take();
    is_logged.then_some(lines)
}

/// The metrics of a cause that lasts for so many periods, by the ways in which it may show: in the log lines, or in each metric of AWS that the
/// alarm looks at, alone.
async fn shown(rule: &Rule, periods: u64, log: &Log) -> Vec<Metrics> {
    let metrics_of = |put: &dyn Fn(&mut Metrics, u64)| {
        let mut metrics = Metrics::default();
        (0..periods).for_each(|period| put(&mut metrics, period * rule.period));
        metrics
    };
    match lines_of_cause(rule.kind(), log).await {
        Some(lines) => vec![metrics_of(&|metrics, at| metrics.read(&lines, at))],
        None => {
            let value = reported_by_aws(rule.kind());
            rule.looks_at().map(|key| metrics_of(&|metrics, at| metrics.put(key.clone(), at, value))).collect()
        }
    }
}

/// The line of the watchdog's count.
async fn count(log: &Log) -> String {
    let harness = lost_message().await;
    log.take();
    watchdog(&harness).count_needs_person(harness.now() + Duration::from_secs(60)).await;
    log.take()
}

/// The rules of the alarms, without that of the weekly test, which never holds: a schedule sets its state.
fn rules_with_causes() -> Vec<Rule> {
    let rules: Vec<Rule> = rules(&template()).into_iter().filter(|rule| rule.name != "test").collect();
    assert!(rules.len() > 20, "{}", rules.len());
    rules
}

/// The periods in which a stack that has just been made may have no values yet.
const YOUNG: usize = 2;

/// Metrics of what an alarm of silence waits for, in these periods.
fn runs(rule: &Rule, counted: &str, periods: impl Iterator<Item = u64>) -> Metrics {
    let mut metrics = Metrics::default();
    for at in periods.map(|period| period * rule.period) {
        match rule.name.as_str() {
            "metrics-missing" => metrics.read(counted, at),
            _ => rule.looks_at().for_each(|key| metrics.put(key.clone(), at, 1.0)),
        }
    }
    metrics
}

/// When the alarm goes on, counted in periods from the first with its cause, and how many periods it stays on after the last.
fn turns(rule: &Rule, with_cause: u64, metrics: &Metrics) -> (usize, usize) {
    let after = 40;
    let states = rule.states(metrics, (with_cause + after) * rule.period, 0);
    let on: Vec<usize> = (0..states.len()).filter(|at| states[*at] == State::Alarm).collect();
    let (first, last) = (*on.first().unwrap_or_else(|| panic!("{} goes on", rule.name)), on[on.len() - 1]);
    assert_eq!(on.len(), last - first + 1, "{} goes on once", rule.name);
    assert!(last + 1 < states.len(), "{} goes off again", rule.name);
    (first, last)
}

fn template() -> Value {
    Template::read(include_str!("../../infra/template.yaml")).unwrap().value().clone()
}

/// A cause that lasts for as many periods as the rule asks for makes the alarm go on, and its end ends it.
#[tokio::test(start_paused = true)]
async fn each_alarm_goes_on_with_its_cause_and_off_again_without_it() {
    let (log, _guard) = Log::new();
    let counted = count(&log).await;
    for rule in &rules_with_causes() {
        let lasts = u64::try_from(rule.breaching()).unwrap();
        if rule.is_of_silence() {
            // Runs, then none, then runs again.
            let (before, missing) = (5, lasts + EARLIER);
            let metrics = runs(rule, &counted, (0..before).chain(before + missing..60));
            let states = rule.states(&metrics, 60 * rule.period, 0);
            let on: Vec<_> = (0..60).filter(|period| states[*period] == State::Alarm).collect();
            assert_eq!(on, [usize::try_from(before + missing).unwrap() - 1], "{}", rule.name);
            continue;
        }
        for mut metrics in shown(rule, lasts, &log).await {
            if rule.name == "needs-person" {
                // Nobody counts for a while, and then the watchdog finds that somebody has helped.
                metrics.read(&counted, 5 * rule.period);
                assert_eq!(turns(rule, lasts, &metrics), (0, 4), "what was known last holds");
                continue;
            }
            let looked_at: BTreeSet<_> = rule.looks_at().collect();
            assert!(metrics.keys().any(|key| looked_at.contains(key)), "{}: {metrics:?}", rule.name);
            let (first, last) = turns(rule, lasts, &metrics);
            assert_eq!(first + 1, rule.breaching(), "{} goes on with its last period", rule.name);
            assert!(
                last < rule.breaching() + rule.periods(),
                "{} ends with the last period that it looks at",
                rule.name
            );
        }
    }
}

/// What has happened in the newest minutes is never known yet. A rule that takes that for nothing could wait for ever.
#[tokio::test(start_paused = true)]
async fn lasting_cause_makes_each_alarm_go_on_though_its_metrics_come_late() {
    const PERIODS: u64 = 60;
    let (log, _guard) = Log::new();
    let counted = count(&log).await;
    for rule in &rules_with_causes() {
        let until = PERIODS * rule.period;
        if rule.is_of_silence() {
            let states = rule.states(&runs(rule, &counted, 0..PERIODS), until, LATE);
            assert!(states.iter().skip(YOUNG).all(|state| *state == State::Ok), "{}: {states:?}", rule.name);
            let states = rule.states(&runs(rule, &counted, 0..PERIODS / 2), until, LATE);
            assert_eq!(states.last(), Some(&State::Alarm), "{}", rule.name);
            continue;
        }
        for metrics in shown(rule, PERIODS, &log).await {
            let states = rule.states(&metrics, until, LATE);
            let first = states.iter().position(|state| *state == State::Alarm);
            let first = first.unwrap_or_else(|| panic!("{} goes on", rule.name));
            assert!(states[first..].iter().all(|state| *state == State::Alarm), "{} stays on", rule.name);
            assert!(first <= rule.breaching() + 2, "{} goes on soon: {first}", rule.name);
        }
    }
}

/// A value that is as high as it may be, for as long as it likes, makes no alarm.
#[tokio::test]
async fn threshold_itself_makes_no_alarm() {
    for rule in rules(&template()) {
        // That of the costs is a dollar, for so many write units twice.
        let most = if rule.name == "cost" { 800_000.0 } else { rule.threshold() };
        for key in rule.looks_at() {
            let mut metrics = Metrics::default();
            (0..30).for_each(|period| metrics.put(key.clone(), period * rule.period, most));
            for late in [0, LATE] {
                let states = rule.states(&metrics, 30 * rule.period, late);
                assert!(states.iter().skip(YOUNG).all(|state| *state == State::Ok), "{}: {states:?}", rule.name);
            }
        }
    }
}

/// One that comes once is not told, where it would pass by itself; nor is what every shop has.
#[tokio::test(start_paused = true)]
async fn what_is_usual_makes_no_alarm() {
    let (log, _guard) = Log::new();
    failed_tasks(10).await;
    let some_fail = log.take();
    for rule in rules_with_causes() {
        let mut metrics = Metrics::default();
        match rule.name.as_str() {
            "failed-tasks" => metrics.read(&some_fail, 0),
            "overdue" | "watchdog-behind" | "timer-feeder-behind" | "reconcile-behind" => {
                metrics.read(&lines_of_cause(&rule.name, &log).await.unwrap(), 0);
            }
            "dead_letters" | "undeliverable" | "throttles" => {
                let key = rule.looks_at().next().unwrap();
                (0..2).for_each(|period| metrics.put(key.clone(), period * rule.period, 1.0));
            }
            _ => continue,
        }
        let states = rule.states(&metrics, 30 * rule.period, 0);
        assert!(states.iter().all(|state| *state == State::Ok), "{}", rule.name);
    }
}

/// What AWS counts itself, by the names that it has there: no code of ours makes these, so a wrong name would never go on.
fn counted_by_aws(alarm: &str) -> &'static [(&'static str, &'static str, &'static [&'static str])] {
    const OF_INDEX: &[&str] = &["GlobalSecondaryIndexName", "TableName"];
    match alarm {
        "dead_letters" | "undeliverable" => &[("AWS/SQS", "ApproximateNumberOfMessagesVisible", &["QueueName"])],
        "oldest-message" => &[("AWS/SQS", "ApproximateAgeOfOldestMessage", &["QueueName"])],
        "throttles" => &[
            ("AWS/DynamoDB", "ReadThrottleEvents", &["TableName"]),
            ("AWS/DynamoDB", "WriteThrottleEvents", OF_INDEX),
            ("AWS/DynamoDB", "WriteThrottleEvents", &["TableName"]),
            ("AWS/Lambda", "Throttles", &[]),
        ],
        "server-errors" => &[("AWS/ApiGateway", "5xx", &["ApiId"])],
        "cost" => &[
            ("AWS/DynamoDB", "ConsumedWriteCapacityUnits", OF_INDEX),
            ("AWS/DynamoDB", "ConsumedWriteCapacityUnits", &["TableName"]),
        ],
        "watchdog-failed" | "timer-feeder-failed" | "reconcile-failed" => {
            &[("AWS/Lambda", "Errors", &["FunctionName"])]
        }
        "watchdog-not-running" | "timer-feeder-not-running" | "reconcile-not-running" => {
            &[("AWS/Lambda", "Invocations", &["FunctionName"])]
        }
        _ => &[],
    }
}

/// A metric that nothing makes would never go on.
#[test]
fn alarms_look_at_metrics_that_are_made_and_link_to_the_runbook() {
    let known: BTreeMap<&str, BTreeSet<&str>> =
        METRICS.iter().map(|metric| (metric.name, metric.dimensions.iter().copied().collect())).collect();
    for rule in rules(&template()) {
        let of_aws = |(namespace, ..): &&MetricKey| namespace.starts_with("AWS/");
        let (of_aws, own): (Vec<_>, Vec<_>) = rule.looks_at().partition(of_aws);
        for (namespace, name, dimensions) in own {
            let dimensions = dimensions.keys().map(String::as_str).collect();
            assert_eq!(
                (namespace.as_str(), known.get(name.as_str())),
                ("stepwell-dev", Some(&dimensions)),
                "{}: {name}",
                rule.name
            );
        }
        let all: BTreeSet<_> = of_aws.iter().collect();
        assert_eq!(all.len(), of_aws.len(), "{} looks at each once", rule.name);
        let kinds: BTreeSet<_> = of_aws
            .iter()
            .map(|(namespace, name, dimensions)| {
                (namespace.as_str(), name.as_str(), dimensions.keys().map(String::as_str).collect())
            })
            .collect();
        let expected: BTreeSet<(_, _, Vec<&str>)> =
            counted_by_aws(rule.kind()).iter().map(|(namespace, name, of)| (*namespace, *name, of.to_vec())).collect();
        assert_eq!(kinds, expected, "{}", rule.name);
        let told_late = ["dead_letters", "undeliverable", "needs-person"].contains(&rule.name.as_str());
        assert_eq!(rule.fills_what_is_missing(), !told_late && !rule.is_of_silence(), "{}", rule.name);
        let link = format!("infra/RUNBOOK.md#stepwell-stage-{} says what to do.", rule.kind());
        assert!(rule.description.ends_with(&link), "{}", rule.description);
    }
}

/// A panel of a metric that nobody makes stays empty, and an alarm that is not on the dashboard is looked for elsewhere.
#[test]
fn dashboard_shows_every_alarm_every_step_and_only_metrics_that_are_made() {
    let template = template();
    let resources = template["Resources"].as_object().unwrap();
    let of_kind = |kind: &str| -> BTreeSet<&str> {
        resources.iter().filter(|(_, it)| it["Type"] == kind).map(|(id, _)| id.as_str()).collect()
    };
    let body = resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"].as_str().unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    let (mut alarms, mut of_steps, mut own) = (BTreeSet::new(), BTreeMap::<&str, BTreeSet<&str>>::new(), 0);
    for widget in body["widgets"].as_array().unwrap() {
        let properties = &widget["properties"];
        for alarm in properties["alarms"].as_array().into_iter().flatten() {
            let alarm = alarm.as_str().unwrap();
            alarms.insert(alarm.strip_prefix("${").and_then(|alarm| alarm.strip_suffix(".Arn}")).unwrap());
        }
        for line in properties["metrics"].as_array().into_iter().flatten() {
            let words: Vec<&str> = line.as_array().unwrap().iter().filter_map(Value::as_str).collect();
            assert!(words.len().is_multiple_of(2), "{line}");
            if words[0] == "stepwell-${Stage}" {
                let metric = METRICS.iter().find(|metric| metric.name == words[1]);
                let metric = metric.unwrap_or_else(|| panic!("nobody makes {}", words[1]));
                let dimensions: Vec<&str> = words[2..].iter().copied().step_by(2).collect();
                assert_eq!(dimensions, metric.dimensions, "{line}");
                own += 1;
            }
            if let ["stepwell-${Stage}", metric, "workflow", _, "step", step] = words[..] {
                of_steps.entry(metric).or_default().insert(step);
            }
        }
    }
    assert_eq!(alarms, of_kind("AWS::CloudWatch::Alarm"));
    let steps = of_kind("AWS::Lambda::EventSourceMapping").len() - 1;
    assert_eq!(of_steps.len(), 3, "{of_steps:?}");
    assert!(of_steps.values().all(|shown| shown.len() == steps), "{of_steps:?}");
    assert!(own > 20, "{own}");
}

/// What telemetry costs a checkout: its bytes of log, its write units, its spans, and the series that CloudWatch has to be paid for each month in which
/// they are written. Run it with `--nocapture` to see them.
#[test]
fn telemetry_of_a_checkout_is_bounded() {
    let virtual_time = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let world = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let receiver = MockServer::builder().protocol(Protocol::HttpBinary).host([127, 0, 0, 1].into()).port(0);
    let receiver = world.block_on(receiver.start()).unwrap();
    let traces = Traces::to(&format!("http://{}/v1/traces", receiver.addr()), "checkout").unwrap();
    let (mut costs, mut steps) = (Vec::new(), 0);
    for (what, namespace, kept) in [("off", None, None), ("on", Some("stepwell-dev".to_owned()), Some(traces.clone()))]
    {
        let (log, _guard) = Log::of_host(namespace, kept);
        let meter = Meter::default();
        let shop = MemoryShop::selling(crate::checkout::products());
        let harness = crate::checkout::harness(&shop).metered_by(&meter);
        let end = virtual_time.block_on(async {
            let task = harness.start(&crate::checkout::request("success")).await.unwrap();
            harness.run(task).await.unwrap()
        });
        assert_eq!(end.task.state, TaskState::Completed);
        steps = end.steps.len();
        let lines = log.take();
        let mut metrics = Metrics::default();
        metrics.read(&lines, 0);
        let (count, bytes, series) = (lines.lines().count(), lines.len(), metrics.keys().count());
        world.block_on(traces.export_last());
        let spans = world.block_on(receiver.with_collector(|collector| collector.spans().len()));
        let units = meter.so_far().units.writes();
        println!("{what}: {units} write units, {count} lines, {bytes} bytes, {series} series, {spans} spans");
        costs.push((units, count, bytes, series, spans));
    }
    let all: usize = METRICS
        .iter()
        .map(|metric| match metric.dimensions {
            ["workflow", "step"] => 9,
            ["kind"] => 8,
            _ => 1,
        })
        .sum();
    println!("all that a stack can have: {all} series");
    let [off, on] = costs[..] else { panic!("{costs:?}") };
    let ((units, lines, without, no_series, no_spans), (same_units, same_lines, with, series, spans)) = (off, on);
    assert_eq!((no_series, series), (0, 3 + 2 * steps), "each step has two, and the workflow three");
    assert_eq!((no_spans, spans), (0, 1 + steps), "the start, and an attempt of each step");
    assert_eq!((units, lines), (same_units, same_lines), "nothing is written for telemetry alone");
    // A start, an attempt of each step and an end.
    assert!(lines == 2 + steps && with < without + lines * 350, "{costs:?}");
    assert!(all <= 70, "{all}");
}
