//! What rows and values, and the errors of the file and of the shop, are converted with.

use checkout::StoreError;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt;
use stepwell::{FailureKind, Timestamp, core::codec::Unreadable};
use stepwell_local::FileError;

/// The most rows of a page.
pub(crate) const PAGE: usize = 500;

/// Converts an error. What SQLite says goes to the log only, because clients may see the error.
pub(crate) fn store_error(error: FileError) -> StoreError {
    match error {
        FileError::Failed { kind, reason } => {
            tracing::warn!(reason, "a call of SQLite failed");
            match kind {
                FailureKind::Throttled => StoreError::Busy("no space, memory or lock".to_owned()),
                FailureKind::Unavailable => StoreError::Failed("the disk failed".to_owned()),
                FailureKind::Refused => StoreError::Failed("SQLite refused the call".to_owned()),
            }
        }
        FileError::Unreadable(Unreadable { key, cause }) => {
            tracing::error!(row = key, problem = cause, "unreadable row");
            StoreError::Unreadable(key)
        }
    }
}

/// The error for a row that cannot be read.
pub(crate) fn unreadable(table: &str, id: impl fmt::Display, cause: impl ToString) -> FileError {
    Unreadable { key: format!("{table} {id}"), cause: cause.to_string() }.into()
}

pub(crate) fn to_json(value: &impl Serialize) -> Result<String, FileError> {
    serde_json::to_string(value).map_err(FileError::refused)
}

/// Reads the JSON of this row.
pub(crate) fn from_json<T: DeserializeOwned>(table: &str, id: impl fmt::Display, text: &str) -> Result<T, FileError> {
    serde_json::from_str(text).map_err(|error| unreadable(table, id, error))
}

/// The time of a column.
pub(crate) fn time(millis: Option<i64>) -> Option<Timestamp> {
    millis.map(Timestamp::from_millis)
}
