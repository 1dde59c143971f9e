//! What is answered while something we depend on is down.

use super::{
    fake::{Fake, INTERNALS, Outage},
    *,
};
use axum::{Router, routing::get};
use std::time::Duration;
use test_case::test_case;

#[test_case(Outage::Table, 503)]
#[test_case(Outage::Unreadable, 500)]
#[tokio::test]
async fn no_route_tells_what_is_down(outage: Outage, status: u16) {
    let fake = Fake::default();
    fake.state().outage = Some(outage);
    let id = "018f4e4e-7c1a-7000-8000-0123456789ab";
    let answers = [
        checkout(&fake, good().to_string()).await,
        super::get(&fake, &format!("/order_status/{id}")).await,
        super::get(&fake, &format!("/workflow_details/{id}")).await,
        post(&fake, &format!("/retry_checkout/{id}"), &[], "").await,
        super::get(&fake, &format!("/orders/{id}")).await,
        super::get(&fake, "/products").await,
    ];
    for answer in answers {
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("Retry-After"), if status == 503 { "1" } else { "" });
        assert_eq!(answer.body()["success"], false);
        assert!(!answer.text.contains(INTERNALS) && !answer.text.contains("Dynamo"), "{}", answer.text);
    }
}

#[tokio::test]
async fn refused_call_does_not_invite_another_try() {
    let fake = Fake::default();
    fake.state().outage = Some(Outage::Rights);
    for path in
        ["/order_status/018f4e4e-7c1a-7000-8000-0123456789ab", "/workflow_details/018f4e4e-7c1a-7000-8000-0123456789ab"]
    {
        let answer = super::get(&fake, path).await;
        assert_eq!((answer.status.as_u16(), answer.header("Retry-After")), (500, ""), "{path}");
        assert!(!answer.text.contains(INTERNALS), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_start_whose_message_was_not_sent_is_brought_to_its_end_by_the_same_key() {
    let fake = Fake::default();
    fake.state().outage = Some(Outage::Queue);
    let start = async || post(&fake, "/checkout", &[("Idempotency-Key", "k")], good().to_string()).await;
    let failed = start().await;
    assert_eq!((failed.status.as_u16(), failed.header("Retry-After")), (503, "1"));
    assert!(!failed.text.contains(INTERNALS));

    fake.state().outage = None;
    assert_eq!(start().await.status, 202);
    assert_eq!((fake.store.tasks().len(), fake.state().sent.len()), (1, 1));
}

#[tokio::test]
async fn a_route_that_takes_too_long_is_given_up() {
    let router = Router::new().route("/", get(std::future::pending::<()>));
    let router = http_api::complete(router, Duration::from_millis(1));
    let response = router.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["Retry-After"]), (503, &"1".parse().unwrap()));
}
