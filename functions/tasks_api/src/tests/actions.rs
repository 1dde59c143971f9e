//! The actions on one task.

use super::*;
use std::time::Duration;
use stepwell::{
    FailureKind,
    core::{
        format::READS,
        item::{Key, attribute},
        limits::MAX_RESULT_BYTES,
        record::ActionKind,
        state::StepState,
        transition::Change,
    },
    retryable,
    testing::CrashAt,
};
use test_case::test_case;

#[test_case("redrive", "pending")]
#[test_case("compensate", "compensating")]
#[test_case("resolve", "resolved_manually")]
#[test_case("cancel", "compensating")]
#[tokio::test(start_paused = true)]
async fn each_action_has_its_effect_and_its_audit_entry(act: &str, status: &str) {
    let api = Api::new();
    let id = if act == "cancel" { api.started().await } else { api.failed("pay").await };
    let answer = api.act(id, act).await;
    assert_eq!((answer.status, answer.body()), (202, json!({"success": true, "task_id": id, "status": status})));
    let [done] = api.trail(id).await.try_into().unwrap();
    assert_eq!((done.what.as_str(), done.who.as_str(), done.why.as_str()), (act, ARN, "the bank is back"));
}

/// `retry` is the old name of the route.
#[tokio::test(start_paused = true)]
async fn retry_route_redrives() {
    let api = Api::new();
    let id = api.failed("pay").await;
    assert_eq!(api.act(id, "retry").await.body()["status"], "pending");
    assert_eq!(api.trail(id).await[0].what, ActionKind::Redrive);
}

#[tokio::test(start_paused = true)]
async fn step_that_waits_is_run_now_and_a_repeated_request_finds_nothing_that_waits() {
    let api = Api::new();
    let wait = Duration::from_secs(3_600);
    api.0.fail("pay", [StepFault::Error(retryable("BUSY", "later").retry_after(wait))]);
    let id = api.started().await;
    api.0.run_until(id, |snapshot| snapshot.steps[0].state == StepState::Retrying).await.unwrap();
    let before = api.0.now();
    let answer = api.act(id, "run-now").await;
    assert_eq!((answer.status, answer.body()), (202, json!({"success": true, "task_id": id, "status": "in_progress"})));
    let [done] = api.trail(id).await.try_into().unwrap();
    assert_eq!((done.what.as_str(), done.who.as_str(), done.step.as_deref()), ("run_now", ARN, Some("pay")));
    let at_once = api.act(id, "run-now").await;
    let error = format!("Step `pay` is due since {before}: its attempt is on its way");
    assert_eq!(
        (at_once.status, &at_once.body()["error"], &at_once.body()["status"]),
        (409, &json!(error), &json!("retrying"))
    );
    api.0.run(id).await.unwrap();
    assert!(api.0.now().since(before) < wait);
    let again = api.act(id, "run-now").await;
    let error = "No step of the task waits for a retry: it is complete";
    assert_eq!(
        (again.status, &again.body()["error"], &again.body()["status"]),
        (409, &json!(error), &json!("complete"))
    );
}

/// In a compensating task, a redrive repeats the failed compensation.
#[tokio::test(start_paused = true)]
async fn redrive_of_a_failed_compensation_continues_the_compensation() {
    let api = Api::new();
    api.0.fail("refund", [StepFault::Error(permanent("NO", "it cannot be"))]);
    let id = api.failed("ship").await;
    api.0.run(id).await.unwrap();
    let answer = api.act(id, "redrive").await;
    assert_eq!((answer.status, &answer.body()["status"]), (202, &json!("compensating")));
    assert_eq!(api.0.run(id).await.unwrap().step("refund").unwrap().state, StepState::Complete);
}

#[test_case("{\"total\": 100.00, \"e\":1E+2, \"big\": 123456789012345678901234567890}"; "an object")]
#[test_case("0.1000000000000000055511151231257827"; "more digits than a float has")]
#[test_case("[1, 2,3]"; "a list")]
#[test_case("\"\\u00e9\""; "a text")]
#[test_case("null")]
#[tokio::test(start_paused = true)]
async fn result_given_by_hand_keeps_every_digit(result: &str) {
    let api = Api::new();
    let id = api.failed("pay").await;
    let body = format!("{{ \"result\" :  {result} , \"reason\":\"the bank is back\", \"attempts_checked\": true}}");
    let answer = api.post(&format!("/tasks/{id}/steps/pay/resolve"), &body).await;
    assert_eq!((answer.status, &answer.body()["status"]), (202, &json!("in_progress")));
    assert_eq!(api.snapshot(id).await.step("pay").unwrap().result.as_deref(), Some(result));
    assert_eq!(api.trail(id).await[0].step.as_deref(), Some("pay"));
}

/// The checkout's types check the results that are given for its steps.
#[test_case("process_payment", |payment| payment["amount_charged"] = json!("99.95"), "/amount_charged"; "an amount as a text")]
#[test_case("process_payment", |payment| payment["processed_at"] = json!("yesterday"), "/processed_at"; "a time that is none")]
#[test_case("process_payment", |payment| *payment = json!({"payment_id": "by phone"}), ""; "fields are missing")]
#[test_case("process_payment", |payment| *payment = json!(null), ""; "nothing")]
#[tokio::test(start_paused = true)]
async fn result_that_does_not_fit_its_step_is_refused_with_the_path(
    step: &str,
    change: impl Fn(&mut Value) + Copy,
    path: &str,
) {
    let api = Api::with(checkout::workflow().unwrap());
    let id = api.failed(step).await;
    let before = api.snapshot(id).await;
    let mut result: Value = serde_json::from_str(
        r#"{"payment_id": "pay_1", "amount_charged": 99.95, "currency": "USD",
        "payment_method_type": "visa", "transaction_id": "txn_1", "processed_at": "2026-11-25T07:00:00Z"}"#,
    )
    .unwrap();
    let resolve = async |result: &Value| {
        let body = json!({"result": result, "reason": "paid by telephone", "attempts_checked": true}).to_string();
        api.post(&format!("/tasks/{id}/steps/{step}/resolve"), &body).await
    };
    let right = result.clone();
    change(&mut result);
    let message = format!("the result does not fit step `{step}`: ");
    resolve(&result).await.is_violation(&format!("/result{path}"), &message);
    assert_eq!(api.snapshot(id).await, before);
    assert_eq!(resolve(&right).await.status, 202);
}

/// An attempt whose answer was lost may have charged the card.
#[tokio::test(start_paused = true)]
async fn step_that_was_attempted_is_resolved_only_after_somebody_has_checked() {
    let api = Api::new();
    let id = api.failed("pay").await;
    let before = api.snapshot(id).await;
    let resolve = async |checked: &str| {
        let body = format!(r#"{{"result": {RESULT}, "reason": "paid by telephone"{checked}}}"#);
        api.post(&format!("/tasks/{id}/steps/pay/resolve"), &body).await
    };
    let at = before.step("pay").unwrap().attempts[0].finished_at.unwrap();
    let error = format!(
        "Cannot resolve step `pay`: it was attempted, so it may have had its effect: attempt 1 ended with GATEWAY DOWN at {at}. \
         Make sure that no attempt had an effect, or undo it; then send the request again with `\"attempts_checked\": true`"
    );
    for checked in ["", r#", "attempts_checked": false"#] {
        let refused = resolve(checked).await;
        assert_eq!((refused.status, &refused.body()["error"]), (409, &json!(error)));
    }
    resolve(r#", "attempts_checked": "of course""#).await.is_violation("/attempts_checked", "has to be true or false");
    assert_eq!(api.snapshot(id).await, before);
    assert_eq!(resolve(r#", "attempts_checked": true"#).await.status, 202);
}

/// Nothing would undo what the step in flight may still do.
#[tokio::test(start_paused = true)]
async fn task_is_not_resolved_while_a_step_is_in_flight() {
    let api = Api::new();
    api.0.crash("pay", [CrashAt::After("claim")]);
    let id = api.started().await;
    api.0.run_until(id, |snapshot| snapshot.steps[0].state == StepState::InProgress).await.unwrap();
    let until = api.snapshot(id).await.steps[0].lease_until.unwrap();
    let refused = api.act(id, "resolve").await;
    let error = format!(
        "Cannot resolve task: step `pay` is in flight until {until} at the latest; cancel the task or wait until then"
    );
    assert_eq!((refused.status, &refused.body()["error"]), (409, &json!(error)));
    assert_eq!(refused.body()["status"], "in_progress");
    assert_eq!(api.trail(id).await, []);
    tokio::time::advance(until.since(api.0.now())).await;
    assert_eq!(api.act(id, "resolve").await.status, 202);
}

const TEXT: &str = "has to have 1 to 500 characters, and no control characters";
const OBJECT: &str = "the body has to be an object";

#[test_case("resolve", "{}", "/reason", "is missing"; "no reason")]
#[test_case("resolve", r#"{"reason": null}"#, "/reason", "has to be a text"; "null")]
#[test_case("resolve", r#"{"reason": 5}"#, "/reason", "has to be a text"; "a number")]
#[test_case("resolve", r#"{"reason": "  "}"#, "/reason", TEXT; "blank")]
#[test_case("resolve", r#"{"reason": "a\u0000b"}"#, "/reason", TEXT; "a control character")]
#[test_case("resolve", &format!(r#"{{"reason": "{}"}}"#, "é".repeat(501)), "/reason", TEXT; "too long a reason")]
#[test_case("resolve", r#"{"reason": "why", "force": true}"#, "/force", "is not known here")]
#[test_case("resolve", r#"{"reason": "why", "who": "mallory"}"#, "/who", "is not known here"; "another name")]
#[test_case("resolve", r#"{"reason": "why", "result": 1}"#, "/result", "is not known here"; "a result of a task")]
#[test_case("resolve", "[]", "", OBJECT; "a list")]
#[test_case("resolve", "null", "", OBJECT; "nothing")]
#[test_case("resolve", "\"reason\"", "", OBJECT; "a text")]
#[test_case("steps/pay/resolve", r#"{"reason": "why"}"#, "/result", "is missing"; "no result")]
#[test_case("steps/pay/resolve", r#"{"reason": "why", "result": "\ud800"}"#, "/result", "cannot be read: "; "a result that is not Unicode")]
#[test_case("steps/pay/resolve", &format!(r#"{{"reason": "why", "result": {}{}}}"#, "[".repeat(200), "]".repeat(200)), "/result", "cannot be read: "; "too deep a result")]
#[test_case("steps/pay/resolve", &format!(r#"{{"reason": "why", "result": "{}"}}"#, "x".repeat(MAX_RESULT_BYTES)), "/result", "the result has 262146 bytes"; "too large a result")]
#[tokio::test(start_paused = true)]
async fn invalid_body_is_refused_with_the_path(act: &str, body: &str, path: &str, message: &str) {
    let api = Api::new();
    let id = api.failed("pay").await;
    api.post(&format!("/tasks/{id}/{act}"), body).await.is_violation(path, message);
    assert_eq!(api.trail(id).await, []);
}

#[test_case(r#"{"reason": "#, 400, json!(null); "half of it")]
#[test_case(r#"{"\ud800": 1}"#, 400, json!(null); "a name that is not Unicode")]
#[test_case(r#"{"reason": "why", "reason": "why not"}"#, 400, json!("/reason"); "two reasons")]
#[test_case(r#"{"reason": "why", "result": {"a": [1.50, {"b": 1e1, "b": 1e1}]}}"#, 400, json!("/result/a/1/b"); "deep in a result")]
#[test_case(&format!(r#"{{"reason": "why", "result": "{}"}}"#, "x".repeat(300_000)), 413, json!(null); "too large")]
#[tokio::test]
async fn body_that_cannot_be_read(body: &str, status: u16, path: Value) {
    let answer = Api::new().post(&format!("/tasks/{UNKNOWN}/steps/pay/resolve"), body).await;
    assert_eq!((answer.status, &answer.body()["details"][0]["path"]), (status, &path), "{}", answer.text);
}

#[tokio::test]
async fn longest_reason_is_kept() {
    let api = Api::new();
    let id = api.started().await;
    let body = json!({"reason": "é".repeat(500)}).to_string();
    assert_eq!(api.post(&format!("/tasks/{id}/cancel"), &body).await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn action_in_a_wrong_state_is_refused_with_that_state() {
    let api = Api::new();
    let done = api.started().await;
    api.0.run(done).await.unwrap();
    let closed = api.failed("ship").await;
    api.0.run(closed).await.unwrap();
    let full = api.failed("pay").await;
    let entry = json!({"at": 0, "what": "retry", "who": "somebody", "why": "again and again"});
    let trail = vec![Change::Set(attribute::ACTIONS, json!(vec![entry; 1_000]))];
    api.0.memory().store.force(Key::Task(full), trail).unwrap();
    api.0.crash("pay", [CrashAt::After("claim")]);
    let begun = api.started().await;
    api.0.run_until(begun, |snapshot| snapshot.steps[0].state == StepState::InProgress).await.unwrap();
    let unknown = UNKNOWN.parse().unwrap();

    for (id, act, status, error, found) in [
        (done, "resolve", 409, "Cannot resolve task in complete status", json!("complete")),
        (closed, "redrive", 409, "Cannot redrive task in error status: it has been compensated", json!("error")),
        (begun, "steps/pay/resolve", 409, "Cannot resolve step `pay` in in_progress state", json!("in_progress")),
        (begun, "steps/ship/resolve", 409, "Cannot resolve step `ship`: it waits for pay", json!(null)),
        (
            full,
            "redrive",
            409,
            "The audit trail of the task has no room for more: it was redriven or cancelled too often; do by hand what is left to do",
            json!(null),
        ),
        (done, "steps/mail/resolve", 404, "The task has no step `mail`", json!(null)),
        (unknown, "resolve", 404, "There is no task 018f4e4e-7c1a-7000-8000-0123456789ab", json!(null)),
    ] {
        let result = if act.contains("steps") { r#", "result": 1"# } else { "" };
        let answer = api.post(&format!("/tasks/{id}/{act}"), &format!(r#"{{"reason": "why"{result}}}"#)).await;
        let body = answer.body();
        assert_eq!((answer.status, &body["success"], &body["status"]), (status, &json!(false), &found), "{body}");
        assert_eq!(body["error"], error);
    }
}

#[tokio::test(start_paused = true)]
async fn failed_send_is_a_503() {
    let api = Api::new();
    let id = api.failed("pay").await;
    api.0.fail_call("send", [FailureKind::Unavailable]);
    assert_eq!(api.act(id, "redrive").await.status, 503);
}

/// While two versions are deployed, the older one shows the tasks of the newer one and does not act on them.
#[tokio::test(start_paused = true)]
async fn task_of_a_newer_version_is_shown_and_not_acted_on() {
    let api = Api::new();
    let id = api.failed("pay").await;
    let newer = [
        (attribute::V, json!(READS + 2)),
        (attribute::NEEDS, json!(READS + 1)),
        (attribute::STATUS, json!("suspended")),
    ];
    let newer = newer.map(|(name, value)| Change::Set(name, value)).to_vec();
    api.0.memory().store.force(Key::Task(id), newer).unwrap();
    let before = api.snapshot(id).await;

    let shown = api.show(id).await;
    assert_eq!(shown["newer_format"], json!({"written": READS + 2, "needs": READS + 1}));
    assert_eq!((&shown["task_id"], &shown["steps"][0]["error"]["code"]), (&json!(id), &json!("GATEWAY DOWN")));
    for (method, path) in routes(id).into_iter().filter(|(method, path)| {
        let acts = !path.ends_with("/reveal") && !path.starts_with("/tasks/bulk") && !path.starts_with("/workflows");
        *method == "POST" && acts
    }) {
        let body = if path.contains("/steps/") { r#"{"reason": "why", "result": 1}"# } else { r#"{"reason": "why"}"# };
        let answer = api.send_as(Some(ARN), method, &path, body).await;
        assert_eq!((answer.status, &answer.body()["code"]), (409, &json!("NEWER_FORMAT")), "{path}: {}", answer.text);
        let error = format!("TASK#{id} was written in format {} and needs a reader of format {}", READS + 2, READS + 1);
        assert!(answer.body()["error"].as_str().unwrap().starts_with(&error), "{}", answer.text);
    }
    assert_eq!(api.snapshot(id).await, before);
}
