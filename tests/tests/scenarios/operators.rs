//! What operators do, and that nobody else does it.

use crate::backend::{Backend, Reservation};
use serde_json::{Value, json};
use std::time::Duration;
use stepwell::Timestamp;
use stepwell_tests::{api::Details, operators::Operator, shop::Product, until, until_within};

on_both_backends! {
    request_of_a_stranger_is_rejected,
    dry_run_counts_and_bulk_redrive_redrives,
    checkout_is_found_by_its_customer_and_by_its_order_number,
    operators_see_the_whole_shop,
    failed_checkout_is_redriven,
    checkout_waiting_for_a_retry_is_run_now,
    undone_checkout_is_rerun_once_with_a_new_card,
    checkout_waiting_for_a_retry_is_cancelled,
    dependents_run_after_an_operator_resolves_a_step,
    failed_checkout_is_resolved_by_an_operator,
    failed_checkout_is_compensated_early_by_an_operator,
    complete_order_is_cancelled_until_it_is_shipped,
    email_is_sent_again_to_a_corrected_address,
}

/// Bulk actions are run each minute.
const A_FEW_RUNS: Duration = Duration::from_secs(180);

const REASON: &str = "to see what happens";

/// What the payment's step leaves behind, spelt as no program would.
const PAYMENT_RESULT: &str = r#"{"payment_id": "by-hand", "amount_charged":AMOUNT, "currency": "USD",
    "payment_method_type": "bank_transfer","transaction_id": "t-1", "processed_at": "2026-01-01T00:00:00.000Z"}"#;

/// A filter, as a query and as JSON, that no other task fits: started in the same millisecond as this one.
async fn only(shop: &impl Backend, task: &str, and: &[(&str, &str)]) -> (String, Value) {
    let started: Timestamp = shop.api().details(task).await.0["started_at"].as_str().unwrap().parse().unwrap();
    let end = Timestamp::from_millis(started.as_millis() + 1);
    let window = [("created_from", started.to_string()), ("created_before", end.to_string())];
    let and = and.iter().map(|&(name, value)| (name, value.to_owned()));
    let fields: Vec<(&str, String)> = window.into_iter().chain(and).collect();
    let query: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let filter = fields.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    (query.join("&"), Value::Object(filter))
}

/// What was done to a task, by whom and why.
async fn trail(operator: &Operator, task: &str) -> Vec<(String, Value, String, String)> {
    let task = operator.task(task).await;
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{task}")).to_owned();
    let actions = task["actions"].as_array().unwrap();
    let entry = |action: &Value| {
        text(&action["at"]).parse::<Timestamp>().unwrap();
        (text(&action["what"]), action["step"].clone(), text(&action["who"]), text(&action["why"]))
    };
    actions.iter().map(entry).collect()
}

async fn declined(shop: &impl Backend, product: &Product) -> String {
    let (task, status, _) = shop.api().run(&product.request(1, "test_declined_visa")).await;
    assert_eq!((&status["status"], &status["failed_step"]), (&json!("failed"), &json!("process_payment")), "{status}");
    task
}

async fn request_of_a_stranger_is_rejected<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 5)]).await;
    let task = declined(&shop, &product).await;
    let before = shop.operator().task(&task).await;
    let routes = [
        ("GET", "/tasks".to_owned()),
        ("GET", "/tasks?status=error".to_owned()),
        ("GET", "/tasks/bulk".to_owned()),
        ("GET", "/tasks/openapi.json".to_owned()),
        ("GET", "/analytics".to_owned()),
        ("GET", "/workflows".to_owned()),
        ("GET", "/health/status".to_owned()),
        ("POST", "/tasks/bulk".to_owned()),
        ("POST", "/workflows/checkout/steps/process_payment/pause".to_owned()),
        ("GET", format!("/tasks/{task}")),
        ("POST", format!("/tasks/{task}/redrive")),
        ("POST", format!("/tasks/{task}/run-now")),
        ("POST", format!("/tasks/{task}/rerun")),
        ("POST", format!("/tasks/{task}/cancel")),
        ("POST", format!("/tasks/{task}/compensate")),
        ("POST", format!("/tasks/{task}/resolve")),
        ("POST", format!("/tasks/{task}/steps/process_payment/resolve")),
        ("POST", format!("/orders/{task}/ship")),
        ("POST", format!("/orders/{task}/resend")),
    ];
    let strangers = shop.strangers();
    for (method, path) in routes {
        let body = json!({"reason": REASON, "dry_run": false}).to_string();
        for (stranger, refusals) in &strangers {
            let answer = stranger.send(method, &path, body.clone()).await;
            assert!(refusals.contains(&answer.status), "{method} {path}: {answer:?}");
            assert!(!answer.text.contains(&task), "{}", answer.text);
        }
    }
    // The customers' API knows no tasks.
    for path in ["/tasks/", "/TASKS", "/tasks%2fretry"] {
        let answer = shop.api().get(path).await;
        assert!(matches!(answer.status, 401 | 403 | 404), "{path}: {answer:?}");
    }
    assert_eq!(shop.operator().task(&task).await, before);
}

async fn operators_see_the_whole_shop<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 5)]).await;
    let operator = shop.operator();
    let task = declined(&shop, &product).await;
    let (query, _) = only(&shop, &task, &[("step", "process_payment:error"), ("order", "newest")]).await;
    let found = until("the index", async || operator.list(&query).await.into_iter().next()).await;
    assert_eq!((&found["task_id"], &found["step"]["error_code"]), (&json!(task), &json!("PAYMENT_DECLINED")));
    let (time, _) = only(&shop, &task, &[]).await;
    let figures = operator.get(&format!("/analytics?{time}")).await.expect(200);
    assert_eq!(figures["workflows"][0]["statuses"], json!({"error": 1}), "{figures}");
    let workflows = operator.get("/workflows").await.expect(200);
    assert_eq!(workflows["workflows"][0]["steps"][0]["name"], "validate_cart", "{workflows}");
    let health = operator.get("/health/status").await.expect(200);
    assert!(health["needs_person"]["tasks"].is_u64(), "{health}");
}

async fn dry_run_counts_and_bulk_redrive_redrives<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 5)]).await;
    let operator = shop.operator();
    // Down for as many attempts as there are; the fourth finds it back.
    let (task, status, _) = shop.api().run(&product.request(1, "test_temp_fail_3_visa")).await;
    assert_eq!(status["status"], "processing", "it will be redriven: {status}");
    let code = status["retrying"]["code"].as_str().unwrap();
    let (query, filter) = only(&shop, &task, &[("failed_step", "process_payment"), ("error_code", code)]).await;
    until("the index", async || (!operator.list(&query).await.is_empty()).then_some(())).await;
    let before = operator.task(&task).await;
    let body = |more: Value| {
        let mut body = json!({"action": "redrive", "filter": filter, "reason": REASON});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };

    let counted = operator.post("/tasks/bulk", &body(json!({}))).await.expect(200);
    assert_eq!((&counted["count"], &counted["or_more"]), (&json!(1), &json!(false)), "{counted}");
    assert_eq!(counted["sample"][0]["task_id"], json!(task));
    assert_eq!(operator.task(&task).await, before, "a dry run changes nothing");

    let start = body(json!({"dry_run": false, "expected_count": 1}));
    let begun = operator.post("/tasks/bulk", &start).await.expect(202);
    let path = format!("/tasks/bulk/{}", begun["bulk_id"].as_str().unwrap());
    let ended = until_within(A_FEW_RUNS, "the end of the bulk action", async || {
        Some(operator.get(&path).await.expect(200)).filter(|bulk| bulk["status"] == "complete")
    })
    .await;
    assert_eq!((&ended["done"], &ended["refused"]), (&json!(1), &json!({})), "{ended}");
    let results = operator.get(&format!("{path}/results")).await.expect(200);
    assert_eq!(results, json!({"results": [{"task_id": task, "result": "done"}], "next": null}));
    assert_eq!(shop.api().until_ended(&task).await["status"], "completed");
    assert_eq!(shop.charges(&task).await, [product.total_cents(1)]);
    let expected = ("redrive".to_owned(), Value::Null, B::OPERATOR.to_owned(), REASON.to_owned());
    assert_eq!(trail(&operator, &task).await, [expected]);
    operator.post(&format!("{path}/stop"), &json!({"reason": REASON})).await.expect(409);
}

async fn checkout_is_found_by_its_customer_and_by_its_order_number<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 5)]).await;
    let operator = shop.operator();
    let failed = declined(&shop, &product).await;
    let (complete, ..) = shop.api().run(&product.request(1, "test_success_visa")).await;
    let order = shop.api().get(&format!("/orders/{complete}")).await.expect(200);
    let number = order["order_number"].as_str().expect("a number");
    let found = async |query: &str| {
        let tasks = operator.list(query).await;
        tasks.iter().map(|task| task["task_id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    let by_email = format!("key=email:{}", product.email().to_uppercase());
    assert_eq!(found(&by_email).await, [complete.clone(), failed.clone()], "the newest first");
    assert_eq!(found(&format!("{by_email}&status=error")).await, [failed]);
    assert_eq!(found(&format!("key=order_number:{number}")).await, std::slice::from_ref(&complete));
    until("the list of the newest", async || {
        let newest = operator.get("/tasks?limit=200").await.expect(200);
        let tasks = newest["tasks"].as_array().expect("tasks");
        tasks.iter().any(|task| task["task_id"] == json!(complete)).then_some(())
    })
    .await;
}

async fn failed_checkout_is_redriven<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 5)]).await;
    let operator = shop.operator();
    let (task, _, _) = shop.api().run(&product.request(1, "test_temp_fail_3_visa")).await;
    let answer = operator.act(&task, "redrive", REASON).await.expect(202);
    assert_eq!(answer, json!({"success": true, "task_id": task, "status": "pending"}));
    assert_eq!(shop.api().until_ended(&task).await["status"], "completed");
    assert_eq!(trail(&operator, &task).await.len(), 1);
}

async fn checkout_waiting_for_a_retry_is_run_now<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 5)]).await;
    let operator = shop.operator();
    let task = shop.api().start(&product.request(1, "test_rate_limit_visa")).await;
    until("the payment to wait for its next attempt", async || {
        (shop.api().details(&task).await.step("process_payment")["status"] == "retrying").then_some(())
    })
    .await;
    let answer = operator.act(&task, "run-now", REASON).await.expect(202);
    assert_eq!(answer, json!({"success": true, "task_id": task, "status": "in_progress"}));
    assert_eq!(shop.api().until_ended(&task).await["status"], "completed");
    let details = shop.api().details(&task).await;
    let attempts = &details.step("process_payment")["attempts"];
    let time = |value: &Value| value.as_str().unwrap().parse::<Timestamp>().unwrap();
    assert!(time(&attempts[1]["started_at"]) < time(&attempts[0]["next_retry_at"]), "{attempts}");
    let expected = ("run_now".to_owned(), json!("process_payment"), B::OPERATOR.to_owned(), REASON.to_owned());
    assert_eq!(trail(&operator, &task).await, [expected]);
    operator.act(&task, "run-now", REASON).await.expect(409);
}

async fn undone_checkout_is_rerun_once_with_a_new_card<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 5)]).await;
    let operator = shop.operator();
    let task = declined(&shop, &product).await;
    let path = format!("/tasks/{task}/rerun");
    let with_card = json!({"reason": REASON, "patch": {"payment_info": {"token": "test_success_visa"}}});
    let early = operator.post(&path, &with_card).await.expect(409);
    assert_eq!(early["status"], "error", "{early}");
    operator.act(&task, "compensate", REASON).await.expect(202);
    until("the end of the compensation", async || {
        Some(operator.task(&task).await).filter(|task| task["compensated"] == true)
    })
    .await;
    let no_card = operator.post(&path, &json!({ "reason": REASON })).await.expect(422);
    assert_eq!(no_card["details"][0]["path"], "/input/payment_info", "{no_card}");

    let rerun = operator.post(&path, &with_card).await.expect(202);
    let again = operator.post(&path, &with_card).await.expect(200);
    assert_eq!(again["task_id"], rerun["task_id"]);
    let new = rerun["task_id"].as_str().unwrap().to_owned();
    let told = shop.api().order_status(&task).await["rerun_as"].clone();
    assert_eq!(told["task_id"], rerun["task_id"]);
    let status = until("the end of the rerun", async || {
        let status = shop.api().get(told["checkout_url"].as_str().unwrap()).await.expect(200);
        Some(status).filter(|status| status["status"] != "processing")
    })
    .await;
    assert_eq!(status["status"], "completed", "{status}");
    assert_eq!((shop.charges(&task).await, shop.charges(&new).await), (vec![], vec![product.total_cents(1)]));
    assert_eq!(shop.stock(product.id).await, 4);
    let (old, new) = (operator.task(&task).await, operator.task(&new).await);
    let rerun_as = json!({"task_id": rerun["task_id"], "started": true});
    assert_eq!((&old["rerun_as"], &new["rerun_of"]), (&rerun_as, &json!(task)));
    let entry = ("rerun".to_owned(), Value::Null, B::OPERATOR.to_owned(), REASON.to_owned());
    assert_eq!(trail(&operator, &task).await.last(), Some(&entry));
    operator.post(&path, &json!({"reason": REASON, "patch": {"priority": "express"}})).await.expect(409);
}

async fn checkout_waiting_for_a_retry_is_cancelled<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 5)]).await;
    let operator = shop.operator();
    let task = shop.api().start(&product.request(1, "test_rate_limit_visa")).await;
    until("the payment to wait for its next attempt", async || {
        (shop.api().details(&task).await.step("process_payment")["status"] == "retrying").then_some(())
    })
    .await;
    let answer = operator.act(&task, "cancel", "the customer asked for it").await.expect(202);
    assert_eq!(answer["status"], "compensating", "{answer}");
    let cancelled = until("the end of the cancellation", async || {
        Some(operator.task(&task).await).filter(|task| task["status"] == "cancelled")
    })
    .await;
    assert_eq!((&cancelled["compensated"], &cancelled["ends_as"]), (&json!(true), &json!("cancelled")), "{cancelled}");
    assert_eq!(Details(cancelled).step("refund_payment")["status"], "complete");
    assert_eq!(shop.api().order_status(&task).await["status"], "cancelled");
    assert_eq!(shop.charges(&task).await, [0; 0]);
    assert_eq!((shop.stock(product.id).await, shop.reservations(&task).await), (5, vec![Reservation::Released]));
    let expected = ("cancel".to_owned(), Value::Null, B::OPERATOR.to_owned(), "the customer asked for it".to_owned());
    assert_eq!(trail(&operator, &task).await, [expected]);
}

async fn dependents_run_after_an_operator_resolves_a_step<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 5)]).await;
    let operator = shop.operator();
    let task = declined(&shop, &product).await;
    let amount = format!("{}.{:02}", product.total_cents(1) / 100, product.total_cents(1) % 100);
    let result = PAYMENT_RESULT.replace("AMOUNT", &amount);
    let path = format!("/tasks/{task}/steps/process_payment/resolve");
    let body = |result: &str| {
        format!(r#"{{"result": {result}, "reason": "paid by bank transfer", "attempts_checked": true}}"#)
    };
    operator.send("POST", &path, body(r#"{"payment_id": "by hand"}"#)).await.expect(422);
    operator.send("POST", &path, body(&result)).await.expect(202);
    let status = shop.api().until_ended(&task).await;
    assert_eq!(status["status"], "completed", "{status}");
    assert_eq!(shop.charges(&task).await, [0; 0], "no card was charged");
    assert_eq!(shop.stock(product.id).await, 4);

    let shown = operator.get(&format!("/tasks/{task}")).await;
    assert!(shown.text.contains(&format!(r#""result":{result}"#)), "to the digit: {}", shown.text);
    let shown = Details(shown.json());
    assert_eq!(shown.step("process_payment")["status"], "resolved_manually", "{shown:?}");
    assert_eq!(shown.step("update_inventory")["status"], "complete", "{shown:?}");
    let by_hand = (
        "resolve_step".to_owned(),
        json!("process_payment"),
        B::OPERATOR.to_owned(),
        "paid by bank transfer".to_owned(),
    );
    assert_eq!(trail(&operator, &task).await, [by_hand]);
}

async fn failed_checkout_is_resolved_by_an_operator<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 5)]).await;
    let operator = shop.operator();
    let task = declined(&shop, &product).await;
    let answer = operator.act(&task, "resolve", "ordered by telephone").await.expect(202);
    assert_eq!(answer["status"], "resolved_manually");
    let status = shop.api().order_status(&task).await;
    assert_eq!((&status["status"], &status["resolved_manually"]), (&json!("completed"), &json!(true)), "{status}");
    let entry = ("resolve".to_owned(), Value::Null, B::OPERATOR.to_owned(), "ordered by telephone".to_owned());
    assert_eq!(trail(&operator, &task).await, [entry]);
}

async fn failed_checkout_is_compensated_early_by_an_operator<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 5)]).await;
    let operator = shop.operator();
    let task = declined(&shop, &product).await;
    operator.act(&task, "compensate", "the customer is gone").await.expect(202);
    let compensated = until("the end of the compensation", async || {
        Some(operator.task(&task).await).filter(|task| task["compensated"] == true)
    })
    .await;
    assert_eq!((&compensated["status"], &compensated["ends_as"]), (&json!("error"), &json!("error")), "{compensated}");
}

async fn complete_order_is_cancelled_until_it_is_shipped<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 5)]).await;
    let operator = shop.operator();
    let ship =
        async |order: &str| operator.post(&format!("/orders/{order}/ship"), &json!({"reason": "parcel 17"})).await;
    let cancel = async |task: &str| shop.api().post(&format!("/cancel_checkout/{task}"), "").await;
    let cancelled = async |task: &str, status: &str| {
        assert_eq!(cancel(task).await.expect(202)["status"], "processing");
        until("the end of the cancellation", async || {
            Some(shop.api().order_status(task).await).filter(|found| found["status"] == status)
        })
        .await
    };

    let (task, ..) = shop.api().run(&product.request(1, "test_success_visa")).await;
    let status = cancelled(&task, "cancelled").await;
    assert!(status["refund"].is_object(), "{status}");
    until("the e-mail about the cancellation", async || {
        let compensation = shop.api().order_status(&task).await["compensations"].clone();
        let told = compensation.as_array()?.iter().find(|one| one["step"] == "send_cancellation")?["status"].clone();
        Some(()).filter(|()| told == "complete")
    })
    .await;
    assert_eq!(shop.orders(&task).await, 0);
    ship(&task).await.expect(409);

    let (task, ..) = shop.api().run(&product.request(1, "test_success_visa")).await;
    let shipped_at = ship(&task).await.expect(200)["shipped_at"].clone();
    assert_eq!(ship(&task).await.expect(200)["shipped_at"], shipped_at);
    let status = cancelled(&task, "completed").await;
    assert_eq!(status["cancellation_refused"]["code"], "ORDER_SHIPPED", "{status}");
    cancel(&task).await.expect(409);
    let order = shop.api().get(&format!("/orders/{task}")).await.expect(200);
    assert_eq!((&order["status"], &order["shipped_at"]), (&json!("confirmed"), &shipped_at), "{order}");
}

async fn email_is_sent_again_to_a_corrected_address<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 5)]).await;
    let operator = shop.operator();
    let (task, ..) = shop.api().run(&product.request(1, "test_success_visa")).await;
    let corrected = format!("corrected-{}", product.email());
    let resend = async |body: Value| operator.post(&format!("/orders/{task}/resend"), &body).await;
    let subjects = async || shop.emails_to(&corrected).await.into_iter().map(|email| email.subject).collect::<Vec<_>>();

    let refused = resend(json!({"reason": REASON, "email": "A <a@example.org>"})).await.expect(422);
    assert_eq!(refused["details"][0]["path"], "/email", "{refused}");
    let sent = resend(json!({"reason": REASON, "email": corrected})).await.expect(200);
    assert_eq!((&sent["recipient"], &sent["status"]), (&json!(corrected), &json!("confirmed")), "{sent}");
    let order = shop.api().get(&format!("/orders/{task}")).await.expect(200);
    assert_eq!(order["customer_email"], json!(corrected), "{order}");
    let number = order["order_number"].as_str().expect("a number");
    assert_eq!(subjects().await, [format!("Your order {number} is confirmed")]);

    shop.api().post(&format!("/cancel_checkout/{task}"), "").await.expect(202);
    until("the e-mail about the cancellation", async || Some(subjects().await).filter(|told| told.len() == 2)).await;
    // It is refused until the step that has just sent it is complete.
    let resent = async || Some(resend(json!({"reason": REASON})).await).filter(|answer| answer.status != 409);
    let sent = until("the end of the step that sends it", resent).await.expect(200);
    assert_eq!((&sent["recipient"], &sent["status"]), (&json!(corrected), &json!("cancelled")), "{sent}");
    let cancelled = format!("Your order {number} was cancelled");
    assert_eq!(subjects().await[1..], [cancelled.clone(), cancelled]);
    assert_eq!(shop.emails_to(&product.email()).await.len(), 1, "the first address has the first e-mail alone");
}
