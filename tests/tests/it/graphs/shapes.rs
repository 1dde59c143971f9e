//! Graphs in which nothing breaks, graphs in which some steps fail, and what duplicates do to them: nothing.

use super::*;
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use stepwell::{core::state::TaskStatus, permanent, retryable};
use stepwell_tests::{
    emulator::{in_sandbox, in_sandbox_by_hand},
    poller::{Pace, Poller},
    steps::name,
};
use test_case::test_case;

/// Two first steps and three last ones, one of them first and last at once.
fn several_ends() -> Graph {
    Graph::new([vec![], vec![], vec![0], vec![0, 1], vec![]])
}

#[test_case(&Graph::chain(1), 1; "one step")]
#[test_case(&Graph::chain(5), 1; "a chain")]
#[test_case(&Graph::diamonds(1), 1; "a diamond")]
#[test_case(&Graph::fan(20), 1; "a fan of twenty")]
#[test_case(&several_ends(), 1; "several first and last steps")]
#[test_case(&Graph::new([vec![], vec![0], vec![0, 1], vec![0, 1, 2]]), 1; "edges that jump")]
#[test_case(&Graph::chain(5), 3; "a chain, every message four times")]
#[test_case(&Graph::diamonds(2), 3; "two diamonds, every message four times")]
#[test_case(&Graph::fan(20), 2; "a fan of twenty, every message three times")]
#[test_case(&several_ends(), 3; "several first and last steps, every message four times")]
#[tokio::test]
async fn every_step_runs_once_and_sees_what_came_before(graph: &Graph, copies: usize) {
    in_sandbox(&graph.names(), async |sandbox| {
        let journal = Journal::default();
        let task = start(sandbox, graph).await;
        let poller = Poller::new(sandbox).copies(copies).with_numbered(graph.len(), &journal.script());
        let history = poller.run(task).await;

        assert_eq!(history.status(), TaskStatus::Complete);
        assert_eq!(history.progress().percentage, 100);
        assert_eq!(journal.counts(), graph.names().into_iter().map(|step| (step, 1)).collect());
        assert_eq!(lineages(&history), graph.lineages());
        for run in journal.runs() {
            assert_eq!((run.context(), run.facts.attempt, run.facts.task_id), (context(), 1, task));
            assert_eq!(run.facts.task_created_at, history.task.created_at);
            assert_eq!(run.facts.idempotency_key(), format!("{task}:{}", run.facts.step));
        }
        for step in &history.steps {
            assert_eq!((step.state, step.attempt, step.exempt), (StepState::Complete, 1, 0), "{}", step.name);
            assert_eq!(outcomes(&history, &step.name), [(1, Outcome::Complete)]);
            assert!(step.finished_at <= history.task.finished_at, "the task ends with its last step");
        }
        assert_eq!(sandbox.undeliverable().await, []);
        if copies == 1 {
            assert_eq!(sent(sandbox, graph), graph.len(), "one message for each step");
        }
    })
    .await;
}

fn sent(sandbox: &Sandbox, graph: &Graph) -> usize {
    graph.names().iter().map(|step| sandbox.meter.sent_to(step)).sum()
}

/// A client that asks several times puts several messages into the first queue. In a fleet that is behind, each of
/// them comes after the step is done and before the next ones are begun, at every step.
#[tokio::test]
async fn duplicates_do_not_multiply_in_a_chain_of_diamonds() {
    let graph = Graph::diamonds(6);
    in_sandbox(&graph.names(), async |sandbox| {
        const DUPLICATES: usize = 4;
        let journal = Journal::default();
        let task = start(sandbox, &graph).await;
        let poller = Poller::new(sandbox).pace(Pace::Backlog).with_numbered(graph.len(), &journal.script());
        for _ in 0..DUPLICATES {
            poller.inject("s00", &json!({ "task_id": task, "step": "s00" }).to_string()).await;
        }
        let history = poller.run(task).await;
        assert_eq!(history.status(), TaskStatus::Complete);
        assert_eq!(journal.counts(), graph.names().into_iter().map(|step| (step, 1)).collect());
        let sent = sent(sandbox, &graph);
        // Each duplicate may repeat the two messages that its own step sends, and there it ends.
        assert!(sent <= graph.len() + 2 * DUPLICATES, "{sent} messages for {} steps", graph.len());
    })
    .await;
}

/// A graph, and how each of its steps behaves.
#[derive(Clone, Debug)]
struct Case {
    graph: Graph,
    /// How often each step fails before it succeeds.
    flaky: Vec<u32>,
    /// Which steps fail for good, until somebody sees to it.
    broken: Vec<bool>,
    copies: usize,
    backlog: bool,
}

const LIMIT: u32 = 3;

fn case() -> impl Strategy<Value = Case> {
    (1usize..=12).prop_flat_map(|steps| {
        let edges = (0..steps).map(|step| prop::collection::vec(prop::bool::weighted(0.3), step));
        let edges = edges.collect::<Vec<_>>().prop_map(|rows| {
            Graph::new(rows.into_iter().map(|row| {
                row.into_iter().enumerate().filter_map(|(step, edge)| edge.then_some(step)).collect::<Vec<_>>()
            }))
        });
        let flaky = prop::collection::vec(prop_oneof![3 => Just(0), 1 => 1..LIMIT], steps);
        let broken = prop::collection::vec(prop::bool::weighted(0.1), steps);
        (edges, flaky, broken, 1usize..=3, any::<bool>()).prop_map(|(graph, flaky, broken, copies, backlog)| Case {
            graph: graph.retry_limit(LIMIT),
            flaky,
            broken,
            copies,
            backlog,
        })
    })
}

/// Whatever the graph and whatever fails in it: what depends on nothing broken is run until it succeeds, and no oftener;
/// what does depend on it is not run; and after a retry the rest is, and only the rest.
async fn play(sandbox: &Sandbox, case: &Case) {
    let names = case.graph.names();
    let lineages = case.graph.lineages();
    let broken: BTreeSet<&String> =
        names.iter().zip(&case.broken).filter_map(|(n, broken)| broken.then_some(n)).collect();
    let held_up = |step: &String| lineages[step].iter().any(|earlier| earlier != step && broken.contains(earlier));
    let mended = Arc::new(AtomicBool::new(false));

    let journal = Journal::default();
    let script = journal.failing_where({
        let (case, mended) = (case.clone(), Arc::clone(&mended));
        move |run| {
            let number: usize = run.facts.step[1..].parse().unwrap();
            match () {
                () if case.broken[number] && !mended.load(Relaxed) => Some(permanent("BROKEN", "see to it")),
                () if case.broken[number] => None,
                () if run.facts.attempt <= case.flaky[number] => Some(retryable("BUSY", "try again")),
                () => None,
            }
        }
    });
    let task = start(sandbox, &case.graph).await;
    let pace = if case.backlog { Pace::Backlog } else { Pace::Parallel };
    let poller = Poller::new(sandbox).pace(pace).copies(case.copies).with_numbered(names.len(), &script);
    let history = poller.run(task).await;

    let mut expected = BTreeMap::new();
    for (number, step) in names.iter().enumerate() {
        let (runs, end) = match () {
            () if held_up(step) => (0, StepState::Pending),
            () if broken.contains(step) => (1, StepState::Error),
            () => (case.flaky[number] as usize + 1, StepState::Complete),
        };
        assert_eq!(state(&history, step), end, "{step}");
        if runs > 0 {
            expected.insert(step.clone(), runs);
        }
    }
    assert_eq!(journal.counts(), expected);
    let failed: BTreeSet<String> = broken.iter().filter(|step| !held_up(step)).map(|step| (*step).clone()).collect();
    assert_eq!(history.task.failed_steps, failed);
    assert_eq!(history.status(), if failed.is_empty() { TaskStatus::Complete } else { TaskStatus::Error });

    if !failed.is_empty() {
        mended.store(true, Relaxed);
        sandbox.client().retry(task, &by()).await.unwrap();
        let history = poller.run(task).await;
        assert_eq!(history.status(), TaskStatus::Complete);
        for (number, step) in names.iter().enumerate() {
            // A step that was held up by a broken one, and is broken itself, has found itself mended.
            let runs = if broken.contains(step) { 1 } else { case.flaky[number] as usize + 1 };
            *expected.entry(step.clone()).or_default() = runs + usize::from(failed.contains(step));
        }
        assert_eq!(journal.counts(), expected);
    }
    let history = poller.run(task).await;
    assert_eq!(lineages, super::lineages(&history));
}

#[test]
fn any_graph_comes_to_its_end() {
    let names: Vec<String> = (0..12).map(name).collect();
    in_sandbox_by_hand(&names, |runtime, sandbox| {
        let config = Config { cases: 24, max_shrink_iters: 50, failure_persistence: None, ..Config::default() };
        let outcome = TestRunner::new(config).run(&case(), |case| {
            runtime.block_on(play(sandbox, &case));
            Ok(())
        });
        outcome.unwrap_or_else(|failure| panic!("{failure}"));
    });
}
