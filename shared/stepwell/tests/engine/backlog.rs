//! Waits in the queues, and the starts that are refused because of them.

use super::*;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use stepwell::{
    core::{
        backlog::{CACHED_FOR, NOTED_EVERY, NOTED_FROM},
        message::Outgoing,
        settlement::{Delivery, Disposition},
        state::TaskStatus,
    },
    ports::{Queue, Store},
    runtime::backlog::BacklogView,
};
use test_case::test_case;

/// The time in which a task has to be complete.
const TIME: u64 = 100;

fn workflow() -> Workflow {
    let step = json!({ "name": "s0", "handler_config": { "timeout_seconds": 10 } });
    let file = json!({ "name": "graph", "complete_within_seconds": TIME, "step_templates": [step] });
    Workflow::from_yaml(&file.to_string()).unwrap()
}

fn queue() -> StepQueue {
    StepQueue::new("graph", "s0")
}

/// A step that takes a second.
async fn a_second(_: StepContext) -> Result<Value, StepError> {
    tokio::time::sleep(seconds(1)).await;
    Ok(Value::Null)
}

/// Since when the message had waited that was noted last.
fn noted(harness: &Harness) -> Option<Duration> {
    let item = harness.memory().store.item(&Key::Backlog(queue()));
    let time = |name: &str| item.get(name).and_then(Value::as_i64).map(Timestamp::from_millis);
    Some(time("taken_at")?.since(time("sent_at")?))
}

fn worker(harness: &Harness) -> Worker<impl Step, impl Store, impl Queue, VirtualClock> {
    Worker::new(queue(), Script(a_second), harness.ports(), harness.ports(), harness.memory().runtime.clone())
}

/// Delivers a message to this worker, and deletes it unless it is kept. Returns what is kept.
async fn handle(
    harness: &Harness,
    worker: &Worker<impl Step, impl Store, impl Queue, VirtualClock>,
    message: Received,
) -> Vec<String> {
    let invocation = Invocation::new("by-hand", harness.now() + seconds(20), harness.now());
    let kept = worker.handle(std::slice::from_ref(&message), &invocation).await;
    if let Some(receipt) = message.receipt.filter(|_| kept.is_empty()) {
        harness.memory().queue.end(&Delivery { receipt, disposition: Disposition::Acknowledge });
    }
    kept
}

/// So many times as many customers come in as can be served. Those who are let in are served in time, and no more are refused than have to be.
#[test_case(2)]
#[test_case(4)]
#[test_case(6)]
#[tokio::test(start_paused = true)]
async fn every_task_that_is_let_in_while_too_many_come_is_completed_in_time(times: u32) {
    let harness = Harness::new(workflow()).with_all(Script(a_second));
    let (client, backlog, workflow) = (harness.client(), BacklogView::default(), workflow());
    let waiting = AtomicU64::new(0);
    let customers = async {
        let (mut tasks, mut shortest) = (Vec::new(), u64::MAX);
        for _ in 0..900 * times {
            tokio::time::sleep(seconds(1) / times).await;
            match client.overload(&backlog, &workflow).await {
                None => {
                    waiting.fetch_add(1, SeqCst);
                    tasks.push(start(&harness).await);
                }
                Some(_) => shortest = shortest.min(waiting.load(SeqCst)),
            }
        }
        (tasks, shortest)
    };
    let worker = worker(&harness);
    let serving = async {
        while harness.now() < VirtualClock::START + seconds(1_100) {
            match harness.memory().queue.receive(|_| harness.now() + seconds(60)) {
                Some((_, message)) => {
                    assert_eq!(handle(&harness, &worker, message).await, [""; 0]);
                    waiting.fetch_sub(1, SeqCst);
                }
                None => harness.skip(Duration::from_millis(10)).await,
            }
        }
    };
    let ((tasks, shortest), ()) = tokio::join!(customers, serving);
    for task in &tasks {
        assert_eq!(harness.snapshot(*task).await.unwrap().status(), TaskStatus::Complete, "of {}", tasks.len());
    }
    // A task takes a second, so as many tasks wait as the queue is seconds long.
    assert!(shortest > TIME / 4, "nobody was refused whose wait would have been short: {shortest} s");
    assert!(tasks.len() > 880, "the worker is never idle: {}", tasks.len());
    assert_eq!(client.overload(&backlog, &workflow).await, None, "it is over");
}

#[tokio::test(start_paused = true)]
async fn wait_is_noted_from_ten_seconds_on_once_in_ten_seconds() {
    let harness = Harness::new(workflow()).with_all(Script(a_second));
    let worker = worker(&harness);
    // Sent so long ago.
    let handled = async |waited: Duration| {
        start(&harness).await;
        let sent_at = Some(harness.now().before(waited));
        handle(&harness, &worker, Received { sent_at, ..receive(&harness) }).await;
        noted(&harness)
    };
    assert_eq!(handled(NOTED_FROM - Duration::from_millis(1)).await, None, "a short wait");
    harness.skip(NOTED_EVERY).await;
    assert_eq!(handled(NOTED_FROM).await, Some(NOTED_FROM));
    assert_eq!(handled(seconds(11)).await, Some(NOTED_FROM), "one was noted a second ago");
    harness.skip(NOTED_EVERY).await;
    assert_eq!(handled(seconds(11)).await, Some(seconds(11)));
}

/// The age of such a message is not the length of its queue.
#[tokio::test(start_paused = true)]
async fn message_that_was_delayed_or_received_before_says_nothing_about_the_queue() {
    let harness = Harness::new(workflow()).with_all(Script(a_second));
    let task = start(&harness).await;
    let sent = harness.sent().pop().unwrap();
    let first = receive(&harness);
    let worker = worker(&harness);
    handle(&harness, &worker, Received { receipt: None, ..first.clone() }).await;
    harness.skip(seconds(60)).await;
    handle(&harness, &worker, Received { receives: Some(2), ..first.clone() }).await;
    assert_eq!(noted(&harness), None, "received before");

    let outgoing = Outgoing { workflow: "graph".to_owned(), message: sent.clone(), delay: Duration::ZERO };
    let successor = sent.successor(harness.now()).unwrap();
    for unfit in [outgoing.after(seconds(60)).message, successor] {
        let body = serde_json::to_string(&unfit).unwrap();
        handle(&harness, &worker, Received { body, ..first.clone() }).await;
        assert_eq!(noted(&harness), None, "{unfit:?}");
    }
    handle(&harness, &worker, first).await;
    assert!(noted(&harness).is_some_and(|wait| wait >= seconds(60)), "none of these: {task}");
}

#[tokio::test(start_paused = true)]
async fn message_that_was_overtaken_says_nothing_about_the_queue() {
    let harness = Harness::new(workflow()).with_all(Script(a_second));
    let worker = worker(&harness);
    for waited in [0, 95] {
        start(&harness).await;
        let sent_at = Some(harness.now().before(seconds(waited)));
        handle(&harness, &worker, Received { sent_at, ..receive(&harness) }).await;
    }
    assert_eq!(noted(&harness), None);
}

#[tokio::test(start_paused = true)]
async fn note_that_cannot_be_written_or_read_stops_nothing() {
    let harness = Harness::new(workflow()).with_all(Script(a_second));
    let (worker, client, backlog) = (worker(&harness), harness.client(), BacklogView::default());
    let tasks = [start(&harness).await, start(&harness).await, start(&harness).await];
    harness.fail_call("note_backlog", [FailureKind::Unavailable]);
    for (waits, is_noted) in [(0, false), (60, false), (10, true)] {
        harness.skip(seconds(waits)).await;
        assert_eq!(handle(&harness, &worker, receive(&harness)).await, [""; 0]);
        assert_eq!(noted(&harness).is_some(), is_noted, "after {waits} s");
    }
    for task in tasks {
        assert_eq!(harness.snapshot(task).await.unwrap().status(), TaskStatus::Complete);
    }
    harness.fail_call("range", [FailureKind::Unavailable]);
    assert_eq!(client.overload(&backlog, &workflow()).await, None, "it cannot be read");
    harness.skip(CACHED_FOR).await;
    assert!(client.overload(&backlog, &workflow()).await.is_some());
}
