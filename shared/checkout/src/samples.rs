//! The sample events in `events/`, one a step, one a compensation and one of a dead letter: they are written by
//! `STEPWELL_BLESS=1 cargo test -p checkout sample_events`, and else have to be what that would write.

use crate::testing::steps;
use serde_json::Value;
use std::{collections::BTreeMap, fs, path::PathBuf};
use stepwell::{
    core::{message::Message, state::TaskState},
    permanent,
    testing::{Harness, Leaves, StepFault, sample},
};

/// Those that no plan says anything of.
const OTHERS: [&str; 1] = ["watchdog"];

/// The step whose message SQS gives up on in the sample.
const DEAD_LETTER_OF: &str = "process_payment";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../events")
}

fn planned() -> impl Iterator<Item = &'static str> {
    steps::all().into_iter().chain(steps::compensations())
}

#[test]
fn sample_events_are_those_of_the_plan() {
    let of_steps = planned().map(|step| (step, sample::step_event(steps::plan(), step).unwrap()));
    let dead_letter = sample::dead_letter_event(steps::plan(), DEAD_LETTER_OF).unwrap();
    let expected: BTreeMap<&str, String> = of_steps.chain([("dead_letters", dead_letter)]).collect();
    let path = |name: &str| folder().join(format!("{name}.json"));
    if std::env::var_os("STEPWELL_BLESS").is_some_and(|bless| bless == "1") {
        expected.iter().for_each(|(name, event)| fs::write(path(name), event).unwrap());
    }
    let how = "STEPWELL_BLESS=1 cargo test -p checkout sample_events writes it";
    for (name, event) in &expected {
        let found = fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("events/{name}.json: {error}; {how}"));
        assert_eq!(&found, event, "events/{name}.json is not the plan's; {how}");
    }
    let files = fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let left = files.filter_map(|file| file.strip_suffix(".json").map(str::to_owned));
    let left: Vec<String> = left.filter(|name| !expected.contains_key(name.as_str())).collect();
    assert_eq!(left, OTHERS, "a file of another name in events/ belongs to no step: delete it");
}

/// A checkout that fails at its last step is undone whole, so the engine sends every message there is.
#[tokio::test(start_paused = true)]
async fn sample_messages_are_those_the_engine_sends() {
    let harness = Harness::new(crate::workflow().unwrap()).call_by_call().with_all(Leaves("{}"));
    steps::plan().last_steps().for_each(|step| harness.fail(&step.name, [StepFault::Error(permanent("NO", "no"))]));
    let request = fs::read_to_string(folder().join("requests/success.json")).unwrap();
    let request: Value = serde_json::from_str(&request).unwrap();
    let task = harness.start(&request["checkout"]).await.unwrap();
    let history = harness.run(task).await.unwrap();
    assert!(matches!(history.task.state, TaskState::Compensated(_)), "{:?}", history.task.state);
    let sent = harness.sent().into_iter().map(|message| Message { task_id: sample::TASK.into(), ..message });
    let sent: BTreeMap<String, Message> = sent.map(|message| (message.step.clone(), message)).collect();
    assert_eq!(sent.len(), planned().count(), "{sent:?}");
    for (step, message) in sent {
        let event: Value = serde_json::from_str(&sample::step_event(steps::plan(), &step).unwrap()).unwrap();
        let body = event["Records"][0]["body"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Message>(body).unwrap(), message);
    }
}
