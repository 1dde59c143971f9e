//! Requests that are sent more than once.

use crate::backend::Backend;
use futures::future::join_all;

on_both_backends! {
    same_key_and_request_are_the_same_checkout_and_a_refused_one_takes_no_key,
}

async fn same_key_and_request_are_the_same_checkout_and_a_refused_one_takes_no_key<B: Backend>() {
    let (shop, [product]) = B::open([(2_500, 5)]).await;
    let (request, key) = (product.request(1, "test_success_visa"), uuid::Uuid::new_v4().to_string());
    shop.api().checkout_with_key(&product.request(0, "test_success_visa"), &key).await.expect(422);
    let answers = join_all((0..5).map(|_| shop.api().checkout_with_key(&request, &key))).await;
    let task = answers[0].task_id();
    assert!(answers.iter().all(|answer| answer.task_id() == task), "{answers:?}");
    assert_eq!(shop.api().until_ended(&task).await["status"], "completed");

    assert_eq!(shop.api().checkout_with_key(&request, &key).await.task_id(), task, "after the end as well");
    assert_eq!(shop.tasks_with(&product.email()).await, 1);
    assert_eq!(shop.charges(&task).await, [product.total_cents(1)]);
    assert_eq!(shop.stock(product.id).await, 4);
    assert_eq!(shop.emails_to(&product.email()).await.len(), 1);
}
