//! Races between workers that the simulation reaches too seldom, set up by hand.

use crate::{
    FailureKind, TaskId,
    core::{
        message::StepQueue,
        state::{StepState, TaskState},
        step::{self, ClaimRequest},
        timestamp::Timestamp,
    },
    ports::{Received, Store},
    runtime::worker::{Invocation, Worker},
    testing::{
        CrashAt, Memory, Returns, VirtualClock,
        fixtures::staged::{busy, graph, no},
    },
};
use serde_json::json;
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(30);

fn request(task: TaskId, step: &str, now: Timestamp) -> ClaimRequest<'_> {
    ClaimRequest { task, step, owner: "somebody/else", now, lease_until: now + LEASE }
}

/// Another worker takes the step over, because by its clock the lease has ended.
async fn replace(memory: &Memory<VirtualClock>, task: TaskId, step: &str) {
    let lost = memory.store.step(task, step);
    let late = lost.lease_until.unwrap() + Duration::from_secs(1);
    let answer = memory.apply(&step::take_over(&request(task, step, late), &lost)).await.unwrap();
    assert!(answer.is_written(), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn replaced_worker_writes_nothing_and_keeps_the_message() {
    for (outcome, fault) in [("complete", None), ("retry_later", Some(busy())), ("fail", Some(no()))] {
        for depends_on in [&[&[][..]][..], &[&[], &[0]]] {
            let harness = graph(depends_on, &[], "");
            harness.fail("s0", fault.clone());
            let (task, memory) = (harness.begin().await, harness.memory().clone());
            harness.meanwhile(outcome, async move { replace(&memory, task, "s0").await });
            harness.run_for(Duration::ZERO).await.unwrap();
            let step = harness.step(task, "s0");
            assert_eq!((step.state, step.attempt), (StepState::InProgress, 2), "after {outcome}");
            assert_eq!(
                (harness.state(task), harness.woken()),
                (TaskState::Running, vec!["s0".to_owned()]),
                "after {outcome}"
            );
            assert!(harness.memory().queue.holds_any_of(task), "the message is kept after {outcome}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn join_that_was_claimed_too_early_gets_the_arrival_of_a_replayed_dispatch() {
    let harness = graph(&[&[], &[], &[0, 1]], &[], "").call_by_call();
    // The worker of s0 crashes after its completion, and that of s1 before its claim.
    harness.crash("s0", [CrashAt::After("complete")]);
    harness.crash("s1", [CrashAt::Before("claim")]);
    let task = harness.begin().await;
    harness.run_for(Duration::ZERO).await.unwrap();
    // A stray message makes a worker claim the join. It releases the join after the dispatch of s0.
    let early = harness.memory().claim(task, "s2").await;
    let has_arrived = |step: &str| harness.step(task, "s2").done_deps.contains(step);
    harness.run_until(task, |_| has_arrived("s0")).await.unwrap();
    harness.memory().apply(&step::release(&early)).await.unwrap();
    assert!(!has_arrived("s1") && harness.woken() == ["s0", "s1"]);
    harness.run_until(task, |_| has_arrived("s1")).await.unwrap();
    assert_eq!(harness.woken(), ["s0", "s1", "s2"], "its last dependency sends its message");
}

#[tokio::test(start_paused = true)]
async fn only_a_replayed_dispatch_marks_its_message_as_a_repeat() {
    let harness = graph(&[&[], &[0]], &[], "");
    let task = harness.begin().await;
    let repeats = || harness.sent().iter().map(|message| (message.step.clone(), message.repeat)).collect::<Vec<_>>();
    harness.run_until(task, |snapshot| snapshot.step("s0").unwrap().state.is_done()).await.unwrap();
    let first = [("s0".to_owned(), false), ("s1".to_owned(), false)];
    assert_eq!(repeats(), first);
    harness.lose_messages();
    harness.put_message("s0", json!({ "task_id": task, "step": "s0" }).to_string());
    harness.run_until(task, |_| harness.sent().len() > 2).await.unwrap();
    assert_eq!(repeats()[2..], [("s1".to_owned(), true)]);
}

#[tokio::test(start_paused = true)]
async fn claim_is_released_without_counting_if_the_task_cannot_be_loaded() {
    let harness = graph(&[&[]], &[], "");
    harness.fail_call("load", [FailureKind::Throttled]);
    let task = harness.begin().await;
    harness.run_for(Duration::ZERO).await.unwrap();
    let step = harness.step(task, "s0");
    assert_eq!((step.state, step.attempt, step.uncounted_attempts), (StepState::Pending, 1, 1));
    assert!(harness.memory().queue.holds_any_of(task), "the message is kept");
    harness.run(task).await.unwrap();
    assert_eq!(harness.state(task), TaskState::Completed);
}

#[tokio::test(start_paused = true)]
async fn step_of_a_dead_worker_is_taken_over_only_if_the_task_can_be_loaded() {
    let harness = graph(&[&[]], &[], "");
    harness.crash("s0", [CrashAt::Before("complete")]);
    let task = harness.begin().await;
    harness.run_for(Duration::ZERO).await.unwrap();
    harness.fail_call("load", [FailureKind::Throttled; 3]);
    harness.run(task).await.unwrap();
    let step = harness.step(task, "s0");
    assert_eq!((step.state, step.attempt, step.uncounted_attempts), (StepState::Complete, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn hanging_call_ends_its_own_delivery_before_the_invocation_and_no_other() {
    for call in ["claim", "complete", "hide"] {
        let (harness, life) = (graph(&[&[]], &[], "").call_by_call(), 2 * LEASE);
        let serves = StepQueue::new("graph", "s0");
        let worker =
            Worker::new(serves, Returns("null"), harness.ports(), harness.ports(), harness.memory().runtime.clone());
        let mut batch = Vec::new();
        for id in ["hangs", "goes on"] {
            let body = json!({ "task_id": harness.begin().await, "step": "s0" }).to_string();
            batch.push(Received { id: id.to_owned(), body, receipt: Some(id.to_owned()), ..Received::default() });
        }
        if call == "hide" {
            harness.fail_call("claim", [FailureKind::Throttled]);
        }
        harness.meanwhile(call, std::future::pending());
        let begun = harness.now();
        let invocation = Invocation::new("request", begun + life, begun);
        let kept = tokio::time::timeout(2 * life, worker.handle(&batch, &invocation)).await;
        let kept = kept.expect("the invocation answers");
        assert!(harness.now().since(begun) < life, "the invocation answers in time although `{call}` hangs");
        assert_eq!(kept, ["hangs"], "the other message is done although `{call}` hangs");
    }
}
