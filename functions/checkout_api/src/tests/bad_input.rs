//! Refused requests of `POST /checkout`, and secrets in their answers. The tests of `http_api` cover the reading of
//! bodies, and those of `checkout` cover the schema.

use super::*;
use std::iter;
use test_case::test_case;

/// Sends a body that has to be refused. Checks that it had no effect and that the answer has no secret.
async fn refused(body: impl Into<Body>) -> ApiAnswer {
    let api = Api::new();
    let answer = api.checkout(body).await;
    assert_eq!(answer.body()["success"], false);
    assert!(!answer.text.contains(TOKEN), "{}", answer.text);
    assert!(api.is_untouched());
    answer
}

#[test_case(
    "{\"checkout\": \"test_success_visa",
    400,
    "The body is not JSON: EOF while parsing a string at line 1 column 31"
)]
#[test_case("{\"checkout\":{\"a\":1,\"a\":1}}", 400, "A field is there more than once; send it once")]
#[test_case(&" ".repeat(256 * 1024 + 1), 413, "The body is too large; at most 262144 bytes are accepted"; "too large")]
#[tokio::test]
async fn body_that_cannot_be_read(body: &str, status: u16, error: &str) {
    assert_eq!(refused(body.to_owned()).await.refusal(), (status, error.to_owned()));
}

#[tokio::test]
async fn largest_body_is_accepted_and_a_type_other_than_json_is_refused() {
    let (api, body) = (Api::new(), good().to_string());
    assert_eq!(api.checkout(" ".repeat(256 * 1024 - body.len()) + &body).await.status, 202);
    assert_eq!(api.send("POST", "/checkout", &[("Content-Type", "application/xml")], body).await.status, 415);
}

const OBJECT: &str = "the body has to be an object with the field \"checkout\"";
const REQUIRED: &str = "\"checkout\" is a required property";

#[test_case("null", "", OBJECT)]
#[test_case("[{\"checkout\": {}}]", "", OBJECT; "a list around an object")]
#[test_case("\"test_success_visa\"", "", OBJECT; "a text")]
#[test_case("{}", "/checkout", REQUIRED; "an empty object")]
#[test_case("{\"checkout\": null}", "/checkout", "value is not of type \"object\""; "no request")]
#[test_case("{\"checkout\": [\"test_success_visa\"]}", "/checkout", "value is not of type \"object\""; "a list")]
#[test_case(&with("/priority", "\"test_success_visa\""), "/priority", "only \"checkout\" is expected here"; "beside it")]
#[test_case(&with("/a~b", "1"), "/a~0b", "only \"checkout\" is expected here"; "a name to be escaped")]
#[tokio::test]
async fn body_without_a_request_is_refused_with_the_path(body: &str, path: &str, message: &str) {
    violation(body.to_owned(), path, message).await;
}

async fn violation(body: String, path: &str, message: &str) {
    let answer = refused(body).await;
    assert_eq!(answer.refusal(), (422, "Invalid checkout data".to_owned()));
    assert_eq!(answer.body()["details"], json!([{"path": path, "message": message}]));
}

#[test_case("cart_items", "[]", "value has less than 1 item"; "an empty cart")]
#[test_case("cart_items/0/quantity", "1e400", "value is greater than the maximum of 1000"; "beyond a float")]
#[test_case("payment_info/token", "[\"test_success_visa\"]", "value is not of type \"string\""; "a list of tokens")]
#[test_case("payment_info/currency", "\"test_success_visa\"", "value is not one of \"USD\""; "a token for a currency")]
#[test_case("payment_info/amount", "\"test_success_visa\"", "value is not of type \"number\""; "a token for an amount")]
#[test_case("customer_info/email", "\"test_success_visa@localhost\"", "value has no domain such as example.com after the @"; "a token in an address")]
#[test_case("customer_info/name", "\"test_success_visa\\n\"", "value has a line break or another control character in it; write it on one line"; "a token in a name")]
#[tokio::test]
async fn violation_of_the_schema_has_its_path(field: &str, value: &str, message: &str) {
    let path = format!("/checkout/{field}");
    violation(with(&path, value), &path, message).await;
}

/// Puts the token into every field, valid or not.
#[tokio::test]
async fn token_is_never_in_the_answer() {
    let api = Api::new();
    let places = "/cart_items /cart_items/0 /cart_items/0/quantity /cart_items/0/price /payment_info /payment_info/token \
        /payment_info/amount /payment_info/currency /payment_info/method /payment_info/payment_method /customer_info \
        /customer_info/email /shipping_info /shipping_info/zip /priority";
    let long = format!("{TOKEN}{}", "x".repeat(300));
    for place in iter::once("").chain(places.split_whitespace()) {
        for value in [json!(TOKEN), json!([TOKEN]), json!({"a": TOKEN}), json!([[TOKEN, 1.5]]), json!(long)] {
            let answer = api.checkout(with(&format!("/checkout{place}"), &value.to_string())).await;
            assert!(!answer.text.contains(TOKEN), "{value} at {place}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn answer_to_a_body_full_of_faults_is_bounded() {
    let answer = refused(with("/checkout/cart_items", &json!(vec![0; 100_000]).to_string())).await;
    let details = answer.body()["details"].as_array().unwrap().clone();
    assert_eq!((answer.status, details.len()), (422, http_api::MOST_VIOLATIONS + 1));
    assert_eq!(details.last(), Some(&json!({"path": "/checkout", "message": "and 99901 more like these"})));
}

/// Numbers keep every digit, so the checks have to handle numbers beyond the range of floats.
#[test_case(&"9".repeat(200_000); "many digits")]
#[test_case(&format!("0.{}", "9".repeat(200_000)); "many decimals")]
#[test_case("1e999999999"; "a huge exponent")]
#[test_case("1e-999999999"; "a tiny one")]
#[test_case("1e99999999999999999999"; "an exponent beyond counting")]
#[tokio::test]
async fn number_beyond_every_range_is_refused(number: &str) {
    for field in ["cart_items/0/quantity", "cart_items/0/product_id", "cart_items/0/price", "payment_info/amount"] {
        let answer = refused(with(&format!("/checkout/{field}"), number)).await;
        assert_eq!(answer.status, 422, "{field}: {}", answer.text);
        assert!(answer.text.len() < 1_000, "{field}");
    }
}

/// `serde_json` represents numbers and raw values as maps with private names. In a request they are unknown fields.
#[tokio::test]
async fn private_names_of_serde_json_are_refused() {
    for name in ["$serde_json::private::Number", "$serde_json::private::RawValue"] {
        for value in [json!(TOKEN), json!([TOKEN]), json!("[".repeat(1_000)), json!("\"x\"")] {
            let answer = refused(with("/checkout/payment_info", &json!({name: value}).to_string())).await;
            assert!(matches!(answer.status, 400 | 422), "{}", answer.text);
        }
    }
}
