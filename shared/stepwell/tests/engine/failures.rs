//! Handlers that fail, panic or hang, and what a redrive starts again.

use super::*;
use std::{any::Any, panic::resume_unwind};
use stepwell::{
    ActionError,
    core::{
        state::TaskStatus,
        step::{self, Claim, ClaimRequest},
    },
    permanent,
    ports::Store,
    retryable,
    testing::StepFault,
    throttled,
};
use test_case::{test_case, test_matrix};

fn error(code: &str) -> StepFault {
    StepFault::Error(retryable(code, "try again"))
}

#[test_matrix([true, false])]
#[tokio::test(start_paused = true)]
async fn retry_waits_out_its_backoff(by_call: bool) {
    let journal = Journal::default();
    let harness = TestWorkflow::chain(2).harness(journal.clone(), by_call);
    harness.fail("s0", [error("BUSY"), error("BUSY")]);
    let task = start(&harness).await;
    let snapshot = run(&harness, task).await;
    assert_eq!(snapshot.status(), TaskStatus::Complete);
    let step = snapshot.step("s0").unwrap();
    assert_eq!(step.error, None, "an error stands only while the step has not succeeded");
    let begun: Vec<_> = step.attempts.iter().map(|attempt| attempt.started_at.since(VirtualClock::START)).collect();
    assert_eq!(begun, [seconds(0), seconds(1), seconds(3)]);
    let due: Vec<_> = step.attempts.iter().map(|attempt| attempt.next_retry_at).collect();
    assert_eq!(due, [Some(step.attempts[1].started_at), Some(step.attempts[2].started_at), None]);
    assert_eq!(sent_to(&harness, "s0"), 1, "the message is the timer");
}

#[test_case(7, 7..=11; "as long as it asks for, and up to half as much more")]
#[test_case(9_999, 300..=450; "the cap, and up to half as much more")]
#[tokio::test(start_paused = true)]
async fn error_says_itself_when_to_come_back(asked: u64, waited: std::ops::RangeInclusive<u64>) {
    let harness = TestWorkflow::chain(1).harness(Journal::default(), true);
    harness.fail("s0", [StepFault::Error(retryable("RATE_LIMITED", "later").retry_after(seconds(asked)))]);
    let task = start(&harness).await;
    let snapshot = run(&harness, task).await;
    assert_eq!(outcomes(&snapshot, "s0"), [(1, Outcome::RetryableError), (2, Outcome::Complete)]);
    let [first, second] = &snapshot.step("s0").unwrap().attempts[..] else { panic!("{snapshot:?}") };
    let wait = second.started_at.since(first.finished_at.unwrap());
    assert!((seconds(*waited.start())..=seconds(*waited.end())).contains(&wait), "{wait:?}");
}

#[tokio::test(start_paused = true)]
async fn throttled_attempts_cost_none_and_the_retryable_ones_after_them_do() {
    let harness = TestWorkflow::chain(1).max_attempts(2).harness(Journal::default(), true);
    let slower = || StepFault::Error(throttled("RATE_LIMITED", "later").retry_after(seconds(20)));
    harness.fail("s0", [slower(), slower(), slower(), error("BUSY"), slower(), error("BUSY")]);
    let task = start(&harness).await;
    let snapshot = run(&harness, task).await;
    let step = snapshot.step("s0").unwrap();
    let trail: Vec<_> = step.attempts.iter().map(|attempt| (attempt.throttled, attempt.outcome)).collect();
    let throttled = [true, true, true, false, true, false];
    assert_eq!(trail, throttled.map(|throttled| (throttled, Outcome::RetryableError)));
    assert_eq!((snapshot.status(), step.attempt, step.uncounted_attempts), (TaskStatus::Error, 6, 4));
    let waits = step.attempts.windows(2).map(|two| two[1].started_at.since(two[0].finished_at.unwrap()));
    let asked = waits.zip(throttled).filter(|(_, throttled)| *throttled).map(|(wait, _)| wait);
    assert!(asked.clone().all(|wait| wait >= seconds(20)), "{:?}", asked.collect::<Vec<_>>());
}

#[test_matrix([true, false])]
#[tokio::test(start_paused = true)]
async fn permanent_error_stops_what_depends_on_it_and_nothing_else(by_call: bool) {
    // s0 -> s1 (fails) -> s2 -> s5 <- s4 <- s3; s6 stands alone.
    let graph = TestWorkflow::new([vec![], vec![0], vec![1], vec![0], vec![3], vec![2, 4], vec![]]);
    let journal = Journal::default();
    let harness = graph.harness(journal.clone(), by_call);
    harness.fail("s1", [StepFault::Error(permanent("DECLINED", "no"))]);
    let task = start(&harness).await;
    let snapshot = run(&harness, task).await;
    assert_eq!(snapshot.status(), TaskStatus::Error);
    assert_eq!(snapshot.task.failed_steps, BTreeSet::from(["s1".to_owned()]));
    assert_eq!(journal.counts(), counts([("s0", 1), ("s3", 1), ("s4", 1), ("s6", 1)]));
    assert_eq!((code(&snapshot, "s1"), outcomes(&snapshot, "s1")), ("DECLINED", vec![(1, Outcome::PermanentError)]));
    assert_eq!((state(&snapshot, "s2"), state(&snapshot, "s5")), (StepState::Pending, StepState::Pending));
}

type Payload = fn() -> Box<dyn Any + Send>;

#[test_case(|| Box::new("at once"), false, "at once"; "with a text, before it waits")]
#[test_case(|| Box::new(format!("later: {}", 1)), true, "later: 1"; "with a formatted text, after it has waited")]
#[test_case(|| Box::new(7), false, "without a message"; "with something else")]
#[tokio::test(start_paused = true)]
async fn panic_is_a_retryable_error(payload: Payload, waits: bool, message: &str) {
    let panics = Script(move |_| {
        // As `panic!` does, without the hook that prints it.
        let panic = move || -> Result<Value, StepError> { resume_unwind(payload()) };
        let at_once = if waits { Ok(Value::Null) } else { panic() };
        async move {
            tokio::task::yield_now().await;
            at_once.and_then(|_| panic())
        }
    });
    let harness = TestWorkflow::chain(2).max_attempts(2).harness(panics, false);
    let task = start(&harness).await;
    let snapshot = run(&harness, task).await;
    assert_eq!((snapshot.status(), code(&snapshot, "s0")), (TaskStatus::Error, "PANIC"));
    let error = snapshot.step("s0").unwrap().error.as_ref().unwrap();
    assert_eq!(error.message, format!("the handler panicked: {message}"));
    assert_eq!(outcomes(&snapshot, "s0"), [(1, Outcome::RetryableError), (2, Outcome::RetryableError)]);
}

#[tokio::test(start_paused = true)]
async fn handler_past_its_timeout_has_used_up_an_attempt() {
    let harness = TestWorkflow::chain(1).max_attempts(2).harness(Journal::default(), false);
    harness.fail("s0", [StepFault::Timeout, StepFault::Timeout]);
    let task = start(&harness).await;
    let snapshot = run(&harness, task).await;
    assert_eq!((snapshot.status(), code(&snapshot, "s0")), (TaskStatus::Error, "TIMEOUT"));
    let step = snapshot.step("s0").unwrap();
    assert_eq!(step.error.as_ref().unwrap().message, "the handler took longer than 10000 ms");
    assert_eq!(outcomes(&snapshot, "s0"), [(1, Outcome::RetryableError), (2, Outcome::RetryableError)]);
    let lengths = step.attempts.iter().map(|attempt| attempt.finished_at.unwrap().since(attempt.started_at));
    assert_eq!(lengths.collect::<Vec<_>>(), [seconds(10); 2]);
}

/// The end of the invocation comes first, and a second and a half of it are kept for what follows. Where no more than that
/// is left the handler is not run, and that costs nothing.
#[test_case(20_000, Some(10_000); "the step's timeout comes first")]
#[test_case(2_500, Some(1_000); "the end of the invocation comes first")]
#[test_case(1_501, Some(1); "a millisecond is left")]
#[test_case(1_500, None; "no time is left")]
#[tokio::test(start_paused = true)]
async fn handler_is_limited_by_the_invocation(lasts: u64, expected: Option<u64>) {
    let given = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&given);
    let step = Script(move |facts: StepContext| {
        *noted.lock().unwrap() = Some(facts.time_left());
        async { Ok(Value::Null) }
    });
    let harness = TestWorkflow::chain(1).max_attempts(1).harness(step.clone(), true);
    let task = start(&harness).await;
    let (memory, clock) = (harness.memory().clone(), harness.memory().runtime.clone());
    let invocation = Invocation::new("r", harness.now() + Duration::from_millis(lasts), harness.now());
    let worker = Worker::new(StepQueue::new("graph", "s0"), step, memory.clone(), memory, clock);
    let kept = worker.handle(&[receive(&harness)], &invocation).await;
    assert_eq!(*given.lock().unwrap(), expected.map(Duration::from_millis));
    if expected.is_none() {
        assert_eq!(kept.len(), 1);
        assert_eq!(harness.memory().queue.next_due(), Some(harness.now()), "another invocation may have the time");
        assert_eq!(
            (record(&harness, task, "s0").state, record(&harness, task, "s0").uncounted_attempts),
            (StepState::Pending, 1)
        );
    }
    let snapshot = run(&harness, task).await;
    assert_eq!((snapshot.status(), outcomes(&snapshot, "s0").len()), (TaskStatus::Complete, 1));
}

/// The worker was not dead, only slow: while it ran, its lease ended and another worker did the step.
#[test_matrix([Ok(json!("the late one's")), Err(retryable("BUSY", "")), Err(permanent("NO", ""))], [true, false])]
#[tokio::test(start_paused = true)]
async fn late_worker_changes_nothing(outcome: Result<Value, StepError>, by_call: bool) {
    let harness = TestWorkflow::chain(2).harness(Journal::default(), by_call);
    let task = start(&harness).await;
    let store = harness.memory().store.clone();
    let overtaken = Script(move |facts: StepContext| {
        let (store, outcome) = (store.clone(), outcome.clone());
        async move {
            let held = store.step(task, "s0");
            let now = held.lease_until.unwrap() + seconds(1);
            let request = ClaimRequest { task, step: "s0", owner: "other/other", now, lease_until: now + seconds(20) };
            let taken = store.apply(&step::take_over(&request, &held)).await.unwrap();
            let Claim::Granted(lease) = Claim::read(&request, taken).unwrap() else { panic!("it is free") };
            assert_eq!((facts.attempt, lease.attempt), (1, 2));
            let mut attempt = held.all_attempts()[0].clone();
            (attempt.number, attempt.outcome) = (lease.attempt, Outcome::Complete);
            assert!(store.apply(&step::complete(&lease, &attempt, r#""the other's""#)).await.unwrap().is_written());
            outcome
        }
    });
    let message = receive(&harness);
    let kept = deliver(&harness, "s0", overtaken, std::slice::from_ref(&message)).await;
    assert_eq!(kept, [message.id], "the message is the newer attempt's to delete");
    assert_eq!(harness.memory().queue.next_due(), Some(harness.now() + seconds(20)), "until the invocation is over");
    let snapshot = harness.snapshot(task).await.unwrap();
    assert_eq!(snapshot.step("s0").unwrap().result.as_deref(), Some(r#""the other's""#));
    assert_eq!(outcomes(&snapshot, "s0"), [(1, Outcome::Lost), (2, Outcome::Complete)]);
    assert_eq!(snapshot.status(), TaskStatus::InProgress);
    assert_eq!(sent_to(&harness, "s1"), 0, "and the dispatch too");
}

#[test_matrix([true, false])]
#[tokio::test(start_paused = true)]
async fn redriven_task_goes_on_where_it_failed(by_call: bool) {
    let journal = Journal::default();
    let harness = TestWorkflow::chain(4).max_attempts(2).harness(journal.clone(), by_call);
    let client = harness.client();
    harness.fail("s2", vec![error("DOWN"); 4]);
    let task = start(&harness).await;
    let snapshot = run(&harness, task).await;
    assert_eq!((snapshot.status(), code(&snapshot, "s2")), (TaskStatus::Error, "DOWN"));
    assert_eq!(outcomes(&snapshot, "s2").len(), 2);

    // A fresh set of attempts, used up as well.
    assert_eq!(client.redrive(task, &actor()).await.unwrap().status(), TaskStatus::Error);
    assert_eq!(harness.snapshot(task).await.unwrap().status(), TaskStatus::InProgress);
    assert_eq!(run(&harness, task).await.status(), TaskStatus::Error);

    client.redrive(task, &actor()).await.unwrap();
    let snapshot = run(&harness, task).await;
    assert_eq!(snapshot.status(), TaskStatus::Complete);
    assert_eq!((snapshot.task.failed_steps.len(), snapshot.failed_steps().len()), (0, 0));
    assert_eq!(journal.counts(), counts([("s0", 1), ("s1", 1), ("s2", 1), ("s3", 1)]));
    let audit: Vec<u32> = outcomes(&snapshot, "s2").iter().map(|(number, _)| *number).collect();
    assert_eq!(audit, [1, 2, 3, 4, 5], "every attempt is there, and no number comes twice");

    let refused = client.redrive(task, &actor()).await.unwrap_err();
    assert_eq!(refused.to_string(), "cannot redrive task in complete status");
    let unknown = client.redrive(TaskId::new(), &actor()).await.unwrap_err();
    assert!(matches!(unknown, ActionError::NotFound(_)), "{unknown}");
}

#[tokio::test(start_paused = true)]
async fn several_failed_steps_are_redriven_together() {
    let (graph, journal) = (TestWorkflow::fan(5), Journal::default());
    let harness = graph.harness(journal.clone(), true);
    let broken = ["s1", "s3", "s4"];
    for step in broken {
        harness.fail(step, [StepFault::Error(permanent("BROKEN", "see to it"))]);
    }
    let task = start(&harness).await;
    let snapshot = run(&harness, task).await;
    assert_eq!(snapshot.task.failed_steps, broken.map(str::to_owned).into());
    // Two operators: one of them is told that it is done.
    let client = harness.client();
    client.redrive(task, &actor()).await.unwrap();
    client.redrive(task, &actor()).await.unwrap_err();
    assert_eq!(run(&harness, task).await.status(), TaskStatus::Complete);
    assert_eq!(journal.counts(), graph.names().into_iter().map(|step| (step, 1)).collect());
}
