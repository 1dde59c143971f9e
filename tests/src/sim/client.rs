//! What a client is told, over the table in memory.

use super::scene::Scene;
use crate::{graph::Graph, steps::Script};
use serde_json::json;
use stepwell::{By, Filter, IdempotencyKey, StartError, permanent};

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
    assert!(!scene.deliver::<0>(Script::new(|_| Err(permanent("NO", "")))).await);
    assert_eq!(found().await.iter().map(|task| task.task_id).collect::<Vec<_>>(), [scene.task]);
    client.compensate(scene.task, &By::new("somebody", "a test").unwrap()).await.unwrap();
    assert_eq!(found().await, [], "the task is closed");
}
