//! The reasons why the program ends, and its exit codes.

use checkout::StoreError;
use checkout_demo::DemoError;
use loopback::ListenError;
use std::{
    io::{self, ErrorKind},
    path::PathBuf,
};
use stepwell::FailureKind;
use stepwell_local::{BackUpError, FileError, OpenError, http::SecretError};

/// The exit codes, for the help.
pub(crate) const EXIT_CODES: &str = "Exit codes:
  0    stopped as asked, or all checkouts of the demo went as they should
  1    a checkout of the demo went otherwise, a step by hand failed, or another error
  2    an option or an environment variable that does not exist or is wrong
  3    the data is in use by another process
  4    a file is a database, but not one of Stepwell
  5    a file was written by a newer version
  6    a file or the folder cannot be read or written, or a secret can be read by others
  7    a port is in use
  8    the disk is full
  130  ended at once by a second SIGINT; 143 by a second SIGTERM";

/// The reason why the program ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// No copy was made.
    #[error(transparent)]
    BackUp(#[from] BackUpError),
    /// A folder or another file cannot be made or read.
    #[error("{path}: {source}", path = path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A secret cannot be read or made.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A port cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The database failed while the program ran.
    #[error("the data could not be written: {0}; start again once that is mended, nothing that was answered is lost")]
    File(#[from] FileError),
    /// The shop's products cannot be read or stored.
    #[error("the products cannot be read or stored: {0}")]
    Products(#[from] StoreError),
    /// The demo failed.
    #[error(transparent)]
    Demo(#[from] DemoError),
    /// An option has a value that cannot be used, and what can.
    #[error("{0}")]
    Option(String),
    /// A step that was run by hand has failed. Its answer is printed.
    #[error("{0} failed: its answer says why")]
    Step(String),
    /// Another reason.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Open(error) | Self::BackUp(BackUpError::Open(error)) => of_open(error),
            Self::BackUp(BackUpError::Exists { .. } | BackUpError::Sqlite { .. }) => 6,
            Self::Secret(SecretError::Exposed { .. } | SecretError::Short { .. }) => 6,
            Self::Folder { source, .. }
            | Self::BackUp(BackUpError::Io { source, .. })
            | Self::Secret(SecretError::Io { source, .. }) => of_io(source),
            Self::Listen(ListenError::InUse { .. }) => 7,
            Self::File(FileError::Failed { kind: FailureKind::Throttled, .. }) => 8,
            Self::File(FileError::Failed { kind: FailureKind::Unavailable, .. }) => 6,
            // Nobody else uses the file at the start.
            Self::Products(StoreError::Busy(_)) => 8,
            Self::Products(_) => 6,
            Self::Option(_) => 2,
            Self::Listen(ListenError::Io { .. }) | Self::File(_) | Self::Demo(_) | Self::Step(_) | Self::Other(_) => 1,
        }
    }
}

fn of_open(error: &OpenError) -> u8 {
    match error {
        OpenError::InUse { .. } => 3,
        OpenError::NotOurs { .. } => 4,
        OpenError::Newer { .. } => 5,
        OpenError::ForeignLog { .. } | OpenError::Sqlite { .. } => 6,
        OpenError::Io { source, .. } => of_io(source),
    }
}

fn of_io(error: &io::Error) -> u8 {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => 8,
        _ => 6,
    }
}

/// Another failure.
pub(crate) fn other(error: impl std::fmt::Display) -> Failure {
    Failure::Other(error.to_string())
}
