//! Finds the steps that take the result of a step that is not among their ancestors, in the Rust sources.
//!
//! A step's input type says whose results it takes (`ResultOf<Payment>`), and a result's type says which step leaves it
//! (`impl StepResult for Payment`). The worker and the test harness refuse an undeclared dependency when the step runs.
//! The check reads the sources, so that such a step is not even built. It follows no renamed import and no macro; what it
//! misses is left to the harness.

use crate::{
    findings::Finding,
    project::{Project, ProjectWorkflow},
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Finds them in all workflows of a project.
pub(crate) fn undeclared(project: &Project) -> Vec<Finding> {
    project.workflows.iter().flat_map(|workflow| undeclared_in(&project.root, workflow)).collect()
}

/// A result that a step takes.
pub(crate) struct Taken {
    /// The step that takes it.
    pub(crate) step: String,
    /// The step that leaves it.
    pub(crate) of: String,
    /// The file that names it, from the root of the repository.
    file: PathBuf,
}

fn undeclared_in(root: &Path, workflow: &ProjectWorkflow) -> Vec<Finding> {
    let findings = taken_in(root, workflow).into_iter().filter_map(|Taken { step, of, file }| {
        let undeclared = workflow.workflow.plan().check_inputs(&step, &[of.as_str()]).err()?;
        let remedy = format!("Add that dependency in {}, or do without the result", workflow.file.display());
        Some(Finding::new(file, undeclared.to_string(), remedy))
    });
    findings.collect()
}

/// Finds the results that the steps of a workflow take, as far as the sources tell.
pub(crate) fn taken_in(root: &Path, workflow: &ProjectWorkflow) -> Vec<Taken> {
    let steps = workflow.step_names().map(|names| {
        let folder = PathBuf::from(names.folder()).join("src");
        (names.step, sources(root, &folder))
    });
    let steps: Vec<_> = steps.collect();
    // The workflow's own crate, which has the workflow file, declares results too.
    let shared = workflow.file.parent().map(|folder| sources(root, folder)).unwrap_or_default();
    let declared = steps.iter().flat_map(|(_, sources)| sources).chain(&shared);
    let step_of: BTreeMap<&str, &str> = declared.flat_map(|source| results(&source.text)).collect();

    let mut found = Vec::new();
    for (step, source) in steps.iter().flat_map(|(step, sources)| sources.iter().map(move |source| (step, source))) {
        for result_of in taken(&source.text).filter_map(|name| step_of.get(name)) {
            found.push(Taken { step: step.clone(), of: (*result_of).to_owned(), file: source.file.clone() });
        }
    }
    found
}

/// A Rust file.
struct Source {
    /// From the root of the repository.
    file: PathBuf,
    /// Its lines without those that are only a comment.
    text: String,
}

/// The Rust files of a folder and of those in it, without tests. A missing folder is another finding.
fn sources(root: &Path, folder: &Path) -> Vec<Source> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join(folder)).into_iter().flatten().flatten() {
        let file = folder.join(entry.file_name());
        if entry.path().is_dir() {
            found.extend(sources(root, &file));
        } else if file.extension().is_some_and(|extension| extension == "rs") && !file.ends_with("tests.rs") {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            found.push(Source { file, text: code.collect::<Vec<_>>().join("\n") });
        }
    }
    found
}

/// The results that a file declares: each type, and the step that leaves it.
fn results(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split("StepResult for ").skip(1).filter_map(|rest| {
        let (_, step) = rest.split_once("STEP: &'static str = \"")?;
        Some((last_segment(rest), step.split_once('"')?.0))
    })
}

/// The types of the results that a file takes.
fn taken(text: &str) -> impl Iterator<Item = &str> {
    text.split("ResultOf<").skip(1).map(last_segment)
}

/// The name at the end of the path that a text begins with: `Payment` of `checkout::Payment>, …`.
fn last_segment(text: &str) -> &str {
    let path = text.trim_start();
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':').unwrap_or(path.len());
    path.get(..end).and_then(|path| path.rsplit("::").next()).unwrap_or_default()
}
