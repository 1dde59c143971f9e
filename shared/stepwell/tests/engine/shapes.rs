//! DAGs in which no step fails, DAGs in which some steps fail, and duplicate messages, which have no effect.

use super::*;
use proptest::prelude::*;
use stepwell::{core::state::TaskStatus, permanent, retryable, testing::StepFault};
use test_case::test_matrix;

/// Two roots and three leaves, one of which is both.
fn several_ends() -> TestWorkflow {
    TestWorkflow::new([vec![], vec![], vec![0], vec![0, 1], vec![]])
}

/// Edges that go past other steps.
fn jumps() -> TestWorkflow {
    TestWorkflow::new([vec![], vec![0], vec![0, 1], vec![0, 1, 2]])
}

#[test_matrix(
    [&TestWorkflow::chain(1), &TestWorkflow::chain(5), &TestWorkflow::diamonds(2), &TestWorkflow::fan(20), &several_ends(), &jumps()],
    [1, 3],
    [true, false]
)]
#[tokio::test(start_paused = true)]
async fn every_step_runs_once_and_gets_the_results_of_its_ancestors(
    graph: &TestWorkflow,
    copies: usize,
    by_call: bool,
) {
    let journal = Journal::default();
    let harness = graph.harness(journal.clone(), by_call).copies(copies);
    let task = start(&harness).await;
    let snapshot = run(&harness, task).await;

    assert_eq!((snapshot.status(), snapshot.progress().percentage), (TaskStatus::Complete, 100));
    assert_eq!(journal.counts(), graph.names().into_iter().map(|step| (step, 1)).collect());
    assert_eq!(lineages(&snapshot), graph.lineages());
    for (facts, data) in journal.runs() {
        assert_eq!(serde_json::from_str::<Value>(&data.context).unwrap(), context());
        assert_eq!((facts.attempt, facts.task_id, facts.task_created_at), (1, task, snapshot.task.created_at));
        assert_eq!(facts.idempotency_key(), format!("{task}:{}", facts.step));
    }
    for step in &snapshot.steps {
        assert_eq!((step.state, step.attempt, step.uncounted_attempts), (StepState::Complete, 1, 0), "{}", step.name);
        assert_eq!(outcomes(&snapshot, &step.name), [(1, Outcome::Complete)]);
        assert!(step.finished_at <= snapshot.task.finished_at, "the task ends with its last leaf");
    }
    assert_eq!(harness.undeliverable(), []);
    if copies == 1 {
        let sent: Vec<_> = harness.sent().into_iter().map(|message| message.step).collect();
        assert_eq!(sent.len(), graph.names().len(), "one message for each step: {sent:?}");
    }
}

/// A client that asks several times puts several messages into the first queue. Each of them comes after the step is done
/// and before the next ones are begun, at every step, because messages are worked in the order in which they are sent.
#[test_matrix([true, false])]
#[tokio::test(start_paused = true)]
async fn duplicates_do_not_multiply_in_a_chain_of_diamonds(by_call: bool) {
    const DUPLICATES: usize = 4;
    let (graph, journal) = (TestWorkflow::diamonds(6), Journal::default());
    let harness = graph.harness(journal.clone(), by_call);
    let task = start(&harness).await;
    for _ in 0..DUPLICATES {
        harness.put_message("s0", body(task, "s0"));
    }
    assert_eq!(run(&harness, task).await.status(), TaskStatus::Complete);
    assert_eq!(journal.counts(), graph.names().into_iter().map(|step| (step, 1)).collect());
    // Each duplicate repeats the two messages that its own step sends, and there it ends.
    assert_eq!(harness.sent().len(), graph.names().len() + 2 * DUPLICATES);
}

/// A graph, and how each of its steps behaves.
#[derive(Clone, Debug)]
struct Case {
    graph: TestWorkflow,
    /// How often each step fails before it succeeds.
    flaky: Vec<usize>,
    /// The steps that fail for good, until they are redriven.
    broken: Vec<bool>,
    copies: usize,
    by_call: bool,
}

fn case() -> impl Strategy<Value = Case> {
    (1usize..=12).prop_flat_map(|steps| {
        let edges = (0..steps).map(|step| prop::collection::vec(prop::bool::weighted(0.3), step));
        let edges = edges.collect::<Vec<_>>().prop_map(|rows| {
            let ones = |row: Vec<bool>| (0..row.len()).filter(|&step| row[step]).collect::<Vec<_>>();
            TestWorkflow::new(rows.into_iter().map(ones))
        });
        let flaky = prop::collection::vec(prop_oneof![3 => Just(0usize), 1 => 1usize..3], steps);
        let broken = prop::collection::vec(prop::bool::weighted(0.1), steps);
        let case = (edges, flaky, broken, 1usize..=3, any::<bool>());
        case.prop_map(|(graph, flaky, broken, copies, by_call)| Case { graph, flaky, broken, copies, by_call })
    })
}

/// For any DAG and any failures: a step that does not depend on a failed one runs until it succeeds, and not again. A step that
/// does depend on a failed one does not run. After a redrive the rest runs, and only the rest.
async fn play(case: Case) {
    let (names, lineages) = (case.graph.names(), case.graph.lineages());
    let is_broken = |step: &String| case.broken[step[1..].parse::<usize>().unwrap()];
    let held_up = |step: &String| lineages[step].iter().any(|earlier| earlier != step && is_broken(earlier));
    let journal = Journal::default();
    let harness = case.graph.harness(journal.clone(), case.by_call).copies(case.copies);
    for (step, &failures) in names.iter().zip(&case.flaky) {
        match () {
            () if is_broken(step) && held_up(step) => {}
            () if is_broken(step) => harness.fail(step, [StepFault::Error(permanent("BROKEN", "see to it"))]),
            () => harness.fail(step, vec![StepFault::Error(retryable("BUSY", "try again")); failures]),
        }
    }
    let task = start(&harness).await;
    let snapshot = run(&harness, task).await;
    let failed: BTreeSet<String> = names.iter().filter(|step| is_broken(step) && !held_up(step)).cloned().collect();
    for (step, failures) in names.iter().zip(&case.flaky) {
        let expected = match () {
            () if held_up(step) => (StepState::Pending, 0),
            () if is_broken(step) => (StepState::Error, 1),
            () => (StepState::Complete, failures + 1),
        };
        assert_eq!((state(&snapshot, step), outcomes(&snapshot, step).len()), expected, "{step}");
    }
    assert_eq!(snapshot.task.failed_steps, failed);
    assert_eq!(snapshot.status(), if failed.is_empty() { TaskStatus::Complete } else { TaskStatus::Error });

    if !failed.is_empty() {
        harness.client().redrive(task, &actor()).await.unwrap();
    }
    let snapshot = run(&harness, task).await;
    assert_eq!(snapshot.status(), TaskStatus::Complete);
    assert_eq!(super::lineages(&snapshot), lineages);
    assert_eq!(journal.counts(), names.iter().map(|step| (step.clone(), 1)).collect(), "each has its effect once");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_dag_comes_to_its_end(case in case()) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_time().start_paused(true).build().unwrap().block_on(play(case));
    }
}
