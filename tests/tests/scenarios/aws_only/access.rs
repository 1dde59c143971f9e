//! What API Gateway answers itself: requests that no operator has signed, and pages of other origins. For the program of one machine
//! `shared/checkout_local/tests/program.rs` and the tests of `stepwell_local::http` say who is let in.

use aws_credential_types::Credentials;
use serde_json::json;
use stepwell_tests::{operators::Operator, stack::Stack};

#[tokio::test]
async fn request_without_a_signature_is_rejected() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let (task, ..) = stack.api.run(&product.request(1, "test_declined_visa")).await;
    let before = stack.task(&task).await;
    let routes = [
        ("GET", "/tasks".to_owned()),
        ("GET", "/tasks?status=error".to_owned()),
        ("GET", "/tasks/bulk".to_owned()),
        ("POST", "/tasks/bulk".to_owned()),
        ("GET", format!("/tasks/{task}")),
        ("POST", format!("/tasks/{task}/redrive")),
        ("POST", format!("/tasks/{task}/cancel")),
        ("POST", format!("/tasks/{task}/compensate")),
        ("POST", format!("/tasks/{task}/resolve")),
        ("POST", format!("/tasks/{task}/steps/process_payment/resolve")),
        ("POST", format!("/orders/{task}/ship")),
        ("POST", format!("/orders/{task}/resend")),
    ];
    let stranger =
        Operator::with_keys(&stack.api, Credentials::new("AKIAIOSFODNN7EXAMPLE", "test", None, None, "tests"));
    for (method, path) in routes {
        let body = json!({"reason": "to see what happens", "dry_run": false}).to_string();
        let request = || stack.api.request(method, &path).body(body.clone());
        let unsigned = stack.api.answer(request()).await;
        assert!(matches!(unsigned.status, 401 | 403), "{method} {path}: {unsigned:?}");
        let with_a_token = stack.api.answer(request().bearer_auth("x.y.z")).await;
        assert!(matches!(with_a_token.status, 401 | 403), "{method} {path}: {with_a_token:?}");
        let strange = stranger.send(method, &path, body.clone()).await;
        assert_eq!(strange.status, 403, "{method} {path}: {strange:?}");
        for answer in [unsigned, with_a_token, strange] {
            assert!(!answer.text.contains(&task), "{}", answer.text);
        }
    }
    // Beside those routes there is only the customers' function, which knows no tasks.
    for path in ["/tasks/", "/TASKS", "/tasks%2fretry"] {
        let answer = stack.api.get(path).await;
        assert!(matches!(answer.status, 401 | 403 | 404), "{path}: {answer:?}");
    }
    assert_eq!(stack.task(&task).await, before);
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
