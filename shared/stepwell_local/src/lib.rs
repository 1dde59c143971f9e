//! Stepwell on one machine: the engine's ports on one SQLite file.
//!
//! | module | contents |
//! |---|---|
//! | `file` | [`File`]: the file and its parts; it belongs to one process |
//! | `backup` | [`back_up`]: a copy of a file, also while a process has it open; [`restore`] |
//! | `writer` | the connection that writes: one commit for all transactions that wait |
//! | `local` | [`Local`]: the engine's [`Store`](stepwell::ports::Store) and [`Queue`](stepwell::ports::Queue) |
//! | `host` | [`Host`]: the process that hosts the steps, and does what scheduled functions do on AWS |
//! | `items`, `messages` | their tables, in an open transaction |
//! | `queues` | which queues this process serves, and when their messages are due |
//! | `watches` | who waits for a task to end |
//! | `error` | [`OpenError`], [`BackUpError`], [`FileError`] |
//! | `http` | an HTTP API on a port of this machine, and the secrets in files; with the feature `http` |

mod backup;
mod error;
mod file;
mod host;
#[cfg(feature = "http")]
pub mod http;
mod items;
mod local;
mod messages;
mod queues;
mod watches;
mod writer;

pub use backup::{back_up, restore};
pub use error::{BackUpError, FileError, OpenError};
pub use file::{File, Schema, create_folder};
pub use host::{DEFAULT_SLOTS, Host};
pub use local::{Local, SCHEMA};
pub use messages::Delivered;
pub use queues::{Held, Serving};
