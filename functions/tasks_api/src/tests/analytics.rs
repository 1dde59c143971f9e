//! The figures of the newest tasks.

use super::*;
use std::time::Duration;
use stepwell::{
    core::{
        item::{Key, attribute},
        state::StepState,
        transition::Change,
    },
    retryable,
};

#[tokio::test(start_paused = true)]
async fn figures_tell_how_tasks_end_and_how_long_their_steps_run_and_wait() {
    let api = Api::new();
    let empty = api.get("/analytics").await.body();
    assert_eq!((&empty["tasks"], &empty["workflows"], &empty["started"]), (&json!(0), &json!([]), &Value::Null));
    api.failed("pay").await;
    api.0.skip(Duration::from_secs(60)).await;
    // Fails twice, and is complete in the end.
    api.0.fail("pay", [StepFault::Error(retryable("BANK_BUSY", "")), StepFault::Error(retryable("BANK_BUSY", ""))]);
    let slow = api.started().await;
    api.0.run(slow).await.unwrap();
    let began = api.0.now();
    let waits = {
        api.0.fail("ship", [StepFault::Error(retryable("NO_LORRY", ""))]);
        let waits = api.started().await;
        let retries = |task: &TaskSnapshot| task.step("ship").is_some_and(|step| step.state == StepState::Retrying);
        api.0.run_until(waits, retries).await.unwrap();
        waits
    };

    let figures = api.get("/analytics").await.body();
    assert_eq!((&figures["tasks"], figures["workflows"].as_array().unwrap().len()), (&json!(3), 1));
    assert_eq!((&figures["started"]["last"], &figures["method"].as_str().is_some()), (&json!(began), &true));
    let minutes = began.since(stepwell::testing::VirtualClock::START).as_secs_f64() / 60.0;
    let per_minute = figures["started_per_minute"].as_f64().unwrap();
    assert!((per_minute - 2.0 / minutes).abs() < 0.001, "{per_minute}");
    let of = &figures["workflows"][0];
    assert_eq!((&of["workflow"], &of["tasks"]), (&json!("tests/test"), &json!(3)));
    assert_eq!(of["statuses"], json!({"complete": 1, "error": 1, "in_progress": 1}));
    assert_eq!((&of["completion_rate"], &of["error_rate"]), (&json!(0.5), &json!(0.5)), "of those that have ended");
    assert_eq!((of["slowest"].as_array().unwrap().len(), &of["slowest"][0]["task_id"]), (1, &json!(slow)));
    assert_eq!(of["slowest"][0]["duration_ms"], of["duration_ms"]["max"]);
    let step = |name: &str| of["steps"].as_array().unwrap().iter().find(|step| step["name"] == name).unwrap().clone();
    let pay = step("pay");
    let counts = |step: &Value| ["tasks", "attempts", "retries", "failed"].map(|name| step[name].as_u64().unwrap());
    assert_eq!(counts(&pay), [3, 5, 2, 1]);
    assert_eq!(pay["codes"], json!({"BANK_BUSY": 2, "GATEWAY DOWN": 1}));
    assert_eq!((&pay["run_ms"]["count"], &pay["wait_ms"]["count"]), (&json!(5), &json!(3)), "none waits still");
    let (longest, whole) = (pay["wait_ms"]["max"].as_u64().unwrap(), of["duration_ms"]["max"].as_u64().unwrap());
    assert!(0 < longest && longest <= whole, "the two backoffs: {longest} of {whole} ms");
    let ship = step("ship");
    assert_eq!(counts(&ship), [2, 2, 0, 0]);
    assert_eq!((&ship["codes"], &ship["wait_ms"]["count"]), (&json!({"NO_LORRY": 1}), &json!(1)), "one waits still");

    let since = api.get(&format!("/analytics?created_from={began}")).await.body();
    assert_eq!(since["workflows"][0]["statuses"], json!({"in_progress": 1}));
    let two = api.get("/analytics?tasks=2").await.body();
    assert_eq!((&two["tasks"], &two["or_more"], &figures["or_more"]), (&json!(2), &json!(true), &json!(false)));
    assert_eq!(api.get("/analytics?workflow=tests/other").await.body()["tasks"], 0);
    assert_eq!(api.get("/analytics?tasks=1001").await.status, 422);
    assert!(api.get(&format!("/tasks/{waits}")).await.status == 200);
}

#[tokio::test(start_paused = true)]
async fn task_of_a_newer_version_is_left_out_and_counted() {
    let api = Api::new();
    api.started().await;
    let newer = api.started().await;
    api.0.memory().store.force(Key::Task(newer), vec![Change::Set(attribute::NEEDS, 99.into())]).unwrap();
    let figures = api.get("/analytics").await.body();
    assert_eq!((&figures["tasks"], &figures["left_out"]), (&json!(1), &json!(1)), "{figures}");
}

/// The units are those that the metered engine counts, see `core::usage`; here they have their price.
#[tokio::test(start_paused = true)]
async fn task_says_what_it_has_cost_and_figures_what_one_costs() {
    let api = Api::new();
    let done = api.started().await;
    api.0.run(done).await.unwrap();
    let cost = api.get(&format!("/tasks/{done}")).await.body()["cost"].clone();
    // 12 at 0.625, 3 at 0.125, 6 at 0.4 and 3 at 0.2 millionths of a dollar.
    let expected = json!({
        "write_units": 12, "read_units": 3.0, "sqs_requests": 6, "invocations": 3, "run_ms": 0, "dollars": "0.000010875",
    });
    assert_eq!(cost, expected);

    api.0.fail("pay", [StepFault::Error(retryable("BANK_BUSY", ""))]);
    let retried = api.started().await;
    api.0.run(retried).await.unwrap();
    let dearer = api.get(&format!("/tasks/{retried}")).await.body()["cost"].clone();
    // Two writes, a read, a message that is hidden and received again, and an invocation more.
    assert_eq!(
        (&dearer["write_units"], &dearer["read_units"], &dearer["sqs_requests"]),
        (&json!(14), &json!(4.0), &json!(8))
    );
    assert_eq!(dearer["dollars"], "0.00001325");
    // Half of both, rounded to nine digits.
    assert_eq!(api.get("/analytics").await.body()["dollars_per_task"], json!({"tests/test": "0.000012063"}));
}
