//! What is refused at the door: with a reason for each fault, and without leaving anything behind.

use serde_json::{Value, json};
use stepwell_tests::stack::{Product, Stack};
use test_case::test_case;

/// That no task was started from anything with this text in it.
async fn assert_nothing_started(stack: &Stack, product: &Product) {
    let marks = product.email();
    let tasks = stack.scan(stack.tasks_table()).await;
    let mut contexts = tasks.iter().filter_map(|item| item.get("context")?.as_s().ok());
    assert!(!contexts.any(|context| context.contains(&marks)), "a task was started all the same");
    assert_eq!(product.stock().await, 5);
}

fn paths(answer: &Value) -> Vec<&str> {
    let details = answer["details"].as_array().unwrap_or_else(|| panic!("details in {answer}"));
    let mut paths = Vec::new();
    for violation in details {
        assert!(violation["message"].as_str().is_some_and(|message| !message.is_empty()), "{violation}");
        paths.push(violation["path"].as_str().unwrap_or_else(|| panic!("a path in {violation}")));
    }
    paths.sort_unstable();
    paths.dedup();
    paths
}

#[tokio::test]
async fn every_fault_is_told_with_its_path() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let request = json!({"checkout": {
        "cart_items": [{"product_id": product.id, "quantity": 0}, {"quantity": -3}, 7],
        "payment_info": {"token": "", "amount": "100.00"},
        "customer_info": {"email": format!("no address {}", product.email())},
        "priority": "yesterday",
    }});
    let answer = stack.api.checkout(&request).await.expect(422);
    assert_eq!((&answer["success"], &answer["error"]), (&json!(false), &json!("Invalid checkout data")));
    assert_eq!(
        paths(&answer),
        [
            "/checkout/cart_items/0/quantity",
            "/checkout/cart_items/1",
            "/checkout/cart_items/1/quantity",
            "/checkout/cart_items/2",
            "/checkout/customer_info",
            "/checkout/customer_info/email",
            "/checkout/payment_info/amount",
            "/checkout/payment_info/token",
            "/checkout/priority",
        ]
    );
    assert_nothing_started(&stack, &product).await;
}

#[test_case("/cart_items", json!([]); "an empty cart")]
#[test_case("/cart_items", json!({"product_id": 1}); "a cart that is no list")]
#[test_case("/cart_items/0/quantity", json!(0); "no unit")]
#[test_case("/cart_items/0/quantity", json!(-1); "less than no unit")]
#[test_case("/cart_items/0/quantity", json!(1_000_000_000_000_i64); "more units than there are")]
#[test_case("/cart_items/0/quantity", json!(1.5); "half a unit")]
#[test_case("/cart_items/0/quantity", json!("2"); "units as text")]
#[test_case("/cart_items/0/product_id", json!("1"); "a product as text")]
#[test_case("/payment_info/amount", json!(-1); "less than nothing to pay")]
#[test_case("/payment_info/amount", json!(100.001); "a part of a cent")]
#[test_case("/payment_info/token", json!(null); "a token that is null")]
#[test_case("/payment_info/currency", json!("EUR"); "another currency")]
#[test_case("/customer_info/email", json!("test@example.com\r\nBcc: all@example.com"); "an address with a header in it")]
#[test_case("/customer_info/email", json!("A <a@example.org>"); "an address with a name around it")]
#[test_case("/customer_info/email", json!("a@localhost"); "an address without a domain")]
#[test_case("/customer_info/name", json!(7); "a name that is a number")]
#[test_case("/customer_info/phone", json!("1\u{2028}2"); "a phone number of two lines")]
#[test_case("/cart_items/0/name", json!("\u{202E}pmal"); "a name that is written backwards")]
#[tokio::test]
async fn one_wrong_value_is_one_fault(pointer: &str, value: Value) {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let mut request = product.request(1, "test_success_visa");
    // The address tells whether a task was started; where it is what is wrong, the name tells.
    request["checkout"]["customer_info"]["name"] = product.email().into();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    request["checkout"].pointer_mut(parent).unwrap()[name] = value;
    let answer = stack.api.checkout(&request).await.expect(422);
    assert_eq!(paths(&answer), [format!("/checkout{pointer}")], "{answer}");
    assert_nothing_started(&stack, &product).await;
}

#[test_case(r#"{}"#; "an empty object")]
#[test_case(r#"{"checkout": null}"#; "a checkout that is null")]
#[test_case(r#"{"checkout": {}}"#; "an empty checkout")]
#[test_case(r#"{"checkout": []}"#; "a checkout that is a list")]
#[test_case(r#"[]"#; "a list")]
#[test_case(r#""checkout""#; "a string")]
#[test_case("null")]
#[tokio::test]
async fn json_that_is_no_checkout_is_422(body: &str) {
    let stack = Stack::from_env().await;
    let answer = stack.api.post("/checkout", body).await.expect(422);
    assert_eq!((&answer["success"], &answer["error"]), (&json!(false), &json!("Invalid checkout data")));
    assert!(!paths(&answer).is_empty());
}

#[test_case(""; "nothing")]
#[test_case("{"; "half of it")]
#[test_case("cart=1&quantity=2"; "a form")]
#[test_case("{'checkout': {}}"; "single quotes")]
#[test_case(r#"{"checkout": {}} {"checkout": {}}"#; "two at once")]
#[tokio::test]
async fn what_is_not_json_is_400(body: &str) {
    let stack = Stack::from_env().await;
    let answer = stack.api.post("/checkout", body).await.expect(400);
    assert_eq!(answer["success"], false);
    assert!(answer["error"].is_string(), "{answer}");
}

#[test_case(r#""quantity":1"#, r#""quantity":5,"quantity":1"#, "/checkout/cart_items/0/quantity"; "two quantities")]
#[test_case(r#"{"checkout":"#, r#"{"checkout":{},"checkout":"#, "/checkout"; "two checkouts")]
#[tokio::test]
async fn duplicate_key_is_400_and_starts_nothing(once: &str, twice: &str, path: &str) {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let body = product.request(1, "test_success_visa").to_string();
    assert!(body.contains(once), "{body}");
    let answer = stack.api.post("/checkout", body.replace(once, twice)).await.expect(400);
    assert_eq!(paths(&answer), [path]);
    assert_nothing_started(&stack, &product).await;
}

#[test_case(" "; "a blank")]
#[test_case("\u{200B}\u{FEFF}"; "what nobody sees")]
#[test_case("Zoe\u{202E}"; "a turn of direction")]
#[tokio::test]
async fn name_that_cannot_be_read_is_422_and_starts_nothing(name: &str) {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let mut request = product.request(1, "test_success_visa");
    request["checkout"]["customer_info"]["name"] = name.into();
    let answer = stack.api.checkout(&request).await.expect(422);
    assert_eq!(paths(&answer), ["/checkout/customer_info/name"]);
    assert_nothing_started(&stack, &product).await;
}

#[tokio::test]
async fn a_body_that_is_not_even_text_is_400() {
    let stack = Stack::from_env().await;
    let request = stack.api.request("POST", "/checkout").body(vec![0xff, 0xfe, 0x00, 0x01]);
    let answer = stack.api.answer(request).await.expect(400);
    assert!(answer["error"].is_string(), "{answer}");
}

#[tokio::test]
async fn nesting_without_end_is_refused() {
    let stack = Stack::from_env().await;
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for body in [nested(100_000), format!(r#"{{"checkout": {}}}"#, nested(100_000)), "[".repeat(100_000)] {
        let answer = stack.api.post("/checkout", body).await;
        assert_eq!(answer.status, 400, "{}", answer.text);
    }
    // Deep, but JSON all the same.
    let body = format!(r#"{{"checkout": {{"cart_items": {}}}}}"#, nested(50));
    stack.api.post("/checkout", body).await.expect(422);
}

#[tokio::test]
async fn a_body_of_a_megabyte_is_refused() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let mut request = product.request(1, "test_success_visa");
    request["checkout"]["customer_info"]["phone"] = "5".repeat(1_000_000).into();
    let answer = stack.api.checkout(&request).await;
    assert!(answer.expect(413)["error"].as_str().unwrap().contains("too large"), "{}", answer.text);

    let mut request = product.request(1, "test_success_visa");
    request["checkout"]["cart_items"] = vec![json!({"product_id": product.id, "quantity": 1}); 25_000].into();
    assert!(request.to_string().len() > 900_000);
    stack.api.checkout(&request).await.expect(413);
    stack.api.post("/checkout", "x".repeat(1_000_000)).await.expect(413);

    // As much as is taken: refused for what it says, in an answer that does not say it all again.
    request["checkout"]["cart_items"] = vec![json!({"product_id": product.id, "quantity": 0}); 6_000].into();
    let answer = stack.api.checkout(&request).await;
    answer.expect(422);
    assert!(answer.text.len() < 50_000, "{} bytes", answer.text.len());
    assert_nothing_started(&stack, &product).await;
}
