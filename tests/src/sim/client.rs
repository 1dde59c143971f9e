//! What a client is told, over the table in memory.

use super::scene::Scene;
use crate::{graph::Graph, steps::Script};
use serde_json::json;
use std::time::Duration;
use stepwell::{ActionError, By, Cursor, Filter, IdempotencyKey, StartError, permanent};

#[tokio::test]
async fn a_key_stands_for_the_request_that_it_was_first_used_with() {
    let scene = Scene::new(Graph::chain(1)).await;
    let client = scene.client();
    let (workflow, key) = (Graph::chain(1).workflow(), "a-key".parse::<IdempotencyKey>().unwrap());
    let first = client.start(&workflow, &json!({"units": 1}), Some(&key)).await.unwrap();
    let again = client.start(&workflow, &json!({"units": 1}), Some(&key)).await.unwrap();
    assert_eq!((again.task_id, again.already_there), (first.task_id, true));
    let other = client.start(&workflow, &json!({"units": 2}), Some(&key)).await.unwrap_err();
    assert!(matches!(other, StartError::KeyUsed { task_id, .. } if task_id == first.task_id), "{other}");
}

#[tokio::test]
async fn only_what_has_failed_is_retried_with_all_others() {
    let scene = Scene::new(Graph::chain(1)).await;
    let client = scene.client();
    let all = Filter::default();
    let found = async || client.retry_all(&all, None, 10, None).await.unwrap().found.tasks;
    assert_eq!(found().await, [], "the task has not failed");
    assert!(!scene.deliver(0, Script::new(|_| Err(permanent("NO", "")))).await);
    assert_eq!(found().await.iter().map(|task| task.task_id).collect::<Vec<_>>(), [scene.task]);
    client.compensate(scene.task, &By::new("somebody", "a test").unwrap()).await.unwrap();
    assert_eq!(found().await, [], "the task is closed");
}

#[tokio::test]
async fn what_fails_again_while_many_are_retried_is_not_retried_by_the_next_page() {
    let scene = Scene::new(Graph::chain(1)).await;
    let client = scene.client();
    let fails = async || assert!(!scene.deliver(0, Script::new(|_| Err(permanent("NO", "")))).await);
    fails().await;
    let by = By::new("somebody", "a test").unwrap();
    let page = async |from: Option<&Cursor>| {
        let page = client.retry_all(&Filter::default(), from, 1, Some(&by)).await.unwrap();
        assert!(page.refused.is_empty(), "{:?}", page.refused);
        (page.retried, page.found.tasks.len(), page.found.next)
    };
    let (retried, found, next) = page(None).await;
    assert_eq!((retried, found), (1, 1));
    // It fails at once, and so comes again behind the place where the first page ended.
    scene.now.set(scene.now.get() + Duration::from_secs(1));
    fails().await;
    let next = next.expect("there may be more");
    let (retried, found, _) = page(Some(&next.to_string().parse().unwrap())).await;
    assert_eq!((retried, found), (0, 0), "it was retried by the first page");
    let (retried, found, _) = page(None).await;
    assert_eq!((retried, found), (1, 1), "whoever begins anew retries it anew");
}

#[tokio::test]
async fn what_somebody_else_has_retried_meanwhile_is_retried_by_the_next_page_all_the_same() {
    let scene = Scene::new(Graph::chain(1)).await;
    let client = scene.client();
    let fails = async || {
        scene.now.set(scene.now.get() + Duration::from_secs(1));
        assert!(!scene.deliver(0, Script::new(|_| Err(permanent("NO", "")))).await);
    };
    let (operator, customer) = (By::new("operator", "a test").unwrap(), By::new("customer", "a test").unwrap());
    fails().await;
    client.retry(scene.task, &operator).await.unwrap();
    fails().await;
    let first = client.retry_all(&Filter::default(), None, 1, None).await.unwrap();
    let next = first.found.next.expect("there may be more");
    client.retry(scene.task, &customer).await.unwrap();
    fails().await;
    let second = client.retry_all(&Filter::default(), Some(&next), 1, Some(&operator)).await.unwrap();
    assert_eq!(second.retried, 1, "{:?}", second.refused);
}

/// Fails with a message of this length and is retried, over and over, until that is refused.
async fn retried_without_end(scene: &Scene, by: &By, length: usize) -> ActionError {
    for _ in 0..300 {
        let script = Script::new(move |_| Err(permanent("NO", "a".repeat(length))));
        assert!(!scene.deliver(0, script).await);
        if let Err(refused) = scene.client().retry(scene.task, by).await {
            return refused;
        }
    }
    panic!("retried without end")
}

#[tokio::test]
async fn what_fails_over_and_over_is_retried_until_its_trail_is_full_and_can_then_be_resolved() {
    let scene = Scene::new(Graph::chain(1).retry_limit(1)).await;
    let client = scene.client();
    let by = By::new("somebody", "a test").unwrap();
    let refused = retried_without_end(&scene, &by, 900).await;
    assert!(matches!(&refused, ActionError::TrailFull { of } if of == "step `s00`"), "{refused}");
    let attempts = scene.table.step(scene.task, "s00").attempts.len();
    assert!((100..150).contains(&attempts), "{attempts} attempts of about 1 KB each");
    client.resolve_step(scene.task, "s00", "{}", &by).await.unwrap();
}

#[tokio::test]
async fn a_task_whose_own_trail_is_full_of_retries_is_not_retried() {
    let scene = Scene::new(Graph::chain(1)).await;
    let client = scene.client();
    let by = By::new("s".repeat(By::MAX_WHO), "a".repeat(By::MAX_WHY)).unwrap();
    let refused = retried_without_end(&scene, &by, 0).await;
    assert!(matches!(&refused, ActionError::TrailFull { of } if of == "the task"), "{refused}");
    let retries = scene.table.task(scene.task, |task| task.actions.len());
    assert!((50..100).contains(&retries), "{retries} retries of about 0.8 KB each");
    client.compensate(scene.task, &by).await.unwrap();
}
