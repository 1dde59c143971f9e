//! `infra/settings.yaml`: which workflows there are, and what a function gets beyond the usual.

use crate::findings::{Finding, did_you_mean};
use serde::Deserialize;
use std::{collections::BTreeMap, path::PathBuf};

/// Where the settings are, from the root of the repository.
pub const SETTINGS: &str = "infra/settings.yaml";

/// The settings of a project.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The workflow files, from the root of the repository.
    pub workflows: Vec<PathBuf>,
    /// What steps and compensations get beyond the usual: by workflow, by step.
    #[serde(default)]
    pub steps: BTreeMap<String, BTreeMap<String, StepSettings>>,
    /// The functions that are no steps, by name.
    #[serde(default)]
    pub functions: BTreeMap<String, FunctionSettings>,
}

/// What a step gets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StepSettings {
    /// The function's memory in MB, 128 to 10240.
    pub memory_mb: u32,
    /// How many copies of the function its queue may keep busy at a time, 2 to 1000. Compensations: 5 if not said.
    pub max_concurrency: Option<u32>,
    /// How many messages one invocation gets at most, 1 to 10.
    pub batch_size: u32,
    /// What it may do beyond what every step may.
    pub rights: Vec<Right>,
}

impl Default for StepSettings {
    fn default() -> Self {
        Self { memory_mb: DEFAULT_MEMORY_MB, max_concurrency: None, batch_size: DEFAULT_BATCH_SIZE, rights: Vec::new() }
    }
}

const DEFAULT_MEMORY_MB: u32 = 256;
const DEFAULT_BATCH_SIZE: u32 = 10;

/// What a function that is no step gets.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionSettings {
    /// How long one invocation may take, in seconds.
    pub timeout_seconds: u32,
    /// The function's memory in MB, 128 to 10240.
    #[serde(default = "default_memory")]
    pub memory_mb: u32,
    /// What it may do beyond writing its log.
    #[serde(default)]
    pub rights: Vec<Right>,
}

fn default_memory() -> u32 {
    DEFAULT_MEMORY_MB
}

/// Some actions on one thing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Right {
    /// A table of the base template, such as `orders`; the actions are DynamoDB's.
    pub table: Option<String>,
    /// The actions, such as `dynamodb:GetItem`.
    pub actions: Vec<String>,
}

/// Reads the settings.
///
/// # Errors
/// What is wrong with them.
pub fn read(text: &str) -> Result<Settings, Finding> {
    serde_saphyr::from_str(text).map_err(|error| {
        let problem = error.to_string();
        Finding::new(SETTINGS, format!("not readable: {problem}"), hint(&problem))
    })
}

fn hint(problem: &str) -> String {
    let mut quoted = problem.split('`').skip(1).step_by(2);
    let unknown = quoted.next().unwrap_or_default();
    format!("Put it right{}", did_you_mean(unknown, quoted))
}
