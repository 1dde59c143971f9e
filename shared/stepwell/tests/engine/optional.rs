//! Optional steps: a task completes without one that failed, with a warning, and nothing is undone because of it.

use super::*;
use stepwell::{
    core::state::{TaskState, TaskStatus},
    permanent, retryable,
    testing::{CrashAt, StepFault},
};
use test_case::{test_case, test_matrix};

fn declined() -> StepFault {
    StepFault::Error(permanent("DECLINED", "no"))
}

fn busy() -> StepFault {
    StepFault::Error(retryable("BUSY", "try again"))
}

/// A root with two leaves, of which the first is optional.
fn fork() -> TestWorkflow {
    TestWorkflow::new([vec![], vec![0], vec![0]]).optional([1])
}

fn warnings(snapshot: &TaskSnapshot) -> Vec<(&str, &str, &str)> {
    let warnings = snapshot.warnings().into_iter();
    warnings.filter_map(|one| Some((one.step, one.error?.code.as_str(), one.error?.message.as_str()))).collect()
}

#[test_matrix([true, false], [&[declined()][..], &[busy(), busy()]])]
#[tokio::test(start_paused = true)]
async fn task_completes_without_it_and_says_so(by_call: bool, faults: &[StepFault]) {
    for graph in [TestWorkflow::chain(2).optional([1]), fork(), TestWorkflow::new([vec![], vec![]]).optional([1])] {
        let harness = graph.max_attempts(2).harness(Journal::default(), by_call);
        harness.fail("s1", faults.to_vec());
        let task = start(&harness).await;
        let snapshot = run(&harness, task).await;
        let last = faults.last().unwrap();
        let StepFault::Error(error) = last else { panic!("{last:?}") };
        assert_eq!((snapshot.status(), snapshot.progress().percentage), (TaskStatus::Complete, 100));
        assert_eq!(state(&snapshot, "s1"), StepState::Error);
        assert_eq!(warnings(&snapshot), [("s1", error.code.as_str(), error.message.as_str())]);
        assert_eq!(snapshot.task.failed_steps, BTreeSet::from(["s1".to_owned()]));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_compensated_or_redriven_because_of_it() {
    let file = r#"{name: graph, namespace_name: tests, compensate: on_error, redrives: 3, step_templates: [
        {name: s0, compensation: {name: u0}}, {name: s1, depends_on_step: s0, optional: true, default_retry_limit: 2}]}"#;
    let harness = Harness::new(Workflow::from_yaml(file).unwrap()).with_all(Journal::default());
    harness.fail("s1", [busy(), busy()]);
    let task = start(&harness).await;
    let snapshot = run(&harness, task).await;
    harness.run_for(seconds(24 * 60 * 60)).await.unwrap();
    assert_eq!(harness.snapshot(task).await.unwrap(), snapshot);
    assert_eq!((snapshot.task.state, sent_to(&harness, "u0"), sent_to(&harness, "s1")), (TaskState::Completed, 0, 1));
}

#[test_matrix([true, false])]
#[tokio::test(start_paused = true)]
async fn failure_beside_a_required_one_fails_the_task_and_a_redrive_leaves_the_warning(by_call: bool) {
    let harness = fork().harness(Journal::default(), by_call);
    harness.fail("s1", [declined()]);
    harness.fail("s2", [declined()]);
    let task = start(&harness).await;
    let failed = run(&harness, task).await;
    assert_eq!((failed.task.state, failed.to_redrive().len()), (TaskState::Failed, 1));
    harness.client().redrive(task, &actor()).await.unwrap();
    let snapshot = run(&harness, task).await;
    assert_eq!((snapshot.task.state, warnings(&snapshot).len()), (TaskState::Completed, 1));
    assert_eq!((sent_to(&harness, "s1"), sent_to(&harness, "s2")), (1, 2));
}

#[test_case(vec![], StepState::Complete, 0; "it succeeds")]
#[test_case(vec![busy(), busy()], StepState::Error, 1; "it fails again")]
#[tokio::test(start_paused = true)]
async fn redrive_of_a_completed_task_runs_it_once_more(faults: Vec<StepFault>, end: StepState, left: usize) {
    for by_call in [true, false] {
        let harness = fork().max_attempts(2).harness(Journal::default(), by_call);
        harness.fail("s1", [declined()]);
        let task = start(&harness).await;
        let completed = run(&harness, task).await;
        harness.fail("s1", faults.clone());
        harness.client().redrive(task, &actor()).await.unwrap();
        assert_eq!(harness.snapshot(task).await.unwrap().task.state, TaskState::Completed);
        harness.run_until(task, |snapshot| state(snapshot, "s1") == end).await.unwrap();
        harness.run_for(seconds(10 * 60)).await.unwrap();
        let snapshot = harness.snapshot(task).await.unwrap();
        assert_eq!((snapshot.task.state, warnings(&snapshot).len()), (TaskState::Completed, left));
        assert_eq!(snapshot.task.finished_at, completed.task.finished_at);
        assert_eq!(snapshot.task.failed_steps.len(), left);
        let again = harness.client().redrive(task, &actor()).await;
        assert_eq!(again.is_ok(), left > 0, "{again:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn watchdog_sends_the_lost_message_of_a_redrive_again() {
    let harness = fork().harness(Journal::default(), false);
    harness.fail("s1", [declined()]);
    let task = start(&harness).await;
    run(&harness, task).await;
    harness.client().redrive(task, &actor()).await.unwrap();
    harness.lose_messages();
    harness.run_until(task, |snapshot| state(snapshot, "s1") == StepState::Complete).await.unwrap();
    assert_eq!(sent_to(&harness, "s1"), 3);
}

#[test_matrix([true, false])]
#[tokio::test(start_paused = true)]
async fn resolving_it_by_hand_clears_the_warning(by_call: bool) {
    let harness = fork().harness(Journal::default(), by_call);
    harness.fail("s1", [declined()]);
    let task = start(&harness).await;
    let completed = run(&harness, task).await;
    harness.client().resolve_step(task, "s1", by_hand("[]"), &actor()).await.unwrap();
    harness.run_for(seconds(10 * 60)).await.unwrap();
    let snapshot = harness.snapshot(task).await.unwrap();
    assert_eq!((snapshot.task.state, state(&snapshot, "s1")), (TaskState::Completed, StepState::ResolvedManually));
    assert_eq!((warnings(&snapshot), snapshot.task.failed_steps.len()), (vec![], 0));
    assert_eq!(snapshot.task.finished_at, completed.task.finished_at);
}

#[test_case(CrashAt::After("fail"); "after its failure")]
#[test_case(CrashAt::Before("record_leaf_arrival"); "before its arrival")]
#[test_case(CrashAt::Before("finish"); "before the end of the task")]
#[tokio::test(start_paused = true)]
async fn next_delivery_completes_the_task_after_a_crash(at: CrashAt) {
    let harness = fork().harness(Journal::default(), true);
    harness.fail("s1", [declined()]);
    harness.crash("s1", [at]);
    let task = start(&harness).await;
    let snapshot = run(&harness, task).await;
    assert_eq!((snapshot.task.state, warnings(&snapshot).len()), (TaskState::Completed, 1));
}
