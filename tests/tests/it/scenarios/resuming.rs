//! A checkout that failed, and is resumed at the step that failed.

use serde_json::json;
use stepwell_tests::stack::Stack;

#[tokio::test]
async fn a_retry_goes_on_at_the_failed_step_and_charges_once() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    // Down for as many attempts as there are; the fourth finds it back.
    let (task, status, before) = stack.api.run(&product.request(2, "test_temp_fail_3_visa")).await;
    assert_eq!((&status["status"], &status["failed_step"]), (&json!("failed"), &json!("process_payment")), "{status}");
    assert_eq!(before.outcomes("process_payment"), ["retryable_error"; 3]);
    assert_eq!(stack.charges(&task).await, [0; 0]);

    let retry = stack.api.post(status["retry_url"].as_str().unwrap(), "").await.expect(202);
    assert_eq!(retry["success"], true);
    assert_eq!(retry["message"], "Checkout retry initiated");
    assert_eq!(retry["task_id"], task);
    assert!(retry["status"].is_string(), "{retry}");

    let status = stack.api.until_ended(&task).await;
    assert_eq!(status["status"], "completed", "{status}");
    let after = stack.api.details(&task).await;
    assert_eq!(
        after.outcomes("process_payment"),
        ["retryable_error", "retryable_error", "retryable_error", "complete"],
        "the audit trail goes on"
    );
    assert_eq!(after.step("validate_cart"), before.step("validate_cart"), "what completed is not run again");
    assert_eq!(stack.charges(&task).await, [product.total_cents(2)]);
    assert_eq!(stack.orders(&task).await.len(), 1);
    assert_eq!(product.stock().await, 3);
    assert_eq!(stack.mails_to(&product.email()).await.len(), 1);
}

#[tokio::test]
async fn a_retry_gives_a_fresh_set_of_attempts() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let (task, _, _) = stack.api.run(&product.request(1, "test_timeout_visa")).await;
    stack.api.post(&format!("/retry_checkout/{task}"), "").await.expect(202);
    let status = stack.api.until_ended(&task).await;
    assert_eq!(status["error"]["code"], "GATEWAY_TIMEOUT", "{status}");
    let details = stack.api.details(&task).await;
    assert_eq!(details.outcomes("process_payment"), ["retryable_error"; 6]);
    let numbers: Vec<_> = details.attempts("process_payment").iter().map(|a| a["number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6]);
}

#[tokio::test]
async fn a_checkout_that_has_not_failed_cannot_be_retried() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let (task, status, before) = stack.api.run(&product.request(1, "test_success_visa")).await;
    assert_eq!(status["status"], "completed", "{status}");
    let refused = stack.api.post(&format!("/retry_checkout/{task}"), "").await.expect(409);
    assert_eq!(refused, json!({"success": false, "error": "Cannot retry task in complete status"}));

    // One that waits out a rate limit.
    let running = stack.api.start(&product.request(1, "test_rate_limit_visa")).await;
    let refused = stack.api.post(&format!("/retry_checkout/{running}"), "").await.expect(409);
    let error = refused["error"].as_str().unwrap();
    assert!(
        ["pending", "in_progress"].iter().any(|status| error == format!("Cannot retry task in {status} status")),
        "{refused}"
    );
    assert_eq!(stack.api.details(&task).await.0, before.0);
}

#[tokio::test]
async fn two_retries_at_once_are_one() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let (task, status, _) = stack.api.run(&product.request(1, "test_temp_fail_3_visa")).await;
    assert_eq!(status["status"], "failed", "{status}");
    let path = format!("/retry_checkout/{task}");
    let answers = futures::future::join_all((0..5).map(|_| stack.api.post(&path, ""))).await;
    let mut statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409, 409, 409, 409]);
    assert_eq!(stack.api.until_ended(&task).await["status"], "completed");
    assert_eq!(stack.api.details(&task).await.attempts("process_payment").len(), 4);
    assert_eq!(stack.charges(&task).await, [product.total_cents(1)]);
}
