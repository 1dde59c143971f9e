//! Messages that no step can use, messages that come too early, too late or twice.

use super::*;
use std::{
    sync::{Arc, Barrier},
    time::Duration,
};
use stepwell::{core::state::TaskStatus, permanent, retryable};
use stepwell_tests::{
    emulator::{Undeliverable, in_sandbox, in_sandbox_by_hand},
    events::message,
    poller::Poller,
};
use test_case::test_case;

#[test_case("hello", "not a message of this engine: expected value at line 1 column 1"; "not JSON")]
#[test_case("[]", "not a message of this engine: invalid length 0"; "an array")]
#[test_case("{}", "not a message of this engine: missing field `task_id`"; "an empty object")]
#[test_case(r#"{"task_id":"7","step":"s00"}"#, "not a message of this engine: "; "a task id that is none")]
#[test_case(r#"{"task_id":"018f4e4e-7c1a-7000-8000-0123456789ab","step":7}"#, "not a message of this engine: invalid type"; "a number for a step")]
#[test_case(r#"{"task_id":"018f4e4e-7c1a-7000-8000-0123456789ab","step":"s01"}"#, "a message for step `s01` in the queue of step `s00`"; "another step's")]
#[test_case(r#"{"task_id":"018f4e4e-7c1a-7000-8000-0123456789ab","step":"s00"}"#, "the task does not exist"; "an unknown task's")]
#[test_case(r#"{"task_id":"018f4e4e-7c1a-7000-8000-0123456789ab","step":"s00","load":["a b"]}"#, "`load` has to be a list of step names"; "a step name that is none")]
#[tokio::test]
async fn what_no_step_can_use_is_kept_with_the_reason(body: &str, reason: &str) {
    in_sandbox(&Graph::chain(1).names(), async |sandbox| {
        let journal = Journal::default();
        let poller = Poller::new(sandbox).with_numbered(1, &journal.script());
        poller.inject("s00", body).await;
        poller.drain().await;
        let letters = sandbox.undeliverable().await;
        assert!(
            matches!(&letters[..], [letter] if letter.body == body && letter.reason.starts_with(reason)),
            "{letters:?}"
        );
        assert_eq!(journal.counts(), counts([]));
        assert_eq!(sandbox.item_count().await, 0, "no item is left");
    })
    .await;
}

/// SQS takes only so much in an attribute, and no control characters, and a message that can be neither worked nor
/// rejected would go round for days.
#[test_case(r#"{"task_id":"018f4e4e-7c1a-7000-8000-0123456789ab","step":"\u0001\u001b\ufffe"}"#; "a step name of control characters")]
#[test_case(&format!(r#"{{"task_id":"018f4e4e-7c1a-7000-8000-0123456789ab","step":"{}"}}"#, "ü".repeat(100_000)); "a step name without end")]
#[tokio::test]
async fn a_reason_is_short_and_printable_whatever_the_message_says(body: &str) {
    in_sandbox(&Graph::chain(1).names(), async |sandbox| {
        let journal = Journal::default();
        let poller = Poller::new(sandbox).with_numbered(1, &journal.script());
        poller.inject("s00", body).await;
        poller.drain().await;
        let letters = sandbox.undeliverable().await;
        let [Undeliverable { body: kept, reason }] = &letters[..] else { panic!("{letters:?}") };
        assert_eq!(kept, body);
        assert!(reason.len() <= 1_000, "{} bytes", reason.len());
        assert!(!reason.contains(|c: char| c.is_control() || c == '\u{fffe}'), "{reason:?}");
    })
    .await;
}

#[tokio::test]
async fn a_message_without_a_body_is_kept_too() {
    in_sandbox(&Graph::chain(1).names(), async |sandbox| {
        let poller = Poller::new(sandbox).with_numbered(1, &Journal::default().script());
        let kept = poller.deliver("s00", &[message("m", "")]).await;
        assert!(kept.is_empty(), "{kept:?}");
        assert_eq!(sandbox.undeliverable().await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_message_for_a_step_that_the_task_does_not_have_is_kept() {
    in_sandbox(&Graph::chain(3).names(), async |sandbox| {
        let journal = Journal::default();
        let task = start(sandbox, &Graph::chain(2)).await;
        let poller = Poller::new(sandbox).with_numbered(3, &journal.script());
        let before = sandbox.items(task).await;
        let body = json!({ "task_id": task, "step": "s02" }).to_string();
        assert!(poller.deliver("s02", &[message("m", &body)]).await.is_empty());
        assert_eq!(
            sandbox.undeliverable().await,
            [Undeliverable { body, reason: "the task's plan has no such step".to_owned() }]
        );
        assert_eq!(sandbox.items(task).await, before);
        assert_eq!(journal.counts(), counts([]));
    })
    .await;
}

/// With what the sender of a real message adds, and without.
#[test_case(&json!(["s01"]); "naming its dependency")]
#[test_case(&json!([]); "naming nothing")]
#[test_case(&json!(["s00", "s03", "nowhere"]); "naming other steps")]
#[tokio::test]
async fn a_message_that_comes_too_early_runs_nothing_and_costs_nothing(load: &Value) {
    let graph = Graph::chain(4).retry_limit(1);
    in_sandbox(&graph.names(), async |sandbox| {
        let journal = Journal::default();
        let task = start(sandbox, &graph).await;
        let poller = Poller::new(sandbox).with_numbered(4, &journal.script());
        let body = json!({ "task_id": task, "step": "s02", "load": load }).to_string();
        for early in ["m1", "m2", "m3"] {
            let kept = poller.deliver("s02", &[message(early, &body)]).await;
            assert!(kept.is_empty(), "it is acknowledged: whoever completes the dependency sends another");
        }
        assert_eq!(journal.counts(), counts([]));
        let history = poller.run(task).await;
        assert_eq!(history.status(), TaskStatus::Complete);
        assert_eq!(journal.counts(), counts([("s00", 1), ("s01", 1), ("s02", 1), ("s03", 1)]));
        let step = history.step("s02").unwrap();
        assert_eq!(
            (step.attempt - step.exempt, step.attempts.len()),
            (1, 1),
            "with a limit of 1, every attempt counts"
        );
    })
    .await;
}

/// The dependency is completed, and finds the step taken and so sends it nothing, just when the early worker has seen
/// that the dependency is not done and is about to put the step back.
#[test]
fn a_dependency_that_is_done_just_then_is_not_missed() {
    let graph = Graph::chain(2);
    in_sandbox_by_hand(&graph.names(), |runtime, sandbox| {
        let task = runtime.block_on(start(sandbox, &graph));
        let barrier = Arc::new(Barrier::new(2));
        // Before it come the claim and the load.
        const RELEASE: usize = 2;
        sandbox.faults.hold_before(RELEASE, Arc::clone(&barrier));
        let early = |sandbox: &Sandbox| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let body = json!({ "task_id": task, "step": "s01", "load": ["s00"] }).to_string();
            let poller = Poller::new(sandbox).with_numbered(2, &Journal::default().script());
            runtime.block_on(poller.deliver("s01", &[message("early", &body)]))
        };
        let kept = std::thread::scope(|scope| {
            let early = scope.spawn(|| early(sandbox));
            barrier.wait();
            let done = json!({ "pk": format!("TASK#{task}"), "sk": "STEP#s00", "state": "complete", "result": "[]" });
            runtime.block_on(async {
                assert_eq!(sandbox.step_item(task, "s01").await["state"], json!("in_progress"));
                sandbox.put(&done).await;
            });
            barrier.wait();
            early.join().unwrap()
        });
        assert_eq!(kept, ["early"], "nobody else will wake the step");
    });
}

#[tokio::test]
async fn a_message_that_comes_late_runs_nothing() {
    let graph = Graph::diamonds(1);
    in_sandbox(&graph.names(), async |sandbox| {
        let journal = Journal::default();
        let task = start(sandbox, &graph).await;
        let poller = Poller::new(sandbox).with_numbered(4, &journal.script());
        let history = poller.run(task).await;
        let sent = sandbox.meter.mark();
        for step in graph.names() {
            poller.inject(&step, &json!({ "task_id": task, "step": step }).to_string()).await;
        }
        assert_eq!(poller.run(task).await, history, "not a byte of it has changed");
        assert_eq!(journal.runs().len(), 4);
        let later = sandbox.meter.since(sent);
        assert!(later.iter().all(|call| call.operation != "SendMessage"), "{later:?}");
    })
    .await;
}

#[tokio::test]
async fn a_message_that_is_in_its_batch_twice_is_worked_once() {
    let graph = Graph::chain(1);
    in_sandbox(&graph.names(), async |sandbox| {
        let journal = Journal::default();
        let slow = Script::slow({
            let journal = journal.clone();
            move |run| {
                journal.note(&run);
                async { Ok(Value::Null) }
            }
        });
        let task = start(sandbox, &graph).await;
        let poller = Poller::new(sandbox).with_number(0, slow);
        let body = json!({ "task_id": task, "step": "s00" }).to_string();
        poller.deliver("s00", &[message("m", &body), message("m", &body)]).await;
        assert_eq!(journal.counts(), counts([("s00", 1)]));
    })
    .await;
}

#[tokio::test]
async fn a_task_that_has_been_cancelled_runs_nothing_more() {
    for status in [TaskStatus::Cancelled, TaskStatus::ResolvedManually, TaskStatus::Complete] {
        let graph = Graph::chain(2);
        in_sandbox(&graph.names(), async |sandbox| {
            let journal = Journal::default();
            let task = start(sandbox, &graph).await;
            let mut item = sandbox.task_item(task).await;
            item["status"] = json!(status);
            sandbox.put(&item).await;
            let history = Poller::new(sandbox).with_numbered(2, &journal.script()).run(task).await;
            assert_eq!((history.status(), journal.runs().len()), (status, 0));
            assert_eq!(state(&history, "s00"), StepState::Pending);
        })
        .await;
    }
}

/// While the handler runs, an operator cancels the task; then it fails.
#[tokio::test]
async fn an_error_after_the_task_was_cancelled_is_still_on_record() {
    let graph = Graph::chain(2);
    in_sandbox(&graph.names(), async |sandbox| {
        let task = start(sandbox, &graph).await;
        let mut cancelled = sandbox.task_item(task).await;
        cancelled["status"] = json!(TaskStatus::Cancelled);
        let body = json!({ "task_id": task, "step": "s00" }).to_string();
        let (running, failing) = (Arc::new(tokio::sync::Notify::new()), Arc::new(tokio::sync::Notify::new()));
        let script = Script::slow({
            let (running, failing) = (Arc::clone(&running), Arc::clone(&failing));
            move |_| {
                let (running, failing) = (Arc::clone(&running), Arc::clone(&failing));
                async move {
                    running.notify_one();
                    failing.notified().await;
                    Err(permanent("DECLINED", "no"))
                }
            }
        });
        let poller = Poller::new(sandbox).with_number(0, script);
        let cancel = async {
            running.notified().await;
            sandbox.put(&cancelled).await;
            failing.notify_one();
        };
        let batch = [message("m", &body)];
        let (kept, ()) = tokio::join!(poller.deliver("s00", &batch), cancel);
        assert!(kept.is_empty());
        let history = sandbox.client().history(task).await.unwrap().unwrap();
        assert_eq!((history.status(), history.task.failed_steps.len()), (TaskStatus::Cancelled, 0));
        assert_eq!((state(&history, "s00"), code(&history, "s00")), (StepState::Error, "DECLINED"));
    })
    .await;
}

/// One batch, ten tasks, and every way to end at once.
#[tokio::test]
async fn what_happens_to_one_message_of_a_batch_does_not_touch_the_others() {
    let graph = Graph::chain(1).base_seconds(5);
    in_sandbox(&graph.names(), async |sandbox| {
        let mut tasks = Vec::new();
        for number in 0..10 {
            let started = sandbox.client().start(&graph.workflow(), &json!({ "number": number }), None).await.unwrap();
            tasks.push(started.task_id);
        }
        let script = Script::slow(async |run: Run| {
            tokio::time::sleep(Duration::from_millis(20)).await;
            match run.context()["number"].as_u64().unwrap() {
                3 => panic!("three"),
                4 => Err(retryable("BUSY", "four")),
                5 => Err(permanent("NO", "five")),
                number => Ok(json!(number)),
            }
        });
        let poller = Poller::new(sandbox).with_number(0, script);
        let mut messages: Vec<_> = tasks
            .iter()
            .enumerate()
            .map(|(number, task)| message(&number.to_string(), &json!({ "task_id": task, "step": "s00" }).to_string()))
            .collect();
        messages.push(message("junk", "junk"));
        assert_eq!(poller.deliver("s00", &messages).await, ["3", "4"]);
        for (number, task) in tasks.into_iter().enumerate() {
            let history = sandbox.client().history(task).await.unwrap().unwrap();
            let expected = match number {
                3 | 4 => StepState::Retrying,
                5 => StepState::Error,
                _ => StepState::Complete,
            };
            assert_eq!(state(&history, "s00"), expected, "{number}");
        }
        assert_eq!(sandbox.undeliverable().await.len(), 1);
    })
    .await;
}

#[test]
fn a_message_takes_no_more_room_than_it_needs() {
    let task = TaskId::new();
    let plan = Graph::fan(2).workflow();
    let message = |step: &str| serde_json::to_string(&plan.plan().step(step).unwrap().message(task)).unwrap();
    assert_eq!(message("s00"), format!(r#"{{"task_id":"{task}","step":"s00"}}"#));
    assert_eq!(message("s03"), format!(r#"{{"task_id":"{task}","step":"s03","load":["s01","s02"]}}"#));
}
