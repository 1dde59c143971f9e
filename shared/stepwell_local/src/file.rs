//! One SQLite file, which belongs to one process.

use crate::{
    error::{FileError, OpenError},
    writer::{Job, Threads, Writer},
};
use rusqlite::{Connection, OpenFlags, OptionalExtension};
use std::{
    fs,
    io::{self, ErrorKind, Read},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// The mark of a file of Stepwell, in its header: "Step".
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"Step");

/// How many prepared statements a connection keeps.
const STATEMENTS: usize = 128;

/// The most connections for reading that are kept open.
const READERS: usize = 4;

/// The pages of the write-ahead log after which they are moved into the file: 16 MiB.
const CHECKPOINT_PAGES: u32 = 4_000;

/// The size to which the log is cut when it begins anew. Where it need not grow, a sync writes its pages and nothing else.
const LOG_BYTES: u32 = CHECKPOINT_PAGES * 4_096;

/// How long writes wait for the log to be emptied while others read it. A page of a list takes less.
const READERS_END: Duration = Duration::from_millis(100);

/// How often a lock is tried once more. Whoever makes a copy holds it for a moment.
const LOCK_TRIES: u32 = 10;

/// The pause between two tries of a lock.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The tables of one part of the program, such as the engine or the shop. The file stores the version of each part.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// The name of the part.
    pub part: &'static str,
    /// The version of its tables. A file of a newer one is refused.
    pub version: u32,
    /// Creates the tables that are not there. It is run each time the file is opened, in one transaction with all others.
    pub sql: &'static str,
}

/// One SQLite file. Clones share it.
///
/// One connection writes. What waits for it is committed together, and is on the disk when it is answered. Reads have connections
/// of their own and see what is committed.
#[derive(Clone, Debug)]
pub struct File(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    readers: Mutex<Vec<Connection>>,
    writer: Writer,
    lock: fs::File,
}

impl File {
    /// Opens the file, or creates it. The folder has to exist.
    ///
    /// # Errors
    /// See [`OpenError`]. What the file holds is as it was.
    pub fn open(path: &Path, schemas: &[Schema]) -> Result<Self, OpenError> {
        Self::open_on(Threads::Own, path, schemas)
    }

    /// Opens the file for a test that runs on one thread, perhaps with a clock of its own. `dies` is called at each commit that writes
    /// something; the first for which it returns true fails, and after that the file can be used no more, as if the process had died.
    ///
    /// # Errors
    /// As [`File::open`].
    #[cfg(feature = "testing")]
    pub fn open_on_caller(
        path: &Path,
        schemas: &[Schema],
        dies: impl FnMut() -> bool + Send + 'static,
    ) -> Result<Self, OpenError> {
        let file = Self::open_on(Threads::Caller, path, schemas)?;
        file.0.writer.die_at(dies).map_err(|source| OpenError::sqlite(path, source))?;
        Ok(file)
    }

    fn open_on(threads: Threads, path: &Path, schemas: &[Schema]) -> Result<Self, OpenError> {
        let path = std::path::absolute(path).map_err(|source| OpenError::io(path, source))?;
        let path = &path;
        let lock = lock(path)?;
        check_log(path)?;
        // Its log gets the same mode.
        open_for_owner(path).map_err(|source| OpenError::io(path, source))?;
        let failed = |source| OpenError::sqlite(path, source);
        let mut connection = Connection::open(path).map_err(failed)?;
        check_ours(&connection, path)?;
        prepare(&connection).map_err(failed)?;
        create(&mut connection, path, schemas)?;
        Ok(Self(Arc::new(Shared {
            path: path.clone(),
            readers: Mutex::default(),
            writer: Writer::new(connection, threads).map_err(|source| OpenError::io(path, source))?,
            lock,
        })))
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Runs this in a transaction, and returns once its writes are on the disk. After an error of the job, nothing of it takes
    /// effect.
    ///
    /// # Errors
    /// The job's error, or that of the commit.
    pub async fn write<R: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<R, FileError> + Send + 'static,
    ) -> Result<R, FileError> {
        self.write_then(job, |result| result).await
    }

    /// As [`Self::write`]. Once the writes are on the disk, `then` gets the result, also if nobody waits for the answer any more.
    pub(crate) async fn write_then<R: Send + 'static, T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<R, FileError> + Send + 'static,
        then: impl FnOnce(R) -> T + Send + 'static,
    ) -> Result<T, FileError> {
        let (job, answer) = Job::new(job, then);
        self.0.writer.run(job);
        answer.await.unwrap_or_else(|_| Err(FileError::stopped()))
    }

    /// Reads what is committed, consistently. It blocks the thread for as long as the job takes.
    ///
    /// # Errors
    /// The job's error, or the file cannot be read.
    pub fn read<R>(&self, job: impl FnOnce(&Connection) -> Result<R, FileError>) -> Result<R, FileError> {
        if let Some(error) = self.0.writer.error() {
            return Err(error);
        }
        let kept = self.readers().pop();
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.reader()?,
        };
        let transaction = connection.transaction()?;
        let result = job(&transaction);
        transaction.finish()?;
        let mut readers = self.readers();
        if readers.len() < READERS {
            readers.push(connection);
        }
        result
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.0.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> Result<Connection, FileError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.0.path, flags)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Ok(connection)
    }

    /// Returns at most this many free pages to the file system.
    ///
    /// # Errors
    /// The commit failed.
    pub async fn shrink(&self, pages: u32) -> Result<(), FileError> {
        self.write(move |tx| {
            let mut vacuum = tx.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
            let mut rows = vacuum.query([])?;
            while rows.next()?.is_some() {}
            Ok(())
        })
        .await
    }

    /// Moves the log into the file and empties it: what was deleted is then in neither of them. Returns false if somebody reads an
    /// older state just now; then the log stays until the next time.
    ///
    /// # Errors
    /// The file cannot be written.
    pub async fn empty_log(&self) -> Result<bool, FileError> {
        let path = self.0.path.clone();
        let empty = move |()| {
            let connection = open_existing(&path)?;
            connection.busy_timeout(READERS_END)?;
            let is_busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
            Ok(!is_busy)
        };
        // It runs where the commits run, after one. So no write waits for a lock.
        self.write_then(|_| Ok(()), empty).await?
    }

    /// Returns when a write has failed in such a way that it is not known what is on the disk. Every later write fails. The process
    /// has to end; the next one finds what is there.
    pub async fn broken(&self) -> FileError {
        self.0.writer.broken().await
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The connection of the writer is the last but this, so the log is moved into the file when it closes.
        self.readers.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
        self.writer.stop();
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the lock of the file could not be released; it ends with the process");
        }
    }
}

/// Makes a folder, and those that it is in, for their owner only. What it makes is on the disk then: a folder whose name is not yet
/// there is lost with all that is in it when the power fails, even if that was synced.
///
/// # Errors
/// A folder cannot be made, or not be put on the disk.
pub fn create_folder(path: &Path) -> io::Result<()> {
    let path = std::path::absolute(path)?;
    let Some(parent) = path.parent() else { return Ok(()) };
    if path.is_dir() {
        // Whoever made it may have died right then. It may be in a folder that this user cannot read.
        return sync_folder_of(&path)
            .or_else(|error| if error.kind() == ErrorKind::PermissionDenied { Ok(()) } else { Err(error) });
    }
    create_folder(parent)?;
    match fs::DirBuilder::new().mode(0o700).create(&path) {
        // Another has made it, or it is a file: that is the error here.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => drop(fs::read_dir(&path)?),
        made => made?,
    }
    sync_folder_of(&path)
}

/// Opens a file. If it is not there, it is made for its owner only.
fn open_for_owner(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)
}

/// Opens one more connection to a file that is there.
pub(crate) fn open_existing(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

/// The path of a file beside this one, which has its name and this ending.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(ending);
    beside.into()
}

/// Makes the name of a new file or folder durable.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Locks the file for this process, by a file beside it. SQLite's own lock would keep operators from reading the file.
pub(crate) fn lock(path: &Path) -> Result<fs::File, OpenError> {
    let beside = beside(path, ".lock");
    let file = open_for_owner(&beside).map_err(|source| OpenError::io(&beside, source))?;
    let mut tries = 0;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::Error(source)) => return Err(OpenError::io(&beside, source)),
            Err(fs::TryLockError::WouldBlock) if tries == LOCK_TRIES => {
                return Err(OpenError::InUse { path: path.to_owned() });
            }
            Err(fs::TryLockError::WouldBlock) => tries += 1,
        }
        thread::sleep(LOCK_PAUSE);
    }
}

/// Keeps other processes from locking the file; `None` if one has locked it.
pub(crate) fn lock_shared(path: &Path) -> Result<Option<fs::File>, OpenError> {
    let beside = beside(path, ".lock");
    let file = open_for_owner(&beside).map_err(|source| OpenError::io(&beside, source))?;
    match file.try_lock_shared() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(source)) => Err(OpenError::io(&beside, source)),
    }
}

/// Refuses a file beside the log of another one, which SQLite would apply to it. The header of a file that has a log says so; that of
/// a copy by [`back_up`](crate::back_up) does not, until it is opened.
pub(crate) fn check_log(path: &Path) -> Result<(), OpenError> {
    /// Where the header says which version of the format it takes to read the file, and the version with a log.
    const VERSION: (usize, u8) = (19, 2);
    let log = beside(path, "-wal");
    let failed = |source| OpenError::io(path, source);
    let is_absent = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match fs::metadata(&log) {
        Ok(log) if log.len() > 0 => {}
        Err(error) if !is_absent(&error) => return Err(failed(error)),
        _ => return Ok(()),
    }
    let mut header = Vec::new();
    match fs::File::open(path) {
        Ok(file) => drop(file.take(100).read_to_end(&mut header).map_err(failed)?),
        Err(error) if is_absent(&error) => {}
        Err(error) => return Err(failed(error)),
    }
    match header.get(VERSION.0) {
        Some(version) if *version == VERSION.1 => Ok(()),
        _ => Err(OpenError::ForeignLog { path: path.to_owned(), log }),
    }
}

/// Refuses a database of another program, before anything is written to it.
pub(crate) fn check_ours(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let failed = |source| OpenError::sqlite(path, source);
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0)).map_err(failed);
    let tables = number("SELECT COUNT(*) FROM sqlite_schema")?;
    if tables > 0 && number("PRAGMA application_id")? != i64::from(APPLICATION_ID) {
        return Err(OpenError::NotOurs { path: path.to_owned() });
    }
    Ok(())
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // The first two take effect only before the first table. `FULL` syncs the log at every commit. The log that a crash has left is
    // emptied, because on a full disk it may have taken the last of the space.
    connection.execute_batch(&format!(
        "PRAGMA auto_vacuum = INCREMENTAL;
         PRAGMA application_id = {APPLICATION_ID};
         PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};
         PRAGMA journal_size_limit = {LOG_BYTES};
         PRAGMA secure_delete = ON;
         PRAGMA foreign_keys = ON;
         PRAGMA wal_checkpoint(TRUNCATE);"
    ))
}

/// Creates what is missing of all parts, and refuses newer ones.
fn create(connection: &mut Connection, path: &Path, schemas: &[Schema]) -> Result<(), OpenError> {
    const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS parts (part TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT";
    let failed = |source| OpenError::sqlite(path, source);
    let tx = connection.transaction().map_err(failed)?;
    tx.execute_batch(VERSIONS).map_err(failed)?;
    check_not_newer(&tx, path, schemas)?;
    for &Schema { part, version, sql } in schemas {
        tx.execute_batch(sql).map_err(failed)?;
        let set = "INSERT INTO parts VALUES (?1, ?2) ON CONFLICT (part) DO UPDATE SET version = ?2";
        tx.execute(set, (part, version)).map_err(failed)?;
    }
    tx.commit().map_err(failed)
}

/// Refuses a file whose parts are newer than these.
pub(crate) fn check_not_newer(connection: &Connection, path: &Path, schemas: &[Schema]) -> Result<(), OpenError> {
    for &Schema { part, version, .. } in schemas {
        let found =
            connection.query_row("SELECT version FROM parts WHERE part = ?", [part], |row| row.get::<_, u32>(0));
        let found = found.optional().map_err(|source| OpenError::sqlite(path, source))?;
        if let Some(found) = found.filter(|found| *found > version) {
            return Err(OpenError::Newer { path: path.to_owned(), part, found, known: version });
        }
    }
    Ok(())
}
