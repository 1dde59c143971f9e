//! The command `stepwell`: derives the deployment from the workflows, checks that everything is consistent, and operates a shop.
//!
//! [`operate`] has the commands for operators, which ask the API of a shop that runs. The others are about the repository:
//!
//! A [`Project`] is a repository with its settings (`infra/settings.yaml`) and the workflows that they name. Commands
//! read it and return a text to print, or [`Findings`]: all problems, each with its file and its solution.

pub mod cfn;
pub mod check;
pub mod cost;
pub mod dev;
pub mod events;
pub mod findings;
mod handlers;
mod manifest;
pub mod model;
pub mod naming;
pub mod new_step;
pub mod operate;
pub mod project;
pub mod render;
mod results;
pub mod settings;
pub mod sizes;
pub mod template;

pub use findings::{Finding, Findings};
pub use project::{Project, ProjectWorkflow};
