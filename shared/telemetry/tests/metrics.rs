//! The metrics that both hosts make of the same lines.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod captured;

use captured::Written;
use redaction::Secret;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use stepwell::{
    Workflow,
    core::{
        format::NEWER_FORMAT,
        message::DEAD_LETTERS,
        recovery::{COMPENSATION_FAILED, COMPENSATION_LATE, OPTIONAL_STEP_FAILED},
    },
    permanent, retryable,
    runtime::{
        backlog::OVERLOADED,
        breaker::BREAKER_OPEN,
        timer_feeder::FEEDER_REPORT,
        watchdog::{LEFT_TO_A_PERSON, NEEDS_PERSON, RUN_REPORT},
    },
    testing::{Harness, Returns, StepFault},
};
use telemetry::{Kind, METRICS};
use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// The values of each series, in the order of the lines.
type Series = BTreeMap<String, Vec<f64>>;

/// What CloudWatch reads in lines of the embedded metric format, as its specification says.
fn embedded(lines: &[serde_json::Map<String, Value>]) -> Series {
    let mut series = Series::new();
    for line in lines {
        let Some(metadata) = line.get("_aws") else { continue };
        assert!(metadata["Timestamp"].as_u64().unwrap() > 1_700_000_000_000, "milliseconds: {metadata}");
        for directive in metadata["CloudWatchMetrics"].as_array().unwrap() {
            assert_eq!(directive["Namespace"], "stepwell-dev");
            let sets = directive["Dimensions"].as_array().unwrap();
            assert_eq!(sets.len(), 1, "each set of dimensions is one more metric to pay for");
            let of = |dimension: &Value| line[dimension.as_str().unwrap()].as_str().unwrap();
            let dimensions: Vec<&str> = sets[0].as_array().unwrap().iter().map(of).collect();
            for metric in directive["Metrics"].as_array().unwrap() {
                let name = metric["Name"].as_str().unwrap();
                assert!(["Count", "Seconds"].contains(&metric["Unit"].as_str().unwrap()), "{metric}");
                let key = format!("{name} {}", dimensions.join("/"));
                series.entry(key).or_default().push(line[name].as_f64().unwrap());
            }
        }
    }
    series
}

const WORKFLOW: &str = "
    name: shop
    namespace_name: shop
    version: 1.0.0
    step_templates:
      - { name: pay }
      - { name: ship, depends_on_step: pay }";

/// What both hosts make of the lines that are written meanwhile.
async fn measured(run: impl Future<Output = ()>) -> (Series, Series) {
    let written = Written::default();
    let writer = written.clone();
    let lines = telemetry::log_lines(move || writer.clone(), Some("stepwell-dev".to_owned()));
    let counted = Arc::<Mutex<Series>>::default();
    let series = counted.clone();
    let samples = telemetry::samples(move |metric, dimensions, value| {
        series.lock().unwrap().entry(format!("{} {}", metric.name, dimensions.join("/"))).or_default().push(value);
    });
    let guard = tracing_subscriber::registry().with(LevelFilter::INFO).with(lines).with(samples).set_default();
    run.await;
    drop(guard);
    let both = (embedded(&written.lines()), Arc::into_inner(counted).unwrap().into_inner().unwrap());
    assert!(both.0.keys().all(|series| !series.contains("none")), "each line has its dimensions: {:?}", both.0);
    both
}

/// Runs a task with a retry and one that fails.
async fn retry_and_fail(harness: Harness) {
    let busy = retryable("BANK_BUSY", "call again").retry_after(Duration::from_secs(7));
    harness.fail("pay", [StepFault::Error(busy)]);
    let task = harness.start(&json!({})).await.unwrap();
    harness.run(task).await.unwrap();
    harness.fail("ship", [StepFault::Error(permanent("NO_LORRY", "none is left"))]);
    let failed = harness.start(&json!({})).await.unwrap();
    harness.run(failed).await.unwrap();
}

/// Runs a task of one step, whose only message comes to the dead letters.
async fn dead_letter(harness: Harness) {
    let task = harness.start(&json!({})).await.unwrap();
    harness.lose_messages();
    harness.put_message(DEAD_LETTERS, json!({"task_id": task, "step": "pay"}).to_string());
    harness.run_for(Duration::ZERO).await.unwrap();
}

/// Its span is that of no delivery of a step.
#[tokio::test(start_paused = true)]
async fn dead_letter_counts_once_and_its_lines_have_their_workflow() {
    let harness = |step: &str| {
        let workflow = format!("{{name: shop, namespace_name: shop, step_templates: [{step}]}}");
        Harness::new(Workflow::from_yaml(&workflow).unwrap()).with_all(Returns("null"))
    };
    for (step, ends) in [("{name: pay, optional: true}", "tasks_completed shop"), ("{name: pay}", "tasks_failed shop")]
    {
        for harness in [harness(step), harness(step).call_by_call()] {
            let (on_aws, on_one_machine) = measured(dead_letter(harness)).await;
            assert_eq!(on_aws, on_one_machine);
            assert_eq!(on_aws["deliveries_exhausted "], [1.0], "{on_aws:?}");
            assert_eq!(on_aws.get(ends).map(Vec::len), Some(1), "{ends}: {on_aws:?}");
        }
    }
}

/// The engine's texts are the table's, too: otherwise nothing would be counted, and no alarm would go on.
#[tokio::test]
async fn each_text_that_the_engine_writes_for_an_alarm_makes_a_metric() {
    for (text, metric) in [
        (BREAKER_OPEN, "warnings "),
        (OVERLOADED, "warnings "),
        (OPTIONAL_STEP_FAILED, "warnings "),
        (COMPENSATION_FAILED, "compensations_failed "),
        (COMPENSATION_LATE, "compensations_failed "),
        (LEFT_TO_A_PERSON, "left_to_a_person "),
        (NEEDS_PERSON, "needs_person "),
        (RUN_REPORT, "watchdog_runs "),
        (FEEDER_REPORT, "timer_feeder_runs "),
    ] {
        // Nobody hides a line from its alarm by a secret of the same words.
        let _sent = Secret::new(text);
        let (made, _) = measured(async { tracing::info!(needs_person = 1, "{text}") }).await;
        assert_eq!(made.keys().collect::<Vec<_>>(), [metric], "{text}");
    }
    let (made, _) = measured(async { tracing::info!(code = NEWER_FORMAT, "whatever it says") }).await;
    assert_eq!(made.keys().collect::<Vec<_>>(), ["newer_formats "]);
}

#[tokio::test(start_paused = true)]
async fn both_hosts_make_the_same_series_of_the_lines_of_a_task() {
    let harness = || Harness::new(Workflow::from_yaml(WORKFLOW).unwrap()).with_all(Returns("null"));
    let (on_aws, on_one_machine) = measured(retry_and_fail(harness())).await;
    assert_eq!(on_aws, on_one_machine);
    let (call_by_call, _) = measured(retry_and_fail(harness().call_by_call())).await;
    let counts = |all: &Series| all.iter().map(|(name, values)| (name.clone(), values.len())).collect::<Vec<_>>();
    assert_eq!(counts(&call_by_call), counts(&on_aws), "whoever carries out the settlements");
    let values = |series: &str| on_aws.get(series).map_or(0, Vec::len);
    for (series, count) in [
        ("tasks_started shop", 2),
        ("tasks_completed shop", 1),
        ("task_seconds shop", 1),
        ("tasks_failed shop", 1),
        ("attempt_seconds shop/pay", 3),
        ("attempt_seconds shop/ship", 2),
        ("retry_wait_seconds shop/pay", 1),
        ("retry_wait_seconds shop/ship", 0),
        // The message of the retry waited for its time, which says nothing about the queue.
        ("queued_seconds shop/pay", 2),
    ] {
        assert_eq!(values(series), count, "{series}: {on_aws:?}");
    }
    assert!(on_aws["retry_wait_seconds shop/pay"][0] >= 7.0, "{on_aws:?}");
    assert!(on_aws["task_seconds shop"][0] >= 7.0, "{on_aws:?}");
}

#[tokio::test]
async fn secret_is_in_no_series() {
    let secret = Secret::new("planted-1 of a customer");
    let text = secret.expose();
    let lines = async {
        tracing::warn!(kind = text, subject = text, "reconciliation finding");
        tracing::warn!(kind = "refund key=planted-2", "reconciliation finding");
        tracing::error!(workflow = "shop", error = text, code = text, "task failed");
    };
    let (on_aws, on_one_machine) = measured(lines).await;
    assert_eq!(on_aws, on_one_machine);
    let series: Vec<_> = on_aws.keys().collect();
    assert_eq!(series, ["findings_of_kind ***", "findings_of_kind refund key=***", "tasks_failed shop"]);
}

#[test]
fn line_without_metrics_or_namespace_has_nothing_of_cloudwatch() {
    for (namespace, message, has_it) in
        [(None, "process started", false), (Some(""), "by the way", false), (Some("n"), "process started", true)]
    {
        let written = Written::default();
        let writer = written.clone();
        let lines = telemetry::log_lines(move || writer.clone(), namespace.map(str::to_owned));
        let _guard = tracing_subscriber::registry().with(lines).set_default();
        tracing::info!("{message}");
        assert_eq!(written.lines()[0].contains_key("_aws"), has_it, "{message}");
    }
}

#[test]
fn condition_of_a_metric_is_a_code_or_a_number_or_a_flag_of_the_line() {
    let written = Written::default();
    let writer = written.clone();
    let lines = telemetry::log_lines(move || writer.clone(), Some("stepwell-dev".to_owned()));
    let _guard = tracing_subscriber::registry().with(lines).set_default();
    tracing::error!(code = "NEWER_FORMAT", "whatever it says");
    tracing::info!(fed = 3, failed = 0, unfinished = false, "timer feeder");
    tracing::info!(fed = 0, failed = 2, unfinished = false, "timer feeder");
    tracing::info!(fed = 0, failed = 0, unfinished = true, "timer feeder");
    tracing::info!(status = 499, "request");
    tracing::info!(status = 500, "request");
    tracing::warn!(kind = "refund_failed", "reconciliation finding");
    let expected: Series = [
        ("newer_formats ", vec![1.0]),
        ("timer_feeder_runs ", vec![1.0; 3]),
        ("timers_fed ", vec![3.0, 0.0, 0.0]),
        ("timer_feeder_behind ", vec![1.0; 2]),
        ("server_errors ", vec![1.0]),
        ("findings_of_kind refund_failed", vec![1.0]),
    ]
    .map(|(name, values)| (name.to_owned(), values))
    .into();
    assert_eq!(embedded(&written.lines()), expected);
}

/// A metric that is paid for by its dimensions, or that tells of a person, would be seen here.
#[test]
fn metrics_have_names_of_both_hosts_and_bounded_dimensions() {
    let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), METRICS.len(), "each has its own name");
    for metric in METRICS {
        let name = metric.name;
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && !name.ends_with("_total"), "{name}");
        assert_eq!(name.ends_with("_seconds"), metric.kind == Kind::Seconds, "{name}");
        assert!(!metric.help.is_empty() && !metric.help.ends_with('.'), "{name}");
        assert!(metric.dimensions.iter().all(|of| ["workflow", "step", "kind"].contains(of)), "{name}");
    }
}
