//! Idempotent starts of tasks, and snapshots of them.

use crate::{
    FailureKind, IdempotencyKey, StartError, Started, TaskId, Workflow,
    core::{
        format::NEWER_FORMAT,
        item::{Key, attribute},
        limits::MAX_CONTEXT_BYTES,
        state::TaskStatus,
        transition::Change,
    },
    testing::fixtures::staged::{Log, NEWER, graph, renew, workflow},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Two roots, and a join of both.
const JOIN: &[&[usize]] = &[&[], &[], &[0, 1]];

fn join() -> Workflow {
    workflow(JOIN, &[], "")
}

fn key(text: &str) -> IdempotencyKey {
    text.parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn start_sends_messages_to_the_roots() {
    let harness = graph(JOIN, &[], "");
    let (client, context) = (harness.client(), json!({ "total": 100 }));
    let started = client.start(&join(), &context, None).await.unwrap();
    assert!(!started.already_there);
    assert_eq!(harness.woken(), ["s0", "s1"]);
    let snapshot = client.snapshot(started.task_id).await.unwrap().unwrap();
    assert_eq!((snapshot.task.workflow.as_str(), snapshot.task.context), ("tests/graph@0.1.0", context.to_string()));
    assert_eq!((snapshot.task.created_at, client.now()), (harness.now(), harness.now()));
}

/// A newer version has started the task, and this version may not act on the key.
#[tokio::test(start_paused = true)]
async fn repeated_request_finds_the_task_that_a_newer_version_started() {
    let harness = graph(JOIN, &[], "");
    let client = harness.client();
    let start = async |units: u32| client.start(&join(), &json!({ "units": units }), Some(&key("a-key"))).await;
    let first = start(1).await.unwrap().task_id;
    renew(&harness, &Key::IdempotencyKey { namespace: "tests".to_owned(), key: "a-key".to_owned() }, NEWER, Vec::new());
    harness.lose_messages();
    let again = start(1).await.unwrap();
    assert_eq!((again.task_id, again.already_there), (first, true));
    let StartError::Newer(newer) = start(2).await.unwrap_err() else { panic!("only that version can tell") };
    assert_eq!(newer.partition, "KEY#tests#a-key");
    assert_eq!(harness.memory().queue.next_due(), None, "nothing is sent");
}

#[tokio::test(start_paused = true)]
async fn interrupted_start_by_a_newer_version_is_not_completed() {
    let harness = graph(JOIN, &[], "");
    let client = harness.client();
    let start = async || client.start(&join(), &Value::Null, Some(&key("a-key"))).await;
    harness.fail_call("create", [FailureKind::Refused]);
    start().await.unwrap_err();
    let key_item = Key::IdempotencyKey { namespace: "tests".to_owned(), key: "a-key".to_owned() };
    renew(&harness, &key_item, NEWER, Vec::new());
    let (log, _guard) = Log::new();
    assert!(matches!(start().await, Err(StartError::Newer(_))));
    let unknown = vec![Change::Remove(attribute::REQUEST_HASH), Change::Remove(attribute::TASK_ID)];
    harness.memory().store.force(key_item, unknown).unwrap();
    assert!(matches!(start().await, Err(StartError::Newer(_))), "an unreadable key is refused, too");
    assert!(harness.memory().store.tasks().is_empty());
    assert_eq!(log.lines(NEWER_FORMAT).len(), 2, "the alarm looks for the code");
}

#[tokio::test(start_paused = true)]
async fn task_that_was_never_started_has_no_snapshot() {
    let harness = graph(JOIN, &[], "");
    assert_eq!(harness.client().snapshot(TaskId::new()).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn idempotency_key_belongs_to_its_first_request() {
    let harness = graph(JOIN, &[], "");
    let client = harness.client();
    let start = async |workflow: &Workflow, units: u32| {
        client.start(workflow, &json!({ "units": units }), Some(&key("a-key"))).await
    };
    let first = start(&join(), 1).await.unwrap();
    let again = start(&join(), 1).await.unwrap();
    assert_eq!((first.already_there, again.already_there, again.task_id), (false, true, first.task_id));
    let deployed = workflow(JOIN, &[], "name: graph, namespace_name: tests, version: 2.0.0,");
    assert_eq!(start(&deployed, 1).await.unwrap().task_id, first.task_id, "the request is the same after a deployment");

    let other_workflow = workflow(JOIN, &[], "name: other, namespace_name: tests,");
    for other in [start(&join(), 2).await, start(&other_workflow, 1).await] {
        let message =
            format!("the idempotency key was used with another request, which started task {}", first.task_id);
        assert_eq!(other.unwrap_err().to_string(), message);
    }
    let elsewhere = workflow(JOIN, &[], "name: graph, namespace_name: elsewhere,");
    let second = start(&elsewhere, 1).await.unwrap();
    assert!(!second.already_there && second.task_id != first.task_id, "each namespace has keys of its own");
}

#[tokio::test(start_paused = true)]
async fn refused_start_writes_nothing() {
    let harness = graph(JOIN, &[], "");
    let client = harness.client();
    let strict =
        workflow(JOIN, &[], "name: strict, schema: {properties: {email: {type: string}, count: {minimum: 1}}},");
    let wrong = client.start(&strict, &json!({ "email": 1, "count": 0 }), Some(&key("k"))).await.unwrap_err();
    assert_eq!(wrong.to_string(), "the context does not fit the workflow's schema in 2 places");
    let StartError::Invalid(violations) = wrong else { panic!("{wrong}") };
    let places: BTreeSet<&str> = violations.iter().map(|violation| violation.path.as_str()).collect();
    assert_eq!(places, ["/email", "/count"].into());

    let quotes = 2;
    let larger = json!("a".repeat(MAX_CONTEXT_BYTES - quotes + 1));
    let refused = client.start(&join(), &larger, Some(&key("k"))).await.unwrap_err();
    assert!(matches!(refused, StartError::TooLarge { bytes } if bytes == MAX_CONTEXT_BYTES + 1), "{refused}");
    assert_eq!((harness.memory().store.count(), harness.sent().len()), (0, 0));
    let largest = json!("a".repeat(MAX_CONTEXT_BYTES - quotes));
    client.start(&join(), &largest, Some(&key("k"))).await.unwrap();
}

/// The first request fails at this call, or a message of its start does. The second request completes the start.
#[tokio::test(start_paused = true)]
async fn interrupted_start_is_completed_by_its_repetition() {
    for call in ["reserve_key", "create", "send"] {
        let harness = graph(JOIN, &[], "").call_by_call();
        let client = harness.client();
        let start = async || client.start(&join(), &Value::Null, Some(&key("k"))).await;
        harness.fail_call(call, [FailureKind::Unavailable]);
        match (call, start().await) {
            ("reserve_key", Err(StartError::NotWritten(_))) | ("create", Err(StartError::Unconfirmed { .. })) => {}
            ("send", Ok(started)) => assert!(!started.already_there && !started.messages_sent),
            (_, other) => panic!("{call}: {other:?}"),
        }
        let Started { task_id: task, already_there, .. } = start().await.unwrap();
        assert_eq!(already_there, call == "send", "{call}");
        assert_eq!(harness.memory().store.tasks(), [task].into(), "{call}");
        assert_eq!(BTreeSet::from_iter(harness.woken()), ["s0".to_owned(), "s1".to_owned()].into(), "{call}");
        let snapshot = harness.run(task).await.unwrap();
        assert_eq!(snapshot.status(), TaskStatus::Complete, "{call}");
        assert!(snapshot.steps.iter().all(|step| step.attempt == 1), "{call}");
    }
}

/// A search key that cannot be written would make a task that runs look as if it had never started.
#[tokio::test(start_paused = true)]
async fn repetition_of_a_written_start_writes_no_search_keys() {
    let harness = graph(JOIN, &[], "");
    let deployed = workflow(JOIN, &[], "name: graph, namespace_name: tests, search: {email: /email},");
    let (client, context) = (harness.client(), json!({ "email": "ann@example.com" }));
    let start = async |workflow: &Workflow, of: &str| client.start(workflow, &context, Some(&key(of))).await.unwrap();
    let first = start(&join(), "k").await.task_id;
    let items = harness.memory().store.count();
    assert_eq!(start(&deployed, "k").await.task_id, first);
    assert_eq!(harness.memory().store.count(), items);
    start(&deployed, "another").await;
    assert_eq!(harness.memory().store.count(), items + 3, "the idempotency key, the task and its search key");
}

/// The kind of the store's error decides whether the task may have been written.
#[tokio::test(start_paused = true)]
async fn failed_start_says_whether_the_task_may_be_there() {
    let harness = graph(JOIN, &[], "").call_by_call();
    let client = harness.client();
    for (kind, unclear) in
        [(FailureKind::Throttled, false), (FailureKind::Refused, false), (FailureKind::Unavailable, true)]
    {
        let start = client.prepare_start(&join(), &Value::Null, None).await.unwrap();
        let task = start.task_id();
        harness.fail_call("create", [kind]);
        let error = client.write_start(start).await.unwrap_err();
        let found = matches!(&error, StartError::Unconfirmed { task_id, .. } if *task_id == task);
        assert_eq!((found, matches!(error, StartError::NotWritten(_))), (unclear, !unclear), "{kind:?}");
    }
}

/// No message of the start could be sent. The watchdog finds the task by its own place in the index.
#[tokio::test(start_paused = true)]
async fn task_whose_start_could_send_nothing_is_woken_by_the_watchdog() {
    let harness = graph(JOIN, &[], "").call_by_call();
    harness.fail_call("send", [FailureKind::Unavailable]);
    let (log, _guard) = Log::new();
    let task = harness.client().start(&join(), &Value::Null, None).await.unwrap().task_id;
    assert_eq!(harness.memory().queue.next_due(), None, "nothing is sent");
    assert_eq!(log.lines("START_NOT_SENT").len(), 1);
    assert_eq!(harness.run(task).await.unwrap().status(), TaskStatus::Complete);
}

#[tokio::test(start_paused = true)]
async fn repeated_start_sends_messages_to_pending_roots_only() {
    let harness = graph(JOIN, &[], "");
    let client = harness.client();
    let start = async || client.start(&join(), &Value::Null, Some(&key("k"))).await.unwrap().task_id;
    let task = start().await;
    harness.run_until(task, |snapshot| snapshot.step("s0").unwrap().state.is_done()).await.unwrap();
    assert_eq!(start().await, task);
    assert_eq!(harness.woken(), ["s0", "s1", "s1"]);
    harness.run(task).await.unwrap();
    let sent = harness.woken();
    assert_eq!(start().await, task);
    assert_eq!(harness.woken(), sent);
}
