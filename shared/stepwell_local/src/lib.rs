//! Stepwell on one machine: the engine's ports on one SQLite file.
//!
//! | module | contents |
//! |---|---|
//! | `file` | [`File`]: the file, its parts, backup; it belongs to one process |
//! | `writer` | the connection that writes: one commit for all transactions that wait |
//! | `error` | [`OpenError`], [`FileError`] |

mod error;
mod file;
mod writer;

pub use error::{FileError, OpenError};
pub use file::{File, Schema};
