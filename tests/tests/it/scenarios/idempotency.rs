//! A request that is sent more than once.

use futures::future::join_all;
use serde_json::json;
use stepwell_tests::stack::Stack;

#[tokio::test]
async fn the_same_key_and_request_are_the_same_checkout() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let (request, key) = (product.request(1, "test_success_visa"), uuid::Uuid::new_v4().to_string());
    let answers = join_all((0..5).map(|_| stack.api.checkout_with_key(&request, &key))).await;
    let task = answers[0].task_id();
    assert!(answers.iter().all(|answer| answer.task_id() == task), "{answers:?}");
    assert_eq!(stack.api.until_ended(&task).await["status"], "completed");

    assert_eq!(stack.api.checkout_with_key(&request, &key).await.task_id(), task, "after the end as well");
    assert_eq!(stack.charges(&task).await, [product.total_cents(1)]);
    assert_eq!(product.stock().await, 4);
    assert_eq!(stack.mails_to(&product.email()).await.len(), 1);
}

#[tokio::test]
async fn the_same_key_with_another_request_is_a_conflict() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let key = uuid::Uuid::new_v4().to_string();
    let task = stack.api.checkout_with_key(&product.request(1, "test_success_visa"), &key).await.task_id();
    let refused = stack.api.checkout_with_key(&product.request(2, "test_success_visa"), &key).await.expect(409);
    assert_eq!(refused["success"], false, "{refused}");
    assert!(refused["error"].is_string(), "{refused}");
    assert_eq!(stack.api.until_ended(&task).await["status"], "completed");
    assert_eq!(product.stock().await, 4);
}

#[tokio::test]
async fn a_key_for_a_request_that_is_refused_stays_free() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let key = uuid::Uuid::new_v4().to_string();
    let mut request = product.request(1, "test_success_visa");
    request["checkout"]["cart_items"] = json!([]);
    stack.api.checkout_with_key(&request, &key).await.expect(422);
    let task = stack.api.checkout_with_key(&product.request(1, "test_success_visa"), &key).await.task_id();
    assert_eq!(stack.api.until_ended(&task).await["status"], "completed");
}

#[tokio::test]
async fn other_keys_and_no_keys_are_other_checkouts() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 10).await;
    let request = product.request(1, "test_success_visa");
    let key = || uuid::Uuid::new_v4().to_string();
    let mut tasks = vec![
        stack.api.start(&request).await,
        stack.api.start(&request).await,
        stack.api.checkout_with_key(&request, &key()).await.task_id(),
        stack.api.checkout_with_key(&request, &key()).await.task_id(),
    ];
    for task in &tasks {
        assert_eq!(stack.api.until_ended(task).await["status"], "completed");
    }
    tasks.sort();
    tasks.dedup();
    assert_eq!(tasks.len(), 4);
    assert_eq!(product.stock().await, 6);
}

#[tokio::test]
async fn a_key_that_is_no_key_is_refused() {
    let stack = Stack::from_env().await;
    let product = stack.product(2_500, 5).await;
    let request = product.request(1, "test_success_visa");
    for key in ["a key with spaces", &"k".repeat(256)] {
        let answer = stack.api.checkout_with_key(&request, key).await;
        assert!([400, 422].contains(&answer.status), "{key}: {} {}", answer.status, answer.text);
    }
    assert_eq!(product.stock().await, 5);
}
