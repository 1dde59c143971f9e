//! The only connection that writes.
//!
//! It commits together what waits for it: a commit waits for the disk, and takes as long for many transactions as for one. Each
//! runs under a savepoint of its own, so that one that fails takes nothing of the others with it.

use crate::error::FileError;
use rusqlite::Connection;
use std::{
    fmt, io, iter,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
};
use stepwell::FailureKind;
use tokio::sync::{oneshot, watch};

/// The most transactions of one commit.
const MOST_TOGETHER: usize = 512;

/// Where the transactions run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// On a thread of their own, so that those which wait are committed together.
    Own,
    /// On the thread of the caller, one by one.
    #[cfg_attr(not(feature = "testing"), allow(dead_code, reason = "for tests"))]
    Caller,
}

/// A transaction that waits for its commit.
pub(crate) struct Job(Box<dyn Transact>);

impl Job {
    /// A job, and its answer. The result of a committed job goes through `then`.
    pub(crate) fn new<R: Send + 'static, T: Send + 'static>(
        job: impl FnOnce(&Connection) -> Result<R, FileError> + Send + 'static,
        then: impl FnOnce(R) -> T + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T, FileError>>) {
        let (answer, answered) = oneshot::channel();
        (Self(Box::new(Waiting { job: Some(job), result: None, then, answer })), answered)
    }
}

trait Transact: Send {
    /// Runs the job in an open transaction. Returns whether its writes are to be kept.
    fn run(&mut self, tx: &Connection) -> bool;

    /// Answers, with the error if the job's writes were not committed.
    fn answer(self: Box<Self>, error: Option<FileError>);
}

struct Waiting<J, R, N, T> {
    job: Option<J>,
    result: Option<Result<R, FileError>>,
    then: N,
    answer: oneshot::Sender<Result<T, FileError>>,
}

impl<J, R, N, T> Transact for Waiting<J, R, N, T>
where
    J: FnOnce(&Connection) -> Result<R, FileError> + Send,
    R: Send,
    N: FnOnce(R) -> T + Send,
    T: Send,
{
    fn run(&mut self, tx: &Connection) -> bool {
        self.result = self.job.take().map(|job| job(tx));
        matches!(self.result, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, error: Option<FileError>) {
        let answer = match (self.result, error) {
            (Some(Err(error)), _) | (_, Some(error)) => Err(error),
            (Some(Ok(result)), None) => Ok((self.then)(result)),
            (None, None) => Err(FileError::stopped()),
        };
        // Whoever has asked may have stopped waiting.
        let _ = self.answer.send(answer);
    }
}

/// The connection, and the thread that it is used on.
pub(crate) struct Writer {
    to: To,
    broken: watch::Receiver<Option<FileError>>,
}

enum To {
    Thread(Option<(mpsc::Sender<Job>, thread::JoinHandle<()>)>),
    Caller(Arc<Mutex<Committer>>),
}

impl Writer {
    pub(crate) fn new(connection: Connection, threads: Threads) -> io::Result<Self> {
        let (breaks, broken) = watch::channel(None);
        let mut committer = Committer { connection, breaks };
        let to = match threads {
            Threads::Caller => To::Caller(Arc::new(Mutex::new(committer))),
            Threads::Own => {
                let (sender, jobs) = mpsc::channel::<Job>();
                let run = move || {
                    while let Ok(first) = jobs.recv() {
                        committer.commit(iter::once(first).chain(jobs.try_iter().take(MOST_TOGETHER - 1)));
                    }
                };
                To::Thread(Some((sender, thread::Builder::new().name("sqlite".to_owned()).spawn(run)?)))
            }
        };
        Ok(Self { to, broken })
    }

    /// Runs the job, and answers it once it is committed.
    pub(crate) fn run(&self, job: Job) {
        match &self.to {
            // A job that is not taken is dropped, and with it its answer.
            To::Thread(thread) => drop(thread.as_ref().map(|(jobs, _)| jobs.send(job))),
            To::Caller(committer) => committer.lock().unwrap_or_else(PoisonError::into_inner).commit(iter::once(job)),
        }
    }

    /// Commits what waits, and closes the connection.
    pub(crate) fn stop(&mut self) {
        let To::Thread(thread) = &mut self.to else { return };
        let Some((jobs, handle)) = thread.take() else { return };
        drop(jobs);
        // The answer to the last job may drop the file.
        if handle.thread().id() != thread::current().id() {
            let _ = handle.join();
        }
    }

    /// The error after which nothing can be read or written any more.
    pub(crate) fn error(&self) -> Option<FileError> {
        self.broken.borrow().clone()
    }

    /// Fails the first commit for which this returns true.
    #[cfg(feature = "testing")]
    pub(crate) fn die_at(&self, dies: impl FnMut() -> bool + Send + 'static) -> rusqlite::Result<()> {
        match &self.to {
            To::Thread(_) => Ok(()),
            To::Caller(committer) => {
                // SQLite rolls back a commit that the hook refuses.
                committer.lock().unwrap_or_else(PoisonError::into_inner).connection.commit_hook(Some(dies))
            }
        }
    }

    pub(crate) async fn broken(&self) -> FileError {
        let mut broken = self.broken.clone();
        let error = broken.wait_for(Option::is_some).await.map(|error| error.clone());
        error.ok().flatten().unwrap_or_else(FileError::stopped)
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

struct Committer {
    connection: Connection,
    /// The error after which it is not known what is on the disk.
    breaks: watch::Sender<Option<FileError>>,
}

impl Committer {
    /// Runs these jobs in one transaction, commits it, and answers.
    fn commit(&mut self, jobs: impl Iterator<Item = Job>) {
        let mut jobs: Vec<Box<dyn Transact>> = jobs.map(|Job(job)| job).collect();
        let error = self.transact(&mut jobs).err();
        for job in jobs {
            job.answer(error.clone());
        }
    }

    fn transact(&mut self, jobs: &mut [Box<dyn Transact>]) -> Result<(), FileError> {
        if let Some(error) = self.breaks.borrow().clone() {
            return Err(error);
        }
        let tx = &self.connection;
        // It takes the lock at its first write, so that jobs without one cost no commit. No other connection writes.
        run(tx, "BEGIN")?;
        let done = run_all(tx, jobs).and_then(|()| run(tx, "COMMIT").map_err(|error| self.not_committed(error)));
        if done.is_err() && !tx.is_autocommit() {
            let _ = run(tx, "ROLLBACK");
        }
        done
    }

    /// The error of a commit. If it failed for another reason than lack of space, it is not known what is on the disk.
    fn not_committed(&self, error: FileError) -> FileError {
        if matches!(error, FileError::Failed { kind: FailureKind::Throttled, .. }) {
            return error;
        }
        let error = FileError::Failed { kind: FailureKind::Unavailable, reason: error.to_string() };
        tracing::error!(%error, "a commit failed, and it is not known what is on the disk: the file is used no more");
        self.breaks.send_if_modified(|broken| broken.replace(error.clone()).is_none());
        error
    }
}

/// Runs each job under a savepoint. An error means that SQLite has ended the whole transaction.
fn run_all(tx: &Connection, jobs: &mut [Box<dyn Transact>]) -> Result<(), FileError> {
    for job in jobs {
        run(tx, "SAVEPOINT job")?;
        let keep = job.run(tx);
        if tx.is_autocommit() {
            let reason = "SQLite has ended the transaction, perhaps because the disk is full".to_owned();
            return Err(FileError::Failed { kind: FailureKind::Throttled, reason });
        }
        if !keep {
            run(tx, "ROLLBACK TO job")?;
        }
        run(tx, "RELEASE job")?;
    }
    Ok(())
}

fn run(tx: &Connection, statement: &str) -> Result<(), FileError> {
    tx.prepare_cached(statement)?.execute([])?;
    Ok(())
}
