//! What `POST /checkout` refuses, and that it keeps to itself what it was sent.

use super::{fake::Fake, *};
use crate::violations;
use test_case::test_case;

/// Sends a body that has to be refused, and sees that nothing came of it and nothing secret came back.
async fn refused(body: impl Into<Body>) -> Answer {
    let fake = Fake::default();
    let answer = checkout(&fake, body).await;
    assert_eq!(answer.body()["success"], false);
    assert!(!answer.text.contains(TOKEN), "{}", answer.text);
    assert!(fake.store.count() == 0 && fake.state().sent.is_empty());
    answer
}

#[test_case("", "EOF while parsing a value at line 1 column 0"; "nothing")]
#[test_case("not JSON", "expected ident at line 1 column 2")]
#[test_case("{\"checkout\": {\n  \"a\": }}", "expected value at line 2 column 8"; "a hole")]
#[test_case("{\"checkout\": {}} x", "trailing characters at line 1 column 18"; "more than one value")]
#[test_case("{\"checkout\": \"test_success_visa", "EOF while parsing a string at line 1 column 31"; "cut off")]
#[test_case("checkout=%7B%7D", "expected value at line 1 column 1"; "a form")]
#[test_case("{'checkout': {}}", "key must be a string at line 1 column 2"; "wrong quotes")]
#[test_case("{\"checkout\": NaN}", "expected value at line 1 column 14"; "not a number")]
#[tokio::test]
async fn what_is_not_json(body: &str, error: &str) {
    let answer = refused(body.to_owned()).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.body()["error"], format!("The body is not JSON: {error}"));
}

/// Which of the two was meant, nobody knows: one says what is charged, the other what is sent.
#[test_case(r#""cart_items":"#, r#""cart_items":[],"cart_items":"#, "/checkout/cart_items"; "the cart")]
#[test_case(r#""quantity":2"#, r#""quantity":5,"quantity":2"#, "/checkout/cart_items/0/quantity"; "a quantity")]
#[test_case(r#""quantity":2"#, r#""quantity":2,"quantity":2"#, "/checkout/cart_items/0/quantity"; "the same value")]
#[test_case(r#""quantity":2"#, r#""quantity":2,"qu\u0061ntity":2"#, "/checkout/cart_items/0/quantity"; "the same in escapes")]
#[test_case(r#"{"checkout":"#, r#"{"checkout":{"a":1},"checkout":"#, "/checkout"; "two requests")]
#[test_case(r#"{"checkout":"#, r#"{"a/b~":[0,[{"":1.5,"":{}}]],"checkout":"#, "/a~1b~0/1/0/"; "in what is refused anyway")]
#[tokio::test]
async fn duplicate_key_is_refused_with_its_path(once: &str, twice: &str, path: &str) {
    let body = good().to_string();
    assert!(body.contains(once), "{body}");
    let answer = refused(body.replace(once, twice)).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    let details = json!([{"path": path, "message": "is there more than once"}]);
    let error = "A field is there more than once; send it once";
    assert_eq!(answer.body(), json!({"success": false, "error": error, "details": details}));
}

/// A float is two of these amounts, or none.
#[test_case("133610627515675.63")]
#[test_case("100.00")]
#[test_case("0.1000000000000000055511151231257827")]
#[test_case("1e1")]
#[tokio::test]
async fn number_is_read_to_the_digit(number: &str) {
    // The same value twice, and the same key in two objects, are no duplicates.
    let body = format!(r#"[{{"a":{number},"b":{number}}},{{"a":{number}}}]"#);
    let read: Value = http_api::read(Body::from(body.clone()), 200).await.unwrap();
    assert_eq!(read.to_string(), body.replace("1e1", &exact("1e1").to_string()));
    assert!(read[0]["a"].to_string().parse::<f64>().is_ok());
}

#[tokio::test]
async fn what_is_not_text() {
    for body in [&b"\xff\xfe{\0}\0"[..], b"{\"checkout\": \"\xff\"}", b"\x1f\x8b\x08\x00"] {
        assert_eq!(refused(body).await.status, 400);
    }
}

#[test_case("[", "]"; "lists")]
#[test_case("{\"checkout\":", "}"; "objects")]
#[tokio::test]
async fn nesting_without_end(open: &str, close: &str) {
    for depth in [128, 20_000] {
        let answer = refused(open.repeat(depth) + "1" + &close.repeat(depth)).await;
        assert_eq!(answer.status, 400, "{depth}");
        assert!(answer.text.contains("recursion limit exceeded at line 1 column"), "{}", answer.text);
    }
    assert_eq!(refused(open.repeat(20_000)).await.status, 400, "never closed");
}

#[tokio::test]
async fn a_hundred_thousand_levels_are_read_no_further_than_the_limit() {
    let answer = refused("[".repeat(100_000)).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text.contains("recursion limit exceeded at line 1 column 128"), "{}", answer.text);
}

#[tokio::test]
async fn a_body_that_is_too_large() {
    for size in [256 * 1024 + 1, 1_000_000, 5_000_000] {
        let answer = refused(" ".repeat(size)).await;
        assert_eq!(answer.status, 413);
        assert_eq!(answer.body()["error"], "The body is too large; at most 262144 bytes are accepted");
    }
    let largest = good().to_string();
    let padded = " ".repeat(256 * 1024 - largest.len()) + &largest;
    assert_eq!(checkout(&Fake::default(), padded).await.status, 202, "the largest that is taken");
}

#[test_case("null", "")]
#[test_case("[]", ""; "a list")]
#[test_case("[{\"cart_items\": []}]", ""; "a list that a careless reader takes for an object")]
#[test_case("\"checkout\"", ""; "a text")]
#[test_case("{}", "/checkout"; "an empty object")]
#[test_case("{\"checkout\": null}", "/checkout"; "no request")]
#[test_case("{\"checkout\": [\"test_success_visa\"]}", "/checkout"; "a list for a request")]
#[tokio::test]
async fn what_is_not_a_request(body: &str, path: &str) {
    let answer = refused(body.to_owned()).await;
    assert_eq!(answer.status, 422);
    assert_eq!(answer.body()["error"], "Invalid checkout data");
    let details = answer.body()["details"].as_array().unwrap().clone();
    assert_eq!(details.len(), 1, "{details:?}");
    assert_eq!(details[0]["path"], path);
    assert!(!details[0]["message"].as_str().unwrap().is_empty());
}

#[tokio::test]
async fn what_stands_beside_the_request() {
    let mut body = good();
    body["priority"] = json!("express");
    body["a/b~c"] = json!(TOKEN);
    let answer = refused(body.to_string()).await;
    assert_eq!(answer.status, 422);
    let message = "only \"checkout\" is expected here";
    let expected = json!([{"path": "/a~1b~0c", "message": message}, {"path": "/priority", "message": message}]);
    assert_eq!(answer.body()["details"], expected);
}

#[test_case("cart_items", "[]", "value has less than 1 item"; "an empty cart")]
#[test_case("cart_items", "{}", "value is not of type \"array\""; "no list")]
#[test_case("cart_items/0", "1", "value is not of type \"object\""; "no item")]
#[test_case("cart_items/0/quantity", "0", "value is less than the minimum of 1"; "none")]
#[test_case("cart_items/0/quantity", "-1", "value is less than the minimum of 1"; "less than none")]
#[test_case("cart_items/0/quantity", "1000000000", "value is greater than the maximum of 1000"; "a billion")]
#[test_case("cart_items/0/quantity", "1e400", "value is greater than the maximum of 1000"; "beyond a float")]
#[test_case("cart_items/0/quantity", "1.5", "value is not of type \"integer\""; "one and a half")]
#[test_case("cart_items/0/quantity", "\"2\"", "value is not of type \"integer\""; "a text for a number")]
#[test_case("cart_items/0/product_id", "null", "value is not of type \"integer\""; "no product")]
#[test_case("payment_info", "\"test_success_visa\"", "value is not of type \"object\""; "a token for the payment")]
#[test_case("payment_info/token", "[\"test_success_visa\"]", "value is not of type \"string\""; "a list of tokens")]
#[test_case("payment_info/currency", "\"test_success_visa\"", "value is not one of \"USD\""; "a token for a currency")]
#[test_case("payment_info/amount", "100.001", "value is not a multiple of 0.01"; "three decimals")]
#[test_case("payment_info/amount", "-100.00", "value is less than or equal to the minimum of 0"; "a negative amount")]
#[test_case("payment_info/amount", "\"test_success_visa\"", "value is not of type \"number\""; "a token for an amount")]
#[test_case("customer_info/email", "\"nobody\"", "value is not an e-mail address such as name@example.com"; "no address")]
#[test_case("customer_info/email", "\"A <a@example.org>\"", "value has a name or brackets around the address; send the address alone, such as name@example.com"; "a display name")]
#[test_case("customer_info/email", "\"test_success_visa@localhost\"", "value has no domain such as example.com after the @"; "a token in an address")]
#[test_case("customer_info/name", "\"test_success_visa\\n\"", "value has a line break or another control character in it; write it on one line"; "a token in a name")]
#[test_case("customer_info/name", "\" \\u200b\"", "value has no letter or digit in it; write the name as it is to be read"; "a name that nobody sees")]
#[test_case("customer_info/name", "5", "value is not of type \"string\""; "a number for a name")]
#[test_case("priority", "\"now\"", "value is not one of \"standard\", \"express\" or \"overnight\"")]
#[tokio::test]
async fn what_the_schema_refuses(field: &str, value: &str, message: &str) {
    let path = format!("/checkout/{field}");
    let answer = refused(with(&path, exact(value))).await;
    assert_eq!(answer.status, 422, "{}", answer.text);
    assert_eq!(answer.body()["details"], json!([{"path": path, "message": message}]));
}

#[tokio::test]
async fn every_violation_is_told() {
    let body = json!({"checkout": {
        "cart_items": [{"product_id": 1, "quantity": 0}, {"quantity": 2}],
        "payment_info": {"token": "4242424242424242", "card_number": "4242424242424242"},
    }});
    let answer = refused(body.to_string()).await;
    assert_eq!(answer.status, 422);
    let mut details: Vec<String> = answer.body()["details"].as_array().unwrap().iter().map(Value::to_string).collect();
    details.sort_unstable();
    let told = details.join("\n");
    for (path, word) in [
        ("/checkout", "customer_info"),
        ("/checkout/cart_items/0/quantity", "minimum"),
        ("/checkout/cart_items/1", "product_id"),
        ("/checkout/payment_info", "amount"),
        ("/checkout/payment_info", "card_number"),
        ("/checkout/payment_info/token", "match"),
    ] {
        let found = details.iter().any(|line| line.contains(&format!("\"path\":\"{path}\"")) && line.contains(word));
        assert!(found, "{path} {word} in\n{told}");
    }
    assert_eq!(details.len(), 6, "{told}");
    assert!(!told.contains("4242424242424242"), "{told}");
}

/// Wherever a token is put, and whatever is wrong with it there, it does not come back.
#[tokio::test]
async fn a_token_never_comes_back() {
    let places = ["", "/cart_items", "/cart_items/0", "/cart_items/0/quantity", "/cart_items/0/price"];
    let payment =
        ["", "/token", "/amount", "/currency", "/method", "/payment_method"].map(|end| format!("/payment_info{end}"));
    let others = ["/customer_info", "/customer_info/email", "/shipping_info", "/shipping_info/zip", "/priority"];
    let places = places.into_iter().map(str::to_owned).chain(payment).chain(others.map(str::to_owned));
    let long = format!("{TOKEN}{}", "x".repeat(300));
    for place in places {
        for value in [json!(TOKEN), json!([TOKEN]), json!({"a": TOKEN}), json!([[TOKEN, 1.5]]), json!(long)] {
            let mut body = good();
            body["checkout"]["shipping_info"] = json!({});
            let path = format!("/checkout{place}");
            let (parent, name) = path.rsplit_once('/').unwrap();
            match body.pointer_mut(parent).unwrap() {
                Value::Array(list) => list[0] = value,
                fields => fields[name] = value,
            }
            let answer = checkout(&Fake::default(), body.to_string()).await;
            assert!(!answer.text.contains(TOKEN), "{body}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_body_of_nothing_but_mistakes_gets_a_bounded_answer() {
    let answer = refused(with("/checkout/cart_items", vec![json!(0); 100_000].into())).await;
    assert_eq!(answer.status, 422);
    let details = answer.body()["details"].as_array().unwrap().clone();
    assert_eq!(details.len(), violations::MOST + 1);
    let last = json!({"path": "/checkout", "message": "and 99901 more like these"});
    assert_eq!(details.last(), Some(&last));
}

/// Numbers are kept to the digit, so the checks have to bear numbers that no float can hold, and quickly.
#[test_case(&"9".repeat(200_000); "many digits")]
#[test_case(&format!("0.{}", "9".repeat(200_000)); "many decimals")]
#[test_case("1e999999999"; "a huge exponent")]
#[test_case("1e-999999999"; "a tiny one")]
#[test_case("1e99999999999999999999"; "an exponent beyond counting")]
#[tokio::test]
async fn monstrous_numbers(number: &str) {
    let started = std::time::Instant::now();
    for field in ["cart_items/0/quantity", "cart_items/0/product_id", "cart_items/0/price", "payment_info/amount"] {
        let body = with(&format!("/checkout/{field}"), json!("NUMBER")).replace("\"NUMBER\"", number);
        let answer = refused(body).await;
        assert_eq!(answer.status, 422, "{field}: {}", answer.text);
        assert!(answer.text.len() < 1_000, "{field}");
    }
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

/// `serde_json` carries numbers and raw values through maps with names of its own; as input they are nothing special.
#[tokio::test]
async fn serde_jsons_own_names() {
    for name in ["$serde_json::private::Number", "$serde_json::private::RawValue"] {
        for value in [json!(TOKEN), json!([TOKEN]), json!("[".repeat(1_000)), json!("\"x\"")] {
            let answer = refused(with("/checkout/payment_info", json!({name: value}))).await;
            assert!(matches!(answer.status.as_u16(), 400 | 422), "{}", answer.text);
        }
    }
}
