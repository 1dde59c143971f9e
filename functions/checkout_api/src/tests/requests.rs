//! Starting, idempotency, retrying, the shop's routes, and what is on no route.

use super::{fake::Fake, *};
use checkout::{Money, Product, ProductId};
use stepwell::{
    TaskId,
    core::{
        item::{Key, attribute},
        transition::Change,
    },
};
use test_case::test_case;

const UNKNOWN: &str = "018f4e4e-7c1a-7000-8000-0123456789ab";

#[tokio::test]
async fn a_checkout_is_accepted_and_its_first_step_woken() {
    let fake = Fake::default();
    let answer = checkout(&fake, good().to_string()).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let id = answer.body()["task_id"].as_str().unwrap().to_owned();
    let url = format!("/order_status/{id}");
    assert_eq!(answer.header("Location"), url);
    assert_eq!(answer.body(), json!({"success": true, "task_id": id, "status": "pending", "checkout_url": url}));
    let task = fake.store.all(id.parse().unwrap()).task.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&task.context).unwrap(), good()["checkout"], "the request, unwrapped");
    assert!(task.context.contains("100.00"), "to the digit");
    let state = fake.state();
    assert_eq!(state.sent.iter().map(|message| message.step.as_str()).collect::<Vec<_>>(), ["validate_cart"]);
}

#[tokio::test]
async fn a_key_stands_for_one_request() {
    let fake = Fake::default();
    let with_key = async |key: &str, body: String| post(&fake, "/checkout", &[("idempotency-key", key)], body).await;
    let first = with_key("k-1", good().to_string()).await;
    let again = with_key("k-1", good().to_string()).await;
    assert_eq!((first.status, again.status), (StatusCode::ACCEPTED, StatusCode::ACCEPTED));
    assert_eq!(first.body(), again.body());
    let other = with_key("k-2", good().to_string()).await;
    assert_ne!(first.body()["task_id"], other.body()["task_id"]);

    let conflict = with_key("k-1", with("/checkout/cart_items/0/quantity", json!(3))).await;
    assert_eq!(conflict.status, 409);
    let error = "This Idempotency-Key was used with another request";
    assert_eq!(conflict.body(), json!({"success": false, "error": error}));
    assert_eq!(fake.store.tasks().len(), 2);
}

#[test_case("", "is empty")]
#[test_case("a b", "contains ' '")]
#[test_case("\u{e9}", "not ASCII")]
#[test_case(&"k".repeat(256), "has 256")]
#[tokio::test]
async fn a_bad_key_is_refused_with_the_reason(key: &str, reason: &str) {
    let fake = Fake::default();
    let answer = post(&fake, "/checkout", &[("Idempotency-Key", key)], good().to_string()).await;
    assert_eq!(answer.status, 400);
    let error = answer.body()["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("Invalid Idempotency-Key: ") && error.contains(reason), "{error}");
    assert_eq!(fake.store.count(), 0);
}

#[test_case(None, 202)]
#[test_case(Some("application/json"), 202)]
#[test_case(Some("application/json; charset=utf-8"), 202; "with a charset")]
#[test_case(Some("Application/JSON"), 202; "in capitals")]
#[test_case(Some("application/vnd.shop+json"), 202; "another kind of JSON")]
#[test_case(Some("application/x-www-form-urlencoded"), 202; "what curl says unasked")]
#[test_case(Some("text/plain"), 202; "plain text")]
#[test_case(Some("multipart/form-data; boundary=x"), 415; "a form")]
#[test_case(Some("application/xml"), 415; "xml")]
#[test_case(Some("image/png"), 415; "a picture")]
#[tokio::test]
async fn media_types(media_type: Option<&str>, status: u16) {
    let headers: Vec<(&str, &str)> = media_type.map(|value| ("Content-Type", value)).into_iter().collect();
    let answer = post(&Fake::default(), "/checkout", &headers, good().to_string()).await;
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.body()["success"], status == 202);
}

/// A checkout whose payment failed.
async fn failed(fake: &Fake) -> TaskId {
    let answer = checkout(fake, good().to_string()).await.body();
    let id = answer["task_id"].as_str().unwrap().parse().unwrap();
    let step = |name: &str, changes| fake.store.force(Key::Step(id, name.to_owned()), changes).unwrap();
    step("validate_cart", vec![Change::Set(attribute::STATE, json!("complete"))]);
    let error = json!({"code": "PAYMENT_DECLINED", "message": "no"});
    let state = Change::Set(attribute::STATE, json!("error"));
    step("process_payment", vec![state, Change::Add(attribute::ATTEMPT, 1), Change::Set(attribute::ERROR, error)]);
    fake.store.force(Key::Task(id), failed_by("error", "process_payment")).unwrap();
    fake.state().sent.clear();
    id
}

/// A task comes to this status because this step has failed.
fn failed_by(status: &str, step: &str) -> Vec<Change> {
    vec![Change::Set(attribute::STATUS, json!(status)), Change::Include(attribute::FAILED_STEPS, step.to_owned())]
}

#[tokio::test]
async fn a_failed_checkout_is_retried_where_it_failed() {
    let fake = Fake::default();
    let id = failed(&fake).await;
    assert_eq!(get(&fake, &format!("/order_status/{id}")).await.body()["status"], "failed");

    let answer = post(&fake, &format!("/retry_checkout/{id}"), &[], "").await;
    assert_eq!(answer.status, 202);
    let expected = json!({"success": true, "message": "Checkout retry initiated", "status": "pending", "task_id": id});
    assert_eq!(answer.body(), expected);
    let woken: Vec<String> = fake.state().sent.iter().map(|message| message.step.clone()).collect();
    assert_eq!(woken, ["process_payment"]);
    assert_eq!(get(&fake, &format!("/order_status/{id}")).await.body()["status"], "processing");

    let again = post(&fake, &format!("/retry_checkout/{id}"), &[], "").await;
    assert_eq!(again.status, 409);
    let error = "Cannot retry task in in_progress status";
    assert_eq!(again.body(), json!({"success": false, "error": error}));
}

#[tokio::test]
async fn a_checkout_that_was_retried_all_too_often_is_not_retried_again() {
    let fake = Fake::default();
    let id = failed(&fake).await;
    let retry = json!({"at": 0, "what": "retry", "who": "customer", "why": "again and again"});
    fake.store.force(Key::Task(id), vec![Change::Set(attribute::ACTIONS, json!(vec![retry; 1_000]))]).unwrap();

    let status = get(&fake, &format!("/order_status/{id}")).await.body();
    assert_eq!((&status["status"], status.get("retry_url")), (&json!("failed"), None));
    let answer = post(&fake, &format!("/retry_checkout/{id}"), &[], "").await;
    assert_eq!(answer.status, 409);
    let error = "Cannot retry task: it was retried too often";
    assert_eq!(answer.body(), json!({"success": false, "error": error}));
    assert!(fake.state().sent.is_empty());
}

#[tokio::test]
async fn a_checkout_that_is_being_undone_is_not_retried_even_where_that_has_failed() {
    let fake = Fake::default();
    let id = failed(&fake).await;
    let undo = "refund_payment";
    let mut changes = failed_by("compensating", undo);
    changes.push(Change::Set(attribute::ENDS_AS, json!("error")));
    changes.push(Change::Set(attribute::COMPENSATIONS, json!([undo])));
    fake.store.force(Key::Task(id), changes).unwrap();
    let state = Change::Set(attribute::STATE, json!("error"));
    fake.store.force(Key::Step(id, undo.to_owned()), vec![state, Change::Add(attribute::ATTEMPT, 1)]).unwrap();

    let answer = post(&fake, &format!("/retry_checkout/{id}"), &[], "").await;
    assert_eq!(answer.status, 409);
    let error = "Cannot retry task in compensating status";
    assert_eq!(answer.body(), json!({"success": false, "error": error}));
    assert!(fake.state().sent.is_empty());
}

#[test_case("GET", "/order_status/")]
#[test_case("GET", "/workflow_details/")]
#[test_case("POST", "/retry_checkout/")]
#[test_case("GET", "/orders/")]
#[tokio::test]
async fn an_unknown_id_is_not_found(method: &str, prefix: &str) {
    let long = "x".repeat(5_000);
    for id in [UNKNOWN, &UNKNOWN.to_uppercase(), "1", "%00", "%ff", "..%2f", "%7B%7D", "number:ORD-1", &long] {
        let request = Request::builder().method(method).uri(format!("{prefix}{id}"));
        let answer = send(&Fake::default(), request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 404, "{id}");
        assert_eq!(answer.body(), json!({"error": "Order not found"}), "{id}");
    }
}

#[tokio::test]
async fn the_catalogue_shows_price_and_stock() {
    let fake = Fake::default();
    assert_eq!(get(&fake, "/products").await.text, r#"{"products":[]}"#);
    let (id, name, price) = (ProductId(1), "Lamp".to_owned(), Money::from_cents(4_390));
    fake.state().products.push(Product { id, name, price, stock: 7, active: true });
    let answer = get(&fake, "/products").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text, r#"{"products":[{"id":1,"name":"Lamp","price":43.90,"stock":7,"active":true}]}"#);
}

#[tokio::test]
async fn an_order_is_shown_by_its_id() {
    let fake = Fake::default();
    let order = json!({
        "order_id": UNKNOWN, "order_number": "ORD-20261123-0A1B2C3D", "status": "confirmed",
        "items": [{
            "product_id": 1, "name": "Lamp", "price": exact("43.98"), "quantity": 2, "line_total": exact("87.96"),
        }],
        "subtotal": exact("87.96"), "tax": exact("7.04"), "shipping": exact("5.00"), "total_amount": exact("100.00"),
        "currency": "USD", "payment_id": "pay_1", "customer_email": "test@example.com",
        "customer_name": "Test Customer",
        "shipping_info": {}, "priority": "standard", "placed_at": "2026-11-23T07:00:00.000Z",
        "created_at": "2026-11-23T07:00:01.000Z", "estimated_delivery": "2026-11-28T07:00:00.000Z",
    });
    fake.state().orders.push(serde_json::from_value(order.clone()).unwrap());
    let answer = get(&fake, &format!("/orders/{UNKNOWN}")).await;
    assert_eq!((answer.status, answer.body()), (StatusCode::OK, order));
}

#[tokio::test]
async fn an_unknown_path_is_not_found() {
    for path in ["/", "/checkout/", "/products/1", "/orders", "/order_status/", "/dev/products", "/%ff"] {
        let answer = get(&Fake::default(), path).await;
        assert_eq!((answer.status, answer.body()), (StatusCode::NOT_FOUND, json!({"error": "No such path"})), "{path}");
    }
}

#[test_case("GET", "/checkout", "POST")]
#[test_case("DELETE", "/products", "GET,HEAD")]
#[test_case("PUT", "/order_status/1", "GET,HEAD")]
#[test_case("GET", "/retry_checkout/1", "POST")]
#[tokio::test]
async fn a_wrong_method_is_told_the_right_one(method: &str, path: &str, allowed: &str) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let answer = send(&Fake::default(), request).await;
    assert_eq!((answer.status.as_u16(), answer.header("Allow")), (405, allowed));
    assert_eq!(answer.body(), json!({"success": false, "error": "This path has no such method"}));
}
