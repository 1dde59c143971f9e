//! The SQLite file, its transactions, and the count of their commits.

use super::queue::HeldMessage;
use rusqlite::{Connection, Transaction};
use std::{
    collections::VecDeque,
    error::Error,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};
use stepwell::{CallError, FailureKind, core::codec::Unreadable, ports::TableError};

pub(super) type Failed = Box<dyn Error + Send + Sync>;

/// The index is over two generated columns, so SQLite maintains it.
const SCHEMA: &str = "
    PRAGMA auto_vacuum = INCREMENTAL;
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS items (
        pk TEXT NOT NULL, sk TEXT NOT NULL, item TEXT NOT NULL,
        status_shard TEXT AS (item ->> 'status_shard'), listed_at TEXT AS (item ->> 'listed_at'),
        PRIMARY KEY (pk, sk)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS by_status ON items (status_shard, listed_at, pk, sk) WHERE status_shard IS NOT NULL;
    CREATE TABLE IF NOT EXISTS messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT, workflow TEXT, step TEXT, body TEXT NOT NULL, due INTEGER NOT NULL,
        receipt TEXT UNIQUE, receives INTEGER NOT NULL DEFAULT 0, reason TEXT
    ) STRICT;
    CREATE INDEX IF NOT EXISTS by_due ON messages (due);
    COMMIT;
";

/// One SQLite file as the store and the queues of one process. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Sqlite<A> {
    pub(super) runtime: A,
    /// Whether a settlement is one transaction; otherwise the engine makes its writes in the protocol's order.
    pub(super) whole: bool,
    connection: Arc<Mutex<Connection>>,
    commits: Arc<Commits>,
    /// Messages that are received and claimed, and not yet given to a worker.
    pub(super) held: Arc<Mutex<VecDeque<HeldMessage>>>,
}

/// The number of commits so far, and the number at which the process dies.
#[derive(Debug, Default)]
struct Commits {
    tried: AtomicUsize,
    most: AtomicUsize,
}

impl<A> Sqlite<A> {
    /// Opens the file, or creates it. After `most` commits the process is dead.
    pub(super) fn open(path: &Path, runtime: A, whole: bool, most: usize) -> Self {
        let mut connection = Connection::open(path).unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        let commits = Arc::new(Commits { tried: AtomicUsize::new(0), most: AtomicUsize::new(most) });
        let counted = commits.clone();
        // SQLite rolls back a commit that the hook refuses.
        connection.commit_hook(Some(move || counted.tried.fetch_add(1, SeqCst) >= counted.most.load(SeqCst))).unwrap();
        Self { runtime, whole, connection: Arc::new(Mutex::new(connection)), commits, held: Arc::default() }
    }

    /// Runs work in a transaction, and commits its writes. A transaction without writes costs no commit.
    pub(super) fn transaction<R>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<R, Failed>) -> Result<R, Failed> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_dead() {
            return Err("the process is dead".into());
        }
        let tx = connection.transaction()?;
        let done = work(&tx)?;
        tx.commit()?;
        Ok(done)
    }

    /// The number of committed transactions.
    pub(super) fn commits(&self) -> usize {
        self.commits.tried.load(SeqCst).min(self.commits.most.load(SeqCst))
    }

    /// Whether the process has died at a commit.
    pub(super) fn is_dead(&self) -> bool {
        self.commits.tried.load(SeqCst) > self.commits.most.load(SeqCst)
    }
}

pub(super) fn table_error(operation: &'static str) -> impl Fn(Failed) -> TableError {
    move |error| match error.downcast::<Unreadable>() {
        Ok(unreadable) => TableError::Unreadable(*unreadable),
        Err(error) => CallError::new(operation, FailureKind::Unavailable, error).into(),
    }
}
