//! Starting tasks, once however often it is asked for.

use super::*;
use futures::future::join_all;
use stepwell::{
    IdempotencyKey, StartError, Workflow,
    core::{limits::MAX_CONTEXT_BYTES, state::TaskStatus},
};
use stepwell_tests::{emulator::in_sandbox, faults::Death, poller::Poller};

fn key(text: &str) -> IdempotencyKey {
    text.parse().unwrap()
}

#[tokio::test]
async fn the_same_key_and_request_give_the_same_task() {
    let graph = Graph::chain(2);
    in_sandbox(&graph.names(), async |sandbox| {
        let (client, workflow) = (sandbox.client(), graph.workflow());
        let first = client.start(&workflow, &context(), Some(&key("order-1"))).await.unwrap();
        assert!(!first.already_there);
        let again = client.start(&workflow, &context(), Some(&key("order-1"))).await.unwrap();
        assert_eq!((again.task_id, again.already_there), (first.task_id, true));

        let other = client.start(&workflow, &json!({ "other": true }), Some(&key("order-1"))).await.unwrap_err();
        assert!(matches!(&other, StartError::KeyUsed { task_id, .. } if *task_id == first.task_id), "{other}");

        let second = client.start(&workflow, &context(), Some(&key("order-2"))).await.unwrap();
        let keyless = client.start(&workflow, &context(), None).await.unwrap();
        assert!(!second.already_there && !keyless.already_there);
        assert_eq!(BTreeSet::from([first.task_id, second.task_id, keyless.task_id]).len(), 3);

        let journal = Journal::default();
        let poller = Poller::new(sandbox).with_numbered(2, &journal.script());
        assert_eq!(poller.run(first.task_id).await.status(), TaskStatus::Complete);
        assert_eq!(journal.counts(), counts([("s00", 3), ("s01", 3)]), "once for each of the three tasks");

        let late = client.start(&workflow, &context(), Some(&key("order-1"))).await.unwrap();
        assert_eq!((late.task_id, late.already_there), (first.task_id, true));
        poller.drain().await;
        assert_eq!(journal.runs().len(), 6, "a task that is over is not run again");
    })
    .await;
}

#[tokio::test]
async fn many_starts_with_one_key_at_the_same_time_make_one_task() {
    let graph = Graph::new([vec![], vec![], vec![0, 1]]);
    in_sandbox(&graph.names(), async |sandbox| {
        let (client, workflow, key) = (sandbox.client(), graph.workflow(), key("order-1"));
        let context = context();
        let started = join_all((0..10).map(|_| client.start(&workflow, &context, Some(&key)))).await;
        let started: Vec<_> = started.into_iter().map(Result::unwrap).collect();
        let ids: BTreeSet<TaskId> = started.iter().map(|started| started.task_id).collect();
        assert_eq!(ids.len(), 1);
        assert_eq!(started.iter().filter(|started| !started.already_there).count(), 1);
        let journal = Journal::default();
        let history = Poller::new(sandbox).with_numbered(3, &journal.script()).run(started[0].task_id).await;
        assert_eq!(history.status(), TaskStatus::Complete);
        assert_eq!(journal.counts(), counts([("s00", 1), ("s01", 1), ("s02", 1)]));
    })
    .await;
}

/// The starter dies at each of its calls in turn; its client sends the request again.
#[tokio::test]
async fn a_start_that_broke_off_is_brought_to_its_end() {
    let graph = Graph::new([vec![], vec![], vec![0, 1]]);
    in_sandbox(&graph.names(), async |sandbox| {
        let (client, workflow) = (sandbox.client(), graph.workflow());
        let mut deaths = 0;
        for call in 0.. {
            let mut died = false;
            for death in [Death::Before(call), Death::After(call)] {
                let key = key(&format!("{death:?}").replace(['(', ')'], "-"));
                sandbox.faults.set(Some(death));
                let broken = client.start(&workflow, &context(), Some(&key)).await;
                died |= sandbox.faults.tripped();
                sandbox.faults.set(None);
                if !died {
                    broken.unwrap();
                    continue;
                }
                assert!(broken.is_err(), "{death:?}");
                deaths += 1;
                let task = client.start(&workflow, &context(), Some(&key)).await.unwrap().task_id;
                let journal = Journal::default();
                let history = Poller::new(sandbox).with_numbered(3, &journal.script()).run(task).await;
                assert_eq!(history.status(), TaskStatus::Complete, "{death:?}");
                assert_eq!(journal.counts(), counts([("s00", 1), ("s01", 1), ("s02", 1)]), "{death:?}");
            }
            if !died {
                break;
            }
        }
        assert_eq!(deaths, 8, "the key, the task, and a message for each of two steps; before and after");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_started_leaves_nothing_behind() {
    in_sandbox(&Graph::chain(1).names(), async |sandbox| {
        let file = json!({
            "name": "strict",
            "schema": {
                "type": "object",
                "required": ["email"],
                "properties": { "email": { "type": "string", "format": "email" }, "count": { "minimum": 1 } },
            },
            "step_templates": [{ "name": "s00" }],
        });
        let strict = Workflow::from_yaml(&file.to_string()).unwrap();
        let client = sandbox.client();
        let wrong = client.start(&strict, &json!({ "email": "no", "count": 0 }), Some(&key("k"))).await.unwrap_err();
        let StartError::Invalid(violations) = wrong else { panic!("{wrong}") };
        let paths: BTreeSet<&str> = violations.iter().map(|violation| violation.path.as_str()).collect();
        assert_eq!(paths, BTreeSet::from(["/email", "/count"]), "every violation is there");

        let free = Graph::chain(1).workflow();
        let large = json!("c".repeat(MAX_CONTEXT_BYTES - 1));
        let wrong = client.start(&free, &large, Some(&key("k"))).await.unwrap_err();
        assert!(matches!(wrong, StartError::TooLarge { bytes } if bytes == MAX_CONTEXT_BYTES + 1), "{wrong}");
        assert_eq!((sandbox.item_count().await, sandbox.meter.mark()), (0, 0));

        let fits = json!("c".repeat(MAX_CONTEXT_BYTES - 2));
        let task = client.start(&free, &fits, Some(&key("k"))).await.unwrap().task_id;
        let history = Poller::new(sandbox).with_numbered(1, &Journal::default().script()).run(task).await;
        assert_eq!(history.status(), TaskStatus::Complete);
    })
    .await;
}
