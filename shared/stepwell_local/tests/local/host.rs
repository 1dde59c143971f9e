//! The process that hosts steps, with the machine's clock.

use super::*;
use stepwell::{System, core::state::TaskStatus};
use stepwell_local::Host;
use tokio::sync::oneshot;

const GRACE: Duration = Duration::from_secs(20);

/// A host of a graph's steps, and the sender that stops it.
fn host(
    db: &Local<System>,
    graph: &Graph,
    script: &Script,
) -> (tokio::task::JoinHandle<Result<(), stepwell_local::FileError>>, oneshot::Sender<()>) {
    let workflow = graph.workflow();
    let mut host = Host::new(db.clone(), System).unwrap();
    let plan = workflow.plan();
    for step in plan.steps().iter().chain(plan.compensations()) {
        host.step(&workflow, &step.name, 8, script.clone()).unwrap();
    }
    let (stop, stopped) = oneshot::channel();
    let stopped = async {
        let _ = stopped.await;
    };
    (tokio::spawn(host.run(stopped, GRACE)), stop)
}

async fn open(folder: &Folder) -> Local<System> {
    Local::new(File::open(&folder.file(), &[SCHEMA]).unwrap(), System).await.unwrap()
}

async fn ended(db: &Local<System>, task: TaskId) -> TaskState {
    let client = Client::new(db.clone(), db.clone(), System);
    loop {
        let state = client.snapshot(task).await.unwrap().unwrap().task.state;
        if state.status() != TaskStatus::InProgress && state.status() != TaskStatus::Pending {
            return state;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_run_beside_each_other_and_all_complete() {
    let (folder, graph) = (Folder::new(), Graph::diamonds(2));
    let db = open(&folder).await;
    let (running, stop) = host(&db, &graph, &done());
    let client = Client::new(db.clone(), db.clone(), System);
    let mut tasks = Vec::new();
    for _ in 0..50 {
        tasks.push(client.start(&graph.workflow(), &serde_json::json!({}), None).await.unwrap().task_id);
    }
    for task in tasks {
        assert_eq!(ended(&db, task).await, TaskState::Completed);
    }
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn task_goes_on_in_the_next_process_where_it_stopped() {
    let (folder, graph) = (Folder::new(), Graph::chain(3).base_seconds(1));
    let db = open(&folder).await;
    let task = {
        let fails = Script::new(|run| match run.facts.step {
            step if step == "s01" => Err(retryable("BUSY", "the service is down")),
            step => Ok(step.into()),
        });
        let (running, stop) = host(&db, &graph, &fails);
        let client = Client::new(db.clone(), db.clone(), System);
        let task = client.start(&graph.workflow(), &serde_json::json!({}), None).await.unwrap().task_id;
        while client
            .snapshot(task)
            .await
            .unwrap()
            .unwrap()
            .step("s01")
            .is_none_or(|step| step.state != StepState::Retrying)
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stop.send(()).unwrap();
        running.await.unwrap().unwrap();
        task
    };
    drop(db);
    let db = open(&folder).await;
    let (running, stop) = host(&db, &graph, &done());
    assert_eq!(ended(&db, task).await, TaskState::Completed);
    let snapshot = Client::new(db.clone(), db.clone(), System).snapshot(task).await.unwrap().unwrap();
    let attempts: Vec<u32> = snapshot.steps.iter().map(|step| step.attempt).collect();
    assert_eq!(attempts, [1, 2, 1], "nothing that was complete ran again");
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}
