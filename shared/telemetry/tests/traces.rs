//! The spans, as a receiver of OTLP gets them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod captured;

use captured::Written;
use mock_collector::{MockServer, Protocol, ServerHandle, TestSpan};
use redaction::Secret;
use serde_json::{Map, Value, json};
use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use stepwell::{
    CorrelationId, TaskId, Workflow, permanent, retryable,
    testing::{Harness, Returns, StepFault},
};
use telemetry::{EXPORT_TIME, Traces, TracesError};
use tokio::runtime;
use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt, util::SubscriberInitExt};

const WORKFLOW: &str = "
    name: checkout
    namespace_name: shop
    version: 1.0.0
    step_templates:
      - { name: pay, compensation: { name: refund } }
      - { name: ship, depends_on_step: pay }";

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// Starts a task with these names of its caller, and runs it to its end. `pay` fails once, and `ship` for good.
fn run(called: Option<CorrelationId>) -> TaskId {
    let runtime = runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let workflow = || Workflow::from_yaml(WORKFLOW).unwrap();
        let harness = Harness::new(workflow()).with_all(Returns("{}"));
        harness.fail("pay", [StepFault::Error(retryable("BANK_BUSY", "call again"))]);
        harness.fail("ship", [StepFault::Error(permanent("NO_LORRY", "a text of a handler"))]);
        let start = harness.client().prepare_start(&workflow(), &json!({}), None).await.unwrap();
        let task = harness.client().write_start(start.correlated(called)).await.unwrap().task_id;
        harness.run(task).await.unwrap();
        task
    })
}

/// Does something in the time of the world.
fn in_real_time<O>(work: impl Future<Output = O>) -> O {
    runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

async fn receiver() -> (ServerHandle, Traces) {
    let server = MockServer::builder().protocol(Protocol::HttpBinary).host([127, 0, 0, 1].into()).port(0);
    let server = server.start().await.unwrap();
    let traces = Traces::to(&format!("http://{}/v1/traces", server.addr()), "a-service").unwrap();
    (server, traces)
}

/// The spans that are made meanwhile, as OTLP writes them in JSON, and the log lines.
fn traced(run: impl FnOnce() + Send) -> (Vec<Value>, Vec<Map<String, Value>>) {
    in_real_time(async {
        let (server, traces) = receiver().await;
        let written = Written::default();
        let writer = written.clone();
        let lines = telemetry::log_lines(move || writer.clone(), None);
        let spans = telemetry::spans(traces.clone());
        let guard = tracing_subscriber::registry().with(LevelFilter::INFO).with(lines).with(spans).set_default();
        // A thread of its own, because the clock of this one goes.
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        thread::scope(|scope| {
            scope.spawn(move || tracing::dispatcher::with_default(&dispatch, run)).join().unwrap();
        });
        traces.export_last().await;
        drop(guard);
        (server.with_collector(|collector| collector.spans().iter().map(received).collect()).await, written.lines())
    })
}

/// A span with its resource and attributes as objects.
fn received(of: &TestSpan) -> Value {
    let object = |list: Value| {
        let entry = |entry: &Value| {
            let value = entry["value"].as_object().unwrap().values().next().unwrap().clone();
            (entry["key"].as_str().unwrap().to_owned(), value)
        };
        list.as_array().unwrap().iter().map(entry).collect::<Map<_, _>>()
    };
    let mut span = json!(of.span());
    span["attributes"] = object(json!(of.span().attributes)).into();
    span["resource"] = object(json!(of.resource_attrs())).into();
    span
}

/// What a span is called, its place in its trace, and how it ended.
fn described(span: &Value) -> Value {
    let nanos = |name: &str| span[name].as_str().unwrap().parse::<u128>().unwrap();
    assert!(nanos("endTimeUnixNano") >= nanos("startTimeUnixNano"), "{span}");
    json!([span["name"], span["kind"], span["traceId"], span["parentSpanId"], span["status"]["message"]])
}

/// Also where the caller has another name for it.
#[test]
fn spans_of_a_task_hang_together_under_its_callers_trace() {
    let trace = format!("00-{TRACE}-{SPAN}-01").parse().ok();
    // Nobody takes a span out of its trace by a secret of the same text.
    let _sent = Secret::new(format!("00-{TRACE}-{SPAN}-01"));
    let mut task = None;
    let (spans, lines) = traced(|| task = Some(run(CorrelationId::new("basket-7").map(|id| id.within(trace)))));
    let start = &spans[0]["spanId"];
    let (producer, consumer) = (4, 5);
    let expected = [
        json!(["start checkout", producer, TRACE, SPAN, ""]),
        json!(["pay", consumer, TRACE, start, "BANK_BUSY"]),
        json!(["pay", consumer, TRACE, start, ""]),
        json!(["ship", consumer, TRACE, start, "NO_LORRY"]),
        json!(["refund", consumer, TRACE, start, ""]),
    ];
    assert_eq!(spans.iter().map(described).collect::<Vec<_>>(), expected);
    let ids: BTreeSet<&str> = spans.iter().map(|span| span["spanId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 5, "each has its own: {ids:?}");
    let first = &spans[1]["attributes"];
    let says = ["task_id", "workflow", "step", "attempt", "state", "retry_wait_seconds"]
        .map(|name| first[format!("stepwell.{name}")].clone());
    let task = task.unwrap().to_string();
    assert_eq!(json!(says[..5]), json!([task, "checkout", "pay", 1.0, "retrying"]));
    assert!(says[5].as_f64().unwrap() > 0.0, "{first}");
    assert_eq!(first["error.type"], "BANK_BUSY");
    assert_eq!(spans[1]["resource"]["service.name"], "a-service");
    let all = json!(spans).to_string();
    assert!(!all.contains("a text of a handler") && !all.contains("basket-7"), "{all}");
    for line in &lines {
        assert!(!line.contains_key("traceparent"), "{line:?}");
        let is_of_task = line.contains_key("correlation_id");
        assert_eq!(line.get("trace_id"), is_of_task.then(|| json!(TRACE)).as_ref(), "{line:?}");
    }
    assert!(lines.iter().filter(|line| line.contains_key("trace_id")).count() > 5, "{lines:?}");
}

#[test]
fn trace_without_another_name_is_the_name() {
    let trace = format!("00-{TRACE}-{SPAN}-01").parse().unwrap();
    let (spans, lines) = traced(|| _ = run(Some(CorrelationId::of_trace(trace))));
    assert_eq!((spans.len(), &spans[0]["parentSpanId"]), (5, &json!(SPAN)));
    for line in lines.iter().filter(|line| line["message"] == "attempt ended") {
        assert_eq!((&line["correlation_id"], line.get("trace_id")), (&json!(TRACE), None), "no field twice");
    }
}

#[test]
fn trace_of_a_task_without_a_callers_is_its_own_id() {
    let mut task = None;
    let (spans, lines) = traced(|| task = Some(run(None)));
    let trace = task.unwrap().to_string().replace('-', "");
    assert_eq!((spans.len(), &spans[0]["parentSpanId"]), (5, &json!("")));
    assert!(spans.iter().all(|span| span["traceId"] == *trace), "{spans:?}");
    assert!(lines.iter().all(|line| !line.contains_key("trace_id")), "the task's id says it");
}

#[test]
fn trace_that_its_caller_does_not_sample_has_no_spans() {
    let trace = format!("00-{TRACE}-{SPAN}-00").parse().unwrap();
    assert_eq!(traced(|| _ = run(Some(CorrelationId::of_trace(trace)))).0, [Value::Null; 0]);
}

/// Does this with spans that nobody takes at this address, and returns how many the log has told as lost, and why.
fn lost_at(address: SocketAddr, work: impl FnOnce(&Traces)) -> Vec<(Value, String)> {
    let traces = Traces::to(&format!("http://{address}/v1/traces"), "a-service").unwrap();
    let written = Written::default();
    let writer = written.clone();
    let lines = telemetry::log_lines(move || writer.clone(), None);
    let spans = telemetry::spans(traces.clone());
    let guard = tracing_subscriber::registry().with(LevelFilter::INFO).with(lines).with(spans).set_default();
    work(&traces);
    drop(guard);
    let told = written.lines().into_iter().filter(|line| line["message"] == "spans not exported");
    told.map(|line| (line["lost"].clone(), line["error"].as_str().unwrap().to_owned())).collect()
}

/// One line says how many, and then nothing is tried for a while, but at the end.
#[test]
fn spans_that_nobody_takes_are_told_as_lost() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let told = lost_at(nobody, |traces| {
        for _ in 0..2 {
            run(None);
            in_real_time(traces.export(EXPORT_TIME));
        }
        in_real_time(traces.export_last());
    });
    assert_eq!(told.iter().map(|(lost, _)| lost).collect::<Vec<_>>(), [5, 5], "{told:?}");
}

#[test]
fn receiver_that_does_not_answer_holds_up_as_long_as_there_is_time() {
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let told = lost_at(mute.local_addr().unwrap(), |traces| {
        run(None);
        in_real_time(traces.export(Duration::ZERO));
        in_real_time(traces.export(Duration::from_millis(30)));
    });
    assert_eq!(told.len(), 1, "without time nothing is tried: {told:?}");
    assert_eq!((&told[0].0, told[0].1.as_str()), (&json!(5), "no answer within 30ms"));
}

#[test]
fn spans_that_find_no_room_are_told_as_lost() {
    let (spans, lines) = traced(|| {
        for attempt in 0..5_003 {
            tracing::info!(
                task_id = "018f4e4e-7c1a-7000-8000-0123456789ab",
                workflow = "w",
                step = "s",
                attempt,
                attempt_seconds = 0.1,
                "attempt ended"
            );
        }
    });
    let lost: Vec<_> = lines.iter().filter_map(|line| line.get("lost")).collect();
    assert_eq!((spans.len(), lost), (5_000, vec![&json!(3)]));
}

/// Where nobody has made it a secret, its shape tells.
#[test]
fn secret_that_a_handler_tells_is_in_no_span() {
    let secret = Secret::new("planted-1 of a handler");
    let text = secret.expose();
    let (spans, lines) = traced(|| {
        let of_delivery = tracing::info_span!(
            "delivery",
            task_id = "018f4e4e-7c1a-7000-8000-0123456789ab",
            workflow = "w",
            step = "s",
            note = text
        );
        let _in_delivery = of_delivery.entered();
        for code in [format!("BANK_SAID_{text}"), "BANK_SAID key=planted-2".to_owned(), "BANK_BUSY".to_owned()] {
            tracing::warn!(
                attempt = 1,
                attempt_seconds = 0.1,
                code,
                error = text,
                token = "planted-3",
                "attempt ended"
            );
        }
    });
    assert_eq!(lines.len(), 3, "{lines:?}");
    let codes: Vec<_> = spans.iter().map(|span| &span["status"]["message"]).collect();
    assert_eq!(codes, ["BANK_SAID_***", "BANK_SAID key=***", "BANK_BUSY"]);
    let all = json!(spans).to_string();
    assert!(!all.contains("planted"), "{all}");
}

/// The line is written after all that the outcome leads to.
#[test]
fn span_ends_with_the_handler() {
    let nanos = |span: &Value, name: &str| span[name].as_str().unwrap().parse::<i128>().unwrap();
    let now = || i128::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
    let before = now();
    let (spans, _) = traced(|| {
        let task_id = "018f4e4e-7c1a-7000-8000-0123456789ab";
        tracing::info!(
            task_id,
            workflow = "w",
            step = "s",
            attempt = 1,
            attempt_seconds = 2.0,
            settle_seconds = 60.0,
            "attempt ended"
        );
    });
    let [start, end] = ["startTimeUnixNano", "endTimeUnixNano"].map(|name| nanos(&spans[0], name));
    assert_eq!(end - start, 2_000_000_000);
    let settled = 60_000_000_000;
    assert!((before - settled..=now() - settled).contains(&end), "{end} {before}");
}

#[test]
fn receiver_is_spoken_to_by_plain_http() {
    let error = Traces::to("https://user:secret@collector.example/v1/traces", "a-service").unwrap_err();
    assert!(matches!(&error, TracesError::NotHttp { scheme } if scheme == "https://"), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}
