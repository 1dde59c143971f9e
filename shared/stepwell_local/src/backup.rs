//! Copies of a file, made while it is in use, and the way back from one.

use crate::{
    error::{BackUpError, OpenError},
    file::{Schema, beside, check_log, check_not_newer, check_ours, lock, lock_shared, open_existing, sync_folder_of},
};
use rusqlite::Connection;
use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// After so many instructions of SQLite it is asked whether a copy is to be broken off: some milliseconds.
const INSTRUCTIONS: i32 = 100_000;

/// Copies the file, as it is now, to a new file for its owner only, and returns the copy's size in bytes. A process may have the file
/// open, and goes on meanwhile. The copy gets its name when it is whole and on the disk.
///
/// It has no rows of the tables `without`, nor anything that was deleted. Once `stop` says so, the copy is broken off and deleted.
///
/// # Errors
/// See [`BackUpError`].
pub fn back_up(
    path: &Path,
    copy: &Path,
    without: &[&str],
    stop: impl FnMut() -> bool + Send + 'static,
) -> Result<u64, BackUpError> {
    // SQLite says only that it cannot open the file.
    path.metadata().map_err(|source| OpenError::io(path, source))?;
    // Held until the file is open, so that no process makes a log meanwhile. Whoever has the file open has checked its log, and if this
    // process had, to read the file here would release SQLite's locks.
    let held = lock_shared(path)?;
    let mut file = open_ours(path, held.is_some())?;
    drop(held);
    write_copy(&mut file, copy, without, stop)
}

/// Puts a copy by [`back_up`] in the place of a file that no process has open. The copy stays. Returns the folder into which the file
/// was moved together with its log; `None` if there was no file.
///
/// # Errors
/// See [`BackUpError`]. The file is as it was, unless the last steps fail: then a file that is in nobody's way is left over.
pub fn restore(path: &Path, copy: &Path, schemas: &[Schema]) -> Result<Option<PathBuf>, BackUpError> {
    let path = std::path::absolute(path).map_err(|source| OpenError::io(path, source))?;
    let _held = lock(&path)?;
    let failed = |source| BackUpError::from(OpenError::io(&path, source));
    copy.metadata().map_err(|source| OpenError::io(copy, source))?;
    let mut file = open_ours(copy, true)?;
    check_not_newer(&file, copy, schemas)?;
    let restored = beside(&path, ".restored");
    // An earlier attempt may have been broken off.
    delete(&restored).map_err(failed)?;
    write_copy(&mut file, &restored, &[], || false)?;
    let replaced = link_aside(&path).map_err(failed)?;
    fs::rename(&restored, &path).map_err(failed)?;
    // If this is not reached, the next process refuses the file beside this log.
    for ending in ["-wal", "-shm"] {
        delete(&beside(&path, ending)).map_err(failed)?;
    }
    sync_folder_of(&path).map_err(failed)?;
    Ok(replaced)
}

/// Opens a file of Stepwell. If no process has it open, a connection that cannot write would leave a log beside it.
fn open_ours(path: &Path, checks_log: bool) -> Result<Connection, OpenError> {
    if checks_log {
        check_log(path)?;
    }
    let file = open_existing(path).map_err(|source| OpenError::sqlite(path, source))?;
    check_ours(&file, path)?;
    Ok(file)
}

fn write_copy(
    file: &mut Connection,
    copy: &Path,
    without: &[&str],
    stop: impl FnMut() -> bool + Send + 'static,
) -> Result<u64, BackUpError> {
    let not_written = |source| BackUpError::io(copy, source);
    let not_made = |source| BackUpError::sqlite(copy, source);
    if copy.symlink_metadata().is_ok() {
        return Err(not_written(io::ErrorKind::AlreadyExists.into()));
    }
    let whole = std::path::absolute(copy).map_err(not_written)?;
    let folder = whole.parent().unwrap_or(&whole);
    // It is deleted when it is dropped.
    let partial = tempfile::Builder::new().prefix("backup-").suffix(".partial").tempfile_in(folder);
    let partial = partial.map_err(not_written)?;
    let name = partial.path().to_str().ok_or_else(|| not_written(io::ErrorKind::InvalidFilename.into()))?;
    file.progress_handler(INSTRUCTIONS, Some(stop)).map_err(not_made)?;
    file.execute("VACUUM INTO ?", [name]).map_err(not_made)?;
    leave_out(partial.path(), without).map_err(not_made)?;
    let size = partial.as_file().metadata().map_err(not_written)?.len();
    partial.as_file().sync_all().map_err(not_written)?;
    partial.persist_noclobber(&whole).map_err(|error| not_written(error.error))?;
    sync_folder_of(&whole).map_err(not_written)?;
    Ok(size)
}

/// Gives the file and its log a second name in a new folder beside them.
fn link_aside(path: &Path) -> io::Result<Option<PathBuf>> {
    let Some(name) = path.file_name() else { return Ok(None) };
    if !path.try_exists()? {
        return Ok(None);
    }
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let folder = beside(path, &format!(".replaced-{seconds}"));
    DirBuilder::new().mode(0o700).create(&folder)?;
    let aside = folder.join(name);
    fs::hard_link(path, &aside)?;
    let log = beside(path, "-wal");
    if log.try_exists()? {
        fs::hard_link(log, beside(&aside, "-wal"))?;
    }
    sync_folder_of(&aside)?;
    sync_folder_of(&folder)?;
    Ok(Some(folder))
}

fn delete(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Deletes all rows of these tables. What a crash leaves of the copy is never used, so nothing is journalled.
fn leave_out(copy: &Path, tables: &[&str]) -> rusqlite::Result<()> {
    let connection = open_existing(copy)?;
    connection.execute_batch("PRAGMA journal_mode = OFF; PRAGMA secure_delete = ON")?;
    for table in tables {
        connection.execute(&format!("DELETE FROM {table}"), [])?;
    }
    Ok(())
}
