//! The redrive of all tasks that match a filter.

use super::*;
use stepwell::{
    Actor, FailureKind,
    core::{
        format::READS,
        item::{Key, attribute},
        transition::Change,
    },
};
use test_case::test_case;

async fn three() -> (Api, Vec<TaskId>) {
    let api = Api::new();
    for _ in 0..3 {
        api.failed("pay").await;
    }
    let found = api.post("/tasks/redrive", r#"{"reason": "why"}"#).await.body()["tasks"].take();
    (api, serde_json::from_value(found).unwrap())
}

#[test_case(r#"{"reason": "why"}"#; "nothing said")]
#[test_case(r#"{"reason": "why", "dry_run": true}"#; "said")]
#[test_case(r#"{"reason": "why", "dry_run": null, "filter": null, "limit": null, "next": null}"#; "all of it null")]
#[tokio::test(start_paused = true)]
async fn dry_run_counts_and_changes_nothing(body: &str) {
    let (api, ids) = three().await;
    let answer = api.post("/tasks/redrive", body).await;
    let expected = json!({"dry_run": true, "matched": 3, "redriven": 0, "refused": [], "tasks": ids, "next": null});
    assert_eq!((ids.len(), answer.status, answer.body()), (3, 200, expected));
    for id in ids {
        assert_eq!(api.trail(id).await, []);
    }
}

#[tokio::test(start_paused = true)]
async fn matching_tasks_are_redriven_and_refused_ones_are_reported() {
    let (api, ids) = three().await;
    let (there, first) = (api.clone(), ids[0]);
    api.0.meanwhile("redrive", async move {
        there.0.client().resolve(first, &Actor::new("bob", "by hand").unwrap()).await.unwrap();
        there.0.fail_call("send", [FailureKind::Unavailable]);
    });
    let answer = api.post("/tasks/redrive", r#"{"reason": "the bank is back", "dry_run": false}"#).await;
    let refused = json!([
        {"task_id": ids[0], "error": "Cannot redrive task in resolved_manually status"},
        {"task_id": ids[1], "error": "The service is not available right now; please try again"},
    ]);
    let expected =
        json!({"dry_run": false, "matched": 3, "redriven": 1, "refused": refused, "tasks": ids, "next": null});
    assert_eq!((answer.status, answer.body()), (202, expected));
    let trail = api.trail(ids[2]).await;
    assert_eq!((trail[0].who.as_str(), trail[0].why.as_str()), (ARN, "the bank is back"));
}

#[tokio::test(start_paused = true)]
async fn completed_tasks_with_a_warning_are_redriven_and_stay_complete() {
    let api =
        Api::of("{name: test, step_templates: [{name: pay}, {name: thank, depends_on_step: pay, optional: true}]}");
    let good = api.started().await;
    api.0.run(good).await.unwrap();
    let id = api.failed("thank").await;
    api.0.run(id).await.unwrap();
    let warning = json!({"step": "thank", "code": "GATEWAY DOWN", "message": "no"});
    let shown = api.show(id).await;
    assert_eq!((&shown["status"], &shown["warnings"]), (&json!("complete"), &json!([warning])));
    assert_eq!(api.show(good).await["warnings"], json!([]));
    let listed = api.get("/tasks?status=complete&failed_step=thank").await.body();
    assert_eq!((&listed["count"], &listed["tasks"][0]["task_id"]), (&json!(1), &json!(id)));

    let body = r#"{"reason": "again", "dry_run": false, "filter": {"status": "complete"}}"#;
    let answer = api.post("/tasks/redrive", body).await.body();
    assert_eq!((&answer["tasks"], &answer["redriven"]), (&json!([id]), &json!(1)));
    assert_eq!(api.show(id).await["status"], "complete");
    let sent = |snapshot: &TaskSnapshot| snapshot.step("thank").unwrap().state.is_done();
    api.0.run_until(id, sent).await.unwrap();
    assert_eq!(api.show(id).await["warnings"], json!([]));
    assert_eq!(api.act(id, "redrive").await.status, 409, "nothing of it has failed");
}

#[tokio::test(start_paused = true)]
async fn task_of_a_newer_version_is_refused_with_its_code() {
    let (api, ids) = three().await;
    let needs = vec![Change::Set(attribute::NEEDS, json!(READS + 1))];
    api.0.memory().store.force(Key::Task(ids[1]), needs).unwrap();
    let answer = api.post("/tasks/redrive", r#"{"reason": "again", "dry_run": false}"#).await.body();
    let refused = answer["refused"].as_array().unwrap();
    assert_eq!((&answer["redriven"], refused.len()), (&json!(2), 1));
    assert_eq!((&refused[0]["task_id"], &refused[0]["code"]), (&json!(ids[1]), &json!("NEWER_FORMAT")));
}

#[tokio::test(start_paused = true)]
async fn filter_and_page_are_in_the_body() {
    let (api, ids) = three().await;
    let matched = async |filter: Value| {
        api.post("/tasks/redrive", &json!({"reason": "why", "filter": filter}).to_string()).await.body()["matched"]
            .take()
    };
    assert_eq!(matched(json!({"status": "error", "failed_step": "pay", "error_code": "GATEWAY DOWN"})).await, 3);
    assert_eq!(matched(json!({"status": "compensating", "compensated": false})).await, 0);
    assert_eq!(matched(json!({"failed_step": "ship"})).await, 0);
    assert_eq!(matched(json!({"status": "complete"})).await, 0);

    let mut body = json!({"reason": "why", "dry_run": false, "limit": 2});
    for page in ids.chunks(2) {
        let mut answer = api.post("/tasks/redrive", &body.to_string()).await.body();
        assert_eq!(answer["tasks"], json!(page));
        body["next"] = answer["next"].take();
    }
    assert_eq!(body["next"], Value::Null);
}

#[test_case(r#"{"dry_run": false}"#, "/reason", "is missing")]
#[test_case(r#"{"reason": "why", "dry_run": 0}"#, "/dry_run", "has to be true or false")]
#[test_case(r#"{"reason": "why", "limit": 101}"#, "/limit", "has to be a whole number from 1 to 100")]
#[test_case(r#"{"reason": "why", "next": 2}"#, "/next", "has to be a text")]
#[test_case(r#"{"reason": "why", "filter": []}"#, "/filter", "has to be an object")]
#[test_case(r#"{"reason": "why", "filter": {"status": "pending"}}"#, "/filter/status", "has to be error, compensating or complete"; "nothing to redrive")]
#[test_case(r#"{"reason": "why", "filter": {"compensated": true}}"#, "/filter/compensated", "has to be false")]
#[test_case(r#"{"reason": "why", "filter": {"older_than": "1y"}}"#, "/filter/older_than", "has to be an age")]
#[test_case(r#"{"reason": "why", "filter": {"limit": 5}}"#, "/filter/limit", "is not known here")]
#[tokio::test]
async fn invalid_body_is_refused_with_the_path(body: &str, path: &str, message: &str) {
    Api::new().post("/tasks/redrive", body).await.is_violation(path, message);
}
