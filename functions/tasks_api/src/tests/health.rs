//! Probes, the health of the tasks, and the workflows.

use super::*;
use std::{collections::BTreeSet, time::Duration};
use stepwell::{
    core::{
        index::{IndexPartition, move_in_index},
        plan::StepPlan,
    },
    ports::Store,
};
use test_case::test_case;

/// The numbers of an answer, by name.
fn numbers(health: &Value) -> Vec<(&str, u64)> {
    ["open", "failed", "overdue", "stuck", "needs_person", "dead_lettered"]
        .map(|name| (name, health[name]["tasks"].as_u64().unwrap()))
        .into()
}

#[tokio::test(start_paused = true)]
async fn health_counts_open_tasks_by_how_they_stand() {
    let api = Api::with(checkout::workflow().unwrap());
    let empty = api.get("/health/status").await.body();
    assert!(numbers(&empty).iter().all(|(_, count)| *count == 0), "{empty}");
    assert_eq!(empty["open"]["oldest_at"], Value::Null);

    let begun_at = api.0.now();
    api.started().await;
    let health = api.get("/health/status").await.body();
    let expected =
        [("open", 1), ("failed", 0), ("overdue", 0), ("stuck", 0), ("needs_person", 0), ("dead_lettered", 0)];
    assert_eq!(numbers(&health), expected);
    for open in ["open", "running"] {
        let expected = json!({"tasks": 1, "or_more": false, "oldest_at": begun_at, "oldest_seconds": 0});
        assert_eq!(health[open], expected, "{open}");
    }

    // Its inspection is due after a minute, and was missed after four; the checkout has half an hour.
    api.0.skip(Duration::from_secs(240)).await;
    assert_eq!(numbers(&api.get("/health/status").await.body())[3], ("stuck", 0));
    api.0.skip(Duration::from_secs(1)).await;
    assert_eq!(numbers(&api.get("/health/status").await.body())[3], ("stuck", 1));
    api.0.skip(Duration::from_secs(1_560)).await;
    let health = api.get("/health/status").await.body();
    assert_eq!((numbers(&health)[2], &health["overdue"]["oldest_seconds"]), (("overdue", 1), &json!(1_801)));
}

#[tokio::test(start_paused = true)]
async fn health_counts_failed_tasks_and_those_that_need_a_person() {
    let api = Api::new();
    api.failed("pay").await;
    api.0.fail("refund", [StepFault::Error(permanent("ACCOUNT_CLOSED", "no"))]);
    let id = api.failed("ship").await;
    api.act(id, "compensate").await;
    api.0.run(id).await.unwrap();
    let health = api.get("/health/status").await.body();
    let needy = ["failed", "needs_person", "dead_lettered"].map(|name| health[name]["tasks"].as_u64().unwrap());
    assert_eq!(needy, [0, 1, 0], "the first is compensated by then, and this one is not redriven: {health}");
    assert_eq!((&health["compensating"]["tasks"], &health["open"]["tasks"]), (&json!(1), &json!(1)), "{health}");
}

/// One that is cancelled a day after it was complete is not late, and one whose optional step is redriven is not open.
#[tokio::test(start_paused = true)]
async fn what_is_done_with_a_complete_task_is_not_late() {
    let file = WORKFLOW.replace("{ name: ship, ", "{ name: ship, optional: true, ");
    let api = Api::of(&file.replace("version: 1.0.0", "version: 1.0.0\n    complete_within_seconds: 60"));
    let (warned, cancelled) = (api.failed("ship").await, api.started().await);
    api.0.run(cancelled).await.unwrap();
    api.0.skip(Duration::from_secs(86_400)).await;
    assert_eq!(api.act(warned, "redrive").await.status, 202);
    api.0.lose_messages();
    let health = api.get("/health/status").await.body();
    assert_eq!((numbers(&health)[0], &health["open"]["oldest_at"]), (("open", 0), &Value::Null), "{health}");
    assert_eq!(api.act(cancelled, "cancel").await.status, 202);
    let health = api.get("/health/status").await.body();
    assert_eq!((numbers(&health)[0], numbers(&health)[2]), (("open", 1), ("overdue", 0)), "{health}");
}

/// What a queue has given up for good is in the partition of the tasks that need a person.
#[tokio::test(start_paused = true)]
async fn task_that_is_left_to_a_person_is_counted_as_dead_lettered() {
    let api = Api::new();
    let task = api.started().await;
    api.0.lose_messages();
    let place = api.0.memory().store.listed(task).unwrap();
    let now = api.0.now();
    let moved = move_in_index(&place, IndexPartition::NeedsPerson, now);
    assert!(api.0.memory().apply(&moved).await.unwrap().is_written());
    let health = api.get("/health/status").await.body();
    let needy = ["open", "needs_person", "dead_lettered"].map(|name| health[name]["tasks"].as_u64().unwrap());
    assert_eq!(needy, [0, 1, 1], "{health}");
}

#[tokio::test(start_paused = true)]
async fn numbers_beyond_what_is_read_are_told_as_so_many_or_more() {
    let api = Api::new();
    for _ in 0..64 * usize::from(IndexPartition::SHARDS) {
        api.started().await;
    }
    let health = api.get("/health/status").await.body();
    let open = &health["open"];
    // Ids are random, so some shard has more than its share.
    assert_eq!(open["or_more"], true, "{open}");
    assert_eq!(
        health["needs_person"],
        json!({"tasks": 0, "or_more": false, "oldest_at": null, "oldest_seconds": null}),
        "a running task needs nobody"
    );
    assert_eq!((&health["stuck"]["or_more"], &health["stuck"]["oldest_at"]), (&json!(false), &Value::Null));
    assert!(open["oldest_at"].is_string(), "the oldest of those that were counted");
    let counted = open["tasks"].as_u64().unwrap();
    assert!((800..=1_024).contains(&counted), "{open}");
}

#[test_case("/health/live", "live")]
#[test_case("/health/ready", "ready")]
#[tokio::test]
async fn probe_needs_no_operator_and_says_nothing_but_the_state(path: &str, status: &str) {
    let answer = Api::new().send_as(None, "GET", path, "").await;
    assert_eq!((answer.status, answer.body()), (200, json!({"status": status})));
}

#[tokio::test]
async fn program_whose_store_does_not_answer_is_live_but_not_ready() {
    let api = Api::new();
    api.0.fail_call("list", [stepwell::FailureKind::Unavailable]);
    assert_eq!(api.send_as(None, "GET", "/health/live", "").await.status, 200);
    assert_eq!(api.send_as(None, "GET", "/health/ready", "").await.status, 503);
}

#[tokio::test]
async fn workflows_are_shown_as_their_files_say() {
    let api = Api::new();
    let body = api.get("/workflows").await.body();
    let shown = &body["workflows"][0];
    assert_eq!(shown["id"], "ecommerce/checkout@1.0.0");
    assert_eq!(shown["redrives_after_seconds"], json!([60, 120, 240, 480]));
    // The rendered list of handlers names the workflow of each.
    let handlers = include_str!("../handlers.rs").lines();
    let served: BTreeSet<&str> =
        handlers.filter_map(|line| line.trim().strip_prefix(".with(\"")?.split('"').next()).collect();
    let all: BTreeSet<&str> =
        body["workflows"].as_array().unwrap().iter().map(|workflow| workflow["name"].as_str().unwrap()).collect();
    assert_eq!(all, served, "no workflow is missing");
    assert_eq!(shown["search_keys"], json!(["email", "order_number"]));
    let deadline = (&shown["complete_within_seconds"], &shown["point_of_no_return"]);
    assert_eq!(deadline, (&json!(1_800), &json!("create_order")));
    let payment = shown["steps"].as_array().unwrap().iter().find(|step| step["name"] == "process_payment").unwrap();
    let mut payment = payment.clone();
    let schema = payment.as_object_mut().unwrap().remove("result_schema").unwrap();
    let expected = json!({
        "name": "process_payment", "depends_on": payment["depends_on"], "compensates": null, "optional": false, "max_attempts": 3,
        "timeout_seconds": 30, "waits_on": "payment_gateway", "has_breaker": true, "paused": null,
        "backoff": {"base_seconds": 1, "multiplier": 2.0, "max_seconds": 300, "jitter": 0.1},
    });
    assert_eq!(payment, expected);
    let amount = &schema["properties"]["amount_charged"];
    assert_eq!((&schema["type"], &amount["type"], amount.get("$ref")), (&json!("object"), &json!("number"), None));
    let required: Vec<&str> =
        schema["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert!(required.contains(&"payment_id") && !required.contains(&"simulated"), "{required:?}");
    let all = ["steps", "compensations"].map(|list| shown[list].as_array().unwrap()).into_iter().flatten();
    assert_eq!(all.filter(|step| step["result_schema"].is_null()).count(), 0, "each step has a result type");
    let plan = checkout::workflow().unwrap().plan().clone();
    let graph = |steps: &[StepPlan]| steps.iter().map(|step| json!([step.name, step.depends_on])).collect::<Vec<_>>();
    let of = |step: &Value| json!([step["name"], step["depends_on"]]);
    assert_eq!(shown["steps"].as_array().unwrap().iter().map(of).collect::<Vec<_>>(), graph(plan.steps()));
    let refund =
        shown["compensations"].as_array().unwrap().iter().find(|step| step["name"] == "refund_payment").unwrap();
    assert_eq!((&refund["depends_on"], &refund["max_attempts"]), (&json!(["cancel_order"]), &Value::Null));
}
