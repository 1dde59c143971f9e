//! A checkout in which nothing goes wrong, and what it leaves behind.

use crate::backend::{Backend, Reservation};
use serde_json::{Value, json};
use stepwell_tests::{shop::cents, stack::repository, until};

on_both_backends! {
    readme_request_completes_and_totals_one_hundred,
    complete_checkout_has_one_charge_one_reservation_one_order_and_one_email,
    catalogue_has_the_sample_products_with_price_and_stock,
    start_that_waits_is_answered_with_the_order,
}

/// Word for word from the issue.
const THE_ISSUES_REQUEST: &str = r#"{
      "checkout": {
        "cart_items": [{"product_id": 1, "quantity": 2}],
        "payment_info": {"token": "test_success_visa", "amount": 100.00},
        "customer_info": {"email": "test@example.com", "name": "Test Customer"}
      }
    }"#;

async fn readme_request_completes_and_totals_one_hundred<B: Backend>() {
    let (shop, []) = B::open([]).await;
    shop.provide(1, 2).await;

    let answer = shop.api().post("/checkout", THE_ISSUES_REQUEST).await;
    let body = answer.expect(202);
    let task = body["task_id"].as_str().unwrap();
    let key = body["task_key"].as_str().unwrap();
    let order_status = format!("/order_status/{task}?key={key}");
    let expected = json!({
        "success": true, "task_id": task, "task_key": key, "status": "pending", "checkout_url": order_status,
    });
    assert_eq!(body, expected);
    assert!(answer.header("location").ends_with(&order_status), "Location: {}", answer.header("location"));

    let status = shop.api().until_ended(task).await;
    assert_eq!(status["status"], "completed", "{status}");
    assert_eq!(status["total_amount"].to_string(), "100.00");
    assert_eq!(shop.charges(task).await, [10_000]);
    // Whoever has only the URLs of the answers sees the same.
    let customer = shop.api().as_a_stranger();
    assert_eq!(customer.get(&order_status).await.expect(200), status);
    customer.get(status["redirect_url"].as_str().unwrap()).await.expect(200);

    let sample = std::fs::read_to_string(repository().join("events/requests/success.json")).unwrap();
    let same: Value = serde_json::from_str(THE_ISSUES_REQUEST).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&sample).unwrap(), same, "events/requests/success.json is this request");
}

async fn complete_checkout_has_one_charge_one_reservation_one_order_and_one_email<B: Backend>() {
    let (shop, [product]) = B::open([(1_999, 10)]).await;
    let total = product.total_cents(3);
    let (task, status, details) = shop.api().run(&product.request(3, "test_success_visa")).await;

    let order_id = status["order_id"].as_str().unwrap();
    let order_number = status["order_number"].as_str().unwrap();
    let redirect_url = format!("/orders/{order_id}?key={}", shop.api().task_key(&task));
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

    let order = shop.api().get(&redirect_url).await.expect(200);
    assert_eq!(order["order_id"], order_id);
    assert_eq!(order["order_number"], order_number);
    assert_eq!(order["status"], "confirmed");
    assert_eq!(order["simulated"], true, "{order}");
    assert_eq!(cents(&order["total_amount"]), total);
    assert_eq!(order["customer_email"], product.email());

    assert_eq!(shop.charges(&task).await, [total]);
    assert_eq!(shop.reservations(&task).await, [Reservation::Taken]);
    assert_eq!(shop.orders(&task).await, 1);
    assert_eq!(shop.stock(product.id).await, 7);

    let emails = shop.emails_to(&product.email()).await;
    let [email] = emails.as_slice() else { panic!("one e-mail, not {emails:?}") };
    assert!(email.subject.contains(order_number), "{email:?}");
    assert_eq!(email.id, details.step("send_confirmation")["result"]["message_id"]);
}

async fn catalogue_has_the_sample_products_with_price_and_stock<B: Backend>() {
    // The sample products may be bought by others at this moment, so the exact stock is seen on one that nobody else has.
    let (shop, [own]) = B::open([(2_345, 67)]).await;
    let product = async |id: u32| {
        let page = shop.api().get(&format!("/products?limit=1&next={}", id - 1)).await.expect(200);
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

/// Two at once, because a request that waits occupies one instance of the API's function.
async fn start_that_waits_is_answered_with_the_order<B: Backend>() {
    let (shop, [product]) = B::open([(1_000, 10)]).await;
    let starts = [(); 2].map(async |()| {
        let answer = shop.api().post("/checkout?wait=25", product.request(1, "test_success_visa").to_string()).await;
        let body = answer.expect(202);
        assert_eq!(body["status"], "completed", "{body}");
        let order_url = body["redirect_url"].as_str().unwrap();
        assert_eq!(shop.api().as_a_stranger().get(order_url).await.expect(200)["order_number"], body["order_number"]);
    });
    futures::future::join_all(starts).await;
}
