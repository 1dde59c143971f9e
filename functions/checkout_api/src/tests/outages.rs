//! What is answered while something we depend on is down, or newer than this version. What each failure is answered with is
//! held by `http_api`.

use super::*;
use checkout::{StoreError, testing::Outage};
use stepwell::{
    FailureKind,
    core::{
        item::{Key, attribute},
        transition::Change,
    },
};
use test_case::test_case;

/// Words of an outage that no client may read.
const INTERNALS: &str = "arn:aws:dynamodb:eu-central-1:123456789012:table/stepwell-dev-products";

#[test_case(FailureKind::Throttled, StoreError::Busy(INTERNALS.to_owned()), 503)]
#[test_case(FailureKind::Unavailable, StoreError::Failed(INTERNALS.to_owned()), 503)]
#[test_case(FailureKind::Refused, StoreError::Unreadable(INTERNALS.to_owned()), 500)]
#[tokio::test(start_paused = true)]
async fn no_route_tells_what_is_down(of_the_engine: FailureKind, of_the_shop: StoreError, status: u16) {
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
async fn start_whose_message_was_not_sent_is_brought_to_its_end_by_the_same_key() {
    let api = Api::new();
    api.harness.fail_call("send", [FailureKind::Unavailable]);
    let failed = api.with_key("k", good().to_string()).await;
    assert_eq!((failed.status, failed.header("Retry-After"), api.woken().len()), (503, "1", 0));
    assert_eq!(api.with_key("k", good().to_string()).await.status, 202);
    assert_eq!(api.harness.memory().store.tasks().len(), 1);
    assert_eq!(api.woken(), steps::roots());
}

/// While two versions run beside each other, the older one shows what the newer one has begun, and leaves it alone.
#[tokio::test(start_paused = true)]
async fn checkout_of_a_newer_version_is_shown_and_its_retry_is_left_to_that_version() {
    let api = Api::new();
    let id = api.started().await;
    let newer = [(attribute::V, json!(2)), (attribute::NEEDS, json!(2)), (attribute::STATUS, json!("suspended"))];
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
