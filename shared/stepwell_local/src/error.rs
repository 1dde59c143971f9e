//! Errors of the file.

use rusqlite::{
    ErrorCode,
    ffi::{SQLITE_FULL, SQLITE_IOERR_SHMSIZE},
};
use std::{
    io,
    path::{Path, PathBuf},
};
use stepwell::{CallError, FailureKind, core::codec::Unreadable, ports::TableError};

/// The reason why a file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{path} is in use by another process; end that one first, or name another file", path = path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// It is a database of another program.
    #[error("{path} is a database, but not one of Stepwell; name another file", path = path.display())]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// It was written by a newer version.
    #[error(
        "{path} was written by a newer version: its {part} has version {found}, this program knows {known}; run the newer program",
        path = path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The part of the program.
        part: &'static str,
        /// The version of its tables in the file.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
    },
    /// The log beside it is the one of another file.
    #[error(
        "{log} is not the log of {path}, but of a file that was there before; move it away if that file is replaced, or put \
         that file back; {path} is as it was",
        log = log.display(), path = path.display()
    )]
    ForeignLog {
        /// The file, which may be missing.
        path: PathBuf,
        /// The log.
        log: PathBuf,
    },
    /// The file, or the one that locks it, cannot be opened, created or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// SQLite refuses it.
    #[error("{path}: {source}", path = path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: rusqlite::Error,
    },
}

impl OpenError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn sqlite(path: &Path, source: rusqlite::Error) -> Self {
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::NotOurs { path: path.to_owned() },
            _ if lacks_space(&source) => Self::io(path, io::ErrorKind::StorageFull.into()),
            _ => Self::Sqlite { path: path.to_owned(), source },
        }
    }
}

/// Whether there is no space for the file, its log or the index of the log, which SQLite calls an I/O error.
fn lacks_space(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(SQLITE_FULL | SQLITE_IOERR_SHMSIZE))
}

/// The reason why no copy was made. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum BackUpError {
    /// The file cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The copy has the name of a file that is there.
    #[error("{path} is there already, and is not written over; name another file", path = path.display())]
    Exists {
        /// The copy.
        path: PathBuf,
    },
    /// The copy cannot be written.
    #[error("the copy {path} cannot be written: {source}", path = path.display())]
    Io {
        /// The copy.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// SQLite cannot read the file or write the copy.
    #[error("the copy {path} cannot be made: {source}", path = path.display())]
    Sqlite {
        /// The copy.
        path: PathBuf,
        /// The reason.
        source: rusqlite::Error,
    },
}

impl BackUpError {
    pub(crate) fn io(copy: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AlreadyExists => Self::Exists { path: copy.to_owned() },
            _ => Self::Io { path: copy.to_owned(), source },
        }
    }

    pub(crate) fn sqlite(copy: &Path, source: rusqlite::Error) -> Self {
        if lacks_space(&source) {
            return Self::io(copy, io::ErrorKind::StorageFull.into());
        }
        Self::Sqlite { path: copy.to_owned(), source }
    }
}

/// The reason why a read or a write failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// SQLite failed.
    #[error("{reason}")]
    Failed {
        /// Whether it may have taken effect all the same, and may succeed later.
        kind: FailureKind,
        /// The reason.
        reason: String,
    },
    /// An item cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

impl FileError {
    /// A call that cannot succeed, because it is invalid.
    pub fn refused(reason: impl ToString) -> Self {
        Self::Failed { kind: FailureKind::Refused, reason: reason.to_string() }
    }

    /// The writer has stopped. What it was given may have been written.
    pub(crate) fn stopped() -> Self {
        Self::Failed { kind: FailureKind::Unavailable, reason: "the file is closed".to_owned() }
    }

    /// The error of the engine's store.
    pub(crate) fn of_call(self, operation: &'static str) -> TableError {
        match self {
            Self::Failed { kind, reason } => CallError::new(operation, kind, reason).into(),
            Self::Unreadable(unreadable) => unreadable.into(),
        }
    }
}

/// An error of a statement. SQLite has rolled back what the statement did.
impl From<rusqlite::Error> for FileError {
    fn from(error: rusqlite::Error) -> Self {
        let kind = match error.sqlite_error_code() {
            // There may be space or a free lock later.
            Some(ErrorCode::DiskFull | ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => FailureKind::Throttled,
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::OutOfMemory) => {
                FailureKind::Unavailable
            }
            _ => FailureKind::Refused,
        };
        Self::Failed { kind, reason: error.to_string() }
    }
}
