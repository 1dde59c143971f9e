use super::*;
use checkout::{Orders, testing::order};

/// An API whose shop has this order.
async fn with_order() -> (Api, TaskId) {
    let (api, id) = (Api::new(), TaskId::new());
    api.1.create(order(id, api.0.now())).await.unwrap();
    (api, id)
}

#[tokio::test(start_paused = true)]
async fn shipped_order_keeps_its_first_time_and_is_not_cancelled() {
    let (api, id) = with_order().await;
    let path = format!("/orders/{id}/ship");
    let first = api.post(&path, r#"{"reason": "parcel 17"}"#).await;
    assert_eq!((first.status, first.body()["order_id"].as_str()), (200, Some(id.to_string().as_str())));
    api.0.run_for(std::time::Duration::from_secs(60)).await.unwrap();
    let again = api.post(&path, r#"{"reason": "parcel 17"}"#).await;
    assert_eq!((again.status, again.body()), (200, first.body()));
    let refused = api.1.cancel(id, api.0.now()).await.unwrap_err();
    assert!(refused.to_string().starts_with("the order was shipped at "), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn cancelled_or_unknown_order_is_not_shipped() {
    let (api, id) = with_order().await;
    let unknown = api.post(&format!("/orders/{UNKNOWN}/ship"), r#"{"reason": "parcel 17"}"#).await;
    assert_eq!((unknown.status, &unknown.body()["error"]), (404, &json!("There is no such order")));
    api.post(&format!("/orders/{id}/ship"), r#"{"reason": ""}"#)
        .await
        .is_violation("/reason", "has to have 1 to 500 characters");
    api.1.cancel(id, api.0.now()).await.unwrap();
    let answer = api.post(&format!("/orders/{id}/ship"), r#"{"reason": "parcel 17"}"#).await;
    assert_eq!((answer.status, &answer.body()["status"]), (409, &json!("cancelled")));
    assert!(answer.body()["error"].as_str().unwrap().ends_with("do not ship it"), "{}", answer.text);
}

/// Its compensation could still undo it.
#[tokio::test(start_paused = true)]
async fn order_of_a_failed_checkout_is_not_shipped() {
    let api = Api::new();
    let id = api.failed("ship").await;
    api.1.create(order(id, api.0.now())).await.unwrap();
    let answer = api.post(&format!("/orders/{id}/ship"), r#"{"reason": "parcel 17"}"#).await;
    assert_eq!((answer.status, &answer.body()["status"]), (409, &json!("error")), "{}", answer.text);
    assert_eq!(api.1.cancel(id, api.0.now()).await.unwrap().order_id, Some(id), "it is not marked as shipped");
}
