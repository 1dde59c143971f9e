//! A checkout in which nothing goes wrong, and what it leaves behind.

use serde_json::{Value, json};
use stepwell_tests::{
    shop::{cents, request, total_cents},
    stack::{Stack, repository},
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
async fn the_readmes_request_completes_and_comes_to_one_hundred() {
    let stack = Stack::from_env().await;
    // What this buys, so that the test does not sell out the product of a stack that lives long.
    stack.add_stock(1, 2).await;

    let answer = stack.api.post("/checkout", THE_ISSUES_REQUEST).await;
    let body = answer.expect(202);
    let task = body["task_id"].as_str().unwrap();
    let order_status = format!("/order_status/{task}");
    assert_eq!(body, json!({"success": true, "task_id": task, "status": "pending", "checkout_url": order_status}));
    assert!(answer.header("location").ends_with(&order_status), "Location: {}", answer.header("location"));

    let status = stack.api.until_ended(task).await;
    assert_eq!(status["status"], "completed", "{status}");
    assert_eq!(status["total_amount"].to_string(), "100.00");
    assert_eq!(stack.charges(task).await, [10_000]);

    let sample = std::fs::read_to_string(repository().join("events/requests/success.json")).unwrap();
    let same: Value = serde_json::from_str(THE_ISSUES_REQUEST).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&sample).unwrap(), same, "events/requests/success.json is this request");
}

#[tokio::test]
async fn a_checkout_leaves_one_charge_one_reservation_one_order_and_one_letter() {
    let stack = Stack::from_env().await;
    let product = stack.product(1_999, 10).await;
    let total = product.total_cents(3);
    let (task, status, details) = stack.api.run(&product.request(3, "test_success_visa")).await;

    let order_id = status["order_id"].as_str().unwrap();
    let order_number = status["order_number"].as_str().unwrap();
    let redirect_url = format!("/orders/{order_id}");
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
    assert_eq!(cents(&order["total_amount"]), total);
    assert_eq!(order["customer_email"], product.email());

    let traces = stack.traces(&task, &product.email()).await;
    assert_eq!(stack.charges(&task).await, [total]);
    assert_eq!(traces.reservations.len(), 1);
    assert_eq!(stack.orders(&task).await.len(), 1);
    assert_eq!(product.stock().await, 7);

    let [letter] = traces.mails.as_slice() else { panic!("one letter, not {:?}", traces.mails) };
    assert!(letter["Subject"].as_str().unwrap().contains(order_number), "{letter}");
    assert_eq!(letter["MessageId"], details.step("send_confirmation")["result"]["message_id"]);
}

#[tokio::test]
async fn every_result_has_the_fields_that_are_promised() {
    let stack = Stack::from_env().await;
    let product = stack.product(4_398, 5).await;
    let (_, _, details) = stack.api.run(&product.request(2, "test_success_mastercard")).await;

    let fields: [(&str, &[&str]); 5] = [
        ("validate_cart", &["validated_items", "subtotal", "tax", "shipping", "total", "item_count", "validated_at"]),
        (
            "process_payment",
            &["payment_id", "amount_charged", "currency", "payment_method_type", "transaction_id", "processed_at"],
        ),
        ("update_inventory", &["updated_products", "total_items_reserved", "inventory_changes"]),
        (
            "create_order",
            &[
                "order_id",
                "order_number",
                "status",
                "total_amount",
                "customer_email",
                "created_at",
                "estimated_delivery",
            ],
        ),
        ("send_confirmation", &["email_sent", "recipient", "message_id", "sent_at"]),
    ];
    for (step, fields) in fields {
        for field in fields {
            let value = &details.step(step)["result"][field];
            assert!(!value.is_null(), "{step} has left no {field}: {}", details.step(step)["result"]);
        }
    }

    let cart = &details.step("validate_cart")["result"];
    let amounts = ["subtotal", "tax", "shipping", "total"].map(|field| cents(&cart[field]));
    assert_eq!(amounts, [8_796, 704, 500, 10_000]);
    let item = &cart["validated_items"][0];
    assert_eq!((&item["product_id"], &item["quantity"]), (&json!(product.id), &json!(2)));
    assert_eq!((cents(&item["price"]), cents(&item["line_total"])), (4_398, 8_796));
    assert_eq!(details.step("process_payment")["result"]["payment_method_type"], "mastercard");
    let stock = &details.step("update_inventory")["result"]["updated_products"][0];
    let stock = ["previous_stock", "new_stock", "quantity_reserved"].map(|field| stock[field].as_i64().unwrap());
    assert_eq!(stock, [5, 3, 2]);
}

#[tokio::test]
async fn shipping_goes_by_weight_and_tax_by_the_cent() {
    let stack = Stack::from_env().await;
    let (cheap, dear) = (stack.product(131, 100).await, stack.product(1_894, 100).await);
    for (cheap_units, dear_units) in [(1, 1), (4, 1), (20, 1)] {
        let lines = [(cheap.id, cheap.price_cents, cheap_units), (dear.id, dear.price_cents, dear_units)];
        let total = total_cents(&lines.map(|(_, price, units)| (price, units)));
        let (_, status, _) = stack.api.run(&request(&lines, "test_success_amex", &cheap.email())).await;
        assert_eq!(status["status"], "completed", "{status}");
        assert_eq!(cents(&status["total_amount"]), total);
    }
    assert_eq!((cheap.stock().await, dear.stock().await), (75, 97));
}

#[tokio::test]
async fn a_request_may_carry_everything_that_is_documented() {
    let stack = Stack::from_env().await;
    let product = stack.product(1_000, 5).await;
    let mut request = product.request(1, "test_success_visa");
    let checkout = &mut request["checkout"];
    checkout["cart_items"][0]["price"] = json!(10.0);
    checkout["cart_items"][0]["name"] = json!("What the page called it");
    checkout["payment_info"]["payment_method"] = json!("credit_card");
    checkout["payment_info"]["currency"] = json!("USD");
    checkout["customer_info"]["id"] = json!(7);
    checkout["customer_info"]["phone"] = json!("+1 555 0100");
    checkout["customer_info"]["tier"] = json!("gold");
    checkout["shipping_info"] = json!({"street": "1 Main St", "city": "Springfield", "postal_code": "12345"});
    checkout["priority"] = json!("overnight");
    let (_, status, _) = stack.api.run(&request).await;
    assert_eq!(status["status"], "completed", "{status}");
}

#[tokio::test]
async fn the_catalogue_has_the_sample_products_with_price_and_stock() {
    let stack = Stack::from_env().await;
    // The sample products may be bought by others at this moment, so the exact stock is seen on one that nobody else has.
    let own = stack.product(2_345, 67).await;
    let catalogue = stack.api.get("/products").await.expect(200);
    let products = catalogue["products"].as_array().unwrap_or_else(|| panic!("products in {catalogue}"));
    let product =
        |id: u32| products.iter().find(|product| product["id"] == id).unwrap_or_else(|| panic!("product {id}"));
    for id in 1..=8 {
        let product = product(id);
        assert!(product["name"].is_string() && product["active"].is_boolean(), "{product}");
        assert!(cents(&product["price"]) > 0 && product["stock"].is_u64(), "{product}");
    }
    assert_eq!(cents(&product(1)["price"]), 4_398);
    assert_eq!((cents(&product(own.id)["price"]), &product(own.id)["stock"]), (2_345, &json!(67)));
}

#[tokio::test]
async fn what_does_not_exist_is_404() {
    let stack = Stack::from_env().await;
    let nobody = "018f4e4e-7c1a-7000-8000-0123456789ab";
    for path in ["/order_status", "/workflow_details", "/orders"] {
        for id in [nobody, "1", "%00", "..", "018F4E4E-7C1A-7000-8000-0123456789AB"] {
            let answer = stack.api.get(&format!("{path}/{id}")).await;
            assert_eq!(answer.status, 404, "{path}/{id}: {}", answer.text);
        }
        assert_eq!(stack.api.get(&format!("{path}/{nobody}")).await.json(), json!({"error": "Order not found"}));
    }
    let retry = stack.api.post(&format!("/retry_checkout/{nobody}"), "").await;
    assert_eq!(retry.expect(404), json!({"error": "Order not found"}));
    for path in ["/", "/nothing", "/orders", "/order_status/"] {
        assert_eq!(stack.api.get(path).await.status, 404, "{path}");
    }
    stack.api.get("/checkout").await.expect(405);
}
