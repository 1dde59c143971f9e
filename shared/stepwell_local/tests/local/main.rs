//! The backend `local`: it ends every task as it should, whenever its process dies, and what its file promises.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail loudly"
)]

use futures::FutureExt;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use stepwell::{
    Client, Runtime, TaskId, Timestamp,
    core::{
        message::{Outgoing, QueueName, StepQueue},
        record::Outcome,
        snapshot::TaskSnapshot,
        state::{self, StepState, TaskState},
    },
    permanent,
    ports::{Queue, TableError},
    retryable,
    runtime::{
        watchdog::{RunBudget, Watchdog},
        worker::{Invocation, Worker},
    },
};
use stepwell_local::{File, Held, Local, SCHEMA, Schema, Serving};
use stepwell_simulation::{
    graph::{self, Graph},
    locked::Locked,
    steps::{Script, name},
};

mod file;
mod host;

const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);

/// A clock that the test sets, and the id of the only task of a case.
#[derive(Clone, Debug)]
struct TestRuntime {
    millis: Arc<AtomicI64>,
    task: TaskId,
}

impl TestRuntime {
    fn new() -> Self {
        Self { millis: Arc::new(AtomicI64::new(START.as_millis())), task: TaskId::new() }
    }

    fn advance(&self, by: Duration) {
        self.millis.store((self.now() + by).as_millis(), SeqCst);
    }
}

impl Runtime for TestRuntime {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis.load(SeqCst))
    }

    fn random(&self) -> f64 {
        0.5
    }

    fn new_task_id(&self) -> TaskId {
        self.task
    }
}

/// The time of a delivery.
const LEASE: Duration = Duration::from_secs(30);

const fn serving(slots: usize) -> Serving {
    Serving { slots, time: LEASE, claims: true }
}

/// A file in a folder that is deleted with the value.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("test.sqlite")
    }
}

/// Counts commits. After `most` of them the process is dead.
#[derive(Clone, Debug, Default)]
struct Commits {
    made: Arc<AtomicUsize>,
}

impl Commits {
    fn made(&self) -> usize {
        self.made.load(SeqCst)
    }

    fn dying_after(&self, most: usize) -> impl FnMut() -> bool + Send + 'static {
        let made = self.made.clone();
        move || {
            let dies = made.load(SeqCst) >= most;
            if !dies {
                made.fetch_add(1, SeqCst);
            }
            dies
        }
    }
}

/// The end of a task: its state, and each step's state and result.
type End = (TaskState, BTreeMap<String, (StepState, Option<String>)>);

/// One task over one file.
struct Case {
    folder: Folder,
    clock: TestRuntime,
    graph: Graph,
    script: Script,
}

/// The result of a case.
struct CaseResult {
    snapshot: TaskSnapshot,
    commits: usize,
    deaths: usize,
    took: Duration,
}

impl CaseResult {
    fn end(&self) -> End {
        let steps = self.snapshot.steps.iter();
        let ends = steps.map(|step| (step.name.clone(), (step.state, step.result.clone())));
        (self.snapshot.task.state, ends.collect())
    }

    /// The outcomes of the attempts of all steps.
    fn outcomes(&self) -> Vec<Outcome> {
        let attempts = self.snapshot.steps.iter().flat_map(|step| &step.attempts);
        attempts.map(|attempt| attempt.outcome).collect()
    }
}

type Db = Local<TestRuntime>;

/// Gives a delivery to the worker of its step.
async fn work(db: &Db, clock: &TestRuntime, script: &Script, held: Held) {
    let QueueName::Step(queue) = held.queue.clone() else { panic!("{held:?}") };
    let delivered = &held.delivered;
    let invocation = Invocation::new(delivered.receipt.clone(), delivered.until, clock.now());
    let worker = Worker::new(queue, script.clone(), db.clone(), db.clone(), clock.clone());
    if worker.handle(std::slice::from_ref(&delivered.message), &invocation).await.is_empty() {
        // A settlement may have ended the delivery, so that nothing is left to acknowledge.
        let _ = db.acknowledge(&delivered.message).await;
    }
}

impl Case {
    fn new(graph: Graph, script: Script) -> Self {
        Self { folder: Folder::new(), clock: TestRuntime::new(), graph, script }
    }

    /// Runs the task with a process that dies after this many commits, and then with one that does not die.
    fn run(&self, most: usize) -> CaseResult {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (mut commits, mut deaths) = (0, 0);
        loop {
            let most = if deaths == 0 { most } else { usize::MAX };
            let counted = Commits::default();
            let file = File::open_on_caller(&self.folder.file(), &[SCHEMA], counted.dying_after(most)).unwrap();
            let end = runtime.block_on(self.live(file));
            commits += counted.made();
            match end {
                Some(snapshot) => return CaseResult { took: self.clock.now().since(START), snapshot, commits, deaths },
                None => deaths += 1,
            }
        }
    }

    async fn snapshot(&self, db: &Db) -> Result<Option<TaskSnapshot>, TableError> {
        Client::new(db.clone(), db.clone(), self.clock.clone()).snapshot(self.clock.task).await
    }

    /// Runs until nothing is left to do; `None` where the process died.
    async fn live(&self, file: File) -> Option<TaskSnapshot> {
        let db = Local::new(file, self.clock.clone()).await.ok()?;
        let workflow = self.graph.workflow();
        let plan = workflow.plan();
        for step in plan.steps().iter().chain(plan.compensations()) {
            db.serve(StepQueue::new(graph::WORKFLOW, &step.name), serving(10));
        }
        let client = Client::new(db.clone(), db.clone(), self.clock.clone());
        if self.snapshot(&db).await.ok()?.is_none() {
            client.start(&workflow, &serde_json::json!({}), None).await.ok()?;
        }
        for _ in 0..1_000 {
            self.clock.advance(Duration::from_millis(1));
            if let Some(held) = db.receive().await.ok()? {
                work(&db, &self.clock, &self.script, held).await;
                continue;
            }
            let task = self.snapshot(&db).await.ok()?.unwrap();
            let over = !matches!(task.task.state, TaskState::Running | TaskState::Compensating(_));
            match db.next_due() {
                _ if over && !self.goes_on(&task) => return Some(task),
                Some(due) => self.clock.advance(due.since(self.clock.now())),
                None => self.watch(&db).await?,
            }
        }
        panic!("it does not come to an end");
    }

    /// Whether a failed task is still going to be compensated by itself.
    fn goes_on(&self, snapshot: &TaskSnapshot) -> bool {
        snapshot.task.state == TaskState::Failed && !self.graph.compensated_steps().is_empty()
    }

    async fn watch(&self, db: &Db) -> Option<()> {
        self.clock.advance(MINUTE);
        let watchdog = Watchdog::new(db.clone(), db.clone(), self.clock.clone());
        watchdog.run(RunBudget { until: self.clock.now() + MINUTE, tasks: 10 }).await.ok().map(drop)
    }
}

fn done() -> Script {
    Script::new(|run| Ok(run.facts.step.into()))
}

/// A script in which the steps of these names fail: one once, one for good.
fn failing(once: &'static str, for_good: &'static str) -> Script {
    let failed = Arc::new(Locked::new(false));
    Script::new(move |run| match run.facts.step {
        step if step == for_good => Err(permanent("NO", "never")),
        step if step == once && !failed.replace(true) => Err(retryable("BUSY", "later")),
        step => Ok(step.into()),
    })
}

/// A graph, its steps' script, and the end of its task.
type Shape = (&'static str, Graph, fn() -> Script, TaskState);

/// Graphs of each shape.
fn cases() -> Vec<Shape> {
    let fan = Graph::new([vec![], vec![0], vec![0], vec![0]]);
    let compensated = Graph::chain(3).with_compensations([0, 1].into()).compensate("on_error", None);
    vec![
        ("chain", Graph::chain(5), done, TaskState::Completed),
        ("diamond", Graph::diamonds(1), done, TaskState::Completed),
        ("fan with three leaves", fan, done, TaskState::Completed),
        ("retry", Graph::chain(3).base_seconds(2), || failing("s01", ""), TaskState::Completed),
        ("failure", Graph::chain(3), || failing("", "s01"), TaskState::Failed),
        ("failure and compensation", compensated, || failing("s50", "s02"), TaskState::Compensated(state::End::Error)),
    ]
}

/// The message that starts the task of a chain of one step.
fn first_message(clock: &TestRuntime) -> Outgoing {
    let message = Graph::chain(1).workflow().plan().step(&name(0)).unwrap().message(clock.task);
    Outgoing { workflow: graph::WORKFLOW.to_owned(), message, delay: Duration::ZERO }
}

#[tokio::test]
async fn message_is_acknowledged_only_by_its_last_receipt_handle() {
    let (folder, commits, clock) = (Folder::new(), Commits::default(), TestRuntime::new());
    let file = File::open_on_caller(&folder.file(), &[SCHEMA], commits.dying_after(usize::MAX)).unwrap();
    let db = Local::new(file, clock.clone()).await.unwrap();
    let outgoing = first_message(&clock);
    let queue = outgoing.queue();
    db.serve(queue.clone(), serving(10));
    db.send(&outgoing).await.unwrap();
    let first = db.receive().await.unwrap().unwrap();
    assert!(db.receive().await.unwrap().is_none(), "it is hidden");
    clock.advance(LEASE);
    let second = db.receive().await.unwrap().unwrap();
    assert_ne!(first.delivered.receipt, second.delivered.receipt);
    let before = commits.made();
    db.acknowledge(&first.delivered.message).await.unwrap();
    db.hide(&queue, &first.delivered.receipt, MINUTE).await.unwrap();
    assert_eq!(commits.made(), before, "an old receipt does nothing, and costs nothing");
    db.hide(&queue, &second.delivered.receipt, MINUTE).await.unwrap();
    clock.advance(MINUTE - Duration::from_millis(1));
    assert!(db.receive().await.unwrap().is_none(), "it is hidden to the millisecond");
    clock.advance(Duration::from_millis(1));
    let third = db.receive().await.unwrap().unwrap();
    assert_eq!(third.delivered.message.receives, Some(3));
    db.acknowledge(&third.delivered.message).await.unwrap();
    clock.advance(MINUTE);
    assert!(db.receive().await.unwrap().is_none());
    assert_eq!(db.next_due(), None);
}

#[tokio::test]
async fn message_of_a_long_wait_is_replaced_by_one() {
    let (folder, clock) = (Folder::new(), TestRuntime::new());
    let file = File::open_on_caller(&folder.file(), &[SCHEMA], || false).unwrap();
    let db = Local::new(file, clock.clone()).await.unwrap();
    let workflow = Graph::chain(1).base_seconds(600).max_seconds(700).workflow();
    db.serve(StepQueue::new(graph::WORKFLOW, name(0)), serving(1));
    Client::new(db.clone(), db.clone(), clock.clone()).start(&workflow, &serde_json::json!({}), None).await.unwrap();
    let held = db.receive().await.unwrap().unwrap();
    work(&db, &clock, &failing("s00", ""), held).await;
    let messages =
        db.file().read(|tx| Ok(tx.query_row("SELECT COUNT(*) FROM messages", [], |row| row.get::<_, u32>(0))?));
    assert_eq!(messages.unwrap(), 1);
    assert!(db.receive().await.unwrap().is_none(), "it waits");
    let due = db.next_due().unwrap();
    assert!(due.since(clock.now()) > 2 * MINUTE, "{due}");
    clock.advance(due.since(clock.now()));
    work(&db, &clock, &done(), db.receive().await.unwrap().unwrap()).await;
    let task = Client::new(db.clone(), db.clone(), clock.clone()).snapshot(clock.task).await.unwrap().unwrap();
    assert_eq!(task.task.state, TaskState::Completed);
}

#[tokio::test]
async fn whoever_waits_for_a_task_learns_of_its_end_and_of_nothing_before_or_else() {
    let (folder, clock) = (Folder::new(), TestRuntime::new());
    let file = File::open_on_caller(&folder.file(), &[SCHEMA], || false).unwrap();
    let db = Local::new(file, clock.clone()).await.unwrap();
    let client = Client::new(db.clone(), db.clone(), clock.clone());
    for step in [0, 1] {
        db.serve(StepQueue::new(graph::WORKFLOW, name(step)), serving(1));
    }
    let before = client.changed(clock.task);
    client.start(&Graph::chain(2).workflow(), &serde_json::json!({}), None).await.unwrap();
    assert_eq!(before.now_or_never(), Some(()), "the task was written");
    let (mut ended, other) = (pin!(client.changed(clock.task)), client.changed(TaskId::new()));
    work(&db, &clock, &done(), db.receive().await.unwrap().unwrap()).await;
    assert_eq!((&mut ended).now_or_never(), None, "one step is done, and the task goes on");
    work(&db, &clock, &done(), db.receive().await.unwrap().unwrap()).await;
    assert_eq!((ended.now_or_never(), other.now_or_never()), (Some(()), None));
    assert_eq!(client.changed(clock.task).now_or_never(), None, "it had ended before");
}

#[tokio::test]
async fn queue_has_no_more_deliveries_in_flight_than_slots() {
    let (folder, clock) = (Folder::new(), TestRuntime::new());
    let file = File::open_on_caller(&folder.file(), &[SCHEMA], || false).unwrap();
    let db = Local::new(file, clock.clone()).await.unwrap();
    let outgoing = first_message(&clock);
    db.serve(outgoing.queue(), serving(2));
    for _ in 0..3 {
        db.send(&outgoing).await.unwrap();
    }
    let first = db.receive().await.unwrap().unwrap();
    let second = db.receive().await.unwrap().unwrap();
    assert!(db.receive().await.unwrap().is_none());
    assert_eq!(db.next_due(), None, "there is nothing to wait for but a free slot");
    drop(first);
    let third = db.receive().await.unwrap().unwrap();
    assert_ne!(second.delivered.message.id, third.delivered.message.id);
}

#[test]
fn message_that_is_never_acknowledged_becomes_a_dead_letter() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (folder, clock) = (Folder::new(), TestRuntime::new());
        let file = File::open_on_caller(&folder.file(), &[SCHEMA], || false).unwrap();
        let db = Local::new(file, clock.clone()).await.unwrap();
        let outgoing = first_message(&clock);
        db.serve(outgoing.queue(), serving(1));
        db.serve(QueueName::DeadLetters, serving(1));
        db.send(&outgoing).await.unwrap();
        for _ in 0..100 {
            let held = db.receive().await.unwrap().unwrap();
            assert_eq!(held.queue, outgoing.queue());
            clock.advance(LEASE);
        }
        assert!(db.receive().await.unwrap().is_none_or(|held| held.queue == QueueName::DeadLetters));
        let dead = db.receive().await.unwrap();
        let dead = dead.expect("a dead letter").delivered.message;
        assert_eq!(dead.dead_letter_source, Some(outgoing.queue().to_string()));
    });
}

#[tokio::test]
async fn message_that_processes_die_of_becomes_a_dead_letter() {
    let (folder, clock) = (Folder::new(), TestRuntime::new());
    let outgoing = first_message(&clock);
    for process in 0..6 {
        let file = File::open_on_caller(&folder.file(), &[SCHEMA], || false).unwrap();
        let db = Local::new(file, clock.clone()).await.unwrap();
        if process == 0 {
            db.send(&outgoing).await.unwrap();
        }
        db.serve(outgoing.queue(), serving(1));
        db.serve(QueueName::DeadLetters, serving(1));
        let held = db.receive().await.unwrap().unwrap();
        assert_eq!(held.queue == QueueName::DeadLetters, process == 5, "process {process}: {held:?}");
    }
}

#[test]
fn chain_of_five_costs_six_commits() {
    let start_of_the_process = 1;
    let run = Case::new(Graph::chain(5), done()).run(usize::MAX);
    assert_eq!(run.commits, start_of_the_process + 6);
}

#[test]
fn death_between_any_two_commits_does_not_change_the_end() {
    for (what, graph, script, state) in cases() {
        let run = |most| Case::new(graph.clone(), script()).run(most);
        let unhurt = run(usize::MAX);
        assert_eq!(unhurt.snapshot.task.state, state, "{what}");
        for most in 0..unhurt.commits {
            let run = run(most);
            assert_eq!(run.deaths, 1, "{what}, dead after {most} commits");
            assert_eq!(run.end(), unhurt.end(), "{what}, dead after {most} commits");
            let lost = run.outcomes().iter().filter(|outcome| **outcome == Outcome::Lost).count();
            assert!(lost <= 3, "{what}, dead after {most} commits: {lost} attempts lost");
            // Recovery needs neither the end of a lease nor the watchdog.
            assert!(run.took < unhurt.took + LEASE, "{what}, dead after {most} commits: {:?}", run.took);
        }
    }
}
