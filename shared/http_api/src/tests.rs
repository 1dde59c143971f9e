//! The behaviour that all APIs share, tested on routes of this module.

use super::*;
use axum::{
    Json,
    body::Body,
    extract::Request,
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use std::future::pending;
use stepwell::{
    CallError, EngineError, FailureKind, Workflow,
    core::{codec::Unreadable, format::NewerFormat, message::StepQueue, snapshot::TaskSnapshot, state::StepState},
    ports::{QueueError, TableError},
    testing::{CrashAt, Harness, Returns, StepFault},
};
use test_case::test_case;
use tower::ServiceExt;

/// The largest body that is read here.
const MOST: usize = 100_000;

const OURS: &str = "Something went wrong on our side";
const NOT_NOW: &str = "The service is not available right now; please try again";

/// A text that must appear in the log only.
const INTERNALS: &str = "arn:aws:dynamodb:eu-central-1:123456789012:table/stepwell-dev-tasks";

/// Sends a request and returns status, headers and text of the answer.
async fn answer(router: Router, method: &str, path: &str, body: impl Into<Body>) -> (u16, HeaderMap, String) {
    let request = Request::builder().method(method).uri(path).body(body.into()).unwrap();
    read_all(router.oneshot(request).await.unwrap()).await
}

async fn read_all(response: Response) -> (u16, HeaderMap, String) {
    let (parts, body) = response.into_parts();
    let text = String::from_utf8(axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
    (parts.status.as_u16(), parts.headers, text)
}

/// Answers with the request's body.
async fn echo(headers: HeaderMap, body: Body) -> Result<Json<Value>, CommonError> {
    check_media_type(&headers)?;
    read(body, MOST).await.map(Json)
}

async fn panics() {
    panic!("{INTERNALS}")
}

fn api() -> Router {
    let routes = Router::new().route("/", post(echo)).route("/never", get(pending::<()>)).route("/panics", get(panics));
    complete(routes, Duration::from_secs(9))
}

#[test_case("GET", "/nowhere", 404, "", "No such path")]
#[test_case("GET", "/%ff", 404, "", "No such path"; "no text")]
#[test_case("GET", "/", 405, "allow: POST", "This path has no such method")]
#[test_case("PUT", "/never", 405, "allow: GET,HEAD", "This path has no such method")]
#[test_case("GET", "/never", 503, "retry-after: 1", NOT_NOW)]
#[test_case("GET", "/panics", 500, "", OURS)]
#[tokio::test(start_paused = true)]
async fn request_that_no_route_answers_is_answered(method: &str, path: &str, status: u16, header: &str, error: &str) {
    let (found, headers, text) = answer(api(), method, path, "").await;
    assert_eq!(found, status, "{text}");
    let expected = if status == 404 { json!({"error": error}) } else { json!({"success": false, "error": error}) };
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    let (name, value) = header.split_once(": ").unwrap_or(("retry-after", ""));
    for (name, value) in [("content-type", "application/json"), ("cache-control", "no-store"), (name, value)] {
        assert_eq!(headers.get(name).map_or("", |value| value.to_str().unwrap()), value, "{name}");
    }
}

fn call(kind: FailureKind) -> CallError {
    CallError::new("Query", kind, INTERNALS)
}

fn newer() -> NewerFormat {
    NewerFormat { partition: INTERNALS.to_owned(), v: 2, needs: 2 }
}

fn unreadable() -> Unreadable {
    Unreadable { key: INTERNALS.to_owned(), cause: INTERNALS.to_owned() }
}

fn internals() -> StepQueue {
    StepQueue::new(INTERNALS, INTERNALS)
}

/// Only a transient failure invites a retry, and no answer shows the cause.
#[test_case(TableError::from(call(FailureKind::Throttled)).into(), 503, NOT_NOW; "a throttled table")]
#[test_case(TableError::from(call(FailureKind::Unavailable)).into(), 503, NOT_NOW; "a table that is down")]
#[test_case(TableError::from(call(FailureKind::Refused)).into(), 500, OURS; "no right to read")]
#[test_case(TableError::from(unreadable()).into(), 500, OURS; "an item that cannot be read")]
#[test_case(QueueError::new(internals(), call(FailureKind::Unavailable)).into(), 503, NOT_NOW; "a queue that is down")]
#[test_case(QueueError::new(internals(), call(FailureKind::Refused)).into(), 500, OURS; "no right to send")]
#[test_case(EngineError::Newer(newer()).into(), 503, NOT_NOW; "a newer version")]
#[tokio::test]
async fn cause_of_an_outage_is_not_in_the_answer(fault: CommonError, status: u16, error: &str) {
    let (found, headers, text) = read_all(fault.into_response()).await;
    assert_eq!((found, headers.contains_key("retry-after")), (status, status == 503));
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!({"success": false, "error": error}));
}

/// Sends a body and returns the status, the sentence and the details of the answer.
async fn refused(body: impl Into<Body>) -> (u16, String, Value) {
    let (status, _, text) = answer(api(), "POST", "/", body).await;
    let mut body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["success"], false, "{text}");
    (status, body["error"].as_str().unwrap().to_owned(), body["details"].take())
}

#[test_case("", "EOF while parsing a value at line 1 column 0"; "nothing")]
#[test_case("not JSON", "expected ident at line 1 column 2")]
#[test_case("{\"a\": {\n  \"a\": }}", "expected value at line 2 column 8"; "a missing value")]
#[test_case("{\"a\": {}} x", "trailing characters at line 1 column 11"; "more than one value")]
#[test_case("{\"a\": \"tok_visa", "EOF while parsing a string at line 1 column 15"; "cut off")]
#[test_case("a=%7B%7D", "expected value at line 1 column 1"; "a form")]
#[test_case("{'a': {}}", "key must be a string at line 1 column 2"; "wrong quotes")]
#[test_case("{\"a\": NaN}", "expected value at line 1 column 7"; "not a number")]
#[test_case("{\"\\ud800\": 1}", "unexpected end of hex escape at line 1 column 9"; "a name that is not Unicode")]
#[test_case(b"{\"a\": \"\xff\"}", "invalid unicode code point at line 1 column 8"; "not UTF-8")]
#[test_case(b"\xff\xfe{\0}\0", "expected value at line 1 column 1"; "UTF-16")]
#[test_case(b"\x1f\x8b\x08\x00", "expected value at line 1 column 1"; "gzip")]
#[test_case("[".repeat(128) + "1" + &"]".repeat(128), "recursion limit exceeded at line 1 column 128"; "deep lists")]
#[test_case("[".repeat(100_000), "recursion limit exceeded at line 1 column 128"; "lists without end")]
#[test_case("{\"a\":".repeat(20_000), "recursion limit exceeded at line 1 column 636"; "objects without end")]
#[tokio::test]
async fn body_that_is_not_json_is_refused_with_the_position(body: impl AsRef<[u8]>, error: &str) {
    let body = body.as_ref().to_vec();
    assert_eq!(refused(body).await, (400, format!("The body is not JSON: {error}"), Value::Null));
}

/// It is unknown which of the two values the client meant.
#[test_case(r#"{"a":1,"a":2}"#, "/a")]
#[test_case(r#"{"a":1,"a":1}"#, "/a"; "the same value")]
#[test_case(r#"{"a":1,"\u0061":2}"#, "/a"; "the same in escapes")]
#[test_case(r#"{"a":{"b":[{"c":1},{"c":1,"c":2}]}}"#, "/a/b/1/c"; "deep within")]
#[test_case(r#"{"a/b~":[0,[{"":1.5,"":{}}]]}"#, "/a~1b~0/1/0/"; "names to be escaped")]
#[tokio::test]
async fn duplicate_key_is_refused_with_its_path(body: &'static str, path: &str) {
    let details = json!([{"path": path, "message": "is there more than once"}]);
    assert_eq!(refused(body).await, (400, "A field is there more than once; send it once".to_owned(), details));
}

#[tokio::test]
async fn body_has_its_limit() {
    assert_eq!(answer(api(), "POST", "/", " ".repeat(MOST - 1) + "1").await.0, 200);
    let error = "The body is too large; at most 100000 bytes are accepted".to_owned();
    assert_eq!(refused(" ".repeat(MOST) + "1").await, (413, error, Value::Null));
}

/// As floats, two of these amounts would be equal, and another would be rounded.
#[tokio::test]
async fn number_keeps_every_digit() {
    // A repeated value, and one key in two objects, are not duplicates.
    let body =
        r#"[{"a":100.00,"b":100.00},{"a":133610627515675.63,"b":0.1000000000000000055511151231257827,"c":1e+1}]"#;
    assert_eq!(answer(api(), "POST", "/", body).await.2, body);
}

#[test_case("", 200; "none")]
#[test_case("application/json", 200)]
#[test_case("application/json; charset=utf-8", 200; "with a charset")]
#[test_case("Application/JSON", 200; "in capitals")]
#[test_case("application/vnd.shop+json", 200; "another kind of JSON")]
#[test_case("application/x-www-form-urlencoded", 200; "the default of curl")]
#[test_case("text/plain", 200; "plain text")]
#[test_case("multipart/form-data; boundary=x", 415; "a form")]
#[test_case("application/xml", 415; "xml")]
#[test_case("image/png", 415; "a picture")]
#[tokio::test]
async fn content_type_that_is_never_json_is_refused(media_type: &str, status: u16) {
    let request = Request::post("/").header("Content-Type", media_type).body(Body::from("1")).unwrap();
    assert_eq!(api().oneshot(request).await.unwrap().status(), status);
}

fn details(snapshot: &TaskSnapshot) -> Value {
    serde_json::to_value(Details::of(snapshot)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn task_is_shown_attempt_by_attempt() {
    let workflow = "
        name: test
        namespace_name: tests
        version: 1.0.0
        step_templates:
          - { name: a }
          - { name: b, secret: [/deep], depends_on_step: a, backoff: { base_seconds: 1, jitter: 0 }, handler_config: { timeout_seconds: 5 } }
          - { name: c, depends_on_steps: [a, b] }";
    let result = r#"{"total": 100.00, "deep": [1e2]}"#;
    let harness = Harness::new(Workflow::from_yaml(workflow).unwrap()).with_all(Returns(result));
    harness.fail("b", [StepFault::Timeout]);
    let id = harness.start(&json!({"token": "test_success_visa"})).await.unwrap();

    let waits = |snapshot: &TaskSnapshot| snapshot.steps[1].state == StepState::Retrying;
    let snapshot = harness.run_until(id, waits).await.unwrap();
    let error = json!({"code": "TIMEOUT", "message": "the handler took longer than 5000 ms"});
    let expected = json!({
        "task_id": id, "workflow": "tests/test@1.0.0", "status": "in_progress",
        "started_at": "2023-11-14T22:13:20.000Z", "completed_at": null, "total_duration_ms": null,
        "steps": [
            {
                "name": "a", "status": "complete", "depends_on": [],
                "attempts": [{
                    "number": 1, "started_at": "2023-11-14T22:13:20.000Z", "finished_at": "2023-11-14T22:13:20.000Z",
                    "duration_ms": 0, "outcome": "complete", "error": null, "next_retry_at": null,
                }],
                "result": serde_json::from_str::<Value>(result).unwrap(), "error": null, "duration_ms": 0,
            },
            {
                "name": "b", "status": "retrying", "depends_on": ["a"],
                "attempts": [{
                    "number": 1, "started_at": "2023-11-14T22:13:20.000Z", "finished_at": "2023-11-14T22:13:25.000Z",
                    "duration_ms": 5_000, "outcome": "retryable_error", "error": error,
                    "next_retry_at": "2023-11-14T22:13:26.000Z",
                }],
                "result": null, "error": error, "next_retry_at": "2023-11-14T22:13:26.000Z", "duration_ms": null,
            },
            {
                "name": "c", "status": "pending", "depends_on": ["a", "b"], "attempts": [],
                "result": null, "error": null, "duration_ms": null,
            },
        ],
        "compensations": [],
    });
    let text = serde_json::to_string(&Details::of(&snapshot)).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
    assert!(text.contains(&format!(r#""result":{result}"#)), "the result's text is unchanged: {text}");

    harness.crash("b", [CrashAt::After("claim")]);
    let runs = |snapshot: &TaskSnapshot| snapshot.steps[1].state == StepState::InProgress;
    let running = &details(&harness.run_until(id, runs).await.unwrap())["steps"][1];
    let second = json!({
        "number": 2, "started_at": "2023-11-14T22:13:26.000Z", "finished_at": null,
        "duration_ms": null, "outcome": "in_progress", "error": null, "next_retry_at": null,
    });
    assert_eq!((&running["attempts"][1], &running["attempts"][2]), (&second, &Value::Null));

    let done = details(&harness.run(id).await.unwrap());
    let outcomes = [0, 1, 2].map(|attempt| &done["steps"][1]["attempts"][attempt]["outcome"]);
    assert_eq!(outcomes, ["retryable_error", "lost", "complete"]);
    let results = [0, 1].map(|step| done["steps"][step]["result"]["deep"].to_string());
    assert_eq!(results, ["[1e+2]", r#""***""#], "only what is secret is hidden");
    assert_eq!(done["steps"][1]["duration_ms"], 16_001, "from the first attempt to the end, with the waits");
    assert_eq!((&done["status"], &done["completed_at"]), (&json!("complete"), &json!("2023-11-14T22:13:36.001Z")));
    assert_eq!(done["total_duration_ms"], 16_001);
}
