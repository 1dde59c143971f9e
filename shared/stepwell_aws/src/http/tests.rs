//! Tests of the adapter with events of API Gateway and the responses of the function.

use super::*;
use axum::{Json, body::to_bytes, routing::any};
use lambda_http::tower::ServiceExt;
use serde_json::{Value, json};
use test_case::test_case;

const REQUEST_ID: &str = "af9c3624-3842-4629-a9d2-4ea1f7b5d8a1";

/// The issuer of the tokens of the console's people.
const PEOPLE: &str = "https://cognito-idp.eu-central-1.amazonaws.com/eu-central-1_abc";

/// Answers with the request that it received.
async fn echo(request: Request) -> Json<Value> {
    let (parts, body) = request.into_parts();
    let body = String::from_utf8(to_bytes(body, usize::MAX).await.unwrap().to_vec()).unwrap();
    let caller = parts.extensions.get::<Caller>();
    let (rights, caller) = (caller.map(|caller| format!("{:?}", caller.rights)), caller.map(|caller| &caller.name));
    let (method, key) = (parts.method.as_str(), parts.headers.get("idempotency-key"));
    let key = key.map(|key| key.to_str().unwrap());
    Json(
        json!({"method": method, "query": http_api::query_fields(&parts), "caller": caller, "rights": rights, "key": key, "body": body}),
    )
}

/// An event of an HTTP API, payload format 2.0, with these parts.
fn event(parts: Value) -> Value {
    let mut event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": "/echo", "rawQueryString": "",
        "headers": {"host": "abc.execute-api.eu-central-1.amazonaws.com", "idempotency-key": "k-1"},
        "requestContext": {
            "accountId": "1", "apiId": "abc", "domainName": "abc.execute-api.eu-central-1.amazonaws.com",
            "domainPrefix": "abc", "requestId": "r", "routeKey": "$default", "stage": "$default",
            "time": "12/Mar/2020:19:03:58 +0000", "timeEpoch": 1_583_348_638_390_u64,
            "http": {"method": "POST", "path": "/", "protocol": "HTTP/1.1", "sourceIp": "1.1.1.1", "userAgent": "x"},
        },
        "body": "", "isBase64Encoded": false,
    });
    for (name, part) in parts.as_object().unwrap() {
        match part {
            Value::Object(fields) => event[name].as_object_mut().unwrap().extend(fields.clone()),
            part => event[name] = part.clone(),
        }
    }
    event
}

/// Handles an event and returns the response's status and body. Checks the other parts of the response.
async fn invoke(event: &Value) -> (u64, Value) {
    let routes = Router::new().route("/echo", any(echo)).route("/panics", any(async || -> &str { panic!("a::b") }));
    let router = http_api::complete(routes, Duration::from_secs(9));
    let mut context = lambda_http::Context::default();
    context.request_id = REQUEST_ID.to_owned();
    let event = LambdaEvent::new(serde_json::from_str(&event.to_string()).unwrap(), context);
    let issuers = Issuers { people: Some(PEOPLE.to_owned()), stack: Some("stepwell-test".to_owned()) };
    let answer = serde_json::to_value(service(router, issuers).oneshot(event).await.unwrap()).unwrap();
    let headers = &answer["headers"];
    for (name, value) in
        [("content-type", "application/json"), ("cache-control", "no-store"), ("x-request-id", REQUEST_ID)]
    {
        assert_eq!(headers[name], value, "{name} of {answer}");
    }
    assert_eq!(answer["isBase64Encoded"], false);
    (answer["statusCode"].as_u64().unwrap(), serde_json::from_str(answer["body"].as_str().unwrap()).unwrap())
}

/// Handles an event that has to reach the route, and returns the request that the route received.
async fn received(parts: Value) -> Value {
    let (status, body) = invoke(&event(parts)).await;
    assert_eq!(status, 200, "{body}");
    body
}

#[test_case("{\"a\": \"\u{e9}\"}", false; "as text")]
#[test_case("eyJhIjogIsOpIn0=", true; "in base64")]
#[tokio::test]
async fn request_reaches_the_route_unchanged(body: &str, base64: bool) {
    let found = received(json!({"body": body, "isBase64Encoded": base64, "rawQueryString": "a=x+y&a=%C3%A9"})).await;
    let query = [["a", "x y"], ["a", "\u{e9}"]];
    let expected = json!({"method": "POST", "query": query, "caller": null, "rights": null, "key": "k-1", "body": "{\"a\": \"\u{e9}\"}"});
    assert_eq!(found, expected);
}

/// A part that is invalid in a URL does not keep a request from its route.
#[test_case(json!({"headers": {"host": "a b", "x-forwarded-proto": "a b"}}); "a host with a space")]
#[test_case(json!({"headers": {"host": "[::1"}}); "an incomplete address as a host")]
#[test_case(json!({"headers": {"host": "\u{e9}"}}); "a host that is not ASCII")]
#[test_case(json!({"headers": {"host": "example.com:99999"}}); "an invalid port")]
#[test_case(json!({"rawQueryString": "a=\"<x y>&%"}); "a query with quotes")]
#[test_case(json!({"rawQueryString": "%zz=%&=&==&?&#"}); "invalid escapes")]
#[test_case(json!({"rawQueryString": "a=\u{0}&\u{1}=\u{7f}&%00=%00&%ff=%fe&\u{e9}=\u{1f980}"}); "control characters")]
#[test_case(json!({"rawQueryString": "a=b\r\nX-Evil: 1&status[]=error&{}&\\"}); "a line break")]
#[test_case(json!({"rawQueryString": "a=".to_owned() + &"\"".repeat(100_000)}); "a long value")]
#[test_case(json!({"rawQueryString": "x=1&".repeat(50_000)}); "many fields")]
#[tokio::test]
async fn request_with_invalid_url_parts_reaches_the_route(parts: Value) {
    received(parts).await;
}

#[tokio::test]
async fn path_with_invalid_characters_is_not_found() {
    for path in ["/a b", "/\u{e9}", "/%", "/\"<>", "//", "/\u{1}", "/a?b#c"] {
        assert_eq!(invoke(&event(json!({"rawPath": path}))).await, (404, json!({"error": "No such path"})), "{path}");
    }
}

const CONTROL: &str = "has a control character in it, such as a line break; send it without";
const NAME: &str = "A header has a name that HTTP does not allow";
const OURS: &str = "Something went wrong on our side";

/// The answer has no name of a Rust type and no other internals.
#[test_case(event(json!({"headers": {"idempotency-key": "k\u{1}1"}})), 400, &format!("The header idempotency-key {CONTROL}"); "a control character")]
#[test_case(event(json!({"headers": {"Idempotency-Key": "k\r\nx: y"}})), 400, &format!("The header idempotency-key {CONTROL}"); "a line break")]
#[test_case(event(json!({"headers": {"x-request": "a\u{7f}"}})), 400, &format!("The header x-request {CONTROL}"); "a header that nobody reads")]
#[test_case(event(json!({"headers": {"x request": "a"}})), 400, NAME; "a space in a name")]
#[test_case(event(json!({"headers": {"x\u{1}": "a"}})), 400, NAME; "a control character in a name")]
#[test_case(event(json!({"headers": {"": "a"}})), 400, NAME; "no name")]
#[test_case(event(json!({"rawPath": "/".to_owned() + &"x".repeat(70_000)})), 400, "The request cannot be read: its path is too long, or is not one"; "a path longer than a URL")]
#[test_case(event(json!({"rawPath": "/panics"})), 500, OURS; "a route that panics")]
#[test_case(json!({}), 500, OURS; "an empty event")]
#[test_case(json!("text"), 500, OURS; "a text")]
#[test_case(json!(null), 500, OURS; "nothing")]
#[test_case(json!({"Records": [{"body": "{}", "eventSource": "aws:sqs"}]}), 500, OURS; "an event of a queue")]
#[tokio::test]
async fn event_that_is_not_a_request_gets_an_error_answer(event: Value, status: u64, error: &str) {
    assert_eq!(invoke(&event).await, (status, json!({"success": false, "error": error})));
}

fn iam(arn: Value) -> Value {
    json!({"iam": {
        "accessKey": "AKIA", "accountId": "123456789012", "callerId": "AIDA", "cognitoIdentity": null,
        "principalOrgId": "o-1", "userArn": arn, "userId": "AIDA",
    }})
}

fn jwt(claims: Value) -> Value {
    json!({"jwt": {"claims": claims, "scopes": null}})
}

#[test_case(json!({}), None; "an authorizer without data")]
#[test_case(iam(json!("arn:aws:iam::1:user/a")), Some("arn:aws:iam::1:user/a"); "an IAM identity")]
#[test_case(iam(json!(null)), None; "no ARN")]
#[test_case(jwt(json!({"sub": "alice", "iss": "https://id.example.com", "exp": "1"})), Some("alice (https://id.example.com)"))]
#[test_case(jwt(json!({})), None; "a token without claims")]
#[test_case(jwt(json!({"sub": "alice"})), None; "a token without an issuer")]
#[test_case(jwt(json!({"sub": "", "iss": "https://id.example.com"})), None; "an empty subject")]
#[test_case(json!({"lambda": {"sub": "alice", "userArn": "arn:aws:iam::1:user/a"}}), None; "another authorizer")]
#[tokio::test]
async fn caller_is_read_from_the_authorizer(authorizer: Value, name: Option<&str>) {
    let found = received(json!({"requestContext": {"authorizer": authorizer}, "headers": {"caller": "mallory"}})).await;
    assert_eq!(
        (found["caller"].as_str(), found["rights"].as_str()),
        (name, name.and(Some(if name.is_some_and(|name| name.starts_with("arn")) { "Act" } else { "Mend" })))
    );
}

#[test_case(json!({"cognito:groups": "[operators]"}), "All"; "in the group")]
#[test_case(json!({"cognito:groups": "[admins operators]"}), "All"; "in the group and another")]
#[test_case(json!({"cognito:groups": "[admins]"}), "Look"; "in another group")]
#[test_case(json!({"cognito:groups": "[co-operators operators2]"}), "Look"; "in groups with names that have that of the group in them")]
#[test_case(json!({"cognito:groups": "[[operators]]"}), "Look"; "in a group whose name has brackets")]
#[test_case(json!({"cognito:groups": "operators"}), "Look"; "in what is no list")]
#[test_case(json!({"groups": "[operators]"}), "Look"; "in none")]
#[tokio::test]
async fn person_of_the_console_acts_as_one_of_its_operators(claims: Value, rights: &str) {
    let mut all = json!({"sub": "0a1b", "iss": PEOPLE, "username": "ann", "client_id": "client-1"});
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    let found = received(json!({"requestContext": {"authorizer": jwt(all)}})).await;
    assert_eq!((found["caller"].as_str(), found["rights"].as_str()), (Some("ann (console)"), Some(rights)));
}

/// Who may act by the other routes may not see inputs, whatever path a request has.
#[test_case("POST /tasks/{task_id}/reveal", "All")]
#[test_case("POST /tasks/{proxy+}", "Act")]
#[test_case("GET /tasks", "Act")]
#[tokio::test]
async fn inputs_are_shown_by_their_own_route_alone(route: &str, rights: &str) {
    let context = json!({"routeKey": route, "authorizer": iam(json!("arn:aws:iam::1:user/a"))});
    let found = received(json!({"requestContext": context})).await;
    assert_eq!(found["rights"].as_str(), Some(rights));
}

#[test_case("scope", "openid tasks.write start", "POST /tasks/{proxy+}", "Act"; "a scope")]
#[test_case("scope", "stepwell-test/start", "POST /tasks/{proxy+}", "Act"; "a scope of Cognito")]
#[test_case("scp", "[tasks.write start]", "POST /tasks/{proxy+}", "Act"; "an array")]
#[test_case("scope", "other/start starter", "POST /tasks/{proxy+}", "Mend"; "scopes of others")]
#[test_case("scope", "tasks.write", "POST /tasks/{proxy+}", "Mend"; "none")]
#[test_case("scope", "tasks.reveal", "POST /tasks/{task_id}/reveal", "All"; "the right of another route")]
#[tokio::test]
async fn token_starts_tasks_by_its_scope(claim: &str, scopes: &str, route: &str, rights: &str) {
    let token = jwt(json!({"sub": "alice", "iss": "https://id.example.com", claim: scopes}));
    let found = received(json!({"requestContext": {"routeKey": route, "authorizer": token}})).await;
    assert_eq!(found["rights"].as_str(), Some(rights));
}

/// The group counts in the console's pool alone: the scopes of other issuers say who may act.
#[tokio::test]
async fn token_of_another_issuer_needs_no_group_and_one_of_the_console_a_name() {
    let other = jwt(json!({"sub": "0a1b", "iss": "https://id.example.com", "username": "ann"}));
    let found = received(json!({"requestContext": {"authorizer": other}})).await;
    assert_eq!((&found["caller"], &found["rights"]), (&json!("0a1b (https://id.example.com)"), &json!("Mend")));
    let nameless = jwt(json!({"sub": "0a1b", "iss": PEOPLE, "cognito:groups": "[operators]"}));
    assert_eq!(received(json!({"requestContext": {"authorizer": nameless}})).await["caller"], json!(null));
}
