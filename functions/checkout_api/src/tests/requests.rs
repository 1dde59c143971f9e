//! Start, idempotency keys, retry, the shop's routes, and unknown paths.

use super::*;
use checkout::{CardTokens, Money, Order, Orders, Product, ProductId, ShopCode, StoreError, testing::Outage};
use std::time::Duration;
use stepwell::{
    Actor, PendingStart, RUN_NOW_PAUSE, Rerun, RerunRequest, StartError, StepError,
    core::{
        item::{Key, attribute},
        snapshot::TaskSnapshot,
        state::StepState,
        transition::Change,
    },
    permanent, retryable,
    testing::StepFault,
};
use test_case::test_case;

#[tokio::test(start_paused = true)]
async fn checkout_is_accepted_and_its_root_step_gets_a_message() {
    let api = Api::new();
    let answer = api.checkout(good().to_string()).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let id = answer.body()["task_id"].as_str().unwrap().to_owned();
    let (url, task_key) = (url("/order_status", &id), key(&id));
    assert_eq!(answer.header("Location"), url);
    assert_eq!(
        answer.body(),
        json!({"success": true, "task_id": id, "task_key": task_key, "status": "pending", "checkout_url": url})
    );
    let context = api.harness.snapshot(id.parse().unwrap()).await.unwrap().task.context;
    let mut request = good()["checkout"].take();
    assert_eq!(checkout::take_token(&mut request).unwrap().reveal(), TOKEN);
    assert_eq!(context, request.to_string(), "the request without its wrapper and its card's token, with every digit");
    assert_eq!(api.kept_token(id.parse().unwrap()).await.as_deref(), Some(TOKEN));
    assert_eq!(api.notified_steps(), steps::roots());
}

#[tokio::test(start_paused = true)]
async fn idempotency_key_belongs_to_one_request() {
    let api = Api::new();
    let first = api.with_key("k-1", good().to_string()).await;
    let again = api.with_key("k-1", good().to_string()).await;
    assert_eq!((first.status, again.status, first.body()), (202, 202, again.body()));
    let other = api.with_key("k-2", good().to_string()).await;
    assert_ne!(first.body()["task_id"], other.body()["task_id"]);
    for (field, value) in [("cart_items/0/quantity", "3"), ("payment_info/token", "\"tok_other\"")] {
        let conflict = api.with_key("k-1", with(&format!("/checkout/{field}"), value)).await;
        let error = "This Idempotency-Key was used with another request";
        assert_eq!(conflict.refusal(), (409, error.to_owned()), "{field}");
    }
    assert_eq!(api.shop.tasks_with_tokens().len(), 2);
    assert_eq!(api.harness.memory().store.tasks().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn idempotency_key_belongs_to_its_caller() {
    let api = Api::new();
    let as_caller = async |caller: Option<&str>, quantity: &str| {
        let request = Request::post("/checkout").header("Idempotency-Key", "cart-1");
        let request = caller.into_iter().fold(request, |all, name| {
            all.extension(http_api::Caller { name: name.to_owned(), rights: http_api::Rights::Act })
        });
        api.send_as_it_is(request, &[], with("/checkout/cart_items/0/quantity", quantity)).await
    };
    let first = as_caller(None, "1").await;
    for caller in ["ann", "bob"] {
        let answer = as_caller(Some(caller), "2").await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        assert_eq!(as_caller(Some(caller), "2").await.body(), answer.body());
        assert_eq!(as_caller(Some(caller), "3").await.status, 409, "the same caller's key is used");
    }
    assert_eq!((as_caller(None, "1").await.body(), api.harness.memory().store.tasks().len()), (first.body(), 3));
}

#[tokio::test(start_paused = true)]
async fn checkout_is_called_in_the_log_as_its_caller_calls_it() {
    let api = Api::new();
    let called = async |named: Option<&str>| {
        let request = Request::post("/checkout").header("Idempotency-Key", named.unwrap_or("none"));
        let request = request.extension(http_api::RequestId("request-1".to_owned()));
        let request = named.into_iter().fold(request, |request, name| request.header("X-Correlation-ID", name));
        let answer = api.send_as_it_is(request, &[], good().to_string()).await;
        let id: TaskId = answer.body()["task_id"].as_str().unwrap().parse().unwrap();
        let snapshot = api.harness.snapshot(id).await.unwrap();
        let kept = snapshot.task.correlation_id.map(|id| id.as_str().to_owned());
        let told = answer.headers.get("x-correlation-id").map(|id| id.to_str().unwrap().to_owned());
        (kept, told, api.get(&url("/workflow_details", &id.to_string())).await.body()["correlation_id"].clone())
    };
    let name = || Some("basket-7".to_owned());
    assert_eq!(called(Some("basket-7")).await, (name(), name(), json!("basket-7")));
    assert_eq!(called(None).await, (Some("request-1".to_owned()), None, json!("request-1")));
}

#[tokio::test(start_paused = true)]
async fn repeated_request_reads_the_status_of_its_checkout() {
    let api = Api::new();
    let start = async || api.with_key("k", good().to_string()).await;
    let id: TaskId = start().await.body()["task_id"].as_str().unwrap().parse().unwrap();
    let word = async || start().await.body()["status"].clone();
    assert_eq!(word().await, "pending");
    api.harness.run_until(id, |snapshot| snapshot.steps[0].state.is_done()).await.unwrap();
    assert_eq!(word().await, "processing");
    api.harness.run(id).await.unwrap();
    assert_eq!((word().await, start().await.status), (json!("completed"), 202));
}

/// The token was deleted when the card was charged, and must not come back.
#[tokio::test(start_paused = true)]
async fn repeated_request_keeps_no_token_again() {
    let api = Api::new();
    let start = async || api.with_key("k", good().to_string()).await;
    let id: TaskId = start().await.body()["task_id"].as_str().unwrap().parse().unwrap();
    api.shop.forget(id).await;
    assert_eq!(start().await.status, 202);
    assert_eq!(api.kept_token(id).await, None);
}

#[test_case("", "is empty")]
#[test_case("a b", "contains ' '")]
#[test_case("\u{e9}", "not ASCII")]
#[test_case(&"k".repeat(256), "has 256")]
#[tokio::test]
async fn bad_idempotency_key_is_refused_with_the_reason(key: &str, reason: &str) {
    let api = Api::new();
    let (status, error) = api.with_key(key, good().to_string()).await.refusal();
    assert!(error.starts_with("Invalid Idempotency-Key: ") && error.contains(reason), "{error}");
    assert!(status == 400 && api.is_untouched());
}

/// A checkout whose payment has failed for good.
async fn failed(api: &Api) -> TaskId {
    api.harness.fail("process_payment", [StepFault::Error(permanent("PAYMENT_DECLINED", "no"))]);
    let id = api.started().await;
    api.harness.run_until(id, |snapshot| !snapshot.failed_steps().is_empty()).await.unwrap();
    id
}

#[tokio::test(start_paused = true)]
async fn failed_checkout_resumes_at_its_failed_step_and_a_running_one_is_not_retried() {
    let api = Api::new();
    let id = failed(&api).await;
    let answer = api.retry(id).await;
    let expected = json!({"success": true, "message": "Checkout retry initiated", "status": "pending", "task_id": id});
    assert_eq!((answer.status, answer.body()), (202, expected));
    // One message waits for the compensation, and one is of the retry.
    assert_eq!(api.notified_steps(), [steps::up_to("process_payment"), vec!["process_payment"; 2]].concat());
    let trail = api.harness.snapshot(id).await.unwrap().task.actions;
    assert_eq!((trail[0].who.as_str(), trail[0].why.as_str()), ("customer", "POST /retry_checkout"));
    let running = "Cannot retry task in in_progress status".to_owned();
    assert_eq!(api.retry(id).await.refusal(), (409, running));
}

#[tokio::test(start_paused = true)]
async fn failed_checkout_is_retried_with_another_card() {
    let api = Api::new();
    let id = failed(&api).await;
    for (body, path) in [
        (r#"{"payment_info": {"token": "4242424242424242"}}"#, "/payment_info/token"),
        (r#"{"payment_info": {"token": 7}}"#, "/payment_info/token"),
        (r#"{"payment_info": {"token": "kept_0123"}}"#, "/payment_info/token"),
        (r#"{"payment_info": {"token": "tok_2", "amount": 1}}"#, "/payment_info/amount"),
        (r#"{"payment_info": "tok_2"}"#, "/payment_info"),
        (r#"{"token": "tok_2"}"#, "/token"),
        ("[]", ""),
    ] {
        let answer = api.retry_with(id, body).await;
        assert_eq!((answer.status, &answer.body()["details"][0]["path"]), (422, &json!(path)), "{}", answer.text);
        assert!(!answer.text.contains("tok_2") && !answer.text.contains("4242"), "{}", answer.text);
    }
    assert_eq!(api.retry_with(id, "{").await.status, 400);
    assert_eq!(api.kept_token(id).await.as_deref(), Some(TOKEN), "a refused request changes nothing");

    assert_eq!(api.retry_with(id, r#"{"payment_info": {"token": "tok_2"}}"#).await.status, 202);
    assert_eq!(api.kept_token(id).await.as_deref(), Some("tok_2"));
    assert_eq!(api.harness.run(id).await.unwrap().status().as_str(), "complete");
    let refused = api.retry_with(id, r#"{"payment_info": {"token": "tok_3"}}"#).await.refusal();
    assert_eq!(refused, (409, "Cannot retry task in complete status".to_owned()));
    assert_eq!(api.kept_token(id).await.as_deref(), Some("tok_2"));
}

#[tokio::test(start_paused = true)]
async fn other_card_is_refused_before_the_first_one_was_tried() {
    let api = Api::new();
    let id = api.started().await;
    let refused = api.retry_with(id, r#"{"payment_info": {"token": "tok_2"}}"#).await;
    assert_eq!((refused.status, api.kept_token(id).await.as_deref()), (409, Some(TOKEN)), "{}", refused.text);
}

/// A step after the payment has failed, so another card would never be charged.
#[tokio::test(start_paused = true)]
async fn other_card_is_refused_once_the_checkout_is_paid() {
    let api = Api::new();
    api.harness.fail("create_order", [StepFault::Error(permanent("NO", "it cannot be"))]);
    let id = api.started().await;
    api.harness.run_until(id, |snapshot| !snapshot.failed_steps().is_empty()).await.unwrap();
    let refused = api.retry_with(id, r#"{"payment_info": {"token": "tok_2"}}"#).await.refusal();
    assert_eq!(refused, (409, "This checkout is paid; it needs no other card".to_owned()));
    assert_eq!(api.kept_token(id).await.as_deref(), Some(TOKEN));
    assert_eq!(api.retry_with(id, "{}").await.status, 202, "without a card it is a retry like any other");
}

/// Pressing runs the planned attempt earlier. It gives the step no more attempts, and pressing again changes nothing.
#[tokio::test(start_paused = true)]
async fn step_that_waits_for_its_retry_is_run_now() {
    let api = Api::new();
    let busy =
        || StepFault::Error(retryable("GATEWAY_RATE_LIMITED", "slow down").retry_after(Duration::from_secs(120)));
    api.harness.fail("process_payment", vec![busy(); 3]);
    let id = api.started().await;
    let mut snapshot = api.harness.run_until(id, waits).await.unwrap();
    for attempt in 1..3 {
        assert_eq!(snapshot.step("process_payment").unwrap().attempt, attempt);
        for _ in 0..3 {
            let answer = api.retry(id).await;
            assert_eq!((answer.status, &answer.body()["success"]), (202, &json!(true)));
        }
        let due = api.harness.snapshot(id).await.unwrap().step("process_payment").unwrap().next_retry_at.unwrap();
        let ended_at = snapshot.step("process_payment").unwrap().attempts.last().unwrap().finished_at.unwrap();
        assert_eq!(due, ended_at + RUN_NOW_PAUSE, "earlier than planned, and not at once");
        assert_eq!(api.status(id).await["retrying"]["next_at"], json!(due));
        api.harness.run_for(RUN_NOW_PAUSE).await.unwrap();
        snapshot = api.harness.snapshot(id).await.unwrap();
    }
    let payment = snapshot.step("process_payment").unwrap();
    assert_eq!((payment.state, payment.attempt), (StepState::Error, 3), "its three attempts are used up");
    // Pressed now it is a redrive, which does not count as one of the engine's.
    assert_eq!((api.status(id).await["status"].clone(), api.retry(id).await.status), (json!("processing"), 202));
    assert_eq!(api.harness.run(id).await.unwrap().status().as_str(), "complete");
}

fn waits(snapshot: &TaskSnapshot) -> bool {
    snapshot.steps.iter().any(|step| step.state == StepState::Retrying)
}

/// A customer whom the gateway suspects is not invited to try again.
#[tokio::test(start_paused = true)]
async fn suspected_fraud_is_offered_no_retry() {
    let api = Api::new();
    let fraud = StepError::new(ShopCode::PaymentSuspectedFraud, "the payment was declined: suspected fraud");
    api.harness.fail("process_payment", [StepFault::Error(fraud)]);
    let id = api.started().await;
    api.harness.run_until(id, |snapshot| !snapshot.failed_steps().is_empty()).await.unwrap();
    let answer = api.get(&format!("/order_status/{id}")).await;
    let status = answer.body();
    assert_eq!((&status["status"], &status["charged"]), (&json!("failed"), &exact("0.00")));
    assert_eq!((status.get("retry_url"), status.get("retry_until")), (None, None));
    assert!(!status["error"]["message"].as_str().unwrap().contains("fraud"), "{}", answer.text);
    assert_eq!(api.retry(id).await.refusal(), (409, "This checkout cannot be retried".to_owned()));
    assert_eq!(api.harness.snapshot(id).await.unwrap().step("process_payment").unwrap().attempt, 1);
}

#[tokio::test(start_paused = true)]
async fn customer_cancels_a_running_or_failed_checkout_and_gets_the_money_back() {
    for fails in [false, true] {
        let api = Api::new();
        if fails {
            api.harness.fail("update_inventory", [StepFault::Error(permanent("NO", "it cannot be"))]);
        }
        let id = api.started().await;
        let is_there = |snapshot: &TaskSnapshot| match fails {
            true => !snapshot.failed_steps().is_empty(),
            false => snapshot.step("process_payment").unwrap().state == StepState::Complete,
        };
        api.harness.run_until(id, is_there).await.unwrap();
        let expected = json!({"success": true, "message": "Checkout cancelled", "status": "cancelled", "task_id": id});
        for _ in 0..2 {
            let answer = api.cancel(id).await;
            assert_eq!((answer.status, answer.body()), (202, expected.clone()), "also when pressed twice");
        }
        let trail = api.harness.snapshot(id).await.unwrap().task.actions;
        let entries: Vec<_> = trail.iter().map(|action| (action.who.as_str(), action.why.as_str())).collect();
        assert_eq!(entries, [("customer", "POST /cancel_checkout")]);
        assert_eq!(api.status(id).await["refund"]["state"], "due");
        api.harness.run(id).await.unwrap();
        let status = api.status(id).await;
        let refund = json!({"amount": exact("100.00"), "state": "made"});
        assert_eq!((&status["status"], &status["refund"]), (&json!("cancelled"), &refund));
        assert_eq!(api.cancel(id).await.status, 202);
    }
}

/// What the customer of a complete checkout is told until it is known whether the order was shipped.
fn cancelling(id: TaskId) -> Value {
    let message = "Your order is cancelled, unless it has been shipped already";
    json!({"success": true, "message": message, "status": "processing", "task_id": id})
}

#[tokio::test(start_paused = true)]
async fn complete_checkout_is_cancelled_and_refunded() {
    let api = Api::new();
    let id = api.started().await;
    api.harness.run(id).await.unwrap();
    for _ in 0..2 {
        let answer = api.cancel(id).await;
        assert_eq!((answer.status, answer.body()), (202, cancelling(id)));
        assert_eq!(api.status(id).await["status"], "processing", "it may be refused");
    }
    api.harness.run(id).await.unwrap();
    let status = api.status(id).await;
    assert_eq!((&status["status"], status["refund"].is_object()), (&json!("cancelled"), true), "{status}");
}

#[tokio::test(start_paused = true)]
async fn shipped_order_stays_completed_and_says_why_it_was_not_cancelled() {
    let api = Api::new();
    let shipped = || StepFault::Error(StepError::new(ShopCode::OrderShipped, "by truck 17"));
    api.harness.fail("cancel_order", [shipped()]);
    let id = api.started().await;
    api.harness.run(id).await.unwrap();
    assert_eq!(api.cancel(id).await.body(), cancelling(id));
    let refused_at = api.harness.run(id).await.unwrap().task.refusals[0].at;
    let status = api.status(id).await;
    let message = "Your order has been shipped, so it cannot be cancelled any more.";
    let refusal = json!({"at": refused_at, "code": "ORDER_SHIPPED", "message": message});
    assert_eq!((&status["status"], &status["cancellation_refused"]), (&json!("completed"), &refusal), "{status}");
    assert_eq!(api.cancel(id).await.refusal(), (409, message.to_owned()));
    let details = api.get(&format!("/workflow_details/{id}")).await.body();
    assert_eq!(details["refusals"][0]["error"]["message"], "by truck 17");
}

#[tokio::test(start_paused = true)]
async fn undone_checkout_or_one_done_by_hand_is_not_cancelled() {
    let api = Api::new();
    let id = failed(&api).await;
    api.harness.run(id).await.unwrap();
    let error = "This checkout has failed already. What was charged is given back.".to_owned();
    assert_eq!(api.cancel(id).await.refusal(), (409, error));
    assert_eq!(api.status(id).await["status"], "failed");
    let id = failed(&api).await;
    api.harness.client().resolve(id, &Actor::new("operator", "a test").unwrap()).await.unwrap();
    let error = "This order is complete and cannot be cancelled here. Please contact us.".to_owned();
    assert_eq!(api.cancel(id).await.refusal(), (409, error));
}

/// An operator reserves the rerun of a checkout.
async fn reserve_rerun(api: &Api, id: TaskId) -> PendingStart {
    let (client, request) = (api.harness.client(), RerunRequest::new("another card", true));
    let Rerun::Next(found) = client.find_rerun(id, &request).await.unwrap() else { panic!("it was rerun") };
    let start = client.prepare_start(&checkout::workflow().unwrap(), &good()["checkout"], None).await.unwrap();
    match client.reserve_rerun(&found, &request, start, &Actor::new("operator", "a test").unwrap()).await.unwrap() {
        Rerun::Next(start) => start,
        Rerun::Made(new) => panic!("{new} was made before"),
    }
}

async fn rerun(api: &Api, id: TaskId) -> TaskId {
    let start = reserve_rerun(api, id).await;
    api.harness.client().write_start(start).await.unwrap().task_id
}

#[tokio::test(start_paused = true)]
async fn customer_of_an_undone_checkout_is_told_of_its_last_rerun_and_cannot_cancel_it_past_that() {
    let api = Api::new();
    api.harness.fail("process_payment", [StepFault::Error(permanent("PAYMENT_DECLINED", "no"))]);
    let started = async || api.with_key("cart-1", good().to_string()).await.body();
    let id = started().await["task_id"].as_str().unwrap().parse().unwrap();
    api.harness.run(id).await.unwrap();
    let start = reserve_rerun(&api, id).await;
    assert_eq!(api.status(id).await.get("rerun_as"), None, "it may still be ruled out");

    let mut new = api.harness.client().write_start(start).await.unwrap().task_id;
    for again in [true, false] {
        let named = json!({"task_id": new, "task_key": key(&new), "checkout_url": url("/order_status", &new)});
        let status = api.status(id).await;
        assert_eq!((&status["status"], &status["rerun_as"]), (&json!("failed"), &named));
        assert_eq!(started().await["rerun_as"], named, "the same purchase");
        let shown = api.as_a_stranger("GET", named["checkout_url"].as_str().unwrap()).await.body();
        assert!(shown["progress"].is_object(), "its URL opens it: {shown}");
        let word = api.as_a_stranger("GET", &format!("/order_status/{id}")).await.body();
        assert_eq!(word, json!({"status": "failed", "task_id": id}));
        let error = "This checkout goes on as another one. Its status names that one, which you can cancel.".to_owned();
        assert_eq!(api.cancel(id).await.refusal(), (409, error));
        assert_eq!(api.retry(id).await.status, 409);
        if again {
            assert_eq!(api.cancel(new).await.status, 202);
            api.harness.run(new).await.unwrap();
            new = rerun(&api, new).await;
        }
    }
}

/// The two orders stand beside each other.
#[tokio::test(start_paused = true)]
async fn complete_checkout_that_was_rerun_is_cancelled_alone() {
    let api = Api::new();
    let id = api.started().await;
    api.harness.run(id).await.unwrap();
    let new = rerun(&api, id).await;
    let status = api.status(id).await;
    assert_eq!((&status["status"], &status["rerun_as"]["task_id"]), (&json!("completed"), &json!(new)));
    assert_eq!(api.cancel(id).await.body(), cancelling(id));
    api.harness.run(id).await.unwrap();
    assert_eq!(
        (&api.status(id).await["status"], &api.status(new).await["status"]),
        (&json!("cancelled"), &json!("processing"))
    );
    assert_eq!(api.cancel(id).await.status, 202, "the answer was lost");
}

/// Whoever is told that it is cancelled is not charged after that: neither is a rerun started late, nor is the answer given before it is known.
#[tokio::test(start_paused = true)]
async fn checkout_whose_rerun_may_be_under_way_is_not_told_to_be_cancelled() {
    let api = Api::new();
    let id = api.started().await;
    assert_eq!(api.cancel(id).await.status, 202);
    api.harness.run(id).await.unwrap();
    assert_eq!(api.cancel(id).await.status, 202);
    let start = reserve_rerun(&api, id).await;
    let error =
        "We do not know yet whether this checkout goes on as another one. Please try again in a minute.".to_owned();
    assert_eq!(api.cancel(id).await.refusal(), (409, error));
    api.harness.skip(Duration::from_secs(60)).await;
    assert_eq!(api.cancel(id).await.status, 202);
    let late = api.harness.client().write_start(start).await;
    assert!(matches!(late, Err(StartError::RuledOut { .. })), "{late:?}");
    assert_eq!(api.cancel(id).await.status, 202);
    rerun(&api, id).await;
    assert_eq!(api.cancel(id).await.status, 409);
}

/// Whether the order was shipped is not known before somebody has mended the compensation that says so.
#[tokio::test(start_paused = true)]
async fn cancellation_that_fails_is_not_told_before_it_is_decided() {
    let api = Api::new();
    api.harness.fail("cancel_order", [StepFault::Error(permanent("NO", "it cannot be"))]);
    let id = api.started().await;
    api.harness.run(id).await.unwrap();
    assert_eq!(api.cancel(id).await.status, 202);
    api.harness.run(id).await.unwrap();
    let told = async || (api.status(id).await["status"].clone(), api.status(id).await["needs_attention"].clone());
    assert_eq!(told().await, (json!("processing"), json!(true)));
    let operator = stepwell::Actor::new("alice", "mended").unwrap();
    api.harness.client().redrive(id, &operator).await.unwrap();
    assert_eq!(told().await, (json!("processing"), Value::Null));
    api.harness.run(id).await.unwrap();
    assert_eq!(told().await, (json!("cancelled"), Value::Null));
}

#[tokio::test(start_paused = true)]
async fn checkout_with_a_full_audit_trail_is_not_retried() {
    let api = Api::new();
    let id = failed(&api).await;
    let retry = json!({"at": 0, "what": "retry", "who": "customer", "why": "again and again"});
    let actions = vec![Change::Set(attribute::ACTIONS, json!(vec![retry; 1_000]))];
    api.harness.memory().store.force(Key::Task(id), actions).unwrap();
    let status = api.status(id).await;
    assert_eq!((&status["status"], status.get("retry_url")), (&json!("failed"), None));
    assert_eq!(api.retry(id).await.refusal(), (409, "Cannot retry task: it was retried too often".to_owned()));
}

/// The engine's redrive would repeat the compensation, which only operators may do.
#[tokio::test(start_paused = true)]
async fn compensating_checkout_is_not_retried_even_after_a_failed_compensation() {
    let api = Api::new();
    let no = || StepFault::Error(permanent("NO", "it cannot be"));
    api.harness.fail("create_order", [no()]);
    api.harness.fail("refund_payment", [no()]);
    let id = api.started().await;
    api.harness.run(id).await.unwrap();
    let error = "Cannot retry task in compensating status".to_owned();
    assert_eq!(api.retry(id).await.refusal(), (409, error));
    let trail = api.harness.snapshot(id).await.unwrap().task.actions;
    assert!(trail.iter().all(|action| action.who != "customer"), "{trail:?}");
}

#[test_case("GET", "/order_status/")]
#[test_case("GET", "/workflow_details/")]
#[test_case("POST", "/retry_checkout/")]
#[test_case("POST", "/cancel_checkout/")]
#[test_case("GET", "/orders/")]
#[tokio::test]
async fn unknown_id_is_not_found(method: &str, prefix: &str) {
    let long = "x".repeat(5_000);
    for id in [UNKNOWN, &UNKNOWN.to_uppercase(), "1", "%00", "%ff", "..%2f", "%7B%7D", "number:ORD-1", &long] {
        let answer = Api::new().send(method, &format!("{prefix}{id}"), &[], "").await;
        assert_eq!((answer.status, answer.body()), (404, json!({"error": "Order not found"})), "{id}");
    }
}

#[test_case("GET", "/none", 404, "")]
#[test_case("DELETE", "/products", 405, "GET,HEAD")]
#[tokio::test]
async fn unknown_path_or_method_is_refused(method: &str, path: &str, status: u16, allowed: &str) {
    let answer = Api::new().send(method, path, &[], "").await;
    assert_eq!((answer.status, answer.header("Allow")), (status, allowed));
}

#[tokio::test]
async fn catalogue_shows_price_and_stock() {
    assert_eq!(Api::new().get("/products").await.text, r#"{"products":[]}"#);
    let (id, name, price) = (ProductId(1), "Lamp".to_owned(), Money::from_cents(4_390));
    let api = Api { shop: MemoryShop::selling([Product { id, name, price, stock: 7, active: true }]), ..Api::new() };
    let expected = r#"{"products":[{"id":1,"name":"Lamp","price":43.90,"stock":7,"active":true}]}"#;
    assert_eq!(api.get("/products").await.text, expected);
}

fn product(number: u32) -> Product {
    Product {
        id: ProductId(number),
        name: format!("Lamp {number}"),
        price: Money::from_cents(4_390),
        stock: 7,
        active: true,
    }
}

#[tokio::test]
async fn catalogue_is_shown_page_by_page() {
    let mut api = Api::new();
    api.shop = MemoryShop::selling((1..=250).map(product));
    let (mut url, mut sizes, mut shown) = ("/products?".to_owned(), Vec::new(), Vec::new());
    loop {
        let page = api.get(&url).await.body();
        let products = page["products"].as_array().unwrap();
        sizes.push(products.len());
        shown.extend(products.iter().map(|product| product["id"].as_u64().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        url = format!("/products?limit=120&next={next}");
    }
    assert_eq!(sizes, [100, 120, 30]);
    assert!(shown.into_iter().eq(1..=250));
    for bad in ["limit=0", "limit=501", "limit=x", "next=x", "next=", "page=2"] {
        assert_eq!(api.get(&format!("/products?{bad}")).await.status, 422, "{bad}");
    }
}

/// The table that checkouts need is not read for every request, and not having it does not close the shop window.
#[tokio::test(start_paused = true)]
async fn catalogue_is_read_once_in_ten_seconds_and_outlives_an_outage() {
    let api = Api::new();
    let (shop, outage) = (MemoryShop::selling([product(1), product(2)]), StoreError::Failed("timeout".to_owned()));
    let router =
        crate::router(api.harness.client(), shop.clone(), keys(), NO_LIMITS, Pricing::standard().unwrap()).unwrap();
    let first = async || {
        let answer = router.clone().oneshot(Request::get("/products").body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let kept = parts.headers.get("Cache-Control").map(|value| value.to_str().unwrap().to_owned());
        let body: Value = serde_json::from_slice(&body).unwrap();
        (parts.status.as_u16(), body["products"][0]["id"].as_u64(), kept.unwrap())
    };
    let public = || "public, max-age=10".to_owned();
    assert_eq!(first().await, (200, Some(1), public()));
    shop.spoil(ProductId(1));
    assert_eq!(first().await, (200, Some(1), public()), "as it was read");
    api.harness.skip(Duration::from_secs(10)).await;
    assert_eq!(first().await, (200, Some(2), public()));
    shop.set_outage(Outage { tables: Some(outage), ..Outage::default() });
    api.harness.skip(Duration::from_secs(299)).await;
    assert_eq!(first().await, (200, Some(2), public()));
    api.harness.skip(Duration::from_secs(1)).await;
    assert_eq!(first().await, (503, None, "no-store".to_owned()));
}

#[tokio::test]
async fn order_is_shown_by_its_id() {
    let api = Api::new();
    let mut order = json!({
        "order_id": UNKNOWN, "order_number": "", "status": "confirmed",
        "items": [{
            "product_id": 1, "name": "Lamp", "price": exact("43.98"), "quantity": 2, "line_total": exact("87.96"),
        }],
        "subtotal": exact("87.96"), "tax": exact("7.04"), "shipping": exact("5.00"), "total_amount": exact("100.00"),
        "currency": "USD", "payment_id": "pay_1", "customer_email": "test@example.com",
        "customer_name": "Test Customer",
        "shipping_info": {}, "priority": "standard", "placed_at": "2026-11-23T07:00:00.000Z",
        "created_at": "2026-11-23T07:00:01.000Z", "estimated_delivery": "2026-11-28T07:00:00.000Z",
    });
    let made = api.shop.create(serde_json::from_value::<Order>(order.clone()).unwrap()).await.unwrap();
    order["order_number"] = json!(made.order_number);
    assert_eq!(api.get(&format!("/orders/{UNKNOWN}")).await.body(), order);
}
