//! A checkout in which nothing goes wrong, and what it leaves behind.

use serde_json::{Value, json};
use stepwell_tests::{
    shop::cents,
    stack::{Stack, repository, variable},
    until,
};

/// Word for word from the issue.
const THE_ISSUES_REQUEST: &str = r#"{
      "checkout": {
        "cart_items": [{"product_id": 1, "quantity": 2}],
        "payment_info": {"token": "test_success_visa", "amount": 100.00},
        "customer_info": {"email": "test@example.com", "name": "Test Customer"}
      }
    }"#;

#[tokio::test]
async fn readme_request_completes_and_totals_one_hundred() {
    let stack = Stack::from_env().await;
    // What this buys, so that the test does not sell out the product of a stack that lives long.
    stack.add_stock(1, 2).await;

    let answer = stack.api.post("/checkout", THE_ISSUES_REQUEST).await;
    let body = answer.expect(202);
    let task = body["task_id"].as_str().unwrap();
    let key = body["task_key"].as_str().unwrap();
    let order_status = format!("/order_status/{task}?key={key}");
    let expected = json!({
        "success": true, "task_id": task, "task_key": key, "status": "pending", "checkout_url": order_status,
    });
    assert_eq!(body, expected);
    assert!(answer.header("location").ends_with(&order_status), "Location: {}", answer.header("location"));

    let status = stack.api.until_ended(task).await;
    assert_eq!(status["status"], "completed", "{status}");
    assert_eq!(status["total_amount"].to_string(), "100.00");
    assert_eq!(stack.charges(task).await, [10_000]);
    // Whoever has only the URLs of the answers sees the same.
    let customer = stack.api.as_a_stranger();
    assert_eq!(customer.get(&order_status).await.expect(200), status);
    customer.get(status["redirect_url"].as_str().unwrap()).await.expect(200);

    let sample = std::fs::read_to_string(repository().join("events/requests/success.json")).unwrap();
    let same: Value = serde_json::from_str(THE_ISSUES_REQUEST).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&sample).unwrap(), same, "events/requests/success.json is this request");
}

#[tokio::test]
async fn complete_checkout_has_one_charge_one_reservation_one_order_and_one_email() {
    let stack = Stack::from_env().await;
    let product = stack.product(1_999, 10).await;
    let total = product.total_cents(3);
    let (task, status, details) = stack.api.run(&product.request(3, "test_success_visa")).await;

    let order_id = status["order_id"].as_str().unwrap();
    let order_number = status["order_number"].as_str().unwrap();
    let redirect_url = format!("/orders/{order_id}?key={}", stack.api.task_key(&task));
    assert_eq!(
        status,
        json!({
            "task_id": task, "status": "completed", "order_id": order_id, "order_number": order_number,
            "total_amount": status["total_amount"], "redirect_url": redirect_url,
        })
    );
    assert_eq!(cents(&status["total_amount"]), total);
    let (date, digits) = order_number.strip_prefix("ORD-").unwrap().split_once('-').unwrap();
    assert!(date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit()), "{order_number}");
    assert!(digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()), "{order_number}");

    let order = stack.api.get(&redirect_url).await.expect(200);
    assert_eq!(order["order_id"], order_id);
    assert_eq!(order["order_number"], order_number);
    assert_eq!(order["status"], "confirmed");
    assert_eq!(order["simulated"], true, "{order}");
    assert_eq!(cents(&order["total_amount"]), total);
    assert_eq!(order["customer_email"], product.email());

    let traces = stack.traces(&task, &product.email()).await;
    assert_eq!(stack.charges(&task).await, [total]);
    assert_eq!(traces.reservations.len(), 1);
    assert_eq!(stack.orders(&task).await.len(), 1);
    assert_eq!(product.stock().await, 7);

    let [email] = traces.mails.as_slice() else { panic!("one e-mail, not {:?}", traces.mails) };
    assert!(email["Subject"].as_str().unwrap().contains(order_number), "{email}");
    assert_eq!(email["MessageId"], details.step("send_confirmation")["result"]["message_id"]);
}

#[tokio::test]
async fn catalogue_has_the_sample_products_with_price_and_stock() {
    let stack = Stack::from_env().await;
    // The sample products may be bought by others at this moment, so the exact stock is seen on one that nobody else has.
    let own = stack.product(2_345, 67).await;
    let product = async |id: u32| {
        let page = stack.api.get(&format!("/products?limit=1&next={}", id - 1)).await.expect(200);
        page["products"].as_array().and_then(|products| products.first()).filter(|product| product["id"] == id).cloned()
    };
    for id in 1..=8 {
        let product = product(id).await.unwrap_or_else(|| panic!("product {id}"));
        assert!(product["name"].is_string() && product["active"].is_boolean(), "{product}");
        assert!(cents(&product["price"]) > 0 && product["stock"].is_u64(), "{product}");
    }
    assert_eq!(product(1).await.map(|product| cents(&product["price"])), Some(4_398));
    // What was read before it was there is shown for some seconds.
    let own = until("the new product in the catalogue", async || product(own.id).await).await;
    assert_eq!((cents(&own["price"]), &own["stock"]), (2_345, &json!(67)));
}

#[tokio::test]
async fn a_page_of_another_origin_may_call_the_api() {
    let stack = Stack::from_env().await;
    let preflight = stack.api.request("OPTIONS", "/checkout").header("origin", "https://shop.example.com");
    let preflight = preflight.header("access-control-request-method", "POST");
    let asked = "content-type,idempotency-key,x-task-key";
    let answer = stack.api.answer(preflight.header("access-control-request-headers", asked)).await;
    assert!(matches!(answer.status, 200 | 204), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    let allowed = answer.header("access-control-allow-headers").to_lowercase();
    assert!(asked.split(',').all(|header| allowed.contains(header)), "{allowed}");
}

#[tokio::test]
async fn e_mails_are_sent_where_ses_has_verified_the_sender_s_domain_alone() {
    const IDENTITIES: &str = "/v2/email/identities";
    let stack = Stack::from_env().await;
    let verify = async |identity: &str| {
        let identity = json!({"EmailIdentity": identity}).to_string();
        stack.aws("ses", ("POST", IDENTITIES), &[], identity).await.expect(200);
    };
    let forget = async |identity: &str| {
        let path = format!("{IDENTITIES}/{identity}");
        stack.aws("ses", ("DELETE", &path), &[], String::new()).await.expect(200);
    };
    let sender = variable("SHOP_MAIL_SENDER");
    let domain = sender.split_once('@').expect("an address").1;

    verify(domain).await;
    forget(&sender).await;
    let product = stack.product(2_500, 5).await;
    let (task, status, _) = stack.api.run(&product.request(1, "test_success_visa")).await;
    let again = json!({"reason": "a test of the scenarios"});
    let again = stack.operator().post(&format!("/orders/{task}/resend"), &again).await;
    let confirmed = stack.mails_to(&product.email()).await.len();
    stack.api.post(&format!("/cancel_checkout/{task}"), "").await.expect(202);
    let sent = async || Some(stack.mails_to(&product.email()).await.len()).filter(|sent| *sent > confirmed);
    let sent = until("the e-mail about the cancellation", sent).await;
    verify(&sender).await;
    forget(domain).await;
    assert_eq!(status["status"], "completed", "{status}");
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!((confirmed, sent), (2, 3));
}

/// Two at once, because a request that waits occupies one instance of the API's function.
#[tokio::test]
async fn start_that_waits_is_answered_with_the_order() {
    let stack = Stack::from_env().await;
    let product = stack.product(1_000, 10).await;
    let starts = [(); 2].map(async |()| {
        let answer = stack.api.post("/checkout?wait=25", product.request(1, "test_success_visa").to_string()).await;
        let body = answer.expect(202);
        assert_eq!(body["status"], "completed", "{body}");
        let order_url = body["redirect_url"].as_str().unwrap();
        assert_eq!(stack.api.as_a_stranger().get(order_url).await.expect(200)["order_number"], body["order_number"]);
    });
    futures::future::join_all(starts).await;
}
