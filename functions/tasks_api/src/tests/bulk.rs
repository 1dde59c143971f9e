//! Actions on all tasks that match a filter.

use super::*;
use std::time::Duration;
use stepwell::{Actor, runtime::bulk::BulkRunner};
use test_case::test_case;

const MINUTE: Duration = Duration::from_secs(60);

/// Three failed tasks, a minute later.
async fn three() -> (Api, Vec<TaskId>) {
    let api = Api::new();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(api.failed("pay").await);
    }
    api.0.skip(MINUTE / 2).await;
    ids.sort_unstable();
    (api, ids)
}

/// A body for the three tasks.
fn body(more: Value) -> String {
    let mut body = json!({"action": "redrive", "filter": {"status": "error"}, "reason": "the bank is back"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

/// One run of the watchdog's function.
async fn carry_on(api: &Api) {
    let runner = BulkRunner::new(api.0.ports(), api.0.ports(), api.0.memory().runtime.clone());
    runner.run(api.0.now() + MINUTE).await.unwrap();
}

fn ids_of(list: &Value) -> Vec<TaskId> {
    let ids = list.as_array().unwrap().iter().map(|task| task["task_id"].clone());
    let mut ids: Vec<TaskId> = ids.map(|id| serde_json::from_value(id).unwrap()).collect();
    ids.sort_unstable();
    ids
}

#[test_case(json!({}); "nothing said")]
#[test_case(json!({"dry_run": true}); "said")]
#[test_case(json!({"dry_run": null, "pace": null, "expected_count": null, "or_more": null}); "all of it null")]
#[tokio::test(start_paused = true)]
async fn dry_run_counts_shows_some_and_changes_nothing(more: Value) {
    let (api, ids) = three().await;
    let answer = api.post("/tasks/bulk", &body(more)).await;
    let found = answer.body();
    assert_eq!(
        (answer.status, &found["dry_run"], &found["count"], &found["or_more"]),
        (200, &json!(true), &json!(3), &json!(false))
    );
    assert_eq!(ids_of(&found["sample"]), ids);
    assert_eq!(api.get("/tasks/bulk").await.body(), json!({"bulk_actions": []}));
}

#[tokio::test(start_paused = true)]
async fn bulk_action_is_carried_out_and_has_a_result_for_each_task() {
    let (api, ids) = three().await;
    let there = api.clone();
    let first = ids[0];
    let answer = api.post("/tasks/bulk", &body(json!({"dry_run": false, "expected_count": 3, "pace": 600}))).await;
    let begun = answer.body();
    assert_eq!((answer.status, &begun["status"], &begun["who"]), (202, &json!("running"), &json!(ARN)), "{begun}");
    let id = begun["bulk_id"].as_str().unwrap();
    let path = format!("/tasks/bulk/{id}");
    assert!(begun["expected_end"].is_string(), "{begun}");
    assert_eq!(api.get(&path).await.body()["done"], 0);
    assert_eq!(api.get(&format!("{path}/results")).await.body(), json!({"results": [], "next": null}));

    api.0.meanwhile("redrive", async move {
        there.0.client().resolve(first, &Actor::new("bob", "by hand").unwrap()).await.unwrap();
    });
    carry_on(&api).await;
    let ended = api.get(&path).await.body();
    let expected = json!({
        "bulk_id": id, "action": "redrive", "status": "complete", "who": ARN, "why": "the bank is back",
        "filter": {"status": "error", "compensated": false, "created_before": begun["started_at"]},
        "started_at": begun["started_at"], "pace": 600, "expected_count": 3, "done": 2, "refused": {"status": 1},
        "expected_end": null, "finished_at": ended["finished_at"], "stopped_by": null,
    });
    assert_eq!(ended, expected);
    assert!(ended["finished_at"].is_string());
    assert_eq!(api.get("/tasks/bulk").await.body(), json!({"bulk_actions": [ended]}));
    let results = api.get(&format!("{path}/results")).await.body();
    let of = |task: TaskId, result: &str| json!({"task_id": task, "result": result});
    let refused = json!({"task_id": ids[0], "result": "refused", "reason": "status"});
    assert_eq!(results, json!({"results": [refused, of(ids[1], "done"), of(ids[2], "done")], "next": null}));
    let shown = api.show(ids[1]).await["actions"][0].take();
    assert_eq!((&shown["who"], &shown["why"], &shown["bulk"]), (&json!(ARN), &json!("the bank is back"), &json!(id)));
}

#[tokio::test(start_paused = true)]
async fn start_is_refused_with_the_new_count_if_many_more_match() {
    let api = Api::new();
    for _ in 0..13 {
        api.failed("pay").await;
    }
    api.0.skip(MINUTE / 2).await;
    let start = async |more: Value| api.post("/tasks/bulk", &body(more)).await;
    let refused = start(json!({"dry_run": false, "expected_count": 2})).await;
    let error = "13 tasks match, and 2 were expected; nothing was started";
    assert_eq!((refused.status, &refused.body()["error"]), (409, &json!(error)));
    assert_eq!(start(json!({"dry_run": false, "expected_count": 2, "or_more": true})).await.status, 202);
    assert_eq!(start(json!({"dry_run": false, "expected_count": 3})).await.status, 202);
    assert_eq!(api.get("/tasks/bulk").await.body()["bulk_actions"].as_array().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn stopped_bulk_action_says_who_has_stopped_it() {
    let (api, ids) = three().await;
    let begun = api.post("/tasks/bulk", &body(json!({"dry_run": false, "expected_count": 3}))).await.body();
    let path = format!("/tasks/bulk/{}", begun["bulk_id"].as_str().unwrap());
    let stop = async || api.post(&format!("{path}/stop"), r#"{"reason": "the wrong ones"}"#).await;
    let stopped = stop().await;
    let by = json!({"who": ARN, "why": "the wrong ones"});
    assert_eq!(
        (stopped.status, &stopped.body()["status"], &stopped.body()["stopped_by"]),
        (202, &json!("stopping"), &by)
    );
    carry_on(&api).await;
    assert_eq!(api.get(&path).await.body()["status"], "stopped");
    for id in ids {
        assert_eq!(api.trail(id).await, []);
    }
}

#[tokio::test(start_paused = true)]
async fn unknown_bulk_action_is_not_found() {
    for path in [format!("/tasks/bulk/{UNKNOWN}"), "/tasks/bulk/7".to_owned(), format!("/tasks/bulk/{UNKNOWN}/results")]
    {
        let answer = Api::new().get(&path).await;
        assert_eq!((answer.status, &answer.body()["error"]), (404, &json!("There is no such bulk action")), "{path}");
    }
    let answer = Api::new().post(&format!("/tasks/bulk/{UNKNOWN}/stop"), r#"{"reason": "why"}"#).await;
    assert_eq!(answer.status, 404);
}

#[test_case(json!({"action": null}), "/action", "has to be one of redrive, cancel, compensate"; "no action")]
#[test_case(json!({"action": "resolve"}), "/action", "has to be one of redrive, cancel, compensate")]
#[test_case(json!({"reason": ""}), "/reason", "has to have 1 to 500 characters")]
#[test_case(json!({"dry_run": 0}), "/dry_run", "has to be true or false")]
#[test_case(json!({"dry_run": false}), "/expected_count", "has to be the count of a dry run")]
#[test_case(json!({"pace": 10_001}), "/pace", "has to be a whole number from 1 to 10000")]
#[test_case(json!({"pace": 20.5}), "/pace", "has to be a whole number from 1 to 10000")]
#[test_case(json!({"filter": []}), "/filter", "has to be an object")]
#[test_case(json!({"filter": {}}), "/filter", "the filter is empty"; "an empty filter")]
#[test_case(json!({"filter": null}), "/filter", "the filter is empty"; "no filter")]
#[test_case(json!({"filter": {"status": "pending"}}), "/filter/status", "cannot redrive tasks in pending status")]
#[test_case(json!({"filter": {"older_than": "1y"}}), "/filter/older_than", "has to be an age")]
#[test_case(json!({"filter": {"limit": 5}}), "/filter/limit", "is not known here")]
#[tokio::test]
async fn invalid_body_is_refused_with_the_path(more: Value, path: &str, message: &str) {
    Api::new().post("/tasks/bulk", &body(more)).await.is_violation(path, message);
}

#[tokio::test(start_paused = true)]
async fn whole_number_may_be_written_with_a_decimal_point() {
    let answer = Api::new().post("/tasks/bulk", &body(json!({"pace": 20.0}))).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test(start_paused = true)]
async fn repeated_request_with_an_idempotency_key_starts_one_bulk_action() {
    let (api, _) = three().await;
    let send = async |who: &str, key: &str, more: Value| {
        let request = Request::post("/tasks/bulk").header("Idempotency-Key", key);
        api.send(Some(who), request.body(Body::from(body(more))).unwrap()).await
    };
    let older = |pace: u32| json!({"dry_run": false, "expected_count": 3, "pace": pace, "filter": {"status": "error", "older_than": "0s"}});
    let first = send(ARN, "k", older(600)).await;
    assert_eq!(first.status, 202, "{}", first.text);
    carry_on(&api).await;
    let again = send(ARN, "k", older(600)).await;
    let (first, again) = (first.body(), (again.status, again.body()));
    assert_eq!((again.0, &again.1["bulk_id"], &again.1["status"]), (202, &first["bulk_id"], &json!("complete")));

    let other = send(ARN, "k", older(601)).await;
    assert_eq!(
        (other.status, &other.body()["error"]),
        (409, &json!("This Idempotency-Key was used with another request"))
    );
    assert_eq!(send(ARN, "k k", older(600)).await.status, 400);
    let or_more = json!({"dry_run": false, "expected_count": 1, "or_more": true});
    let others = [send("somebody", "k", or_more.clone()).await, send(ARN, "l", or_more).await];
    assert_eq!(others.map(|other| other.status), [202, 202], "another caller, and another key");
    let listed = api.get("/tasks/bulk").await.body();
    let listed = listed["bulk_actions"].as_array().unwrap();
    assert_eq!((listed.len(), &listed[2]["bulk_id"]), (3, &first["bulk_id"]), "the newest first");
}
