//! Single deliveries: refused claims, and failed calls.

use super::*;
use stepwell::core::{item::attribute, state::TaskStatus};
use test_case::{test_case, test_matrix};

/// The state of the step decides: leased, not due yet, done, or failed.
#[test_case(StepState::InProgress, Some(30), 0)]
#[test_case(StepState::Retrying, Some(40), 0)]
#[test_case(StepState::Complete, None, 1)]
#[test_case(StepState::ResolvedManually, None, 1)]
#[test_case(StepState::Error, None, 0)]
#[test_case(StepState::Cancelled, None, 0)]
#[tokio::test(start_paused = true)]
async fn refused_claim_is_handled_by_the_state_of_the_step(state: StepState, hidden: Option<u64>, sent: usize) {
    let journal = Journal::default();
    let harness = TestWorkflow::chain(2).harness(journal.clone(), true);
    let task = start(&harness).await;
    let in_seconds = |count| Value::from((harness.now() + seconds(count)).as_millis());
    let stands = [
        (attribute::STATE, state.as_str().into()),
        (attribute::OWNER, "other/other".into()),
        (attribute::LEASE_UNTIL, in_seconds(30)),
        (attribute::NEXT_RETRY_AT, in_seconds(40)),
        (attribute::RESULT, "[]".into()),
    ];
    force(&harness, task, "s0", stands.map(|(name, value)| Change::Set(name, value)).into());
    let before = record(&harness, task, "s0");
    let message = receive(&harness);
    let kept = deliver(&harness, "s0", journal.clone(), std::slice::from_ref(&message)).await;
    assert_eq!(kept, if hidden.is_some() { vec![message.id] } else { vec![] });
    if let Some(hidden) = hidden {
        assert_eq!(harness.memory().queue.next_due(), Some(harness.now() + seconds(hidden)));
    }
    assert_eq!((sent_to(&harness, "s1"), journal.runs().len()), (sent, 0));
    assert_eq!(record(&harness, task, "s0"), before);
}

/// A lease is taken over after its end, but not at the very time of its end.
#[test_case(0, 0)]
#[test_case(1, 1)]
#[tokio::test(start_paused = true)]
async fn ended_lease_is_taken_over(over_for_ms: u64, runs: usize) {
    let journal = Journal::default();
    let harness = TestWorkflow::chain(1).harness(journal.clone(), true);
    let task = start(&harness).await;
    let ended = harness.now().as_millis() - i64::try_from(over_for_ms).unwrap();
    let held = [
        (attribute::STATE, "in_progress".into()),
        (attribute::ATTEMPT, 1.into()),
        (attribute::OWNER, "other/other".into()),
        (attribute::STARTED_AT, ended.into()),
        (attribute::LEASE_UNTIL, ended.into()),
    ];
    force(&harness, task, "s0", held.map(|(name, value)| Change::Set(name, value)).into());
    deliver(&harness, "s0", journal.clone(), &[message("m", body(task, "s0"))]).await;
    assert_eq!(journal.runs().len(), runs);
    assert_eq!(record(&harness, task, "s0").attempts.len(), 2 * runs, "the lost one, and the one that did it");
}

/// Two workers see that a lease has ended. One is faster, and releases the step before the other writes.
#[tokio::test(start_paused = true)]
async fn second_take_over_is_refused() {
    let journal = Journal::default();
    let harness = TestWorkflow::chain(1).harness(journal.clone(), true);
    let task = start(&harness).await;
    let store = harness.memory().store.clone();
    let set = |changes: [(&'static str, Value); 3]| changes.map(|(name, value)| Change::Set(name, value)).to_vec();
    let over = Value::from(harness.now().as_millis() - 1);
    let held =
        [(attribute::STATE, "in_progress".into()), (attribute::ATTEMPT, 1.into()), (attribute::LEASE_UNTIL, over)];
    force(&harness, task, "s0", set(held));
    harness.meanwhile("take_over", async move {
        let put_back = [
            (attribute::STATE, "pending".into()),
            (attribute::ATTEMPT, 2.into()),
            (attribute::UNCOUNTED_ATTEMPTS, 2.into()),
        ];
        store.force(Key::Step(task, "s0".to_owned()), set(put_back)).unwrap();
    });
    let message = receive(&harness);
    let kept = deliver(&harness, "s0", journal.clone(), std::slice::from_ref(&message)).await;
    assert_eq!((kept, journal.runs().len()), (vec![message.id], 0));
    assert_eq!(harness.memory().queue.next_due(), Some(harness.now()), "it can be claimed at once");
    assert_eq!(run(&harness, task).await.status(), TaskStatus::Complete);
}

/// The delivery that has claimed a step of no task deletes the item, unless its worker dies before that.
#[tokio::test(start_paused = true)]
async fn orphan_claim_of_another_delivery_is_waited_for() {
    let journal = Journal::default();
    let harness = TestWorkflow::chain(1).harness(journal.clone(), true);
    let task = TaskId::new();
    harness.crash("s0", [stepwell::testing::CrashAt::Before("delete_orphan_claim")]);
    harness.put_message("s0", body(task, "s0"));
    harness.put_message("s0", body(task, "s0"));
    harness.run_for(seconds(10)).await.unwrap();
    assert_eq!((harness.memory().store.count(), harness.undeliverable().len()), (1, 0));
    harness.run_for(seconds(60)).await.unwrap();
    assert_eq!((harness.memory().store.count(), harness.undeliverable().len()), (0, 2));
    assert_eq!(harness.memory().queue.next_due(), None);

    // An item without a lease has no owner.
    force(&harness, task, "s0", vec![Change::Set(attribute::STATE, "complete".into())]);
    assert!(deliver(&harness, "s0", journal.clone(), &[message("m", body(task, "s0"))]).await.is_empty());
    assert_eq!(harness.undeliverable().len(), 3);
}

/// The message is hidden for longer with each delivery, so that an outage does not use up its receive count. A claim whose
/// load failed is released, and does not count.
#[test_matrix(["claim", "load", "complete"], [(1, 1), (3, 4), (100, 285)])]
#[tokio::test(start_paused = true)]
async fn message_comes_back_after_a_growing_wait_if_a_call_fails(call: &'static str, (receives, hidden): (u32, u64)) {
    let journal = Journal::default();
    let harness = TestWorkflow::chain(1).harness(journal.clone(), true);
    let task = start(&harness).await;
    let message = Received { receives: Some(receives), ..receive(&harness) };
    harness.fail_call(call, [FailureKind::Unavailable]);
    let kept = deliver(&harness, "s0", journal.clone(), std::slice::from_ref(&message)).await;
    assert_eq!(kept, [message.id]);
    assert_eq!(harness.memory().queue.next_due(), Some(harness.now() + seconds(hidden)));
    let step = record(&harness, task, "s0");
    let expected = match call {
        "claim" => (StepState::Pending, 0, 0, 0),
        "load" => (StepState::Pending, 1, 1, 0),
        _ => (StepState::InProgress, 1, 0, 1),
    };
    assert_eq!((step.state, step.attempt, step.uncounted_attempts, journal.runs().len()), expected);
    assert_eq!(run(&harness, task).await.status(), TaskStatus::Complete);
}

/// The message comes back by itself, only later, where nobody can say when.
#[tokio::test(start_paused = true)]
async fn message_that_cannot_be_hidden_is_kept_all_the_same() {
    let harness = TestWorkflow::chain(1).harness(Journal::default(), true);
    let task = start(&harness).await;
    let message = receive(&harness);
    harness.fail_call("claim", [FailureKind::Unavailable]);
    harness.fail_call("hide", [FailureKind::Unavailable]);
    let kept = deliver(&harness, "s0", Journal::default(), std::slice::from_ref(&message)).await;
    assert_eq!(kept, [message.id]);
    assert_eq!(harness.memory().queue.next_due(), Some(harness.now() + seconds(60)), "as it was received");
    assert_eq!(run(&harness, task).await.status(), TaskStatus::Complete);
}

/// What can be neither worked nor rejected stays where it is.
#[tokio::test(start_paused = true)]
async fn message_that_cannot_be_rejected_is_kept() {
    let harness = TestWorkflow::chain(1).harness(Journal::default(), true);
    harness.fail_call("reject", [FailureKind::Unavailable]);
    assert_eq!(deliver(&harness, "s0", Journal::default(), &[message("m", "junk")]).await, ["m"]);
}

/// The dispatch that failed is made again: by the same message, which finds the step done.
#[test_case("record_join_arrival")]
#[test_case("send")]
#[test_case("finish")]
#[tokio::test(start_paused = true)]
async fn dispatch_that_failed_is_made_by_the_next_delivery(call: &'static str) {
    let journal = Journal::default();
    let graph = if call == "finish" {
        TestWorkflow::chain(1)
    } else {
        TestWorkflow::new([vec![], vec![], vec![0], vec![0, 1]])
    };
    let harness = graph.harness(journal.clone(), true);
    let task = start(&harness).await;
    harness.fail_call(call, [FailureKind::Unavailable]);
    let message = receive(&harness);
    assert_eq!(deliver(&harness, "s0", journal.clone(), std::slice::from_ref(&message)).await, [message.id]);
    assert_eq!(record(&harness, task, "s0").state, StepState::Complete);
    let snapshot = run(&harness, task).await;
    assert_eq!(snapshot.status(), TaskStatus::Complete);
    assert_eq!(journal.counts(), graph.names().into_iter().map(|step| (step, 1)).collect());
    assert_eq!(lineages(&snapshot), graph.lineages());
    assert!(snapshot.last_event().since(VirtualClock::START) < seconds(60), "the watchdog was not needed");
}

/// Lambda's clock may make no sense: `cargo lambda watch` hands out a deadline in 1970.
#[test_case(-1, 60; "past")]
#[test_case(0, 60; "now")]
#[test_case(30, 30; "to come")]
#[tokio::test(start_paused = true)]
async fn invocation_whose_deadline_is_past_is_given_a_minute(deadline: i64, left: u64) {
    let clock = VirtualClock::new();
    let deadline = Timestamp::from_millis(clock.now().as_millis() + deadline * 1_000);
    assert_eq!(Invocation::new("r", deadline, clock.now()).time_left(&clock), seconds(left));
}
