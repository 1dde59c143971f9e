//! The process that hosts steps, with the machine's clock.

use super::{
    file::{SECRET, has_secret},
    *,
};
use stepwell::{
    Actor, Context, Step, StepContext, StepError, System, Workflow, core::state::TaskStatus, testing::VirtualClock,
};
use stepwell_local::{Host, OpenError};
use tokio::sync::{Notify, oneshot};

const GRACE: Duration = Duration::from_secs(20);

/// A host of a graph's steps, and the sender that stops it.
fn host(
    db: &Local<System>,
    graph: &Graph,
    script: &Script,
) -> (tokio::task::JoinHandle<Result<(), stepwell_local::FileError>>, oneshot::Sender<()>) {
    let workflow = graph.workflow();
    let mut host = Host::new(db.clone(), System);
    let plan = workflow.plan();
    for step in plan.steps().iter().chain(plan.compensations()) {
        host.step(&workflow, &step.name, 8, script.clone());
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

/// A pause is kept in the file, so that the next process keeps to it. A delivery that was made when a step completed would pass a look at the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paused_step_is_not_attempted_by_this_process_or_the_next_and_all_complete_once_it_is_resumed() {
    let (folder, graph) = (Folder::new(), Graph::fan(2));
    let (paused, actor) = (StepQueue::new(graph::WORKFLOW, "s01"), Actor::new("ann", "a test").unwrap());
    let mut tasks = Vec::new();
    for life in 0..2 {
        let db = open(&folder).await;
        let (running, stop) = host(&db, &graph, &done());
        let client = Client::new(db.clone(), db.clone(), System);
        if life == 0 {
            assert!(client.pause(&db, &paused, &actor).await.unwrap().told);
        }
        for _ in 0..20 {
            tasks.push(client.start(&graph.workflow(), &serde_json::json!({}), None).await.unwrap().task_id);
        }
        for task in &tasks {
            let snapshot = loop {
                let snapshot = client.snapshot(*task).await.unwrap().unwrap();
                if snapshot.step("s02").is_some_and(|step| step.state == StepState::Complete) {
                    break snapshot;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            };
            assert_eq!(snapshot.step("s01").unwrap().attempt, 0, "{snapshot:?}");
        }
        if life == 1 {
            assert!(client.resume(&db, &paused, &actor, None).await.unwrap().told);
            for task in &tasks {
                assert_eq!(ended(&db, *task).await, TaskState::Completed);
            }
        }
        stop.send(()).unwrap();
        running.await.unwrap().unwrap();
    }
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

/// A step that never ends.
#[derive(Clone, Default)]
struct Hangs {
    began: Arc<Notify>,
}

impl Step for Hangs {
    type Input = Context<serde_json::Value>;
    type Output = ();

    async fn run(&self, _: Self::Input, _: &StepContext) -> Result<(), StepError> {
        self.began.notify_one();
        std::future::pending().await
    }
}

/// The file of a host that has ended, once the runtime has dropped what that had in flight.
async fn reopen(folder: &Folder) -> Local<System> {
    loop {
        match File::open(&folder.file(), &[SCHEMA]) {
            Err(OpenError::InUse { .. }) => tokio::task::yield_now().await,
            file => return Local::new(file.unwrap(), System).await.unwrap(),
        }
    }
}

#[tokio::test]
async fn step_that_outlasts_many_processes_which_were_told_to_end_is_not_given_up() {
    let (folder, graph) = (Folder::new(), Graph::chain(1));
    let workflow = graph.workflow();
    let mut task = None;
    for _ in 0..5 {
        let db = reopen(&folder).await;
        let client = Client::new(db.clone(), db.clone(), System);
        if task.is_none() {
            task = Some(client.start(&workflow, &serde_json::json!({}), None).await.unwrap().task_id);
        }
        let hangs = Hangs::default();
        let mut host = Host::new(db, System);
        host.step(&workflow, "s00", 8, hangs.clone());
        host.run(async { hangs.began.notified().await }, Duration::ZERO).await.unwrap();
    }
    let db = reopen(&folder).await;
    let (running, stop) = host(&db, &graph, &done());
    assert_eq!(ended(&db, task.unwrap()).await, TaskState::Completed);
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn running_host_leaves_nothing_of_what_was_deleted_on_the_disk() {
    let folder = Folder::new();
    let secrets = "CREATE TABLE IF NOT EXISTS secrets (secret TEXT) STRICT";
    let secrets = Schema { part: "secrets", version: 1, sql: secrets };
    let clock = VirtualClock::default();
    let file = File::open_on_caller(&folder.file(), &[SCHEMA, secrets], || false).unwrap();
    let host = Host::new(Local::new(file.clone(), clock.clone()).await.unwrap(), clock.clone());
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(host.run(async { drop(stopped.await) }, GRACE));
    // The first run is over.
    tokio::time::sleep(Duration::from_secs(1)).await;
    file.write(|tx| Ok(tx.execute("INSERT INTO secrets VALUES (?)", [SECRET])?)).await.unwrap();
    file.write(|tx| Ok(tx.execute("DELETE FROM secrets", [])?)).await.unwrap();
    let log = folder.0.path().join("test.sqlite-wal");
    assert!(has_secret(&log));
    tokio::time::sleep(MINUTE).await;
    assert_eq!((has_secret(&folder.file()), has_secret(&log)), (false, false));
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

/// A step that calls a service that is out for the first minute.
#[derive(Clone)]
struct CallsService {
    clock: VirtualClock,
    calls: Arc<AtomicUsize>,
}

impl Step for CallsService {
    type Input = Context<serde_json::Value>;
    type Output = ();

    async fn run(&self, _: Self::Input, _: &StepContext) -> Result<(), StepError> {
        self.calls.fetch_add(1, SeqCst);
        let is_out = self.clock.now() < VirtualClock::START + MINUTE;
        if is_out { Err(retryable("DOWN", "the service is out").from_service()) } else { Ok(()) }
    }
}

#[tokio::test(start_paused = true)]
async fn steps_wait_without_attempts_while_their_service_is_out_and_go_on_when_it_is_back() {
    let workflow = Workflow::from_yaml(
        "{name: shop, step_templates: [{name: pay, waits_on: gateway, default_retry_limit: 20,
            backoff: {base_seconds: 2, max_seconds: 2, jitter: 0}}]}",
    );
    let (folder, workflow) = (Folder::new(), workflow.unwrap());
    let clock = VirtualClock::default();
    let file = File::open_on_caller(&folder.file(), &[SCHEMA], || false).unwrap();
    let db = Local::new(file, clock.clone()).await.unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let mut host = Host::new(db.clone(), clock.clone());
    host.step(&workflow, "pay", 8, CallsService { clock: clock.clone(), calls: calls.clone() });
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(host.run(async { drop(stopped.await) }, GRACE));
    let client = Client::new(db.clone(), db.clone(), clock.clone());
    let mut tasks = Vec::new();
    for _ in 0..20 {
        tasks.push(client.start(&workflow, &serde_json::json!({}), None).await.unwrap().task_id);
    }
    clock.sleep(MINUTE).await;
    let in_the_outage = calls.load(SeqCst);
    assert!(in_the_outage < 40, "{in_the_outage} calls, of 20 tasks that would be tried 30 times each");
    clock.sleep(20 * MINUTE).await;
    for task in tasks {
        let snapshot = client.snapshot(task).await.unwrap().unwrap();
        assert_eq!(snapshot.task.state, TaskState::Completed, "{snapshot:#?}");
    }
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}
