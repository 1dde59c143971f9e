//! The measured workflow: what the figures say was done is in the file.

use super::*;
use stepwell::{
    Client, System,
    core::{
        filter::Filter,
        record::Outcome,
        state::{StepState, TaskStatus},
    },
};
use stepwell_local::{Local, SCHEMA};

#[tokio::test]
async fn each_measured_workflow_has_a_durable_attempt_of_each_step() {
    let folder = tempdir().unwrap();
    let measured = Command::new(PROGRAM)
        .args(["measure", "--concurrency", "1,3", "--runs", "10", "--tasks", "2", "--data"])
        .arg(folder.path())
        .output()
        .unwrap();
    let table = String::from_utf8(measured.stdout).unwrap();
    assert!(measured.status.success(), "{}", String::from_utf8_lossy(&measured.stderr));
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    let counts: Vec<_> = rows.iter().skip(1).map(|row| (row[0], row[1])).collect();
    assert_eq!(counts, [("1", "10"), ("3", "10")], "{table}");

    // The measured process was killed, as it is after every measurement.
    let file = File::open(&folder.path().join("noop.sqlite"), &[SCHEMA]).unwrap();
    let local = Local::new(file, System).await.unwrap();
    let engine = Client::new(local.clone(), local, System);
    let found = engine.find(&Filter::default(), None, 100).await.unwrap().tasks;
    assert_eq!(found.len(), 2 + 2 * (2 + 10), "two for the file, and a fifth as many before each row");
    for task in found {
        let snapshot = engine.snapshot(task.task_id).await.unwrap().unwrap();
        assert_eq!(snapshot.status(), TaskStatus::Complete);
        assert_eq!(snapshot.steps.len(), 5);
        for step in snapshot.steps {
            assert_eq!(step.state, StepState::Complete);
            let outcomes: Vec<_> = step.attempts.iter().map(|attempt| attempt.outcome).collect();
            assert_eq!(outcomes, [Outcome::Complete], "{}", step.name);
            assert!(step.result.is_some_and(|result| result.len() > 150), "{}", step.name);
        }
    }
}
