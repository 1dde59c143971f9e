//! The samples in `events/`: each is valid, and does what `events/README.md` says.

use checkout::testing::steps;
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs};
use stepwell::testing::sample::TASK;
use stepwell_tests::stack::{Stack, repository};

/// The task id in the samples, which the tests replace by a real one.
fn sample_task() -> String {
    TASK.to_string()
}

fn sample(name: &str) -> String {
    let path = repository().join("events").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names of the JSON files in a folder of `events/`, without their extension.
fn names(folder: &str) -> BTreeSet<String> {
    let files = fs::read_dir(repository().join("events").join(folder)).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect()
}

/// The end of every sample request: completed, failed in a step with a code, or rejected by the validation.
const ENDS: [(&str, &str); 19] = [
    ("amount_mismatch", "process_payment PAYMENT_AMOUNT_MISMATCH"),
    ("card_declined", "process_payment PAYMENT_DECLINED"),
    ("card_invalid", "process_payment PAYMENT_DECLINED"),
    ("card_unknown", "process_payment PAYMENT_DECLINED"),
    ("card_without_funds", "process_payment PAYMENT_DECLINED"),
    ("duplicate_key", "400"),
    ("email_with_name", "422"),
    ("everything", "completed"),
    ("express", "waits process_payment GATEWAY_TIMEOUT"),
    ("gateway_down", "waits process_payment GATEWAY_TEMPORARY_FAILURE"),
    ("gateway_rate_limited", "completed"),
    ("gateway_recovers", "completed"),
    ("gateway_times_out", "waits process_payment GATEWAY_TIMEOUT"),
    ("invalid", "422"),
    ("inventory_conflict", "validate_cart INSUFFICIENT_STOCK"),
    ("price_mismatch", "validate_cart PRICE_MISMATCH"),
    ("product_inactive", "validate_cart PRODUCT_INACTIVE"),
    ("product_unknown", "validate_cart PRODUCT_NOT_FOUND"),
    ("success", "completed"),
];

#[tokio::test]
async fn every_sample_request_ends_as_the_guide_says() {
    let stack = Stack::from_env().await;
    assert_eq!(names("requests"), ENDS.map(|(name, _)| name.to_owned()).into(), "the samples and this list");
    let guide = sample("README.md");
    // Adds the stock that the samples buy, so that the test never uses up the products of a long-lived stack.
    for (product, units) in [(1, 2), (2, 4), (3, 4)] {
        stack.add_stock(product, units).await;
    }
    let ends = ENDS.map(async |(name, end)| {
        let answer = stack.api.post("/checkout", sample(&format!("requests/{name}.json"))).await;
        let found = if answer.status == 202 {
            let status = stack.api.until_ended(&answer.task_id()).await;
            let word = |value: &Value| value.as_str().unwrap().to_owned();
            match status["status"].as_str() {
                Some("failed") => format!("{} {}", word(&status["failed_step"]), word(&status["error"]["code"])),
                Some("processing") => {
                    let retrying = &status["retrying"];
                    format!("waits {} {}", word(&retrying["step"]), word(&retrying["code"]))
                }
                other => other.unwrap_or_default().to_owned(),
            }
        } else {
            answer.status.to_string()
        };
        assert_eq!(found, end, "events/requests/{name}.json");
        let row = guide.lines().find(|line| line.contains(&format!("`{name}.json`")));
        let row = row.unwrap_or_else(|| panic!("events/README.md has no row for {name}.json"));
        let code = end.split(' ').next_back().unwrap();
        assert!(row.contains(code), "events/README.md does not say that {name} ends with {code}: {row}");
    });
    futures::future::join_all(ends).await;
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
const EVENTS: [(&str, &str, u16); 26] = [
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
            "tasks_api" => {
                assert!(route.starts_with("ANY /tasks") || route == "POST /orders/{order_id}/{action}", "{name}")
            }
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
