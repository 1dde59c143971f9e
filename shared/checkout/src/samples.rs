//! Compares the sample messages in `events/` with the messages of the engine. The command `stepwell` renders the files
//! and checks that they are current.

use crate::{ShopCode, testing::steps};
use serde_json::Value;
use std::{collections::BTreeMap, fs};
use stepwell::{
    Actor, StepError,
    core::{
        message::Message,
        snapshot::TaskSnapshot,
        state::{StepState, TaskState},
    },
    testing::{Harness, Returns, StepFault, sample},
};

fn planned() -> impl Iterator<Item = &'static str> {
    steps::all().into_iter().chain(steps::compensations())
}

/// A checkout that is cancelled while its last steps wait for a retry runs all compensations, so the engine sends a message to
/// every step.
#[tokio::test(start_paused = true)]
async fn sample_messages_are_those_the_engine_sends() {
    let harness = Harness::new(crate::workflow().unwrap()).call_by_call().with_all(Returns("{}"));
    let busy = StepError::new(ShopCode::MailServiceUnavailable, "injected by the test");
    steps::plan().leaves().for_each(|step| harness.fail(&step.name, [StepFault::Error(busy.clone())]));
    let request =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../events/requests/success.json")).unwrap();
    let request: Value = serde_json::from_str(&request).unwrap();
    let task = harness.start(&request["checkout"]).await.unwrap();
    let waits = |snapshot: &TaskSnapshot, step: &str| snapshot.step(step).unwrap().state == StepState::Retrying;
    let all_wait = |snapshot: &TaskSnapshot| steps::plan().leaves().all(|leaf| waits(snapshot, &leaf.name));
    harness.run_until(task, all_wait).await.unwrap();
    harness.client().cancel(task, &Actor::new("somebody", "a test").unwrap()).await.unwrap();
    let snapshot = harness.run(task).await.unwrap();
    assert!(matches!(snapshot.task.state, TaskState::Compensated(_)), "{:?}", snapshot.task.state);
    let sent = harness.sent().into_iter().map(|message| Message { task_id: sample::TASK.into(), ..message });
    let sent: BTreeMap<String, Message> = sent.map(|message| (message.step.clone(), message)).collect();
    assert_eq!(sent.len(), planned().count(), "{sent:?}");
    for (step, message) in sent {
        let event: Value = serde_json::from_str(&sample::step_event(steps::workflow(), &step).unwrap()).unwrap();
        let body = event["Records"][0]["body"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Message>(body).unwrap(), message);
    }
}
