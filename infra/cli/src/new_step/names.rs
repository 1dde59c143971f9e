//! The allowed names of a new step.

use super::NewStep;
use crate::{
    findings::Finding,
    naming::{StepNames, camel_case},
    project::{Project, ProjectWorkflow},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};
use stepwell::core::{
    message::{DEAD_LETTERS, UNDELIVERABLE},
    plan::Plan,
};

/// The types that a handler's file uses, and words of Rust: the handler is a type named after the step.
const TAKEN_TYPES: [&str; 12] =
    ["ConfigError", "Context", "Err", "None", "Ok", "Option", "Result", "ResultOf", "Self", "Shop", "Some", "Step"];

/// All problems of the names of the step and of its compensation.
pub(super) fn findings(project: &Project, workflow: &ProjectWorkflow, wanted: &NewStep) -> Vec<Finding> {
    let plan = workflow.workflow.plan();
    let mut problems: Vec<(String, String)> = Vec::new();
    for (what, name) in [("step", Some(&wanted.step)), ("compensation", wanted.compensation.as_ref())] {
        let Some(name) = name else { continue };
        problems.extend(unusable(what, name));
        // An existing step of this workflow is compared with the request, not refused.
        if plan.step(name).is_none() {
            problems.extend(clashes(project, workflow, name));
        } else if what == "compensation" && plan.compensation_of(&wanted.step).is_none_or(|found| found.name != *name) {
            let remedy = "Give the compensation another name".to_owned();
            problems.push((format!("`{name}` is there already, and does not compensate `{}`", wanted.step), remedy));
        }
    }
    if wanted.compensation.as_ref() == Some(&wanted.step) {
        let problem = format!("`{}` cannot be its own compensation", wanted.step);
        problems.push((problem, "Give the compensation another name".to_owned()));
    }
    if wanted.what().contains(['\n', '\r', '"', '\\', '{']) {
        let problem = "the description has a line break, a quotation mark, a backslash or a brace";
        problems.push((problem.to_owned(), "Say it in plain words: it stands in YAML, TOML and Rust".to_owned()));
    }
    problems.into_iter().map(|(problem, remedy)| Finding::new(&workflow.file, problem, remedy)).collect()
}

fn unusable(what: &str, name: &str) -> Option<(String, String)> {
    let most = Plan::MAX_NAME_LENGTH;
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let fits = (1..=most).contains(&name.len()) && name.chars().all(allowed);
    let shaped = name.starts_with(|c: char| c.is_ascii_lowercase()) && !name.ends_with('_') && !name.contains("__");
    if !fits || !shaped {
        let length = if name.len() > most { format!(" ({} characters)", name.len()) } else { String::new() };
        let problem = format!("`{name}`{length} cannot be the name of a {what}");
        let remedy = format!(
            "Take 1 to {most} small letters, digits and single `_`, a letter first and no `_` last: it becomes a folder, a \
             package, a queue and a type"
        );
        return Some((problem, remedy));
    }
    let type_name = camel_case(name);
    if [DEAD_LETTERS, UNDELIVERABLE].contains(&name) {
        Some((format!("`{name}` is the name of one of the engine's own queues"), "Take another name".to_owned()))
    } else if TAKEN_TYPES.contains(&type_name.as_str()) {
        let problem = format!("`{name}` would make a handler `{type_name}`, which is a type that each handler uses");
        Some((problem, "Say what the step does: a verb and a noun, such as `check_fraud`".to_owned()))
    } else {
        None
    }
}

/// Finds physical names that the step would share with another resource.
fn clashes(project: &Project, workflow: &ProjectWorkflow, name: &str) -> Vec<(String, String)> {
    let new = StepNames::new(workflow.name(), name);
    let mut found = Vec::new();
    for other in project.workflows.iter().flat_map(ProjectWorkflow::step_names) {
        let told = format!("`{}` of the workflow `{}`", other.step, other.workflow);
        if other.logical_id() == new.logical_id() {
            found.push(format!("`{name}` and {told} would both be {} in the template", new.logical_id()));
        } else if other.resource() == new.resource() {
            found.push(format!("`{name}` and {told} would both have the queue {}", new.resource()));
        } else if other.workflow != new.workflow && other.step == new.step {
            found.push(format!("`{name}` and {told} would both have the sample event events/{name}.json"));
        }
    }
    for function in project.settings.functions.keys() {
        if camel_case(function) == new.logical_id() || *function == new.resource() {
            found.push(format!(
                "`{name}` would be {} in the template, as the function `{function}` is",
                new.logical_id()
            ));
        }
    }
    for (package, folder) in packages(project) {
        if package == new.package() && folder != new.folder() {
            found.push(format!("`{name}` would be the package {package}, which {folder} is already"));
        }
    }
    let remedy = "Give the new step another name".to_owned();
    found.into_iter().map(|problem| (problem, remedy.clone())).collect()
}

/// The repository's packages: name and folder.
fn packages(project: &Project) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (folder, depth) in [("functions", 2), ("shared", 1), ("infra", 1), ("tests", 0)] {
        look(&project.root, folder, depth, &mut found);
    }
    found
}

fn look(root: &Path, folder: &str, depth: usize, found: &mut BTreeMap<String, String>) {
    let manifest = fs::read_to_string(root.join(folder).join("Cargo.toml")).unwrap_or_default();
    if let Ok(name) = crate::manifest::package_name(&manifest) {
        found.insert(name, folder.to_owned());
    }
    let Some(depth) = depth.checked_sub(1) else { return };
    let entries: BTreeSet<_> =
        fs::read_dir(root.join(folder)).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    for entry in entries {
        look(root, &format!("{folder}/{}", entry.to_string_lossy()), depth, found);
    }
}
