//! The list of tasks, and the view of one task.

use super::*;
use std::{collections::BTreeSet, time::Duration};
use stepwell::{
    Timestamp,
    core::{
        state::StepState,
        step::{self, ClaimRequest},
    },
    ports::Store,
    retryable,
    testing::VirtualClock,
};
use test_case::test_case;

/// The ids of the tasks in a list.
fn ids(list: &Value) -> BTreeSet<TaskId> {
    list["tasks"].as_array().unwrap().iter().map(|task| task["task_id"].as_str().unwrap().parse().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn query_filters_the_tasks() {
    let api = Api::new();
    let mut tasks = vec![api.failed("pay").await];
    // Tasks with the ages of three days, two hours, a quarter of an hour, and 90 seconds.
    let mut passed = api.0.now().since(VirtualClock::START);
    for age in [3 * 86_400 - 2 * 3_600, 2 * 3_600 - 15 * 60, 15 * 60 - 90] {
        api.0.skip(Duration::from_secs(age) - std::mem::take(&mut passed)).await;
        tasks.push(api.started().await);
    }
    api.0.skip(Duration::from_secs(90)).await;
    for (query, found) in [
        ("", 0..4),
        ("status=error", 0..1),
        ("status=pending", 1..4),
        ("status=compensating", 0..0),
        ("workflow=tests%2Ftest%401.0.0", 0..4),
        ("workflow=tests/other", 0..0),
        ("failed_step=pay", 0..1),
        ("failed_step=ship", 0..0),
        ("error_code=GATEWAY+DOWN", 0..1),
        ("error_code=OTHER", 0..0),
        ("compensated=false", 0..4),
        ("compensated=true", 0..0),
        ("needs=person", 0..0),
        ("created_from=2023-11-14T22:13:20Z", 0..4),
        ("created_from=2023-11-14T22:13:20.001Z", 1..4),
        ("created_before=2023-11-14T23:13:20%2B01:00", 0..0),
        ("created_before=2023-11-14T23:13:20.001%2B01:00", 0..1),
        ("older_than=0m", 0..4),
        ("older_than=89s", 0..4),
        ("older_than=90s", 0..3),
        ("older_than=14m", 0..3),
        ("older_than=15m", 0..2),
        ("older_than=1h", 0..2),
        ("older_than=2h", 0..1),
        ("older_than=2d", 0..1),
        ("older_than=3d", 0..0),
        // With both bounds, the earlier one counts.
        ("older_than=15m&created_before=2020-01-01T00:00:00Z", 0..0),
        ("older_than=15m&created_before=2030-01-01T00:00:00Z", 0..2),
    ] {
        let list = api.get(&format!("/tasks?{query}")).await.body();
        assert_eq!(ids(&list), tasks[found].iter().copied().collect(), "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn list_shows_the_index_page_by_page() {
    let api = Api::new();
    assert_eq!(api.get("/tasks").await.body(), json!({"tasks": [], "count": 0, "next": null}));
    let id = api.failed("pay").await;
    let task = json!({
        "task_id": id, "workflow": "tests/test@1.0.0", "status": "error", "created_at": VirtualClock::START,
        "failed_steps": ["pay"], "compensated": false, "needs_person": false,
    });
    assert_eq!(api.get("/tasks").await.body(), json!({"tasks": [task], "count": 1, "next": null}));

    for _ in 0..50 {
        api.started().await;
    }
    let first = api.get("/tasks").await.body();
    assert_eq!((&first["count"], ids(&first).len()), (&json!(50), 50));
    let rest = api.get(&format!("/tasks?limit=7&next={}", first["next"].as_str().unwrap())).await.body();
    assert_eq!((ids(&first).union(&ids(&rest)).count(), &rest["next"]), (51, &Value::Null));
    assert_eq!(ids(&api.get("/tasks?limit=7").await.body()).len(), 7);
}

#[tokio::test(start_paused = true)]
async fn tasks_are_found_by_the_state_of_a_step() {
    let api = Api::new();
    let failed = api.failed("pay").await;
    api.0.fail("pay", [StepFault::Error(retryable("BANK_BUSY", "later"))]);
    let waits = api.started().await;
    api.0
        .run_until(waits, |task| task.step("pay").is_some_and(|step| step.state == StepState::Retrying))
        .await
        .unwrap();
    let fresh = api.started().await;
    let found = async |query: &str| api.get(&format!("/tasks?{query}")).await.body();
    for (query, expected) in [
        ("step=pay:retrying", vec![waits]),
        ("step=pay:retrying&error_code=BANK_BUSY", vec![waits]),
        ("step=pay:retrying&error_code=OTHER", vec![]),
        ("step=pay:retrying&status=error", vec![]),
        ("step=ship:retrying", vec![]),
        ("step=pay:error", vec![failed]),
        ("step=pay:error&order=newest", vec![failed]),
        ("step=pay:complete", vec![]),
    ] {
        assert_eq!(in_order(&found(query).await), expected, "{query}");
    }
    let mut shown = found("step=pay:retrying").await["tasks"][0]["step"].take();
    assert!(shown["next_retry_at"].take().is_string(), "{shown}");
    let expected = json!({
        "name": "pay", "state": "retrying", "attempt": 1, "error_code": "BANK_BUSY", "next_retry_at": null,
    });
    assert_eq!(shown, expected);
    api.0.run(fresh).await.unwrap();
    assert_eq!(in_order(&found("step=pay:complete").await), [fresh]);
    // An attempt runs on when its task is cancelled.
    let api = Api::of(&WORKFLOW.replace("compensate_after_seconds: 60", "compensate: manual"));
    let found = async |query: &str| api.get(&format!("/tasks?{query}")).await.body();
    let running = api.started().await;
    let claim = ClaimRequest {
        task: running,
        step: "pay",
        owner: "r/m",
        now: api.0.now(),
        lease_until: api.0.now() + Duration::from_secs(30),
    };
    assert!(api.0.memory().apply(&step::claim(&claim)).await.unwrap().is_written());
    api.act(running, "cancel").await;
    assert_eq!(in_order(&found("step=pay:in_progress").await), [running]);
    assert_eq!(in_order(&found("step=pay:in_progress&status=cancelled").await), [running]);
    let long = "s".repeat(1_100);
    for wrong in ["pay", "pay:pending", ":retrying", "pay:", &format!("{long}:retrying")] {
        let answer = api.get(&format!("/tasks?step={wrong}")).await;
        let (status, body) = (answer.status, answer.body().to_string());
        assert!(
            status == 422 && body.contains("has to be STEP:STATE, with one of these states: in_progress"),
            "{body}"
        );
    }
}

/// The ids of the tasks in a list, in its order.
fn in_order(list: &Value) -> Vec<TaskId> {
    list["tasks"].as_array().unwrap().iter().map(|task| task["task_id"].as_str().unwrap().parse().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn tasks_are_found_by_a_search_key_the_newest_first() {
    let api = Api::new();
    let mut tasks = vec![api.failed("pay").await];
    for _ in 0..6 {
        api.0.skip(Duration::from_secs(60)).await;
        tasks.push(api.started().await);
    }
    tasks.reverse();
    let found = async |query: &str| api.get(&format!("/tasks?key={query}")).await.body();
    let list = found("email:%20Ann%40Example.com").await;
    assert_eq!((in_order(&list), &list["next"]), (tasks.clone(), &Value::Null));
    let empty = json!({"tasks": [], "count": 0, "next": null});
    assert_eq!(found("email:bob%40example.com").await, empty);
    assert_eq!(found("order_number:100.00").await, empty, "no task has paid");
    api.0.run(tasks[0]).await.unwrap();
    assert_eq!(in_order(&found("order_number:100.00").await), tasks[..6], "the last one has failed");

    let failed = found("email:ann%40example.com&status=error&error_code=GATEWAY+DOWN").await;
    assert_eq!((in_order(&failed), &failed["next"]), (tasks[6..].to_vec(), &Value::Null));
    let first = found("email:ann%40example.com&limit=3").await;
    assert_eq!(in_order(&first), tasks[..3]);
    // What happens between two pages changes nothing about the second one.
    let newest = api.started().await;
    api.act(tasks[4], "cancel").await;
    let next = first["next"].as_str().unwrap();
    let second = found(&format!("email:ann%40example.com&limit=3&next={next}")).await;
    assert_eq!(in_order(&second), tasks[3..6]);
    let next = second["next"].as_str().unwrap();
    let last = found(&format!("email:ann%40example.com&limit=3&next={next}")).await;
    assert_eq!((in_order(&last), &last["next"]), (tasks[6..].to_vec(), &Value::Null));
    assert_eq!(in_order(&found("email:ann%40example.com&limit=1").await), [newest]);
}

#[tokio::test(start_paused = true)]
async fn newest_tasks_come_first_and_a_page_goes_on_where_the_last_one_ended() {
    let api = Api::new();
    let mut tasks = Vec::new();
    for _ in 0..120 {
        tasks.push(api.started().await);
        api.0.skip(Duration::from_secs(1)).await;
    }
    api.act(tasks[3], "cancel").await;
    tasks.reverse();
    for query in ["", "&workflow=tests/test", "&created_from=2023-01-01T00:00:00Z", "&order=newest"] {
        let (mut found, mut next) = (Vec::new(), String::new());
        loop {
            let list = api.get(&format!("/tasks?limit=50{query}{next}")).await.body();
            found.extend(in_order(&list));
            // Neither a new task nor one that ends moves another one between the pages.
            let Some(after) = list["next"].as_str() else { break };
            next = format!("&next={after}");
            api.act(tasks[70], "cancel").await;
        }
        assert_eq!(found, tasks, "{query}");
    }
    let of_time = "created_from=2023-11-14T22:13:25Z&created_before=2023-11-14T22:13:30Z";
    let list = api.get(&format!("/tasks?{of_time}")).await.body();
    assert_eq!((in_order(&list), &list["next"]), (tasks[110..115].to_vec(), &Value::Null), "from the fifth second on");
    let cancelled = api.get("/tasks?status=cancelled").await.body();
    assert_eq!(ids(&cancelled), ids(&api.get("/tasks?status=cancelled&order=newest").await.body()));
    assert_eq!(ids(&api.get("/tasks?order=status&limit=200").await.body()), tasks.into_iter().collect());
}

#[tokio::test(start_paused = true)]
async fn search_that_fails_does_not_look_like_one_that_finds_nothing() {
    let api = Api::new();
    api.started().await;
    let (by_key, newest, by_status) = ("key=email:ann@example.com", "", "order=status");
    for (call, query) in
        [("range", by_key), ("read_all", by_key), ("newest", newest), ("read_all", newest), ("list", by_status)]
    {
        api.0.fail_call(call, [stepwell::FailureKind::Unavailable]);
        let answer = api.get(&format!("/tasks?{query}")).await;
        assert_eq!((answer.status, answer.body().get("tasks")), (503, None), "{call} {query}");
    }
}

const AGE: &str = "has to be an age such as 90s, 15m, 2h or 3d";
const LIMIT: &str = "has to be a whole number from 1 to 200";

#[test_case("status=broken", "/status", "has to be one of pending, complete, error, compensating")]
#[test_case("status=", "/status", "is empty")]
#[test_case("failed_step=", "/failed_step", "is empty")]
#[test_case("older_than=soon", "/older_than", AGE)]
#[test_case("older_than=-5m", "/older_than", AGE; "an age in the future")]
#[test_case("older_than=%2B5m", "/older_than", AGE; "a sign")]
#[test_case("older_than=99999999999d", "/older_than", AGE; "an age beyond counting")]
#[test_case("older_than=5%C3%A9", "/older_than", AGE; "an unknown unit")]
#[test_case("created_from=yesterday", "/created_from", "`yesterday` is not an RFC 3339 timestamp")]
#[test_case("compensated=maybe", "/compensated", "has to be true or false")]
#[test_case("needs=nothing", "/needs", "has to be person")]
#[test_case("limit=0", "/limit", LIMIT)]
#[test_case("limit=201", "/limit", LIMIT; "too many")]
#[test_case("limit=many", "/limit", LIMIT; "no number")]
#[test_case("limit=%225", "/limit", LIMIT; "half a text")]
#[test_case("key=phone:1", "/key", "has to be NAME:VALUE, with one of these names: email, order_number")]
#[test_case("key=email", "/key", "has to be NAME:VALUE, with one of these names"; "a name alone")]
#[test_case("key=email:%20", "/key", "has no value after `email:`")]
#[test_case("key=email:a&next=1_2", "/next", "`1_2` is not a `next` that a list has ended with"; "a next of another list")]
#[test_case("order=oldest", "/order", "has to be newest or status")]
#[test_case("key=email:a&order=status", "/order", "has to be newest where there is a key"; "a key by status")]
#[test_case("next=1_2", "/next", "`1_2` is not a `next`"; "a next by status for the newest")]
#[test_case("order=status&next=018f4e4e-7c1a-7000-8000-0123456789ab", "/next", "`018f4e4e-7c1a-7000-8000-0123456789ab` is not a `next`"; "a next of the newest by status")]
#[test_case("next=here", "/next", "`here` is not a `next` that a list has ended with")]
#[test_case("state=error", "/state", "is not known here")]
#[test_case("status=error&status=complete", "/status", "is there more than once")]
#[test_case("a/b~c=1", "/a~1b~0c", "is not known here")]
#[tokio::test]
async fn invalid_query_is_refused_with_the_path(query: &str, path: &str, message: &str) {
    Api::new().get(&format!("/tasks?{query}")).await.is_violation(path, message);
}

#[tokio::test]
async fn all_violations_of_a_query_are_reported_up_to_a_limit() {
    let answer = Api::new().get("/tasks?status=x&limit=0&older_than=x&colour=red").await.body();
    let details = answer["details"].as_array().unwrap();
    let paths: BTreeSet<&str> = details.iter().map(|fault| fault["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/colour", "/limit", "/older_than", "/status"].into());
    let many: String = (0..1_000).map(|number| format!("x{number}=1&")).collect();
    for query in ["x=1&".repeat(5_000), many] {
        let answer = Api::new().get(&format!("/tasks?{query}")).await;
        assert_eq!((answer.status, answer.body()["details"].as_array().unwrap().len()), (422, 20));
    }
}

#[tokio::test(start_paused = true)]
async fn task_is_shown_with_its_audit_trail_and_without_its_context() {
    let api = Api::new();
    let id = api.started().await;
    api.0.run_until(id, |snapshot| snapshot.steps[0].state.is_done()).await.unwrap();
    api.act(id, "cancel").await;
    let answer = api.get(&format!("/tasks/{id}")).await;
    assert!(!answer.text.contains("test_success_visa") && !answer.text.contains("context"), "{}", answer.text);
    assert!(answer.text.contains(&format!(r#""result":{RESULT}"#)), "to the digit: {}", answer.text);
    let task = answer.body();
    let action =
        json!({"at": VirtualClock::START, "what": "cancel", "step": null, "who": ARN, "why": "the bank is back"});
    let expected = json!({
        "task_id": id, "workflow": "tests/test@1.0.0", "status": "compensating", "completed_at": null,
        "ends_as": "cancelled", "compensated": false, "redrives_at": null, "compensates_at": null, "actions": [action],
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&task[name], value, "{name}");
    }
    assert_eq!((&task["steps"][0]["name"], &task["compensations"][0]["name"]), (&json!("pay"), &json!("refund")));
    assert_eq!(task.get("newer_format"), None);
}

#[tokio::test(start_paused = true)]
async fn failed_task_shows_when_it_is_compensated_and_a_compensating_one_has_no_end() {
    let api = Api::new();
    let id = api.failed("ship").await;
    let (task, failed_at) = (api.show(id).await, api.snapshot(id).await.task.finished_at.unwrap());
    let in_a_minute = failed_at + Duration::from_secs(60);
    assert_eq!((&task["completed_at"], &task["compensates_at"]), (&json!(failed_at), &json!(in_a_minute)));
    assert_eq!((&task["ends_as"], &task["redrives_at"]), (&Value::Null, &Value::Null));

    api.act(id, "compensate").await;
    let task = api.show(id).await;
    assert_eq!((&task["ends_as"], &task["compensated"]), (&json!("error"), &json!(false)));
    assert_eq!((&task["completed_at"], &task["compensates_at"]), (&Value::Null, &Value::Null));
    api.0.run(id).await.unwrap();
    let task = api.show(id).await;
    assert_eq!((&task["compensated"], &task["compensations"][0]["status"]), (&json!(true), &json!("complete")));
}

#[tokio::test(start_paused = true)]
async fn task_with_a_failed_compensation_needs_a_person_until_it_is_resolved() {
    let api = Api::new();
    let needy = async || api.get("/tasks?needs=person").await.body();
    let id = api.failed("ship").await;
    assert_eq!(ids(&needy().await), [].into(), "it is compensated by itself");
    api.0.fail("refund", [StepFault::Error(permanent("REFUND_DECLINED", ""))]);
    api.act(id, "compensate").await;
    api.0.run(id).await.unwrap();
    let list = needy().await;
    assert_eq!((ids(&list), &list["tasks"][0]["needs_person"]), ([id].into(), &json!(true)));

    let body = r#"{"reason": "by bank transfer", "result": 1, "attempts_checked": true}"#;
    assert_eq!(api.post(&format!("/tasks/{id}/steps/refund/resolve"), body).await.status, 202);
    assert_eq!(ids(&needy().await), [].into());
}

#[tokio::test]
async fn unknown_task_is_not_found() {
    let long = "x".repeat(5_000);
    for id in [UNKNOWN, &UNKNOWN.to_uppercase(), "1", "%00", "a%20b", "%C3%A9", "%ff", "..%2f", &long] {
        let shown = Api::new().get(&format!("/tasks/{id}")).await;
        assert_eq!((shown.status, &shown.body()["error"]), (404, &json!("There is no such task")), "{id}");
        if id != UNKNOWN {
            for act in ["cancel", "steps/pay/resolve"] {
                let done = Api::new().post(&format!("/tasks/{id}/{act}"), r#"{"reason": "why", "result": 1}"#).await;
                assert_eq!((done.status, &done.body()["error"]), (404, &json!("There is no such task")), "{id}/{act}");
            }
        }
    }
}

/// The timeline of a task, in short: seconds from and until, and what.
async fn timeline(api: &Api, id: TaskId) -> Vec<String> {
    let seconds = |at: &Value| {
        let at: Option<Timestamp> = at.as_str().map(|at| at.parse().unwrap());
        at.map_or("...".to_owned(), |at| at.since(VirtualClock::START).as_secs().to_string())
    };
    let task = api.show(id).await;
    let entries = task["timeline"].as_array().unwrap().iter();
    entries
        .map(|entry| {
            let words = ["step", "kind", "reason", "number", "outcome", "what", "who", "code", "attempts", "status"];
            let said = words.iter().filter_map(|word| match &entry[word] {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            });
            format!("{}-{} {}", seconds(&entry["from"]), seconds(&entry["until"]), said.collect::<Vec<_>>().join(" "))
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn timeline_says_what_happened_and_what_was_waited_for() {
    let api = Api::of(&WORKFLOW.replace(
        "name: pay,",
        "name: pay, default_retryable: true, default_retry_limit: 3, backoff: { base_seconds: 60, multiplier: 1 },",
    ));
    api.0.fail("pay", [StepFault::Error(retryable("BUSY", "")), StepFault::Error(permanent("NO", ""))]);
    let id = api.started().await;
    assert_eq!(timeline(&api, id).await, ["0-0 started", "0-... pay wait queue"]);

    api.0.run_until(id, |snapshot| snapshot.steps[0].state == StepState::Retrying).await.unwrap();
    let begun = ["0-0 started", "0-0 pay attempt 1 retryable_error BUSY"];
    assert_eq!(timeline(&api, id).await, [&begun[..], &["0-... pay wait backoff BUSY"]].concat());

    api.0.run_until(id, |snapshot| !snapshot.failed_steps().is_empty()).await.unwrap();
    let failed_at = api.snapshot(id).await.task.finished_at.unwrap().since(VirtualClock::START).as_secs();
    assert_eq!(timeline(&api, id).await[4], format!("{failed_at}-... pay wait redrive"), "so far nobody has");
    api.0.skip(Duration::from_secs(30)).await;
    api.act(id, "redrive").await;
    assert_eq!(timeline(&api, id).await[6], format!("{}-... pay wait queue", failed_at + 30));
    api.0.run(id).await.unwrap();
    let redriven_at = failed_at + 30;
    let rest = [
        format!("0-{failed_at} pay wait backoff BUSY"),
        format!("{failed_at}-{failed_at} pay attempt 2 permanent_error NO"),
        format!("{failed_at}-{redriven_at} pay wait redrive"),
        format!("{redriven_at}-{redriven_at} action redrive {ARN}"),
        format!("{redriven_at}-{redriven_at} pay attempt 3 complete"),
        format!("{redriven_at}-{redriven_at} ship attempt 1 complete"),
        format!("{redriven_at}-{redriven_at} ended complete"),
    ];
    assert_eq!(timeline(&api, id).await, [begun.map(str::to_owned).to_vec(), rest.to_vec()].concat());
}

#[tokio::test(start_paused = true)]
async fn graph_shows_each_step_with_its_state_and_what_undoes_it() {
    let api = Api::new();
    let id = api.failed("ship").await;
    let node = |name, state, depends_on: &[&str], compensates| json!({"name": name, "state": state, "depends_on": depends_on, "compensates": compensates, "optional": false});
    let (none, pay) = (Value::Null, json!("pay"));
    let nodes = |refund: Value| {
        let [pay_node, ship] =
            [node("pay", json!("complete"), &[], none.clone()), node("ship", json!("error"), &["pay"], none.clone())];
        json!({"nodes": [pay_node, ship, node("refund", refund, &[], pay.clone())]})
    };
    assert_eq!(api.get(&format!("/tasks/{id}/graph")).await.body(), nodes(Value::Null), "it may still be redriven");
    api.act(id, "compensate").await;
    assert_eq!(api.get(&format!("/tasks/{id}/graph?format=json")).await.body(), nodes(json!("pending")));

    let mermaid = api.get(&format!("/tasks/{id}/graph?format=mermaid")).await;
    assert_eq!(mermaid.headers["content-type"], "text/vnd.mermaid; charset=utf-8");
    let lines: Vec<&str> = mermaid.text.lines().map(str::trim).filter(|line| !line.starts_with("classDef")).collect();
    let expected = [
        "flowchart LR",
        r#"n0["pay<br>complete"]:::complete"#,
        r#"n1["ship<br>error"]:::error"#,
        r#"n2(["refund<br>pending"]):::pending"#,
        "n0 --> n1",
        "n0 -.-> n2",
    ];
    assert_eq!(lines, expected);
    let refused = api.get(&format!("/tasks/{id}/graph?format=dot")).await;
    refused.is_violation("/format", "has to be json or mermaid");
    assert_eq!(api.get(&format!("/tasks/{UNKNOWN}/graph")).await.status, 404);
}
