//! A worker dies at every call it makes, one after the other, before it and after it. Its messages come back, another
//! worker takes over, and the task comes to the same end.

use super::*;
use stepwell::{core::state::TaskStatus, permanent, retryable};
use stepwell_tests::{
    emulator::in_sandbox,
    events::{message, received_again},
    faults::Death,
    poller::Poller,
};
use test_case::test_case;

/// A diamond beside a last step of its own; `s01` needs two attempts.
fn graph() -> Graph {
    Graph::new([vec![], vec![0], vec![0], vec![1, 2], vec![0]]).retry_limit(3)
}

#[test_case(false; "and all is well in the end")]
#[test_case(true; "and a step fails for good")]
#[tokio::test]
async fn a_death_at_any_call_changes_nothing_in_the_end(declined: bool) {
    let graph = graph();
    in_sandbox(&graph.names(), async |sandbox| {
        let mut deaths = 0;
        for call in 0.. {
            let mut died = false;
            for death in [Death::Before(call), Death::After(call)] {
                died |= die(sandbox, &graph, death, declined).await;
            }
            if !died {
                break;
            }
            deaths += 1;
        }
        assert!(deaths >= 15, "only {deaths} calls were tried");
    })
    .await;
}

/// Lets a worker die there, and checks what came of it. Answers with whether there was such a call.
async fn die(sandbox: &Sandbox, graph: &Graph, death: Death, declined: bool) -> bool {
    let journal = Journal::default();
    let script = journal.failing_where(move |run| match run.facts.step.as_str() {
        "s01" if run.facts.attempt == 1 => Some(retryable("BUSY", "try again")),
        "s04" if declined => Some(permanent("DECLINED", "no")),
        _ => None,
    });
    let task = start(sandbox, graph).await;
    sandbox.faults.set(Some(death));
    let poller = Poller::new(sandbox).with_numbered(graph.len(), &script);
    let history = poller.run(task).await;
    sandbox.faults.set(None);

    let expected = if declined { TaskStatus::Error } else { TaskStatus::Complete };
    assert_eq!(history.status(), expected, "{death:?}");
    for step in &history.steps {
        let failed = declined && step.name == "s04";
        let end = if failed { StepState::Error } else { StepState::Complete };
        assert_eq!(step.state, end, "{} after {death:?}", step.name);
        let audit = outcomes(&history, &step.name);
        let numbers: Vec<u32> = audit.iter().map(|(number, _)| *number).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{} after {death:?}: {audit:?}", step.name);
        let last = if failed { Outcome::PermanentError } else { Outcome::Complete };
        assert_eq!(audit.last().map(|(_, outcome)| *outcome), Some(last), "{} after {death:?}", step.name);
        let ends = audit.iter().filter(|(_, outcome)| *outcome == last).count();
        assert_eq!(ends, 1, "{} after {death:?}: {audit:?}", step.name);
    }
    let mut lineages = graph.lineages();
    if declined {
        lineages.remove("s04");
    }
    assert_eq!(super::lineages(&history), lineages, "{death:?}");
    // One death costs the steps that were running at that moment one more run each.
    for (step, runs) in journal.counts() {
        let most = if step == "s01" { 3 } else { 2 };
        assert!(runs <= most, "{step} ran {runs} times after {death:?}");
    }
    poller.deaths() > 0
}

/// A repeated message hands nothing over for a step that is done, because whoever did it has kept its own message until
/// then. Unless it is that message itself.
#[tokio::test]
async fn a_repeated_message_that_did_the_step_also_hands_it_over() {
    let graph = Graph::chain(2);
    in_sandbox(&graph.names(), async |sandbox| {
        let journal = Journal::default();
        let task = start(sandbox, &graph).await;
        let poller = Poller::new(sandbox).with_numbered(2, &journal.script());
        let body = json!({ "task_id": task, "step": "s00", "repeat": true }).to_string();

        // The claim and the load, the completion; then the worker dies.
        sandbox.faults.set(Some(Death::After(2)));
        assert_eq!(poller.deliver("s00", &[message("m", &body)]).await, ["m"]);
        sandbox.faults.set(None);
        let history = sandbox.client().history(task).await.unwrap().unwrap();
        assert_eq!(state(&history, "s00"), StepState::Complete);
        let handed_over = sandbox.meter.sent_to("s01");

        assert!(poller.deliver("s00", &[message("another", &body)]).await.is_empty());
        assert_eq!(sandbox.meter.sent_to("s01"), handed_over, "a copy hands nothing over");
        assert!(poller.deliver("s00", &received_again(&[message("m", &body)])).await.is_empty());
        assert_eq!(sandbox.meter.sent_to("s01"), handed_over + 1, "the message that did the step hands it over");

        assert_eq!(poller.run(task).await.status(), TaskStatus::Complete);
        assert_eq!(journal.counts(), counts([("s00", 1), ("s01", 1)]));
    })
    .await;
}
