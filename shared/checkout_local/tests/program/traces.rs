//! The spans that the program sends, where it is told to.

use crate::{HOST, SUCCESS, Shop, ask, command};
use mock_collector::{MockServer, Protocol, ServerHandle};
use std::{collections::BTreeMap, process::Stdio};
use stepwell::core::hex::hex;
use tempfile::tempdir;
use tokio::runtime::Builder;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// A receiver of spans on a free port.
async fn receiver() -> ServerHandle {
    let server = MockServer::builder().protocol(Protocol::HttpBinary).host([127, 0, 0, 1].into()).port(0);
    server.start().await.unwrap()
}

/// From the API across the queues through every step; what is left at the end is sent, too.
#[test]
fn checkout_is_one_trace_under_its_callers() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.block_on(receiver());
    let folder = tempdir().unwrap();
    let shop = Shop::start_by(
        command(folder.path(), "0")
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", server.addr()))
            .env("RUST_LOG", "off")
            .stderr(Stdio::null()),
    );
    let headers = format!("{HOST}traceparent: 00-{TRACE}-{SPAN}-01\r\n");
    let (status, answer) = ask(&shop.customers, "POST /checkout?wait=20", &headers, SUCCESS);
    assert_eq!(status, 202, "{answer}");
    assert_eq!(shop.stop(), Some(0));

    let spans: BTreeMap<String, (String, String, String)> = runtime.block_on(server.with_collector(|collector| {
        let place = |span: &mock_collector::TestSpan| {
            let span = span.span();
            (span.name.clone(), (hex(&span.trace_id), hex(&span.parent_span_id), hex(&span.span_id)))
        };
        collector.spans().iter().map(place).collect()
    }));
    let names: Vec<&str> = spans.keys().map(String::as_str).collect();
    let expected =
        ["create_order", "process_payment", "send_confirmation", "start checkout", "update_inventory", "validate_cart"];
    assert_eq!(names, expected);
    let start = &spans["start checkout"];
    for (name, (trace, parent, _)) in &spans {
        let above = if name == "start checkout" { SPAN } else { &start.2 };
        assert_eq!((trace.as_str(), parent.as_str()), (TRACE, above), "{name}");
    }
}

/// A supervisor may set the receiver for all programs, and another variable for this one.
#[test]
fn traces_that_are_off_make_no_span() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = runtime.block_on(receiver());
    for (variable, off) in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
        let folder = tempdir().unwrap();
        let endpoint = format!("http://{}", server.addr());
        let shop = Shop::start_by(
            command(folder.path(), "0")
                .envs([("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), (variable, off)])
                .stderr(Stdio::null()),
        );
        assert_eq!(shop.buy(SUCCESS).1["status"], "completed");
        assert_eq!(shop.stop(), Some(0));
        let spans = runtime.block_on(server.with_collector(|collector| collector.spans().len()));
        assert_eq!(spans, 0, "{variable}={off}");
    }
}

#[test]
fn receiver_that_cannot_be_spoken_to_ends_the_start() {
    let folder = tempdir().unwrap();
    let output =
        command(folder.path(), "0").env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://far.example").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("https://") && said.contains("http://"), "{said}");
}
