//! Handlers that fail, panic, hang or lose their worker.

use super::*;
use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};
use stepwell::{
    ActionError, Ambient,
    core::{
        limits::MAX_RESULT_BYTES,
        state::TaskStatus,
        step::{self, Claim, ClaimRequest},
    },
    permanent,
    ports::Store,
    retryable,
};
use stepwell_tests::{
    emulator::in_sandbox,
    events::message,
    poller::{Poller, Waits},
    steps::name,
};
use test_case::test_case;

#[tokio::test]
async fn a_retry_waits_out_its_backoff_in_the_queue() {
    let graph = Graph::chain(2).base_seconds(1);
    in_sandbox(&graph.names(), async |sandbox| {
        let journal = Journal::default();
        let busy_twice =
            |run: &Run| (run.facts.step == "s00" && run.facts.attempt < 3).then(|| retryable("BUSY", "try again"));
        let task = start(sandbox, &graph).await;
        let poller = Poller::new(sandbox).waits(Waits::Real).with_numbered(2, &journal.failing_where(busy_twice));
        let history = poller.run(task).await;

        assert_eq!(history.status(), TaskStatus::Complete);
        assert_eq!(journal.counts(), counts([("s00", 3), ("s01", 1)]));
        let step = history.step("s00").unwrap();
        assert_eq!(step.error, None, "an error stands only while the step has not succeeded");
        let waits: Vec<_> =
            step.attempts.iter().map(|a| a.next_retry_at.map(|due| due.since(a.finished_at.unwrap()))).collect();
        assert_eq!(waits, [Some(Duration::from_secs(1)), Some(Duration::from_secs(2)), None]);
        for (earlier, later) in step.attempts.iter().zip(&step.attempts[1..]) {
            assert!(later.started_at >= earlier.next_retry_at.unwrap(), "{later:?} came too early");
        }
        assert_eq!(hidden(sandbox, "s00")[..2], [1, 2], "SQS was asked to hide the message for the backoff");
    })
    .await;
}

/// For how long SQS was asked to hide messages of this queue.
fn hidden(sandbox: &Sandbox, queue: &str) -> Vec<i32> {
    let calls = sandbox.meter.since(0).into_iter().filter(|call| call.queue.as_deref() == Some(queue));
    calls.filter_map(|call| call.hidden_seconds).collect()
}

#[test_case(7, 7; "as long as it asks for")]
#[test_case(9_999, 300; "but not longer than the cap")]
#[tokio::test]
async fn an_error_says_itself_when_to_come_back(asked: u64, waited: i32) {
    let graph = Graph::chain(1);
    in_sandbox(&graph.names(), async |sandbox| {
        let journal = Journal::default();
        let limited = move |run: &Run| {
            let error = retryable("RATE_LIMITED", "later").retry_after(Duration::from_secs(asked));
            (run.facts.attempt == 1).then_some(error)
        };
        let task = start(sandbox, &graph).await;
        let history = Poller::new(sandbox).with_numbered(1, &journal.failing_where(limited)).run(task).await;
        assert_eq!(outcomes(&history, "s00"), [(1, Outcome::RetryableError), (2, Outcome::Complete)]);
        assert_eq!(hidden(sandbox, "s00"), [waited]);
    })
    .await;
}

#[tokio::test]
async fn a_permanent_error_stops_what_depends_on_it_and_nothing_else() {
    // s00 -> s01 (fails) -> s02 -> s05 <- s04 <- s03; s06 stands alone.
    let graph = Graph::new([vec![], vec![0], vec![1], vec![0], vec![3], vec![2, 4], vec![]]);
    in_sandbox(&graph.names(), async |sandbox| {
        let journal = Journal::default();
        let declined = |run: &Run| (run.facts.step == "s01").then(|| permanent("DECLINED", "no"));
        let task = start(sandbox, &graph).await;
        let history = Poller::new(sandbox).with_numbered(7, &journal.failing_where(declined)).run(task).await;

        assert_eq!(history.status(), TaskStatus::Error);
        assert_eq!(history.task.failed_steps, BTreeSet::from(["s01".to_owned()]));
        assert_eq!(journal.counts(), counts([("s00", 1), ("s01", 1), ("s03", 1), ("s04", 1), ("s06", 1)]));
        assert_eq!(code(&history, "s01"), "DECLINED");
        assert_eq!(outcomes(&history, "s01"), [(1, Outcome::PermanentError)]);
        assert_eq!((state(&history, "s02"), state(&history, "s05")), (StepState::Pending, StepState::Pending));
    })
    .await;
}

#[test_case(&Script::new(|_| panic!("at once")), "the handler panicked: at once"; "before it waits")]
#[test_case(&Script::slow(async |_| { tokio::task::yield_now().await; panic!("later: {}", 1) }), "the handler panicked: later: 1"; "after it has waited")]
#[tokio::test]
async fn a_panic_is_a_retryable_error(panics: &Script, message: &str) {
    let graph = Graph::chain(2).retry_limit(2);
    in_sandbox(&graph.names(), async |sandbox| {
        let task = start(sandbox, &graph).await;
        let history = Poller::new(sandbox).with_numbered(2, panics).run(task).await;
        assert_eq!((history.status(), code(&history, "s00")), (TaskStatus::Error, "PANIC"));
        assert_eq!(history.step("s00").unwrap().error.as_ref().unwrap().message, message);
        assert_eq!(outcomes(&history, "s00"), [(1, Outcome::RetryableError), (2, Outcome::RetryableError)]);
    })
    .await;
}

#[test_case(1, 30_000; "by the step's timeout")]
#[test_case(10, 2_500; "by the end of the invocation")]
#[tokio::test]
async fn a_handler_past_its_timeout_is_given_up(timeout_seconds: u32, invocation_ms: u64) {
    let graph = Graph::chain(1).retry_limit(2).timeout_seconds(timeout_seconds);
    in_sandbox(&graph.names(), async |sandbox| {
        let journal = Journal::default();
        let hangs = Script::slow({
            let journal = journal.clone();
            move |run| {
                journal.note(&run);
                std::future::pending()
            }
        });
        let task = start(sandbox, &graph).await;
        let poller = Poller::new(sandbox).invocation(Duration::from_millis(invocation_ms)).with_numbered(1, &hangs);
        let history = poller.run(task).await;
        assert_eq!((history.status(), code(&history, "s00")), (TaskStatus::Error, "TIMEOUT"));
        assert_eq!(journal.counts(), counts([("s00", 2)]), "a timeout uses up its attempt");
        assert_eq!(outcomes(&history, "s00"), [(1, Outcome::RetryableError), (2, Outcome::RetryableError)]);
        for run in journal.runs() {
            assert!(run.facts.time_left().is_zero(), "the handler could see the end of its time");
        }
    })
    .await;
}

#[tokio::test]
async fn an_invocation_without_time_for_the_handler_costs_no_attempt() {
    let graph = Graph::chain(1).retry_limit(1);
    in_sandbox(&graph.names(), async |sandbox| {
        let journal = Journal::default();
        let task = start(sandbox, &graph).await;
        let poller = Poller::new(sandbox).invocation(Duration::from_secs(1)).with_numbered(1, &journal.script());
        let body = json!({ "task_id": task, "step": "s00" }).to_string();
        assert_eq!(poller.deliver("s00", &[message("late", &body)]).await, ["late"]);
        assert_eq!(journal.counts(), counts([]));

        let history = Poller::new(sandbox).with_numbered(1, &journal.script()).run(task).await;
        assert_eq!(history.status(), TaskStatus::Complete);
    })
    .await;
}

fn claim<'a>(task: TaskId, owner: &'a str, sandbox: &Sandbox) -> ClaimRequest<'a> {
    let now = sandbox.clock.now();
    ClaimRequest { task, step: "s00", owner, now, lease_until: now + Duration::from_secs(20) }
}

/// A worker that takes the step, or takes it over, and is never heard of again.
async fn die_holding(sandbox: &Sandbox, task: TaskId, owner: &str) {
    let request = claim(task, owner, sandbox);
    let claim = async |claim| Claim::read(&request, sandbox.table.apply(&claim).await.unwrap()).unwrap();
    let claim = match claim(step::claim(&request)).await {
        Claim::Refused(held) => claim(step::take_over(&request, &held)).await,
        granted @ Claim::Granted(_) => granted,
    };
    assert!(matches!(claim, Claim::Granted(_)), "{claim:?}");
    sandbox.clock.advance(Duration::from_secs(21));
}

#[tokio::test]
async fn a_step_is_taken_over_from_a_worker_that_has_died() {
    let graph = Graph::chain(2);
    in_sandbox(&graph.names(), async |sandbox| {
        let journal = Journal::default();
        let task = start(sandbox, &graph).await;
        die_holding(sandbox, task, "dead-request/dead-message").await;
        let history = Poller::new(sandbox).with_numbered(2, &journal.script()).run(task).await;

        assert_eq!(history.status(), TaskStatus::Complete);
        assert_eq!(outcomes(&history, "s00"), [(1, Outcome::Lost), (2, Outcome::Complete)]);
        let lost = &history.step("s00").unwrap().attempts[0];
        assert_eq!(lost.request_id, "dead-request", "the way to its log lines");
        assert_eq!(
            lost.finished_at.unwrap().since(lost.started_at),
            Duration::from_secs(20),
            "it ended with its lease"
        );
        assert_eq!(journal.runs()[0].facts.attempt, 2);
    })
    .await;
}

#[tokio::test]
async fn a_step_whose_workers_all_die_is_given_up() {
    let graph = Graph::chain(2).retry_limit(3);
    in_sandbox(&graph.names(), async |sandbox| {
        let journal = Journal::default();
        let task = start(sandbox, &graph).await;
        for number in 0..3 {
            die_holding(sandbox, task, &format!("request-{number}/message")).await;
        }
        let history = Poller::new(sandbox).with_numbered(2, &journal.script()).run(task).await;
        assert_eq!((history.status(), code(&history, "s00")), (TaskStatus::Error, "ATTEMPTS_EXHAUSTED"));
        assert_eq!(journal.counts(), counts([]), "it was not run once more");
        assert_eq!(outcomes(&history, "s00")[..3], [(1, Outcome::Lost), (2, Outcome::Lost), (3, Outcome::Lost)]);
    })
    .await;
}

/// The worker was not dead, only slow: while it ran, its lease ended and another worker did the step.
#[tokio::test]
async fn a_worker_that_comes_back_late_changes_nothing() {
    let graph = Graph::chain(2);
    in_sandbox(&graph.names(), async |sandbox| {
        let task = start(sandbox, &graph).await;
        let (table, clock) = (sandbox.table.clone(), sandbox.clock.clone());
        let overtaken = Script::slow(move |run| {
            let (table, clock) = (table.clone(), clock.clone());
            async move {
                clock.advance(Duration::from_secs(60));
                let now = clock.now();
                let lease_until = now + Duration::from_secs(20);
                let request = ClaimRequest { task, step: "s00", owner: "other/other", now, lease_until };
                let claim = async |claim| Claim::read(&request, table.apply(&claim).await.unwrap()).unwrap();
                let Claim::Refused(held) = claim(step::claim(&request)).await else { panic!("it is held") };
                let Claim::Granted(lease) = claim(step::take_over(&request, &held)).await else { panic!("it is free") };
                let mut attempt = held.attempts.first().cloned().unwrap_or_else(|| held.all_attempts()[0].clone());
                attempt.number = lease.attempt;
                attempt.outcome = Outcome::Complete;
                let complete = step::complete(&lease, &attempt, r#""the other's""#);
                assert!(table.apply(&complete).await.unwrap().is_written());
                Ok(json!(format!("the late one's, of attempt {}", run.facts.attempt)))
            }
        });
        let poller = Poller::new(sandbox).with_number(0, overtaken);
        let body = json!({ "task_id": task, "step": "s00" }).to_string();
        let kept = poller.deliver("s00", &[message("m", &body)]).await;

        assert_eq!(kept, ["m"], "the message is the newer attempt's to delete");
        let history = sandbox.client().history(task).await.unwrap().unwrap();
        assert_eq!(history.step("s00").unwrap().result.as_deref(), Some(r#""the other's""#));
        assert_eq!(outcomes(&history, "s00"), [(1, Outcome::Lost), (2, Outcome::Complete)]);
        assert_eq!(sandbox.meter.sent_to("s01"), 0, "and the hand-over too");
    })
    .await;
}

#[tokio::test]
async fn a_retried_task_goes_on_where_it_failed() {
    let graph = Graph::chain(4).retry_limit(2);
    in_sandbox(&graph.names(), async |sandbox| {
        let client = sandbox.client();
        let journal = Journal::default();
        let up = Arc::new(AtomicBool::new(false));
        let down = Arc::clone(&up);
        let script = journal.failing_where(move |run| {
            (run.facts.step == "s02" && !down.load(Relaxed)).then(|| retryable("DOWN", "the gateway is down"))
        });
        let task = start(sandbox, &graph).await;
        let poller = Poller::new(sandbox).with_numbered(4, &script);
        let history = poller.run(task).await;
        assert_eq!((history.status(), code(&history, "s02")), (TaskStatus::Error, "DOWN"));
        assert_eq!(journal.counts(), counts([("s00", 1), ("s01", 1), ("s02", 2)]));

        // A fresh set of attempts, used up as well.
        assert_eq!(client.retry(task, &by()).await.unwrap().status(), TaskStatus::Error);
        assert_eq!(client.history(task).await.unwrap().unwrap().status(), TaskStatus::InProgress);
        let history = poller.run(task).await;
        assert_eq!(history.status(), TaskStatus::Error);
        assert_eq!(journal.counts(), counts([("s00", 1), ("s01", 1), ("s02", 4)]));

        up.store(true, Relaxed);
        client.retry(task, &by()).await.unwrap();
        let history = poller.run(task).await;
        assert_eq!(history.status(), TaskStatus::Complete);
        assert_eq!((history.task.failed_steps.len(), history.failed_steps().len()), (0, 0));
        assert_eq!(journal.counts(), counts([("s00", 1), ("s01", 1), ("s02", 5), ("s03", 1)]));
        let audit: Vec<u32> = outcomes(&history, "s02").iter().map(|(number, _)| *number).collect();
        assert_eq!(audit, [1, 2, 3, 4, 5], "every attempt is there, and no number comes twice");

        let refused = client.retry(task, &by()).await.unwrap_err();
        assert!(matches!(refused, ActionError::Status { status: TaskStatus::Complete, .. }), "{refused}");
        assert_eq!(refused.to_string(), "cannot retry task in complete status");
        let unknown = client.retry(TaskId::new(), &by()).await.unwrap_err();
        assert!(matches!(unknown, ActionError::NotFound(_)), "{unknown}");
    })
    .await;
}

#[tokio::test]
async fn several_failed_steps_are_retried_together() {
    let graph = Graph::fan(5);
    in_sandbox(&graph.names(), async |sandbox| {
        let journal = Journal::default();
        let mended = Arc::new(AtomicBool::new(false));
        let broken = Arc::clone(&mended);
        let script = journal.failing_where(move |run| {
            let fails = ["s01", "s03", "s04"].contains(&run.facts.step.as_str()) && !broken.load(Relaxed);
            fails.then(|| permanent("BROKEN", "see to it"))
        });
        let task = start(sandbox, &graph).await;
        let poller = Poller::new(sandbox).with_numbered(7, &script);
        let history = poller.run(task).await;
        assert_eq!(history.task.failed_steps, [1, 3, 4].map(name).into());
        mended.store(true, Relaxed);
        // Two operators at once: one of them is told that it is done.
        let client = sandbox.client();
        let by = by();
        let (one, other) = tokio::join!(client.retry(task, &by), client.retry(task, &by));
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        let history = poller.run(task).await;
        assert_eq!(history.status(), TaskStatus::Complete);
        let once = [("s00", 1), ("s02", 1), ("s05", 1), ("s06", 1)];
        assert_eq!(
            journal.counts(),
            once.into_iter().chain([("s01", 2), ("s03", 2), ("s04", 2)]).map(|(s, n)| (s.to_owned(), n)).collect()
        );
    })
    .await;
}

#[tokio::test]
async fn a_result_is_kept_up_to_the_limit_and_refused_above_it() {
    let graph = Graph::new([vec![], vec![]]);
    in_sandbox(&graph.names(), async |sandbox| {
        // As JSON a text has two quotation marks more.
        let fits = Script::new(|_| Ok(json!("r".repeat(MAX_RESULT_BYTES - 2))));
        let too_large = Script::new(|_| Ok(json!("r".repeat(MAX_RESULT_BYTES - 1))));
        let task = start(sandbox, &graph).await;
        let history = Poller::new(sandbox).with_number(0, fits).with_number(1, too_large).run(task).await;
        assert_eq!(history.step("s00").unwrap().result.as_ref().unwrap().len(), MAX_RESULT_BYTES);
        assert_eq!((state(&history, "s01"), code(&history, "s01")), (StepState::Error, "RESULT_TOO_LARGE"));
        assert_eq!(outcomes(&history, "s01"), [(1, Outcome::PermanentError)]);
    })
    .await;
}
