//! A repository: its root, its settings, its workflows.

use crate::{
    findings::{Finding, Findings},
    naming::StepNames,
    settings::{self, SETTINGS, Settings},
};
use std::{
    env, fs,
    path::{Path, PathBuf},
};
use stepwell::{Workflow, core::plan::StepPlan};
use tokio::process::Command;

/// A repository, its settings, and the workflows that these name.
#[derive(Debug)]
pub struct Project {
    /// The root of the repository.
    pub root: PathBuf,
    /// The contents of `infra/settings.yaml`.
    pub settings: Settings,
    /// The workflows, in the settings' order.
    pub workflows: Vec<ProjectWorkflow>,
}

/// A workflow of a project.
#[derive(Debug)]
pub struct ProjectWorkflow {
    /// The workflow file, from the root of the repository.
    pub file: PathBuf,
    /// The workflow.
    pub workflow: Workflow,
}

impl ProjectWorkflow {
    /// The workflow's name.
    pub fn name(&self) -> &str {
        &self.workflow.id().name
    }

    /// Its steps in the plan's order, and then its compensations.
    pub fn steps(&self) -> impl Iterator<Item = &StepPlan> {
        let plan = self.workflow.plan();
        plan.steps().iter().chain(plan.compensations())
    }

    /// The names of its steps, in the same order.
    pub fn step_names(&self) -> impl Iterator<Item = StepNames> {
        self.steps().map(|step| StepNames::new(self.name(), &step.name))
    }

    /// The name of its library: the package with the workflow file.
    pub(crate) fn library(&self, root: &Path) -> Option<String> {
        let manifests = self.file.ancestors().skip(1).map(|folder| root.join(folder).join("Cargo.toml"));
        let mut names =
            manifests.filter_map(|manifest| crate::manifest::package_name(&fs::read_to_string(manifest).ok()?).ok());
        names.next()
    }
}

impl Project {
    /// Reads the project with this root.
    ///
    /// # Errors
    /// All problems of the settings and the workflow files.
    pub fn read(root: &Path) -> Result<Self, Findings> {
        let text = read_file(root, Path::new(SETTINGS))?;
        let settings = settings::read(&text)?;
        let (mut workflows, mut findings) = (Vec::new(), Vec::new());
        for file in &settings.workflows {
            match read_workflow(root, file) {
                Ok(workflow) => workflows.push(ProjectWorkflow { file: file.clone(), workflow }),
                Err(finding) => findings.push(finding),
            }
        }
        Findings::none_of(findings)?;
        Ok(Self { root: root.to_owned(), settings, workflows })
    }

    /// The text of a file of the project.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read_file(&self, file: impl AsRef<Path>) -> Result<String, Finding> {
        read_file(&self.root, file.as_ref())
    }
}

/// The root of the repository: the one that is said, or else the nearest folder, from `start` upwards, that has
/// `infra/settings.yaml`.
///
/// # Errors
/// No root is said, and there is no such folder.
pub fn root(said: Option<&Path>, start: &Path) -> Result<PathBuf, Finding> {
    let found = || start.ancestors().find(|folder| folder.join(SETTINGS).is_file());
    said.or_else(found).map(Path::to_owned).ok_or_else(|| {
        let problem = format!("is neither in {} nor in a folder above it", start.display());
        Finding::new(SETTINGS, problem, "Run this inside the repository, or say where it is: --root FOLDER")
    })
}

/// The program of one machine, and the package that it is in.
pub(crate) const PROGRAM: &str = "checkout_local";

/// The cargo of this repository.
pub(crate) fn cargo(root: &Path) -> Command {
    // Cargo names itself to what it runs.
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root).kill_on_drop(true);
    cargo
}

fn read_file(root: &Path, file: &Path) -> Result<String, Finding> {
    fs::read_to_string(root.join(file)).map_err(|error| {
        Finding::new(file, format!("cannot be read: {error}"), format!("Make it readable in {}", root.display()))
    })
}

fn read_workflow(root: &Path, file: &Path) -> Result<Workflow, Finding> {
    let text = read_file(root, file)?;
    Workflow::from_yaml_taking_formats_for_granted(&text)
        .map_err(|error| Finding::new(file, error.to_string(), "Put the workflow file right"))
}
