//! The answers while a dependency is down, or newer than this version. The tests of `http_api` cover the answer to each
//! kind of failure.

use super::*;
use checkout::{StoreError, testing::Outage};
use stepwell::{
    FailureKind,
    core::{
        format::READS,
        item::{Key, attribute},
        transition::Change,
    },
};
use test_case::test_case;

/// A part of an error that no client may see.
const INTERNALS: &str = "arn:aws:dynamodb:eu-central-1:123456789012:table/stepwell-dev-products";

#[test_case(FailureKind::Throttled, StoreError::Busy(INTERNALS.to_owned()), 503)]
#[test_case(FailureKind::Unavailable, StoreError::Failed(INTERNALS.to_owned()), 503)]
#[test_case(FailureKind::Refused, StoreError::Unreadable(INTERNALS.to_owned()), 500)]
#[tokio::test(start_paused = true)]
async fn no_route_shows_the_cause_of_an_outage(of_the_engine: FailureKind, of_the_shop: StoreError, status: u16) {
    let api = Api::new();
    api.shop.set_outage(Outage { tables: Some(of_the_shop), ..Outage::default() });
    api.harness.fail_call("create", [of_the_engine]);
    api.harness.fail_call("load_all", vec![of_the_engine; 3]);
    let answers = [
        api.checkout(good().to_string()).await,
        api.get(&format!("/order_status/{UNKNOWN}")).await,
        api.get(&format!("/workflow_details/{UNKNOWN}")).await,
        api.retry(UNKNOWN.parse().unwrap()).await,
        api.get(&format!("/orders/{UNKNOWN}")).await,
        api.get("/products").await,
    ];
    for answer in answers {
        let expected = json!({"success": false, "error": match status {
            503 => "The service is not available right now; please try again",
            _ => "Something went wrong on our side",
        }});
        assert_eq!((answer.status, answer.body()), (status, expected));
        assert_eq!(answer.header("Retry-After"), if status == 503 { "1" } else { "" });
    }
}

#[tokio::test(start_paused = true)]
async fn start_whose_message_was_not_sent_is_completed_by_a_retry_with_its_key() {
    let api = Api::new();
    api.harness.fail_call("send", [FailureKind::Unavailable]);
    let failed = api.with_key("k", good().to_string()).await;
    assert_eq!((failed.status, failed.header("Retry-After"), api.notified_steps().len()), (503, "1", 0));
    assert_eq!(api.with_key("k", good().to_string()).await.status, 202);
    assert_eq!(api.harness.memory().store.tasks().len(), 1);
    assert_eq!(api.notified_steps(), steps::roots());
}

/// While two versions are deployed, the older one shows the tasks of the newer one and does not act on them.
#[tokio::test(start_paused = true)]
async fn checkout_of_a_newer_version_is_shown_and_not_retried() {
    let api = Api::new();
    let id = api.started().await;
    let newer = [
        (attribute::V, json!(READS + 1)),
        (attribute::NEEDS, json!(READS + 1)),
        (attribute::STATUS, json!("suspended")),
    ];
    let newer = newer.map(|(name, value)| Change::Set(name, value)).to_vec();
    api.harness.memory().store.force(Key::Task(id), newer).unwrap();
    let before = api.harness.snapshot(id).await.unwrap();

    let first = json!(steps::roots()[0]);
    let status = api.status(id).await;
    assert_eq!((&status["status"], &status["current_step"]), (&json!("processing"), &first));
    let details = api.get(&format!("/workflow_details/{id}")).await.body();
    assert_eq!((&details["status"], &details["steps"][0]["name"]), (&json!("pending"), &first));
    let answer = api.retry(id).await;
    let error = "The service is not available right now; please try again".to_owned();
    assert_eq!((answer.refusal(), answer.header("Retry-After")), ((503, error), "1"));
    assert_eq!(api.harness.snapshot(id).await.unwrap(), before);
}
