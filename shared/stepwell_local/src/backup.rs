//! Copies of a file, made while it is in use.

use crate::{
    error::{BackUpError, OpenError},
    file::{check_log, check_ours, lock, open_existing, sync_folder_of},
};
use std::{io, path::Path};

/// Copies the file, as it is now, to a new file for its owner only, and returns the copy's size in bytes. A process may have the file
/// open, and goes on meanwhile. The copy gets its name when it is whole and on the disk.
///
/// It has no rows of the tables `without`, nor anything that was deleted.
///
/// # Errors
/// See [`BackUpError`].
pub fn back_up(path: &Path, copy: &Path, without: &[&str]) -> Result<u64, BackUpError> {
    let not_opened = |source| OpenError::sqlite(path, source);
    let not_written = |source| BackUpError::io(copy, source);
    let not_made = |source| BackUpError::sqlite(copy, source);
    if copy.symlink_metadata().is_ok() {
        return Err(not_written(io::ErrorKind::AlreadyExists.into()));
    }
    // SQLite says only that it cannot open the file.
    path.metadata().map_err(|source| OpenError::io(path, source))?;
    match lock(path) {
        // Nobody has the file open. If this process had, to read it here would release SQLite's locks.
        Ok(_) => check_log(path)?,
        // Whoever has it open has checked its log.
        Err(OpenError::InUse { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    // If no process has the file open, a connection that cannot write would leave a log beside it.
    let file = open_existing(path).map_err(not_opened)?;
    check_ours(&file, path)?;

    let whole = std::path::absolute(copy).map_err(not_written)?;
    let folder = whole.parent().unwrap_or(&whole);
    let partial = tempfile::Builder::new().prefix("backup-").suffix(".partial").tempfile_in(folder);
    let partial = partial.map_err(not_written)?;
    let name = partial.path().to_str().ok_or_else(|| not_written(io::ErrorKind::InvalidFilename.into()))?;
    file.execute("VACUUM INTO ?", [name]).map_err(not_made)?;
    leave_out(partial.path(), without).map_err(not_made)?;
    let size = partial.as_file().metadata().map_err(not_written)?.len();
    partial.as_file().sync_all().map_err(not_written)?;
    partial.persist_noclobber(&whole).map_err(|error| not_written(error.error))?;
    sync_folder_of(&whole).map_err(not_written)?;
    Ok(size)
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
