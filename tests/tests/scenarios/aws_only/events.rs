//! The sample events in `events/`: the deployed function of each API accepts its own, and that of each step its message.

use crate::events::{names, sample};
use checkout::testing::steps;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use stepwell::testing::sample::TASK;
use stepwell_tests::stack::Stack;

/// What is deployed.
const TEMPLATE: &str = include_str!("../../../../infra/template.yaml");

/// The task id in the samples, which the tests replace by a real one.
fn sample_task() -> String {
    TASK.to_string()
}

#[tokio::test]
async fn every_step_accepts_its_sample_message() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let (task, ..) = stack.api.run(&product.request(1, "test_success_visa")).await;
    let before = stack.traces(&task, &product.email()).await;
    for step in steps::all() {
        let event = sample(&format!("{step}.json")).replace(&sample_task(), &task);
        assert_eq!(stack.invoke(step, &event).await, json!({"batchItemFailures": []}), "{step}");
    }
    let letter = sample("dead_letters.json").replace(&sample_task(), &task);
    assert_eq!(stack.invoke("dead_letters", &letter).await, json!({"batchItemFailures": []}));
    assert_eq!(stack.traces(&task, &product.email()).await, before, "the steps were done already");

    // A complete checkout is never compensated.
    for step in steps::compensations() {
        let event = sample(&format!("{step}.json")).replace(&sample_task(), &task);
        assert_eq!(stack.invoke(step, &event).await, json!({"batchItemFailures": []}), "{step}");
    }
    let after = stack.traces(&task, &product.email()).await;
    assert_eq!(
        (after.payments, after.reservations, after.orders),
        (before.payments, before.reservations, before.orders)
    );
    assert!(stack.invoke("watchdog", &sample("watchdog.json")).await["inspected"].is_number());
    assert!(stack.invoke("timer_feeder", &sample("timer_feeder.json")).await["fed"].is_number());
    assert!(stack.invoke("reconcile", &sample("reconcile.json")).await["judged"].is_number());
}

/// The key of a task in the sample events.
const SAMPLE_KEY: &str = "sOIPYuV4m0gvx2XBkqWtNA";

/// Every sample event of an API: its path, and the status of the answer where the checkout is complete; at the end those that
/// cancel it, and one that comes after that.
const EVENTS: [(&str, &str, u16); 29] = [
    ("checkout_api/start_checkout", "/checkout", 202),
    ("checkout_api/start_checkout_with_key", "/checkout", 202),
    ("checkout_api/start_checkout_invalid", "/checkout", 422),
    ("checkout_api/start_checkout_not_json", "/checkout", 400),
    ("checkout_api/start_checkout_duplicate_key", "/checkout", 400),
    ("checkout_api/start_checkout_bad_header", "/checkout", 400),
    ("checkout_api/order_status", "/order_status/", 200),
    ("checkout_api/workflow_details", "/workflow_details/", 200),
    ("checkout_api/retry_checkout", "/retry_checkout/", 409),
    ("checkout_api/retry_with_another_card", "/retry_checkout/", 409),
    ("checkout_api/order", "/orders/", 200),
    ("checkout_api/products", "/products", 200),
    ("tasks_api/list", "/tasks", 200),
    ("tasks_api/show", "/tasks/", 200),
    ("tasks_api/show_with_token", "/tasks/", 200),
    ("tasks_api/show_as_nobody", "/tasks/", 403),
    ("tasks_api/resend", "/orders/", 200),
    ("tasks_api/redrive", "/tasks/", 409),
    ("tasks_api/run_now", "/tasks/", 409),
    ("tasks_api/rerun", "/tasks/", 409),
    ("tasks_api/reveal", "/tasks/", 200),
    ("tasks_api/bulk", "/tasks/bulk", 200),
    ("tasks_api/cancel_duplicate_key", "/tasks/", 400),
    ("tasks_api/compensate", "/tasks/", 409),
    ("tasks_api/resolve", "/tasks/", 409),
    ("tasks_api/resolve_step", "/tasks/", 409),
    ("tasks_api/cancel", "/tasks/", 202),
    ("checkout_api/cancel_checkout", "/cancel_checkout/", 202),
    ("tasks_api/ship", "/orders/", 409),
];

#[tokio::test]
async fn each_api_accepts_its_sample_events() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    // The stock that the two events buy that start a checkout.
    stack.add_stock(1, 4).await;
    let (task, ..) = stack.api.run(&product.request(1, "test_success_visa")).await;
    for (name, path, status) in EVENTS {
        let event = sample(&format!("{name}.json"));
        let parsed: Value = serde_json::from_str(&event).unwrap();
        let (api, _) = name.split_once('/').unwrap();
        let route = parsed["routeKey"].as_str().unwrap();
        assert_eq!(parsed["version"], "2.0", "{name}");
        match api {
            "tasks_api" => assert!(TEMPLATE.contains(&format!("RouteKey: {route}\n")), "{name}: {route}"),
            _ => assert_eq!(route, "$default", "{name}"),
        }
        assert!(parsed["rawPath"].as_str().unwrap().starts_with(path), "{name}: {event}");

        let event = event.replace(&sample_task(), &task).replace(SAMPLE_KEY, &stack.api.task_key(&task));
        let answer = stack.invoke(api, &event).await;
        assert_eq!(answer["statusCode"], status, "{name}: {answer}");
        let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        if let (202, Some(started)) = (status, body["task_id"].as_str()) {
            assert_ne!(stack.api.until_ended(started).await["status"], "failed", "{name}");
        }
    }
}

#[test]
fn every_sample_of_an_api_is_tested() {
    let of_api = |api: &'static str| names(api).into_iter().map(move |name| format!("{api}/{name}"));
    let samples: BTreeSet<String> = of_api("checkout_api").chain(of_api("tasks_api")).collect();
    assert_eq!(samples, EVENTS.map(|(name, ..)| name.to_owned()).into());
}
