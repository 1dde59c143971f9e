//! No line has a secret, whoever writes it. The process has one log, so this is one test.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail loudly")]

mod captured;

use captured::Written;
use redaction::Secret;
use std::{fmt, io, panic::catch_unwind};
use tracing_subscriber::{filter::LevelFilter, layer::SubscriberExt};

/// What a step might hold. A person who writes one forgets to hide it.
#[derive(Debug)]
struct Careless {
    #[allow(dead_code, reason = "it is printed")]
    token: &'static str,
    #[allow(dead_code, reason = "it is printed")]
    context: String,
}

struct Fails(&'static str);

impl fmt::Display for Fails {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no account {}", self.0)
    }
}

#[test]
fn line_of_a_step_a_dependency_or_a_panic_has_no_secret() {
    let (json, text) = (Written::default(), Written::default());
    let (to_json, to_text) = (json.clone(), text.clone());
    let subscriber = tracing_subscriber::registry().with(LevelFilter::INFO);
    let subscriber = subscriber.with(telemetry::log_lines(move || to_json.clone(), Some("stage".to_owned())));
    telemetry::start(subscriber.with(telemetry::text_lines(move || to_text.clone()))).unwrap();

    let secret = Secret::new("planted-1 in a value");
    let value = secret.expose();
    let span = tracing::info_span!("delivery", note = "noted planted-2 early", step = "pay");
    let late = Secret::new("planted-2 early");
    span.in_scope(|| {
        tracing::info!("told: {value}");
        tracing::warn!(error = %Fails("planted-1 in a value"), "failed");
        tracing::warn!(
            error = &io::Error::other("planted-1 in a value") as &(dyn std::error::Error + 'static),
            "failed"
        );
        tracing::info!(target: "hyper::proto", uri = ?"/orders/1?key=planted-3&n=1", "request");
        tracing::info!(target: "h2", headers = r#"{"authorization": "Bearer planted-4"}"#, "received");
        tracing::info!(
            authorization = "planted-5",
            x_task_key = "planted-5",
            card = 4_242_424_242_424_242_u64,
            "named"
        );
        let careless = Careless { token: "planted-6", context: r#"{"email":"planted-7"}"#.to_owned() };
        tracing::info!(?careless, "{careless:?}");
    });
    // What a line is about stays, even if somebody sends a secret of the same letters.
    let _sent = ["Checkout", "Suspected_fraud", "pay_with_3ds", "PAYMENT_3DS_REFUSED", "overdue: message sent again"]
        .map(Secret::from);
    tracing::info!(
        workflow = "checkout",
        step = "pay_with_3ds",
        code = "PAYMENT_3DS_REFUSED",
        cause = "PAYMENT_SUSPECTED_FRAUD",
        correlation_id = "pay_with_3ds",
        request_id = "4242424242424242",
        "overdue: message sent again"
    );
    assert!(catch_unwind(|| panic!("planted-1 in a value")).is_err());
    assert!(catch_unwind(|| panic!("?key={}", "planted-8")).is_err());
    assert!(catch_unwind(|| std::panic::panic_any(5)).is_err());

    let (json, text) = (json.text(), text.text());
    let about = json.lines().find(|line| line.contains("\"message\":\"overdue: message sent again\"")).unwrap();
    for kept in ["checkout", "pay_with_3ds", "PAYMENT_3DS_REFUSED", "PAYMENT_SUSPECTED_FRAUD"] {
        assert!(about.contains(&format!(":\"{kept}\"")), "{kept}: {about}");
    }
    assert_eq!(about.matches(":\"pay_with_3ds\"").count(), 2, "step and correlation_id: {about}");
    assert!(!about.contains("4242"), "what a client sends may be a card's number: {about}");
    let json: String = json.lines().filter(|line| *line != about).map(|line| format!("{line}\n")).collect();
    for (log, lines) in [("JSON", &json), ("text", &text)] {
        assert!(!lines.contains("planted") && !lines.contains("4242"), "{log}: {lines}");
        assert_eq!(lines.matches("panicked").count(), 3, "{log}: {lines}");
        let count = if log == "JSON" { 10 } else { 11 };
        assert_eq!(lines.lines().count(), count, "{log}: a line each: {lines}");
        for kept in ["told: ***", "no account ***", "/orders/1?key=***&n=1", "tests/secrets.rs:", "pay"] {
            assert!(lines.contains(kept), "{log} lacks {kept}: {lines}");
        }
    }
    drop(late);
}
