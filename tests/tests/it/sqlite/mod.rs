//! Store and queues in one SQLite file. It shows that the core's values suffice for such a backend.

mod db;
mod queue;
mod settle;
mod store;

use db::Sqlite;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::SeqCst},
    },
    time::Duration,
};
use stepwell::{
    Client, Runtime, TaskId, Timestamp,
    core::{
        message::Outgoing,
        record::Outcome,
        snapshot::TaskSnapshot,
        state::{self, StepState, TaskState},
    },
    permanent,
    ports::{Queue, Store, TableError},
    retryable,
    runtime::{
        watchdog::{RunBudget, Watchdog},
        worker::{Invocation, Worker},
    },
};
use stepwell_simulation::{
    graph::{self, Graph},
    locked::Locked,
    steps::{Script, name},
};

const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);

/// A clock that the test sets, and the id of the only task of a case.
#[derive(Clone, Debug)]
pub(super) struct TestRuntime {
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

/// A temporary file, deleted with the value.
pub(super) struct File(PathBuf);

impl File {
    pub(super) fn new() -> Self {
        Self(std::env::temp_dir().join(format!("stepwell-{}.sqlite", TaskId::new())))
    }

    /// A store over this file, for tests that do not need the clock.
    pub(super) fn store(&self) -> impl Store {
        Sqlite::open(&self.0, TestRuntime::new(), true, usize::MAX)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm"] {
            let mut path = self.0.clone().into_os_string();
            path.push(suffix);
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The end of a task: its state, and each step's state and result.
type End = (TaskState, BTreeMap<String, (StepState, Option<String>)>);

/// One task over one file.
struct Case {
    file: File,
    clock: TestRuntime,
    graph: Graph,
    script: Script,
    whole: bool,
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

/// Gives a delivery to the worker of its step.
async fn work(db: &Sqlite<TestRuntime>, script: &Script, held: queue::HeldMessage) {
    let queue::HeldMessage { queue, message, receipt, until } = held;
    let invocation = Invocation::new(receipt.clone(), until, db.runtime.now());
    let worker = Worker::new(queue, script.clone(), db.clone(), db.clone(), db.runtime.clone());
    if worker.handle(&[message], &invocation).await.is_empty() {
        // A settlement may have ended the delivery, so that nothing is left to acknowledge.
        let _ = db.acknowledge(&receipt);
    }
}

impl Case {
    fn new(graph: Graph, script: Script, whole: bool) -> Self {
        Self { file: File::new(), clock: TestRuntime::new(), graph, script, whole }
    }

    /// Runs the task with a process that dies after this many commits, and then with one that does not die.
    fn run(&self, most: usize) -> CaseResult {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (mut commits, mut deaths) = (0, 0);
        loop {
            let most = if deaths == 0 { most } else { usize::MAX };
            let db = Sqlite::open(&self.file.0, self.clock.clone(), self.whole, most);
            let end = runtime.block_on(self.live(&db));
            commits += db.commits();
            match end {
                Some(snapshot) => return CaseResult { took: self.clock.now().since(START), snapshot, commits, deaths },
                None => deaths += 1,
            }
        }
    }

    async fn snapshot(&self, db: &Sqlite<TestRuntime>) -> Result<Option<TaskSnapshot>, TableError> {
        Client::new(db.clone(), db.clone(), self.clock.clone()).snapshot(self.clock.task).await
    }

    /// Runs until nothing is left to do; `None` where the process died.
    async fn live(&self, db: &Sqlite<TestRuntime>) -> Option<TaskSnapshot> {
        db.take_back().ok()?;
        let client = Client::new(db.clone(), db.clone(), self.clock.clone());
        if self.snapshot(db).await.ok()?.is_none() {
            client.start(&self.graph.workflow(), &serde_json::json!({}), None).await.ok()?;
        }
        for _ in 0..1_000 {
            self.clock.advance(Duration::from_millis(1));
            if let Some(received) = db.receive().ok()? {
                work(db, &self.script, received).await;
                continue;
            }
            let task = self.snapshot(db).await.ok()?.unwrap();
            let next = db.next_due().ok()?;
            let over = !matches!(task.task.state, TaskState::Running | TaskState::Compensating(_));
            match next {
                Some(due) => self.clock.advance(due.since(self.clock.now())),
                None if over && !self.goes_on(&task) => return Some(task),
                None => self.watch(db).await?,
            }
        }
        panic!("it does not come to an end");
    }

    /// Whether a failed task is still going to be compensated by itself.
    fn goes_on(&self, snapshot: &TaskSnapshot) -> bool {
        snapshot.task.state == TaskState::Failed && !self.graph.compensated_steps().is_empty()
    }

    async fn watch(&self, db: &Sqlite<TestRuntime>) -> Option<()> {
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

#[tokio::test]
async fn message_is_acknowledged_only_by_its_last_receipt_handle() {
    let file = File::new();
    let db = Sqlite::open(&file.0, TestRuntime::new(), false, usize::MAX);
    let plan = Graph::chain(1).workflow().plan().clone();
    let message = plan.step(&name(0)).unwrap().message(db.runtime.task);
    let outgoing = Outgoing { workflow: graph::WORKFLOW.to_owned(), message, delay: Duration::ZERO };
    db.send(&outgoing).await.unwrap();
    let first = db.receive().unwrap().unwrap();
    assert!(db.receive().unwrap().is_none(), "it is hidden");
    db.runtime.advance(queue::LEASE);
    let second = db.receive().unwrap().unwrap();
    assert_ne!(first.receipt, second.receipt);
    let commits = db.commits();
    db.acknowledge(&first.receipt).unwrap();
    db.hide(&outgoing.queue(), &first.receipt, MINUTE).await.unwrap();
    assert_eq!(db.commits(), commits, "an old receipt does nothing, and costs nothing");
    db.hide(&outgoing.queue(), &second.receipt, MINUTE).await.unwrap();
    assert_eq!(db.next_due().unwrap(), Some(db.runtime.now() + MINUTE));
    db.runtime.advance(MINUTE);
    let third = db.receive().unwrap().unwrap();
    db.acknowledge(&third.receipt).unwrap();
    assert_eq!(db.next_due().unwrap(), None);
    db.reject("what", "why").await.unwrap();
    db.runtime.advance(MINUTE);
    assert!(db.receive().unwrap().is_none(), "what is undeliverable is not delivered");
}

#[test]
fn chain_of_five_costs_six_commits_where_a_settlement_is_one_transaction() {
    let commits = |whole| Case::new(Graph::chain(5), done(), whole).run(usize::MAX).commits;
    println!("a chain of 5 split: {} commits", commits(false));
    assert_eq!(commits(true), 6);
}

#[test]
fn whole_and_split_settlements_end_alike() {
    for (what, graph, script, state) in cases() {
        let run = |whole| Case::new(graph.clone(), script(), whole).run(usize::MAX);
        let (whole, split) = (run(true), run(false));
        println!("{what}: {} commits whole, {} split", whole.commits, split.commits);
        assert_eq!(whole.end(), split.end(), "{what}");
        assert_eq!(whole.outcomes(), split.outcomes(), "{what}");
        assert_eq!(whole.snapshot.task.state, state, "{what}");
        assert!(whole.commits < split.commits, "{what}");
    }
}

#[test]
fn death_between_any_two_commits_does_not_change_the_end() {
    for (what, graph, script, _) in cases() {
        for whole in [true, false] {
            let run = |most| Case::new(graph.clone(), script(), whole).run(most);
            let unhurt = run(usize::MAX);
            for most in 0..unhurt.commits {
                let run = run(most);
                assert_eq!(run.deaths, 1, "{what}, whole: {whole}, dead after {most} commits");
                assert_eq!(run.end(), unhurt.end(), "{what}, whole: {whole}, dead after {most} commits");
                let lost = run.outcomes().iter().filter(|outcome| **outcome == Outcome::Lost).count();
                assert!(lost <= 1, "{what}, whole: {whole}, dead after {most} commits: {lost} attempts lost");
                // Recovery needs neither the end of a lease nor the watchdog.
                let in_time = run.took < unhurt.took + queue::LEASE;
                assert!(in_time || !whole, "{what}, dead after {most} commits: {:?}", run.took);
            }
        }
    }
}
