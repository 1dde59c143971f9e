//! Requests as API Gateway hands them to Lambda.

use super::{fake::Fake, *};
use crate::routes;
use lambda_http::LambdaEvent;
use test_case::test_case;

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
    invoke_router(routes::router(fake.clone()), event).await
}

async fn invoke_router(router: axum::Router, event: Value) -> Value {
    let mut context = lambda_http::Context::default();
    context.request_id = REQUEST_ID.to_owned();
    let event = LambdaEvent::new(serde_json::from_str(&event.to_string()).unwrap(), context);
    let answer = stepwell_aws::http::service(router).oneshot(event).await.unwrap();
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
    assert_eq!(fake.store.tasks().len(), 1);
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

/// The refused header of a request, and what is said of it.
#[test_case("idempotency-key", "k\u{1}1", "The header idempotency-key has a control character in it"; "a control character")]
#[test_case("Idempotency-Key", "k-1\r\nx: y", "The header idempotency-key has a control character in it"; "a line break")]
#[test_case("x-request", "a\u{7f}", "The header x-request has a control character in it"; "a header that nobody reads")]
#[test_case("x request", "a", "A header has a name that HTTP does not allow"; "a space in a name")]
#[test_case("x\u{1}", "a", "A header has a name that HTTP does not allow"; "a control character in a name")]
#[test_case("", "a", "A header has a name that HTTP does not allow"; "no name")]
#[tokio::test]
async fn header_that_http_does_not_allow_is_400(name: &str, value: &str, error: &str) {
    let fake = Fake::default();
    let mut event = event("POST", "/checkout", BODY, false);
    event["headers"][name] = json!(value);
    let answer = invoke(&fake, event).await;
    let body = refusal(&answer, 400);
    assert!(body["error"].as_str().unwrap().starts_with(error), "{body}");
    assert_eq!(fake.store.count(), 0);
}

/// What the answer says, which has to be ours from head to foot.
fn refusal(answer: &Value, status: u16) -> Value {
    assert_eq!(answer["statusCode"], status, "{answer}");
    let headers = &answer["headers"];
    assert_eq!((&headers["content-type"], &headers["cache-control"]), (&json!("application/json"), &json!("no-store")));
    assert_eq!(headers["x-request-id"], REQUEST_ID);
    let body: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["success"], false);
    for internal in ["lambda", "serde", "::", "panic", "payload"] {
        assert!(!answer.to_string().to_lowercase().contains(internal), "{internal} in {answer}");
    }
    body
}

#[test_case("a b"; "a space")]
#[test_case("[::1"; "half an address")]
#[test_case("\u{e9}"; "not ASCII")]
#[test_case("example.com:99999"; "no port")]
#[tokio::test]
async fn the_host_is_not_looked_at(host: &str) {
    let mut event = event("GET", "/products", "", false);
    event["headers"]["host"] = json!(host);
    event["headers"]["x-forwarded-proto"] = json!("a b");
    assert_eq!(invoke(&Fake::default(), event).await["statusCode"], 200);
}

#[tokio::test]
async fn path_that_is_longer_than_a_url_is_400() {
    let path = format!("/orders/{}", "x".repeat(70_000));
    refusal(&invoke(&Fake::default(), event("GET", &path, "", false)).await, 400);
}

#[test_case(json!({}); "an empty event")]
#[test_case(json!("text"); "a text")]
#[test_case(json!(null); "nothing")]
#[test_case(json!({"Records": [{"body": "{}", "eventSource": "aws:sqs"}]}); "an event of a queue")]
#[tokio::test]
async fn event_of_something_else_is_500(event: Value) {
    assert_eq!(refusal(&invoke(&Fake::default(), event).await, 500)["error"], "Something went wrong on our side");
}

#[tokio::test]
async fn route_that_panics_is_500() {
    let routes =
        axum::Router::new().route("/products", axum::routing::get(async || -> &str { panic!("serde::lambda") }));
    let router = http_api::complete(routes, std::time::Duration::from_secs(1));
    let answer = invoke_router(router, event("GET", "/products", "", false)).await;
    assert_eq!(refusal(&answer, 500)["error"], "Something went wrong on our side");
}

#[test_case(include_str!("../../../../events/checkout_api/start_checkout_bad_header.json"), "The header idempotency-key")]
#[test_case(include_str!("../../../../events/checkout_api/start_checkout_duplicate_key.json"), "A field is there more than once")]
#[test_case(include_str!("../../../../events/checkout_api/start_checkout_not_json.json"), "The body is not JSON")]
#[tokio::test]
async fn sample_event_of_a_bad_request_is_400(event: &str, error: &str) {
    let answer = invoke(&Fake::default(), serde_json::from_str(event).unwrap()).await;
    assert!(refusal(&answer, 400)["error"].as_str().unwrap().starts_with(error), "{answer}");
}
