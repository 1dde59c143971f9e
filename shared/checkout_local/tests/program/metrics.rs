//! The metrics that Prometheus reads at the operators' port.

use crate::{HOST, SUCCESS, Shop, ask, command, until};
use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
};
use telemetry::{Kind, METRICS};
use tempfile::tempdir;

/// The metrics of a shop, and whether they are of the type that Prometheus wants.
fn scrape(shop: &Shop, data: &Path) -> (String, bool) {
    let token = fs::read_to_string(data.join("operator-token")).unwrap();
    let mut stream = TcpStream::connect(&shop.operators).unwrap();
    let head =
        format!("GET /metrics HTTP/1.1\r\n{HOST}Connection: close\r\nAuthorization: Bearer {}\r\n\r\n", token.trim());
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    (body.to_owned(), head.to_ascii_lowercase().contains("content-type: text/plain; version=0.0.4"))
}

/// A shop that has completed a checkout and retried a payment, and writes no log.
fn busy_shop(data: &Path) -> Shop {
    let shop = Shop::start_by(command(data, "0").env("RUST_LOG", "off").stderr(Stdio::null()));
    assert_eq!(shop.buy(SUCCESS).0, 202);
    shop.buy_later();
    shop
}

/// Their names are those in CloudWatch, which come of the same table.
#[test]
fn operators_read_every_metric_of_what_the_process_has_done() {
    let folder = tempdir().unwrap();
    let shop = busy_shop(folder.path());
    assert_eq!(ask(&shop.operators, "GET /metrics", HOST, "").0, 401, "as all that operators see");
    let (text, is_typed) = scrape(&shop, folder.path());
    assert!(is_typed, "{text}");
    let known: BTreeSet<String> = METRICS
        .iter()
        .map(|metric| format!("stepwell_{}{}", metric.name, if metric.kind == Kind::Counter { "_total" } else { "" }))
        .collect();
    let told: BTreeSet<String> =
        text.lines().filter_map(|line| Some(line.strip_prefix("# HELP ")?.split(' ').next()?.to_owned())).collect();
    assert!(told.is_subset(&known) && told.len() > 15, "{told:?}");
    for line in [
        "stepwell_process_starts_total 1",
        "stepwell_tasks_started_total{workflow=\"checkout\"} 2",
        "stepwell_tasks_completed_total{workflow=\"checkout\"} 1",
        "stepwell_task_seconds_count{workflow=\"checkout\"} 1",
        "stepwell_attempt_seconds_count{step=\"process_payment\",workflow=\"checkout\"} 2",
        "stepwell_queued_seconds_count{step=\"send_confirmation\",workflow=\"checkout\"} 1",
        "stepwell_retry_wait_seconds_count{step=\"process_payment\",workflow=\"checkout\"} 1",
        "stepwell_warnings_total 0",
    ] {
        assert!(text.lines().any(|told| told == line), "{line} is missing in\n{text}");
    }
    until("the watchdog has run", || !scrape(&shop, folder.path()).0.contains("stepwell_watchdog_runs_total 0"));
    assert_eq!(shop.stop(), Some(0));
}

/// `tests/run.sh one_machine` runs it with Debian's promtool.
#[test]
#[ignore = "needs promtool, of Debian's package prometheus"]
fn promtool_accepts_the_metrics() {
    let folder = tempdir().unwrap();
    let shop = busy_shop(folder.path());
    let (text, _) = scrape(&shop, folder.path());
    let mut promtool = Command::new("promtool");
    let mut promtool =
        promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
    println!("{} lines, {} bytes", text.lines().count(), text.len());
    assert_eq!(shop.stop(), Some(0));
}
