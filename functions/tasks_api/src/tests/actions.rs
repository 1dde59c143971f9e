//! What is done to one task.

use super::{fake::Fake, *};
use crate::backend::Act;
use stepwell::{
    ActionError, By, CallError, FailureKind,
    core::{
        record::ActionKind,
        state::{End, StepState, TaskStatus},
    },
    ports::QueueError,
};
use test_case::test_case;

const REASON: &str = r#"{"reason": "the bank is back"}"#;

fn by() -> By {
    By::new(ARN, "the bank is back").unwrap()
}

#[test_case("retry", Act::Retry)]
#[test_case("cancel", Act::Cancel)]
#[test_case("compensate", Act::Compensate)]
#[test_case("resolve", Act::Resolve)]
#[tokio::test]
async fn each_route_does_what_its_name_says(name: &str, act: Act) {
    let fake = Fake::default();
    let answer = post(&fake, &format!("/tasks/{ID}/{name}"), REASON).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(answer.body(), json!({"success": true, "task_id": ID, "status": "pending"}));
    assert_eq!(fake.state().actions, [(ID.parse().unwrap(), act, by())]);
}

#[test_case("{\"total\": 100.00, \"e\":1E+2, \"big\": 123456789012345678901234567890}"; "an object")]
#[test_case("0.1000000000000000055511151231257827"; "more digits than a float has")]
#[test_case("[1, 2,3]"; "a list")]
#[test_case("\"\\u00e9\""; "a text")]
#[test_case("null")]
#[tokio::test]
async fn a_result_is_kept_to_the_digit(result: &str) {
    let fake = Fake::default();
    let body = format!("{{ \"result\" :  {result} , \"reason\":\"the bank is back\"}}");
    let answer = post(&fake, &format!("/tasks/{ID}/steps/process_payment/resolve"), &body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let act = Act::ResolveStep { step: "process_payment".to_owned(), result: result.to_owned() };
    assert_eq!(fake.state().actions, [(ID.parse().unwrap(), act, by())]);
}

#[tokio::test]
async fn a_result_that_no_step_could_read_is_refused() {
    for result in [&"[".repeat(200), r#""\ud800""#] {
        let closing = "]".repeat(if result.starts_with('[') { 200 } else { 0 });
        let body = format!(r#"{{"result": {result}{closing}, "reason": "why"}}"#);
        let fake = Fake::default();
        let answer = post(&fake, &format!("/tasks/{ID}/steps/a/resolve"), &body).await;
        let faults = answer.faults();
        assert!(faults[0].0 == "/result" && faults[0].1.starts_with("cannot be read: "), "{faults:?}");
        assert!(fake.is_untouched());
    }
}

#[test_case("", "{}", "/reason", "is missing"; "no reason")]
#[test_case("", r#"{"reason": null}"#, "/reason", "has to be a text"; "null")]
#[test_case("", r#"{"reason": 5}"#, "/reason", "has to be a text"; "a number")]
#[test_case("", r#"{"reason": "  "}"#, "/reason", "has to have 1 to 500 characters, and no control characters"; "blank")]
#[test_case("", r#"{"reason": "a\u0000b"}"#, "/reason", "has to have 1 to 500"; "a control character")]
#[test_case("", r#"{"reason": "why", "force": true}"#, "/force", "is not known here")]
#[test_case("", r#"{"reason": "why", "result": 1}"#, "/result", "is not known here")]
#[test_case("", "[]", "", "the body has to be an object"; "a list")]
#[test_case("", "null", "", "the body has to be an object"; "nothing")]
#[test_case("", "\"reason\"", "", "the body has to be an object"; "a text")]
#[test_case("steps/a/", r#"{"reason": "why"}"#, "/result", "is missing"; "no result")]
#[tokio::test]
async fn a_body_that_is_wrong_is_told_where(step: &str, body: &str, path: &str, message: &str) {
    let fake = Fake::default();
    let answer = post(&fake, &format!("/tasks/{ID}/{step}resolve"), body).await;
    let faults = answer.faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].0 == path && faults[0].1.starts_with(message), "{faults:?}");
    assert!(fake.is_untouched());
}

#[tokio::test]
async fn a_reason_has_its_limit() {
    for (length, status) in [(500, 202), (501, 422)] {
        let body = json!({"reason": "é".repeat(length)}).to_string();
        assert_eq!(post(&Fake::default(), &format!("/tasks/{ID}/cancel"), &body).await.status, status);
    }
}

#[test_case(""; "nothing")]
#[test_case("reason=why"; "a form")]
#[test_case("{\"reason\": \"why\"} x"; "more than one value")]
#[test_case("{\"reason\": "; "half of it")]
#[test_case("{\"\\ud800\": 1}"; "a name that is no text")]
#[tokio::test]
async fn what_is_not_json_is_400(body: &str) {
    let fake = Fake::default();
    let answer = post(&fake, &format!("/tasks/{ID}/cancel"), body).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert!(answer.body()["error"].as_str().unwrap().starts_with("The body is not JSON: "), "{}", answer.text);
    assert!(fake.is_untouched());
}

#[test_case("cancel", r#"{"reason": "why", "reason": "why not"}"#, "/reason"; "two reasons")]
#[test_case("steps/a/resolve", r#"{"reason": "why", "result": 1, "result": 2}"#, "/result"; "two results")]
#[test_case("steps/a/resolve", r#"{"reason": "why", "result": {"a": [1.50, {"b": 1e1, "b": 1e1}]}}"#, "/result/a/1/b"; "deep in a result")]
#[tokio::test]
async fn duplicate_key_is_refused_with_its_path(act: &str, body: &str, path: &str) {
    let fake = Fake::default();
    let answer = post(&fake, &format!("/tasks/{ID}/{act}"), body).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert_eq!(answer.body()["details"], json!([{"path": path, "message": "is there more than once"}]));
    assert!(fake.is_untouched());
}

#[tokio::test]
async fn a_body_that_is_too_large_is_413() {
    let body = format!(r#"{{"reason": "why", "result": "{}"}}"#, "x".repeat(300_000));
    assert_eq!(post(&Fake::default(), &format!("/tasks/{ID}/steps/a/resolve"), &body).await.status, 413);
}

#[tokio::test]
async fn no_task_has_a_strange_id() {
    for id in ["1", &ID.to_uppercase(), "é", "a b"] {
        let answer = post(&Fake::default(), &format!("/tasks/{id}/cancel"), REASON).await;
        assert_eq!((answer.status, &answer.body()["error"]), (404, &json!("There is no such task")), "{id}");
        let answer = post(&Fake::default(), &format!("/tasks/{id}/steps/a/resolve"), REASON).await;
        assert_eq!(answer.status, 404, "{id}");
    }
}

fn illegal(action: ActionKind, status: TaskStatus) -> ActionError {
    ActionError::Status { action, status }
}

#[test_case(
    illegal(ActionKind::Cancel, TaskStatus::Complete),
    409, "Cannot cancel task in complete status", json!("complete"); "a task that is complete"
)]
#[test_case(
    illegal(ActionKind::Retry, TaskStatus::Compensated(End::Error)),
    409, "Cannot retry task in error status: it has been compensated", json!("error"); "a task that is closed"
)]
#[test_case(
    ActionError::StepState { step: "a".to_owned(), state: StepState::InProgress },
    409, "Cannot resolve step `a` in in_progress state", json!("in_progress"); "a step that is in flight"
)]
#[test_case(
    ActionError::NotReady { step: "c".to_owned(), waits_for: vec!["a".to_owned(), "b".to_owned()] },
    409, "Cannot resolve step `c`: it waits for a, b", json!(null); "a step before its turn"
)]
#[test_case(
    ActionError::TrailFull { of: "step `a`".to_owned() },
    409,
    "Cannot retry: the audit trail of step `a` has no room for more attempts; do by hand what failed, and resolve it",
    json!(null); "a trail that is full"
)]
#[test_case(ActionError::NoStep("a".to_owned()), 404, "The task has no step `a`", json!(null); "no such step")]
#[test_case(
    ActionError::NotFound(ID.parse().unwrap()),
    404, "There is no task 018f4e4e-7c1a-7000-8000-0123456789ab", json!(null); "no such task"
)]
#[tokio::test]
async fn what_cannot_be_done_is_refused_with_what_was_found(error: ActionError, status: u16, text: &str, found: Value) {
    let fake = Fake::default();
    fake.state().refusal = Some(error);
    let answer = post(&fake, &format!("/tasks/{ID}/resolve"), REASON).await;
    assert_eq!(answer.status, status);
    let body = answer.body();
    assert_eq!((&body["success"], &body["error"], &body["status"]), (&json!(false), &json!(text), &found));
}

#[tokio::test]
async fn a_result_that_is_too_large_is_told_where() {
    let fake = Fake::default();
    fake.state().refusal = Some(ActionError::ResultTooLarge(300_000));
    let answer = post(&fake, &format!("/tasks/{ID}/steps/a/resolve"), r#"{"result": 1, "reason": "why"}"#).await;
    assert_eq!(answer.faults()[0].0, "/result");
}

#[tokio::test]
async fn a_message_that_was_not_sent_is_an_outage() {
    let fake = Fake::default();
    let error = CallError::new("SendMessage", FailureKind::Unavailable, fake::INTERNALS);
    fake.state().refusal = Some(QueueError::new("a", error).into());
    let answer = post(&fake, &format!("/tasks/{ID}/retry"), REASON).await;
    assert_eq!((answer.status, &answer.headers["retry-after"]), (503, &json!("1")));
    assert!(!answer.text.contains(fake::INTERNALS), "{}", answer.text);
}
