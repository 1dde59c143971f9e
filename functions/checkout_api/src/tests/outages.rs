//! The answers while a dependency is down, or newer than this version. The tests of `http_api` cover the answer to each
//! kind of failure.

use super::*;
use crate::status::{ASK_AGAIN, NOT_STARTED};
use checkout::{StoreError, testing::Outage};
use std::time::Duration;
use stepwell::{
    FailureKind, StartError, Timestamp,
    core::{
        backlog::{self, Note, Taken},
        breaker,
        format::READS,
        item::{Key, attribute},
        message::StepQueue,
        record::RETENTION,
        transition::Change,
    },
    ports::Store,
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
    api.harness.fail_call("load_all", vec![of_the_engine; 3]);
    let answers = [
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

/// A table that refuses the write has not made it, so the customer may try again.
#[test_case(FailureKind::Throttled, 503)]
#[test_case(FailureKind::Refused, 500)]
#[tokio::test(start_paused = true)]
async fn start_that_was_refused_before_the_write_is_an_error(kind: FailureKind, status: u16) {
    let api = Api::new();
    api.harness.fail_call("create", [kind]);
    let answer = api.checkout(good().to_string()).await;
    assert_eq!((answer.status, answer.header("Retry-After")), (status, if status == 503 { "1" } else { "" }));
    assert_eq!(answer.header("Location"), "");
    assert!(api.is_untouched());
}

/// The gateway is out for this many seconds, or for as many more, and somebody probes it in vain.
async fn outage_of(api: &Api, seconds: u64) {
    let memory = api.harness.memory();
    memory.apply(&breaker::open("payment_gateway", api.harness.now())).await.unwrap();
    api.harness.skip(Duration::from_secs(seconds)).await;
    let probed = vec![Change::Set(attribute::PROBE_AT, json!(api.harness.now().as_millis() + 10_000))];
    memory.store.force(Key::Breaker("payment_gateway".to_owned()), probed).unwrap();
}

/// A checkout that has to wait for a gateway that is out is better not begun. One that was begun is answered as ever.
#[tokio::test(start_paused = true)]
async fn start_is_refused_before_anything_is_written_once_the_gateway_has_been_out_for_a_minute() {
    let api = Api::new();
    assert_eq!(api.with_key("before", good().to_string()).await.status, 202);
    let items = || api.harness.memory().store.count();
    outage_of(&api, 59).await;
    assert_eq!(api.checkout(good().to_string()).await.status, 202, "not for a minute yet");
    outage_of(&api, 2).await;
    let (before, sent) = (items(), api.harness.sent().len());
    for answer in [api.checkout(good().to_string()).await, api.with_key("new", good().to_string()).await] {
        let body = answer.body();
        assert_eq!((answer.status, answer.header("Retry-After"), &body["code"]), (503, "30", &json!("SERVICE_OUT")));
        assert!(body["error"].as_str().unwrap().contains("nothing was charged"), "{body}");
    }
    assert_eq!((items(), api.harness.sent().len()), (before, sent));
    assert_eq!(api.with_key("before", good().to_string()).await.status, 202, "it was started");

    // Nothing that waits is left to probe, so the next checkout has to.
    api.harness.skip(Duration::from_secs(30)).await;
    assert_eq!(api.checkout(good().to_string()).await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn start_is_not_refused_if_the_breaker_cannot_be_read() {
    let api = Api::new();
    outage_of(&api, 61).await;
    api.harness.fail_call("read", [FailureKind::Unavailable]);
    assert_eq!(api.checkout(good().to_string()).await.status, 202);
}

/// A key alone starts nothing.
#[tokio::test(start_paused = true)]
async fn start_whose_key_got_no_answer_is_an_error() {
    let api = Api::new();
    api.harness.fail_call("reserve_key", [FailureKind::Unavailable]);
    let answer = api.with_key("k", good().to_string()).await;
    assert_eq!((answer.status, answer.header("Retry-After")), (503, "1"));
    api.harness.meanwhile("reserve_key", tokio::time::sleep(Duration::from_secs(60)));
    let answer = api.with_key("k", good().to_string()).await;
    assert_eq!((answer.status, answer.header("Retry-After")), (503, "1"), "the time limit");
    assert!(api.harness.memory().store.tasks().is_empty());
}

/// How a write can leave open whether it took effect.
#[derive(Clone, Copy, PartialEq)]
enum Unclear {
    /// The table does not answer.
    NoAnswer,
    /// The table takes longer than the request may.
    TooSlow,
}

#[test_case(Unclear::NoAnswer)]
#[test_case(Unclear::TooSlow)]
#[tokio::test(start_paused = true)]
async fn start_of_unknown_effect_is_accepted_and_not_to_be_repeated(unclear: Unclear) {
    let api = Api::new();
    match unclear {
        Unclear::NoAnswer => api.harness.fail_call("create", [FailureKind::Unavailable]),
        Unclear::TooSlow => api.harness.meanwhile("create", tokio::time::sleep(Duration::from_secs(60))),
    }
    let answer = api.checkout(good().to_string()).await;
    let body = answer.body();
    let (id, url) = (body["task_id"].as_str().unwrap(), answer.header("Location"));
    assert_eq!((answer.status, answer.header("Retry-After"), url), (202, "", &*super::url("/order_status", &id)));
    let expected = json!({
        "success": true, "task_id": id, "task_key": key(&id), "status": "unconfirmed", "checkout_url": url, "message": ASK_AGAIN,
    });
    assert_eq!(body, expected);
    assert!(ASK_AGAIN.contains("do not pay again"));

    let asked = json!({"status": "unconfirmed", "task_id": id, "message": ASK_AGAIN});
    assert_eq!(api.get(url).await.body(), asked);
    assert_eq!(api.cancel(id.parse().unwrap()).await.status, 409, "it may still start");
    api.harness.skip(Duration::from_secs(60)).await;
    let not_started = json!({"status": "not_started", "task_id": id, "message": NOT_STARTED});
    for _ in 0..2 {
        let answer = api.get(url).await;
        assert_eq!((answer.status, answer.body()), (200, not_started.clone()));
    }
    assert_eq!(api.harness.sent(), []);
}

/// The customer was told that nothing was started, so nothing may be, however late the write arrives.
#[tokio::test(start_paused = true)]
async fn write_that_arrives_after_the_customer_was_told_that_nothing_was_started_is_refused() {
    let api = Api::new();
    let client = api.harness.client();
    let late = client.prepare_start(&checkout::workflow().unwrap(), &good()["checkout"], None).await.unwrap();
    let id = late.task_id();
    api.harness.skip(Duration::from_secs(60)).await;
    assert_eq!(api.status(id).await["status"], "not_started");
    assert!(matches!(client.write_start(late).await, Err(StartError::RuledOut { task_id }) if task_id == id));
    assert_eq!(api.status(id).await["status"], "not_started");
    assert_eq!(api.harness.sent(), []);
}

/// The task is there after all: its answer got lost.
#[tokio::test(start_paused = true)]
async fn checkout_that_was_started_after_all_is_shown() {
    let api = Api::new();
    let client = api.harness.client();
    let start = client.prepare_start(&checkout::workflow().unwrap(), &good()["checkout"], None).await.unwrap();
    let id = start.task_id();
    assert_eq!(api.status(id).await["status"], "unconfirmed");
    client.write_start(start).await.unwrap();
    api.harness.skip(Duration::from_secs(60)).await;
    assert_eq!(api.status(id).await["status"], "processing");
}

/// With the same key the customer's page starts another checkout, once, and the old one stays what they were told.
#[tokio::test(start_paused = true)]
async fn key_of_a_checkout_that_was_not_started_starts_another() {
    let api = Api::new();
    api.harness.fail_call("create", [FailureKind::Unavailable]);
    let first = api.with_key("k", good().to_string()).await;
    let url = first.header("Location");
    api.harness.skip(Duration::from_secs(60)).await;
    assert_eq!(api.get(url).await.body()["status"], "not_started");
    let again = [api.with_key("k", good().to_string()).await, api.with_key("k", good().to_string()).await];
    assert_eq!(again[0].body(), again[1].body());
    assert_ne!(again[0].body()["task_id"], first.body()["task_id"]);
    assert_eq!(api.get(url).await.body()["status"], "not_started");
    assert_eq!(api.harness.memory().store.tasks().len(), 2);
}

/// A task expires after 90 days, so that it is missing says nothing then. Nobody else may have a task written for an id.
#[tokio::test(start_paused = true)]
async fn only_the_customer_of_a_recent_checkout_rules_it_out() {
    let api = Api::new();
    let id = api.harness.client().prepare_start(&checkout::workflow().unwrap(), &good()["checkout"], None).await;
    let url = format!("/order_status/{}", id.unwrap().task_id());
    api.harness.skip(Duration::from_secs(60)).await;
    assert_eq!(api.as_a_stranger("GET", &url).await.status, 404);
    api.harness.skip(RETENTION).await;
    assert_eq!(api.get(&url).await.status, 404);
    assert!(api.is_untouched());
}

/// The task is written, so the answer is 202, and the watchdog sends the message.
#[tokio::test(start_paused = true)]
async fn start_whose_message_cannot_be_sent_is_accepted_and_runs() {
    let api = Api::new();
    api.harness.fail_call("send", [FailureKind::Unavailable]);
    let id = api.started().await;
    assert_eq!((api.notified_steps().len(), api.status(id).await["status"].clone()), (0, json!("processing")));
    let snapshot = api.harness.run(id).await.unwrap();
    assert_eq!(snapshot.status().as_str(), "complete");
}

/// A repeated request with the key does not wait for the watchdog.
#[tokio::test(start_paused = true)]
async fn repeated_start_sends_the_message_that_was_not_sent() {
    let api = Api::new();
    api.harness.fail_call("send", [FailureKind::Unavailable; 2]);
    for sent in [0, 0, 1] {
        assert_eq!(api.with_key("k", good().to_string()).await.status, 202);
        assert_eq!(api.notified_steps().len(), sent);
    }
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

/// A checkout that would wait in queues until its time is half over is better not begun. One that was begun is answered as ever.
#[tokio::test(start_paused = true)]
async fn start_is_refused_before_anything_is_written_while_the_queues_are_too_long() {
    let api = Api::new();
    assert_eq!(api.with_key("before", good().to_string()).await.status, 202);
    let time = checkout::workflow().unwrap().plan().deadline().unwrap().complete_within_seconds;
    let waits = async |seconds: u32| {
        api.harness.skip(backlog::CACHED_FOR).await;
        let wait = Duration::from_secs(seconds.into());
        let taken = |at: Timestamp| Taken { sent_at: at.before(wait), at };
        let note = Note { earlier: taken(api.harness.now().before(wait)), last: taken(api.harness.now()) };
        let queue = StepQueue::new("checkout", "update_inventory");
        api.harness.memory().apply(&backlog::note(&queue, &note)).await.unwrap();
    };
    waits(time / 2).await;
    assert_eq!(api.checkout(good().to_string()).await.status, 202, "half of the time");
    waits(time / 2 + 1).await;
    let count = || api.harness.memory().store.count();
    let (before, sent) = (count(), api.harness.sent().len());
    for answer in [api.checkout(good().to_string()).await, api.with_key("new", good().to_string()).await] {
        let body = answer.body();
        assert_eq!((answer.status, answer.header("Retry-After"), &body["code"]), (503, "30", &json!("OVERLOADED")));
        assert!(body["error"].as_str().unwrap().contains("nothing was charged"), "{body}");
    }
    assert_eq!((count(), api.harness.sent().len()), (before, sent));
    assert_eq!(api.with_key("before", good().to_string()).await.status, 202, "it was started");
    api.harness.skip(backlog::HOLDS_FOR).await;
    assert_eq!(api.checkout(good().to_string()).await.status, 202, "nobody waits any more");
}
