//! Who is let in, and under which name.

use super::{fake::Fake, *};
use stepwell::By;
use test_case::test_case;

const ROUTES: [(&str, &str); 8] = [
    ("GET", "/tasks"),
    ("POST", "/tasks/retry"),
    ("GET", "/tasks/018f4e4e-7c1a-7000-8000-0123456789ab"),
    ("POST", "/tasks/018f4e4e-7c1a-7000-8000-0123456789ab/retry"),
    ("POST", "/tasks/018f4e4e-7c1a-7000-8000-0123456789ab/cancel"),
    ("POST", "/tasks/018f4e4e-7c1a-7000-8000-0123456789ab/compensate"),
    ("POST", "/tasks/018f4e4e-7c1a-7000-8000-0123456789ab/resolve"),
    ("POST", "/tasks/018f4e4e-7c1a-7000-8000-0123456789ab/steps/a/resolve"),
];

const BODY: &str = r#"{"reason": "why", "who": "arn:aws:iam::1:user/mallory"}"#;

fn jwt(claims: Value) -> Value {
    json!({"jwt": {"claims": claims, "scopes": null}})
}

#[test_case(None; "no authorizer")]
#[test_case(Some(json!({})); "an authorizer that says nothing")]
#[test_case(Some(iam(json!(null))); "nobody's ARN")]
#[test_case(Some(iam(json!(""))); "an empty ARN")]
#[test_case(Some(iam(json!("a".repeat(257)))); "an ARN that cannot be kept")]
#[test_case(Some(jwt(json!({}))); "a token without claims")]
#[test_case(Some(jwt(json!({"sub": "alice"}))); "a token without an issuer")]
#[test_case(Some(jwt(json!({"sub": "", "iss": "https://id.example.com"}))); "a token of nobody")]
#[test_case(Some(jwt(json!({"sub": "a\nb", "iss": "https://id.example.com"}))); "a name of two lines")]
#[test_case(Some(json!({"lambda": {"sub": "alice", "userArn": "arn:aws:iam::1:user/a"}})); "another authorizer")]
#[tokio::test]
async fn nobody_is_let_in(authorizer: Option<Value>) {
    for (method, path) in ROUTES {
        let fake = Fake::default();
        let answer = send_as(authorizer.clone(), &fake, method, path, BODY).await;
        assert_eq!(answer.status, 403, "{method} {path}: {}", answer.text);
        assert_eq!(answer.body()["success"], false);
        assert!(fake.is_untouched(), "{method} {path}");
    }
}

#[tokio::test]
async fn an_operator_is_let_in_on_every_route() {
    for (method, path) in ROUTES {
        let answer = send(&Fake::default(), method, path, BODY).await;
        assert!(matches!(answer.status, 200 | 202 | 404 | 422), "{method} {path}: {}", answer.text);
    }
}

#[test_case(iam(json!(ARN)), ARN; "an IAM identity")]
#[test_case(jwt(json!({"sub": "alice", "iss": "https://id.example.com", "exp": "1"})), "alice (https://id.example.com)")]
#[tokio::test]
async fn the_audit_trail_names_whom_the_authorizer_names(authorizer: Value, who: &str) {
    let fake = Fake::default();
    let path = format!("/tasks/{ID}/cancel");
    let answer = send_as(Some(authorizer), &fake, "POST", &path, r#"{"reason": "the customer asked for it"}"#).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(fake.state().actions[0].2, By::new(who, "the customer asked for it").unwrap());
}

#[tokio::test]
async fn a_body_cannot_say_who() {
    let fake = Fake::default();
    let answer = post(&fake, &format!("/tasks/{ID}/cancel"), BODY).await;
    assert_eq!(answer.faults(), [("/who".to_owned(), "is not known here".to_owned())]);
    assert!(fake.is_untouched());
}

#[test_case("GET", "/tasks/"; "a task without an id")]
#[test_case("GET", "//tasks")]
#[test_case("GET", "/checkout")]
#[test_case("POST", "/tasks/018f4e4e-7c1a-7000-8000-0123456789ab/steps/resolve")]
#[test_case("POST", "/tasks/018f4e4e-7c1a-7000-8000-0123456789ab/explode")]
#[tokio::test]
async fn an_unknown_path_is_not_found(method: &str, path: &str) {
    let answer = send(&Fake::default(), method, path, BODY).await;
    assert_eq!((answer.status, answer.body()), (404, json!({"error": "No such path"})));
}

#[test_case("POST", "/tasks", "GET,HEAD")]
#[test_case("DELETE", "/tasks/018f4e4e-7c1a-7000-8000-0123456789ab", "GET,HEAD")]
#[test_case("GET", "/tasks/018f4e4e-7c1a-7000-8000-0123456789ab/cancel", "POST")]
#[tokio::test]
async fn a_wrong_method_is_told_the_right_one(method: &str, path: &str, allowed: &str) {
    let answer = send(&Fake::default(), method, path, "").await;
    assert_eq!((answer.status, &answer.headers["allow"]), (405, &json!(allowed)));
}

#[tokio::test]
async fn what_is_down_is_not_told() {
    for (method, path) in ROUTES {
        let fake = Fake::default();
        fake.state().outage = true;
        let answer = send(&fake, method, path, r#"{"reason": "why", "result": 1}"#).await;
        // Only a step takes a result.
        let status = if method == "POST" && !path.contains("/steps/") { 422 } else { 503 };
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        assert!(!answer.text.contains(fake::INTERNALS), "{}", answer.text);
    }
}

#[tokio::test]
async fn header_that_http_does_not_allow_is_400() {
    let fake = Fake::default();
    let answer = send_event(&fake, json!({"headers": {"x-reason": "a\u{1}b"}}), "POST", "/tasks/retry", BODY).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert!(answer.body()["error"].as_str().unwrap().starts_with("The header x-reason has a control character"));
    assert!(fake.is_untouched());
}
