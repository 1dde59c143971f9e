//! Crashes a worker before and after every call it makes, one after the other. Its message comes back, another worker takes
//! over, and the task comes to the same end.

use super::*;
use stepwell::{
    core::state::TaskStatus,
    permanent, retryable,
    testing::{CrashAt, StepFault},
};
use test_case::test_matrix;

/// A diamond and another leaf; `s1` needs two attempts, and `s4` may fail for good.
#[test_matrix([true, false], [true, false])]
#[tokio::test(start_paused = true)]
async fn crash_at_any_call_does_not_change_the_end(by_call: bool, declined: bool) {
    let graph = TestWorkflow::new([vec![], vec![0], vec![0], vec![1, 2], vec![0]]);
    for call in 0.. {
        let mut died = false;
        for death in [CrashAt::Before(call), CrashAt::After(call)] {
            died |= crash(&graph, death, by_call, declined).await;
        }
        if !died {
            // Six deliveries: each claims, loads and settles. Call by call five of them arrive or send, too: two edges into
            // the join and two leaves, and a message for every step but the first; the last leaf ends the task. The retry
            // is hidden.
            let least = if by_call { 25 } else { 18 };
            assert!(call >= least, "only {call} calls were tried");
            return;
        }
    }
}

/// Crashes a worker there, and checks the end of the task. Returns whether there was such a call.
async fn crash(graph: &TestWorkflow, death: CrashAt<usize>, by_call: bool, declined: bool) -> bool {
    let journal = Journal::default();
    let harness = graph.harness(journal.clone(), by_call);
    harness.fail("s1", [StepFault::Error(retryable("BUSY", "try again"))]);
    if declined {
        // It dies once at most, before or after its error.
        harness.fail("s4", vec![StepFault::Error(permanent("DECLINED", "no")); 2]);
    }
    harness.crash_at(death);
    let task = start(&harness).await;
    let snapshot = run(&harness, task).await;

    assert_eq!(snapshot.status(), if declined { TaskStatus::Error } else { TaskStatus::Complete }, "{death:?}");
    for step in &snapshot.steps {
        let failed = declined && step.name == "s4";
        assert_eq!(step.state, if failed { StepState::Error } else { StepState::Complete }, "{} {death:?}", step.name);
        let audit = outcomes(&snapshot, &step.name);
        assert!(audit.is_sorted_by(|(one, _), (next, _)| one < next), "{} {death:?}: {audit:?}", step.name);
        let last = if failed { Outcome::PermanentError } else { Outcome::Complete };
        let ends: Vec<_> = audit.iter().filter(|(_, outcome)| *outcome == last).collect();
        assert_eq!(ends, [audit.last().unwrap()], "{} {death:?}: {audit:?}", step.name);
    }
    let mut lineages = graph.lineages();
    if declined {
        lineages.remove("s4");
    }
    assert_eq!(super::lineages(&snapshot), lineages, "{death:?}");
    // A crash between the handler and its outcome costs the step one more run. Any other costs none.
    let runs: usize = journal.counts().values().sum();
    assert!((lineages.len()..=lineages.len() + harness.crashes()).contains(&runs), "{runs} runs {death:?}");
    assert_eq!(harness.undeliverable(), []);
    harness.crashes() > 0
}

/// The handler sees that its attempt is not the first, and the audit trail has the request id of the lost attempt.
#[tokio::test(start_paused = true)]
async fn step_is_taken_over_from_a_worker_that_has_died() {
    let journal = Journal::default();
    let harness = TestWorkflow::chain(2).harness(journal.clone(), true);
    harness.crash("s0", [CrashAt::After("claim")]);
    let task = start(&harness).await;
    let snapshot = run(&harness, task).await;
    assert_eq!(snapshot.status(), TaskStatus::Complete);
    assert_eq!(outcomes(&snapshot, "s0"), [(1, Outcome::Lost), (2, Outcome::Complete)]);
    let lost = &snapshot.step("s0").unwrap().attempts[0];
    assert_eq!(lost.request_id, "invocation-0");
    assert_eq!(lost.finished_at.unwrap().since(lost.started_at), seconds(15), "it ended with its lease");
    assert_eq!(journal.runs()[0].0.attempt, 2);
}

#[tokio::test(start_paused = true)]
async fn step_whose_workers_all_die_fails() {
    let journal = Journal::default();
    let harness = TestWorkflow::chain(2).harness(journal.clone(), true);
    harness.crash("s0", [CrashAt::After("claim"), CrashAt::After("take_over"), CrashAt::Before("complete")]);
    let task = start(&harness).await;
    let snapshot = run(&harness, task).await;
    assert_eq!((snapshot.status(), code(&snapshot, "s0")), (TaskStatus::Error, "ATTEMPTS_EXHAUSTED"));
    assert_eq!(snapshot.step("s0").unwrap().error.as_ref().unwrap().message, "3 attempts ended without an answer");
    assert_eq!(journal.counts(), counts([("s0", 1)]), "only the third got so far");
    let lost = [1, 2, 3].map(|number| (number, Outcome::Lost));
    assert_eq!(outcomes(&snapshot, "s0"), [&lost[..], &[(4, Outcome::RetryableError)]].concat());
}

/// A repeat dispatches nothing from a done step, because the message that completed the step is kept until its dispatch is
/// done. Only that message itself dispatches.
#[tokio::test(start_paused = true)]
async fn repeated_message_dispatches_only_if_it_did_the_step() {
    let journal = Journal::default();
    let harness = TestWorkflow::chain(2).harness(journal.clone(), true);
    let task = start(&harness).await;
    let body = json!({ "task_id": task, "step": "s0", "repeat": true }).to_string();
    harness.fail_call("send", [FailureKind::Unavailable]);
    let first = message("m", &body);
    assert_eq!(deliver(&harness, "s0", journal.clone(), std::slice::from_ref(&first)).await, ["m"]);
    assert_eq!(record(&harness, task, "s0").state, StepState::Complete);

    assert!(deliver(&harness, "s0", journal.clone(), &[message("another", &body)]).await.is_empty());
    assert_eq!(sent_to(&harness, "s1"), 0, "a duplicate dispatches nothing");
    let again = Received { receives: Some(2), ..first };
    assert!(deliver(&harness, "s0", journal.clone(), &[again]).await.is_empty());
    assert_eq!(sent_to(&harness, "s1"), 1, "the message that completed the step dispatches");
    assert!(harness.sent().last().unwrap().repeat);
    assert_eq!(run(&harness, task).await.status(), TaskStatus::Complete);
    assert_eq!(journal.counts(), counts([("s0", 1), ("s1", 1)]));
}
