//! What API Gateway answers itself: whether a page of another origin may call the API. The program of one machine refuses such pages.

use stepwell_tests::stack::Stack;

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
