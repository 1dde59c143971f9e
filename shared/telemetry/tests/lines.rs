//! The log lines, read as whoever searches them reads them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod captured;

use captured::Written;
use serde_json::{Value, json};
use std::{collections::BTreeSet, fmt, io, time::Duration};
use stepwell::{
    Context, CorrelationId, Step, StepContext, StepError, Workflow,
    core::message::DEAD_LETTERS,
    permanent, retryable,
    testing::{Harness, StepFault},
};
use tracing::{Span, field::Empty, subscriber::DefaultGuard};
use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// Collects the lines of this thread while the guard lives.
fn lines() -> (Written, DefaultGuard) {
    let written = Written::default();
    let writer = written.clone();
    let lines = telemetry::log_lines(move || writer.clone(), None);
    (written, tracing_subscriber::registry().with(LevelFilter::INFO).with(lines).set_default())
}

/// A value whose text makes a line of its own, as a panic in it does.
struct Tells;

impl fmt::Debug for Tells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        tracing::info!("while it is noted");
        f.write_str("noted")
    }
}

#[test]
fn value_that_logs_while_its_span_notes_it_holds_up_nothing() {
    let (written, _guard) = lines();
    let span = tracing::info_span!("delivery", step = "pay", note = Empty).entered();
    span.record("note", tracing::field::debug(Tells));
    tracing::info!("after");
    let told: Vec<_> =
        written.lines().iter().map(|line| json!([line["message"], line["step"], line.get("note")])).collect();
    assert_eq!(told, [json!(["while it is noted", "pay", null]), json!(["after", "pay", "noted"])]);
}

#[test]
fn line_has_the_fields_of_its_event_and_of_the_spans_around_it_each_once() {
    let (written, _guard) = lines();
    let outer = tracing::info_span!("outer", task_id = "t", step = "outer", attempt = Empty);
    outer.in_scope(|| {
        Span::current().record("attempt", 2);
        tracing::info_span!("inner", step = "inner").in_scope(|| {
            tracing::warn!(
                task_id = "u",
                count = 3_u64,
                share = 0.5,
                is_last = true,
                level = "a field",
                "{} of {}",
                1,
                2
            );
        });
        tracing::error!(error = &io::Error::other("no") as &(dyn std::error::Error + 'static), absent = None::<&str>);
    });
    tracing::info!("alone");
    let target = "lines";
    let expected = [
        json!({
            "level": "WARN", "message": "1 of 2", "attempt": 2, "count": 3, "is_last": true, "share": 0.5, "step": "inner",
            "task_id": "u", "target": target,
        }),
        json!({"level": "ERROR", "attempt": 2, "error": "no", "step": "outer", "task_id": "t", "target": target}),
        json!({"level": "INFO", "message": "alone", "target": target}),
    ];
    assert_eq!(written.lines().into_iter().map(Value::Object).collect::<Vec<_>>(), expected);
    // A reader of JSON would not see that a field is there twice.
    for (line, fields) in written.text().lines().zip(&expected) {
        assert_eq!(line.matches("\":").count(), fields.as_object().unwrap().len() + 1, "{line}");
    }
}

const WORKFLOW: &str = "
    name: checkout
    namespace_name: shop
    version: 1.0.0
    step_templates:
      - { name: pay, compensation: { name: refund } }
      - { name: ship, depends_on_step: pay }";

/// A handler that logs before and after it waits.
#[derive(Clone)]
struct Talks;

impl Step for Talks {
    type Input = Context<Value>;
    type Output = Value;

    async fn run(&self, _: Context<Value>, ctx: &StepContext) -> Result<Value, StepError> {
        tracing::info!(of = %ctx.task_id, attempt_of = ctx.attempt, "before");
        tokio::time::sleep(Duration::from_millis(10)).await;
        tracing::info!(of = %ctx.task_id, attempt_of = ctx.attempt, "after");
        Ok(json!({}))
    }
}

/// Also those of a handler, and while others are delivered beside it. One line tells the outcome of an attempt.
#[tokio::test(start_paused = true)]
async fn every_line_of_a_delivery_says_of_which_attempt_it_is() {
    let (written, _guard) = lines();
    let harness = Harness::new(Workflow::from_yaml(WORKFLOW).unwrap()).with_all(Talks);
    harness.fail("pay", [StepFault::Error(retryable("BANK_BUSY", "call again")), StepFault::Panic]);
    let other = harness.start(&json!({})).await.unwrap();
    let (client, workflow) = (harness.client(), Workflow::from_yaml(WORKFLOW).unwrap());
    let start = client.prepare_start(&workflow, &json!({}), None).await.unwrap();
    let named = client.write_start(start.correlated(CorrelationId::new("basket-7"))).await.unwrap().task_id;
    harness.run(named).await.unwrap();
    harness.run(other).await.unwrap();
    harness.fail("ship", [StepFault::Error(permanent("NO_LORRY", "none is left"))]);
    let failed = harness.start(&json!({})).await.unwrap();
    harness.run(failed).await.unwrap();
    let lines = written.lines();
    let told = |message: &str| lines.iter().filter(|line| line["message"] == message).collect::<Vec<_>>();
    let (before, after, ended) = (told("before"), told("after"), told("attempt ended"));
    assert_eq!((before.len(), after.len()), (6, 6), "three attempts failed before they came to the handler");
    for line in before.into_iter().chain(after) {
        assert_eq!((&line["task_id"], &line["attempt"]), (&line["of"], &line["attempt_of"]), "{line:?}");
    }
    for line in &ended {
        let has = ["task_id", "step", "message_id", "attempt"].map(|name| line.contains_key(name));
        assert_eq!((has, &line["workflow"]), ([true; 4], &json!("checkout")), "{line:?}");
    }
    for line in &ended {
        let is_named = line["task_id"] == named.to_string();
        assert_eq!(line.get("correlation_id"), is_named.then(|| json!("basket-7")).as_ref(), "{line:?}");
    }
    let outcomes: BTreeSet<String> = ended
        .iter()
        .map(|line| {
            let [step, state, code] =
                ["step", "state", "code"].map(|name| line.get(name).and_then(Value::as_str).unwrap_or("-"));
            format!("{step} {} {state} {code}", line["attempt"])
        })
        .collect();
    for outcome in [
        "pay 1 retrying BANK_BUSY",
        "pay 1 retrying PANIC",
        "pay 2 complete -",
        "ship 1 error NO_LORRY",
        "refund 1 complete -",
    ] {
        assert!(outcomes.contains(outcome), "{outcome}: {outcomes:?}");
    }
}

/// What the watchdog, the reader of dead letters and the recovery write about a task says of which it is and who knows it by which name, as the
/// lines of its deliveries do.
#[tokio::test(start_paused = true)]
async fn every_line_about_a_task_has_its_workflow_and_its_callers_name() {
    let (written, _guard) = lines();
    let harness = Harness::new(Workflow::from_yaml(WORKFLOW).unwrap()).with_all(Talks);
    let (client, workflow) = (harness.client(), Workflow::from_yaml(WORKFLOW).unwrap());
    let begin = async || {
        let start = client.prepare_start(&workflow, &json!({}), None).await.unwrap();
        client.write_start(start.correlated(CorrelationId::new("basket-8"))).await.unwrap().task_id
    };
    // Of one the first message is lost, and its order cannot be shipped.
    let late = begin().await;
    harness.lose_messages();
    harness.fail("ship", [StepFault::Error(permanent("NO_LORRY", "none is left"))]);
    harness.run(late).await.unwrap();
    // SQS gives up on the only message of the other.
    let given_up = begin().await;
    harness.lose_messages();
    harness.put_message(DEAD_LETTERS, json!({"task_id": given_up, "step": "pay"}).to_string());
    harness.run_for(Duration::ZERO).await.unwrap();
    let lines = written.lines();
    for (message, task) in [
        ("overdue: message sent again", late),
        ("compensation begins", late),
        ("nothing is in flight any more", late),
        ("compensated", late),
        ("delivery exhausted", given_up),
    ] {
        let told: Vec<_> = lines.iter().filter(|line| line["message"] == message).collect();
        assert!(!told.is_empty(), "{message} is not told");
        for line in told {
            let about = ["task_id", "workflow", "correlation_id"].map(|name| &line[name]);
            assert_eq!(about, [&json!(task), &json!("checkout"), &json!("basket-8")], "{line:?}");
        }
    }
}

/// A span's field that is noted twice stands in a line of text twice.
#[tokio::test(start_paused = true)]
async fn line_of_text_has_each_field_of_a_span_once() {
    let written = Written::default();
    let writer = written.clone();
    let text = telemetry::text_lines(move || writer.clone());
    let _guard = tracing_subscriber::registry().with(LevelFilter::INFO).with(text).set_default();
    let harness = Harness::new(Workflow::from_yaml(WORKFLOW).unwrap()).with_all(Talks);
    let (client, workflow) = (harness.client(), Workflow::from_yaml(WORKFLOW).unwrap());
    harness.fail("ship", [StepFault::Error(permanent("NO_LORRY", "none is left"))]);
    let start = client.prepare_start(&workflow, &json!({}), None).await.unwrap();
    let task = client.write_start(start.correlated(CorrelationId::new("basket-9"))).await.unwrap().task_id;
    harness.run(task).await.unwrap();
    let text = written.text();
    assert!(text.contains("compensated"), "{text}");
    for fields in text.split(['{', '}']) {
        for field in ["workflow=", "correlation_id=", "task_id="] {
            assert!(fields.matches(field).count() <= 1, "{fields}");
        }
    }
}
