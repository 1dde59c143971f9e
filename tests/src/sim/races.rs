//! Races that chance brings about too seldom, made by hand.

use super::scene::Scene;
use crate::{graph::Graph, steps::Script};
use serde_json::Value;
use stepwell::{
    Ambient, By, CallError, FailureKind, StepError,
    core::{
        record::{AttemptRecord, Outcome},
        state::{StepState, TaskState},
        step,
    },
    permanent,
    ports::Store,
    retryable,
};

fn done() -> Script {
    Script::new(|_| Ok(Value::Null))
}

#[tokio::test]
async fn a_worker_that_was_replaced_leaves_the_message_to_the_other_whatever_came_of_it() {
    let outcomes: [Result<Value, StepError>; 3] =
        [Ok(Value::Null), Err(retryable("BUSY", "")), Err(permanent("NO", ""))];
    for outcome in outcomes {
        for edges in [vec![vec![]], vec![vec![], vec![0]]] {
            let scene = Scene::new(Graph::new(edges)).await;
            let (there, result) = (scene.clone(), outcome.clone());
            let script = Script::slow(move |_| {
                let (there, result) = (there.clone(), result.clone());
                async move {
                    there.replace("s00").await;
                    result
                }
            });
            assert!(scene.deliver(0, script).await, "the message is kept after {outcome:?}");
            let step = scene.table.step(scene.task, "s00");
            assert_eq!((step.state, step.attempt), (StepState::InProgress, 2), "after {outcome:?}");
            assert_eq!(scene.sent(), [""; 0], "after {outcome:?}");
            let task = scene.table.all(scene.task).task.unwrap();
            assert_eq!(task.state, TaskState::Running, "after {outcome:?}");
        }
    }
}

#[tokio::test]
async fn a_join_that_was_claimed_before_its_time_still_learns_of_what_is_handed_over_again() {
    let scene = Scene::new(Graph::new([vec![], vec![], vec![0, 1]])).await;
    // The worker of the first step dies after its completion.
    let lease = scene.claim("s00").await;
    let ended = AttemptRecord {
        number: lease.attempt,
        started_at: lease.started_at,
        finished_at: Some(scene.now()),
        outcome: Outcome::Complete,
        error: None,
        next_retry_at: None,
        request_id: "request".to_owned(),
    };
    scene.table.apply(&step::complete(&lease, &ended, "null")).await.unwrap();
    // A stray message makes somebody claim the join, and put it back after the first step's hand-over.
    let early = scene.claim("s02").await;
    assert!(!scene.deliver(0, done()).await);
    scene.table.apply(&step::release(&early)).await.unwrap();
    assert_eq!(scene.sent(), [""; 0]);
    assert!(!scene.deliver(1, done()).await);
    assert_eq!(scene.sent(), ["s02"], "it is woken by the last of those it waits for");
}

#[tokio::test]
async fn only_a_hand_over_made_again_calls_its_message_a_repeat() {
    let repeats = |scene: &Scene| scene.messages().iter().map(|message| message.repeat).collect::<Vec<_>>();
    let scene = Scene::new(Graph::chain(2)).await;
    assert!(!scene.deliver(0, done()).await);
    assert_eq!(repeats(&scene), [false]);
    assert!(!scene.deliver(0, done()).await);
    assert_eq!((scene.sent(), repeats(&scene)), (vec!["s01".to_owned(); 2], vec![false, true]));
}

#[tokio::test]
async fn the_last_step_that_a_compensation_waits_for_sets_it_going() {
    let scene = Scene::new(Graph::chain(1).undone([0].into())).await;
    let there = scene.clone();
    let script = Script::slow(move |_| {
        let there = there.clone();
        async move {
            let client = there.client();
            client.cancel(there.task, &By::new("somebody", "a test").unwrap()).await.unwrap();
            assert_eq!(there.sent(), [""; 0], "the step is in flight");
            Ok(Value::Null)
        }
    });
    assert!(!scene.deliver(0, script).await);
    assert_eq!(scene.sent(), ["s50"]);
}

#[tokio::test]
async fn a_step_that_fails_for_good_sets_the_compensation_going() {
    let scene = Scene::new(Graph::chain(1).undone([0].into())).await;
    assert!(!scene.deliver(0, Script::new(|_| Err(permanent("NO", "")))).await);
    assert_eq!(scene.sent(), ["s50"]);
}

#[tokio::test]
async fn a_claim_whose_task_cannot_be_read_is_given_back_and_costs_no_attempt() {
    let scene = Scene::new(Graph::chain(1)).await;
    scene.table.at_the_next_reading(async {
        Err(CallError::new("BatchGetItem", FailureKind::Throttled, "too much to do").into())
    });
    let nobody = Script::new(|_| panic!("nothing is known of what it would have to do"));
    assert!(scene.deliver(0, nobody).await, "the message is kept");
    let step = scene.table.step(scene.task, "s00");
    assert_eq!((step.state, step.attempt, step.exempt), (StepState::Pending, 1, 1));
}

#[tokio::test]
async fn a_step_that_was_restarted_while_the_task_was_read_is_waited_for_before_anything_is_undone() {
    let scene = Scene::new(Graph::chain(1).undone([0].into())).await;
    let there = scene.clone();
    let script = Script::slow(move |_| {
        let there = there.clone();
        async move {
            // The next to read the task is this worker, after the step has failed. Its steps are read before, itself after
            // somebody has retried it, somebody else has claimed the step, and it was cancelled.
            let meanwhile = there.clone();
            there.table.at_the_next_reading(async move {
                let client = meanwhile.client();
                let by = By::new("somebody", "a test").unwrap();
                client.retry(meanwhile.task, &by).await.unwrap();
                meanwhile.claim("s00").await;
                client.cancel(meanwhile.task, &by).await.unwrap();
                Ok(())
            });
            Err(permanent("NO", ""))
        }
    });
    assert!(!scene.deliver(0, script).await);
    assert_eq!(scene.table.step(scene.task, "s00").state, StepState::InProgress);
    assert_eq!(scene.sent(), ["s00"], "the retry's message, and no compensation's");
}

#[tokio::test]
async fn what_failed_beside_a_step_that_is_then_done_by_hand_is_restarted() {
    let scene = Scene::new(Graph::new([vec![], vec![]]).retry_limit(1).restarts(1)).await;
    assert!(!scene.deliver(0, Script::new(|_| Err(permanent("NO", "")))).await);
    assert!(!scene.deliver(1, Script::new(|_| Err(retryable("BUSY", "")))).await);
    let looks = async |minutes: u32| {
        let mut looks = 0;
        for _ in 0..minutes {
            looks += scene.minute().await.looked_at;
        }
        looks
    };
    assert!(looks(5).await > 0);
    assert_eq!(looks(60).await, 0, "one of them failed for good, so nothing more happens by itself");
    let by = By::new("somebody", "a test").unwrap();
    scene.client().resolve_step(scene.task, "s00", "{}", &by).await.unwrap();
    assert_eq!(looks(1).await, 1);
    assert_eq!(scene.sent(), ["s00", "s01"], "the one by the operator, the other by the watchdog");
    assert_eq!(scene.table.step(scene.task, "s01").state, StepState::Pending);
}

#[tokio::test]
async fn the_watchdog_wakes_a_task_that_stays_asleep_less_and_less_often() {
    let scene = Scene::new(Graph::chain(1)).await;
    let mut woken = Vec::new();
    for minute in 1..=60_u32 {
        let report = scene.minute().await;
        assert_eq!((report.sent, report.failed), (report.looked_at, 0), "the message is missing at each look");
        woken.extend((report.looked_at > 0).then_some(minute));
    }
    assert_eq!(scene.sent(), vec!["s00"; woken.len()]);
    let pauses: Vec<u32> = woken.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.len() > 2 && pauses.is_sorted(), "{woken:?}");
    assert!(pauses.last() > pauses.first(), "{woken:?}");
}
