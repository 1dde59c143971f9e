//! Tests of the API on the engine in memory, with a host that authenticates callers.

mod actions;
mod analytics;
mod bulk;
mod copying;
mod events;
mod health;
mod looking;
mod pausing;
mod rerunning;
mod resending;
mod revealing;
mod shipping;

use crate::openapi::CONTRACT;
use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request},
};
use checkout::{
    StoreError,
    testing::{MemoryShop, Outage},
};
use http_api::{Caller, Rights};
use serde_json::{Value, json};
use std::{
    io::Write,
    sync::{Arc, Mutex},
};
use stepwell::{
    TaskId, Workflow,
    core::{record::Action, snapshot::TaskSnapshot},
    permanent,
    testing::{Harness, Returns, StepFault},
};
use test_case::test_case;
use tower::ServiceExt;

/// A valid id without a task.
const UNKNOWN: &str = "018f4e4e-7c1a-7000-8000-0123456789ab";

const ARN: &str = "arn:aws:sts::123456789012:assumed-role/operators/alice";

const WORKFLOW: &str = "
    name: test
    namespace_name: tests
    version: 1.0.0
    compensate_after_seconds: 60
    search: { email: /customer_info/email, order_number: { step: pay, at: /amount } }
    step_templates:
      - { name: pay, compensation: { name: refund } }
      - { name: ship, depends_on_step: pay }";

/// The result of each step.
const RESULT: &str = r#"{"amount": 100.00, "rate": 1e-2}"#;

/// The answer of the API.
struct ApiAnswer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl ApiAnswer {
    fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// Checks that the answer has one violation, with this path and a message that begins with this text.
    fn is_violation(&self, path: &str, message: &str) {
        assert_eq!((self.status, &self.body()["error"]), (422, &json!("Invalid request")), "{}", self.text);
        let found = &self.body()["details"];
        assert_eq!((found.as_array().unwrap().len(), &found[0]["path"]), (1, &json!(path)), "{found}");
        assert!(found[0]["message"].as_str().unwrap().starts_with(message), "{found}");
    }
}

/// The API, its engine and its orders. Clones share them.
#[derive(Clone)]
pub(crate) struct Api(Arc<Harness>, MemoryShop);

impl Api {
    pub(crate) fn new() -> Self {
        Self::of(WORKFLOW)
    }

    fn of(workflow: &str) -> Self {
        Self::with(Workflow::from_yaml(workflow).unwrap())
    }

    fn with(workflow: Workflow) -> Self {
        let harness = Harness::new(workflow);
        Self(Arc::new(harness.call_by_call().with_all(Returns(RESULT))), MemoryShop::default())
    }

    async fn send_as(&self, caller: Option<&str>, method: &str, target: &str, body: &str) -> ApiAnswer {
        self.send(caller, Request::builder().method(method).uri(target).body(Body::from(body.to_owned())).unwrap())
            .await
    }

    async fn send(&self, caller: Option<&str>, mut request: Request<Body>) -> ApiAnswer {
        let caller = caller.map(|name| Caller { name: name.to_owned(), rights: Rights::All });
        caller.and_then(|caller| request.extensions_mut().insert(caller));
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let (parts, body) = self.router().oneshot(request).await.unwrap().into_parts();
        let text = String::from_utf8(axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
        let answer = ApiAnswer { status: parts.status.as_u16(), headers: parts.headers, text };
        let media_type = answer.headers.get("content-type").map_or("", |value| value.to_str().unwrap());
        CONTRACT.check(method.as_str(), &path, answer.status, media_type, &answer.text);
        answer
    }

    pub(crate) fn router(&self) -> Router {
        let client = self.0.client().with_result_types(crate::result_types::<MemoryShop>());
        let (deliveries, intake) = (self.0.memory().clone(), crate::ShopIntake::new(self.1.clone()));
        crate::router(client, deliveries, self.1.clone(), self.1.clone(), intake).merge(crate::probes(self.0.client()))
    }

    async fn get(&self, target: &str) -> ApiAnswer {
        self.send_as(Some(ARN), "GET", target, "").await
    }

    async fn post(&self, path: &str, body: &str) -> ApiAnswer {
        self.send_as(Some(ARN), "POST", path, body).await
    }

    /// The view of a task.
    async fn show(&self, id: TaskId) -> Value {
        self.get(&format!("/tasks/{id}")).await.body()
    }

    /// Applies an action to a task, with a reason.
    async fn act(&self, id: TaskId, act: &str) -> ApiAnswer {
        self.post(&format!("/tasks/{id}/{act}"), r#"{"reason": "the bank is back"}"#).await
    }

    async fn started(&self) -> TaskId {
        let context = json!({
            "cart_items": [{"product_id": 1, "quantity": 1}],
            "payment_info": {"token": "test_success_visa", "amount": 1},
            "customer_info": {"email": "ann@example.com", "name": "Ann"},
        });
        self.0.start(&context).await.unwrap()
    }

    /// A task whose step has failed for good.
    async fn failed(&self, step: &str) -> TaskId {
        self.0.fail(step, [StepFault::Error(permanent("GATEWAY DOWN", "no"))]);
        let id = self.started().await;
        self.0.run_until(id, |snapshot| !snapshot.failed_steps().is_empty()).await.unwrap();
        id
    }

    async fn snapshot(&self, id: TaskId) -> TaskSnapshot {
        self.0.snapshot(id).await.unwrap()
    }

    /// The audit trail of a task.
    async fn trail(&self, id: TaskId) -> Vec<Action> {
        self.snapshot(id).await.task.actions
    }
}

/// Captures the log lines of this thread while the guard lives.
fn log() -> (CapturedLog, tracing::subscriber::DefaultGuard) {
    // While a process has one subscriber only, `tracing` asks the thread that comes to a line first whether the line is wanted, and
    // keeps the answer. So each thread has one.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry());
    let log = CapturedLog::default();
    let writer = log.clone();
    let lines = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    (log, tracing::subscriber::set_default(lines))
}

#[derive(Clone, Default)]
struct CapturedLog(Arc<Mutex<Vec<u8>>>);

impl Write for CapturedLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl CapturedLog {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    fn has(&self, text: &str) -> bool {
        self.text().contains(text)
    }
}

/// All routes, each with a body that it accepts or refuses only because of the task.
fn routes(id: TaskId) -> Vec<(&'static str, String)> {
    let acts = ["redrive", "run-now", "rerun", "cancel", "compensate", "resolve", "steps/pay/resolve", "reveal"];
    let of_task = acts.iter().map(|act| ("POST", format!("/tasks/{id}/{act}")));
    let others = [
        ("GET", "/tasks".to_owned()),
        ("GET", "/workflows".to_owned()),
        ("GET", format!("/tasks/{id}")),
        ("GET", format!("/tasks/{id}/events")),
    ];
    let of_bulk = ["", "/results", "/stop"].map(|of| {
        let method = if of == "/stop" { "POST" } else { "GET" };
        (method, format!("/tasks/bulk/{UNKNOWN}{of}"))
    });
    let bulk = ["GET", "POST"].map(|method| (method, "/tasks/bulk".to_owned()));
    let of_order = ["ship", "resend"].map(|act| ("POST", format!("/orders/{id}/{act}")));
    let of_step = ["pause", "resume"].map(|act| ("POST", format!("/workflows/checkout/steps/process_payment/{act}")));
    others.into_iter().chain(of_step).chain(of_task).chain(bulk).chain(of_bulk).chain(of_order).collect()
}

#[test_case(None; "no name")]
#[test_case(Some(""); "an empty name")]
#[test_case(Some(&"a".repeat(257)); "a name that cannot be kept")]
#[test_case(Some("a\nb"); "a name of two lines")]
#[tokio::test(start_paused = true)]
async fn request_without_a_caller_is_refused(caller: Option<&str>) {
    let api = Api::new();
    let id = api.failed("pay").await;
    for (method, path) in routes(id) {
        let body = r#"{"reason": "why", "dry_run": false, "result": 1}"#;
        let answer = api.send_as(caller, method, &path, body).await;
        assert_eq!((answer.status, &answer.body()["success"]), (403, &json!(false)), "{method} {path}");
    }
    assert_eq!(api.trail(id).await, []);
}

#[tokio::test(start_paused = true)]
async fn caller_who_may_only_look_changes_nothing() {
    let api = Api::new();
    let id = api.failed("pay").await;
    for (method, path) in routes(id) {
        let caller = Caller { name: "bob (console)".to_owned(), rights: Rights::Look };
        let body = Body::from(r#"{"reason": "why", "dry_run": false, "result": 1}"#);
        let request = Request::builder().method(method).uri(&path).extension(caller).body(body).unwrap();
        let answer = api.send(None, request).await;
        match method {
            "GET" => assert_ne!(answer.status, 403, "{path}"),
            _ => {
                let error =
                    "bob (console) may look, and not act: an administrator lets somebody act, by the group operators";
                assert_eq!((answer.status, answer.body()), (403, json!({"success": false, "error": error})), "{path}");
            }
        }
    }
    assert_eq!(api.trail(id).await, []);
}

#[tokio::test(start_paused = true)]
async fn cause_of_an_outage_is_not_shown() {
    let api = Api::new();
    let id = api.failed("pay").await;
    for (method, path) in routes(id) {
        for call in ["load_all", "list", "range", "newest"] {
            api.0.fail_call(call, [stepwell::FailureKind::Unavailable]);
        }
        let tables = Some(StoreError::Failed("InternalServerError".to_owned()));
        api.1.set_outage(Outage { tables, ..Outage::default() });
        let body = match path.as_str() {
            "/tasks/bulk" => r#"{"action": "redrive", "filter": {"status": "error"}, "reason": "why"}"#,
            step if step.contains("/steps/pay/") => r#"{"reason": "why", "result": 1}"#,
            _ => r#"{"reason": "why"}"#,
        };
        let answer = api.send_as(Some(ARN), method, &path, body).await;
        let error = "The service is not available right now; please try again";
        assert_eq!((answer.status, answer.body()), (503, json!({"success": false, "error": error})), "{method} {path}");
        assert_eq!(answer.headers["retry-after"], "1");
    }
}

#[test_case("GET", "/tasks/", 404, ""; "a task without an id")]
#[test_case("POST", "/tasks/018f4e4e-7c1a-7000-8000-0123456789ab/steps/resolve", 404, "")]
#[test_case("GET", "/tasks/018f4e4e-7c1a-7000-8000-0123456789ab/cancel", 405, "POST")]
#[tokio::test]
async fn unknown_path_or_method_is_refused(method: &str, path: &str, status: u16, allowed: &str) {
    let answer = Api::new().send_as(Some(ARN), method, path, "").await;
    let allow = answer.headers.get("allow").map_or("", |allow| allow.to_str().unwrap());
    assert_eq!((answer.status, allow), (status, allowed));
}
