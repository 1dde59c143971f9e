//! Requests as API Gateway hands them to Lambda.

use super::{fake::Fake, *};
use crate::routes;
use lambda_http::LambdaEvent;

/// An event of an HTTP API, payload format 2.0.
fn event(method: &str, path: &str, body: &str, base64: bool) -> Value {
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "a=\"<x y>&%",
        "headers": {"host": "abc.execute-api.eu-central-1.amazonaws.com", "idempotency-key": "k-1"},
        "requestContext": {
            "accountId": "1", "apiId": "abc", "domainName": "abc.execute-api.eu-central-1.amazonaws.com",
            "domainPrefix": "abc", "requestId": "r", "routeKey": "$default", "stage": "$default",
            "time": "12/Mar/2020:19:03:58 +0000", "timeEpoch": 1_583_348_638_390_u64,
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "1.1.1.1", "userAgent": "x"},
        },
        "body": body, "isBase64Encoded": base64,
    })
}

/// The answer that Lambda gives API Gateway.
async fn invoke(fake: &Fake, event: Value) -> Value {
    let mut context = lambda_http::Context::default();
    context.request_id = REQUEST_ID.to_owned();
    let event = LambdaEvent::new(serde_json::from_str(&event.to_string()).unwrap(), context);
    let answer = http_api::service(routes::router(fake.clone())).oneshot(event).await.unwrap();
    serde_json::to_value(answer).unwrap()
}

const REQUEST_ID: &str = "af9c3624-3842-4629-a9d2-4ea1f7b5d8a1";

const BODY: &str = r#"{"checkout":{
    "cart_items":[{"product_id":1,"quantity":1}],
    "payment_info":{"token":"tok","amount":52.50},
    "customer_info":{"email":"a@example.com","name":"A"}
}}"#;

/// The same without its white space, in base64.
const BODY_IN_BASE64: &str = "\
    eyJjaGVja291dCI6eyJjYXJ0X2l0ZW1zIjpbeyJwcm9kdWN0X2lkIjoxLCJxdWFudGl0eSI6MX1dLCJwYXltZW50X2luZm8iOnsi\
    dG9rZW4iOiJ0b2siLCJhbW91bnQiOjUyLjUwfSwiY3VzdG9tZXJfaW5mbyI6eyJlbWFpbCI6ImFAZXhhbXBsZS5jb20iLCJuYW1l\
    IjoiQSJ9fX0=";

#[tokio::test]
async fn a_body_arrives_as_text_or_in_base64() {
    let fake = Fake::default();
    let plain = invoke(&fake, event("POST", "/checkout", BODY, false)).await;
    let encoded = invoke(&fake, event("POST", "/checkout", BODY_IN_BASE64, true)).await;
    assert_eq!(plain["statusCode"], 202, "{plain}");
    assert_eq!(plain, encoded, "the same request under the same key");
    assert_eq!(fake.state().tasks.len(), 1);
}

#[tokio::test]
async fn an_answer_is_text_and_names_lambdas_request() {
    let answer = invoke(&Fake::default(), event("GET", "/products", "", false)).await;
    assert_eq!((&answer["statusCode"], &answer["isBase64Encoded"]), (&json!(200), &json!(false)));
    assert_eq!(answer["body"], r#"{"products":[]}"#);
    assert_eq!(answer["headers"]["x-request-id"], REQUEST_ID);
}

/// An HTTP API decodes the path, so a strange one is something that happens.
#[tokio::test]
async fn a_strange_path_is_not_found() {
    for path in ["/orders/a b", "/orders/é", "/orders/%", "/orders/\"<>", "//", "/order_status/\u{1}", "/a?b#c"] {
        let answer = invoke(&Fake::default(), event("GET", path, "", false)).await;
        assert_eq!(answer["statusCode"], 404, "{path}");
    }
}
