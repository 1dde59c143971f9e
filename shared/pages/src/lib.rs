//! Pages in a browser: how their files are served, and what a browser may do with them.
//!
//! The pages of an application are ES modules in its folder `assets`, as they are written: nothing builds them, and [`files!`](crate::files)
//! makes them part of the program. [`Pages`] serves them, and with them the files of this crate's folder `assets`, which all applications
//! share: two small libraries, the parts that pages are made of, and the style that all have.

mod files;
mod headers;

pub use files::Pages;
pub use headers::Headers;

#[doc(hidden)]
pub use axum::body::Bytes;
