//! Races of workers that chance brings about too seldom, made by hand.

use crate::{
    FailureKind, TaskId,
    core::{
        state::{StepState, TaskState},
        step::{self, ClaimRequest},
        timestamp::Timestamp,
    },
    ports::Store,
    testing::{
        CrashAt, Memory, VirtualClock,
        fixtures::staged::{busy, graph, no},
    },
};
use serde_json::json;
use std::time::Duration;

const LEASE: Duration = Duration::from_secs(30);

fn request(task: TaskId, step: &str, now: Timestamp) -> ClaimRequest<'_> {
    ClaimRequest { task, step, owner: "somebody/else", now, lease_until: now + LEASE }
}

/// Somebody whose clock says that the lease of the step's worker is over takes the step over.
async fn replace(memory: &Memory<VirtualClock>, task: TaskId, step: &str) {
    let lost = memory.store.step(task, step);
    let late = lost.lease_until.unwrap() + Duration::from_secs(1);
    let answer = memory.apply(&step::take_over(&request(task, step, late), &lost)).await.unwrap();
    assert!(answer.is_written(), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_was_replaced_leaves_the_message_to_the_other_whatever_came_of_it() {
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
async fn a_join_that_was_claimed_before_its_time_still_learns_of_what_is_handed_over_again() {
    let harness = graph(&[&[], &[], &[0, 1]], &[], "").call_by_call();
    // The worker of the first step dies after its completion, and the other's before its claim.
    harness.crash("s0", [CrashAt::After("complete")]);
    harness.crash("s1", [CrashAt::Before("claim")]);
    let task = harness.begin().await;
    harness.run_for(Duration::ZERO).await.unwrap();
    // A stray message makes somebody claim the join, and put it back after the first step's hand-over.
    let early = harness.memory().claim(task, "s2").await;
    let heard_of = |step: &str| harness.step(task, "s2").done_deps.contains(step);
    harness.run_until(task, |_| heard_of("s0")).await.unwrap();
    harness.memory().apply(&step::release(&early)).await.unwrap();
    assert!(!heard_of("s1") && harness.woken() == ["s0", "s1"]);
    harness.run_until(task, |_| heard_of("s1")).await.unwrap();
    assert_eq!(harness.woken(), ["s0", "s1", "s2"], "it is woken by the last of those it waits for");
}

#[tokio::test(start_paused = true)]
async fn only_a_hand_over_made_again_calls_its_message_a_repeat() {
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
async fn a_claim_whose_task_cannot_be_read_is_given_back_and_costs_no_attempt() {
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
