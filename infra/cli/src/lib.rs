//! The command `stepwell`: derives what is deployed from the workflows, and checks what has to fit together.
//!
//! A [`Project`] is a repository with its settings (`infra/settings.yaml`) and the workflows that they name. Commands read it and
//! answer with a text to print, or with [`Findings`]: everything that is wrong, each with its file and what to do about it.

pub mod cfn;
pub mod check;
pub mod events;
pub mod findings;
mod handlers;
mod manifest;
pub mod model;
pub mod naming;
pub mod new_step;
pub mod project;
pub mod render;
pub mod settings;
pub mod sizes;
pub mod template;

pub use findings::{Finding, Findings};
pub use project::{Project, ProjectWorkflow};
