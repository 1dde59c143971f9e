//! Checks that the parts of a project are consistent.

use crate::{
    events,
    findings::{Finding, Findings},
    manifest::package_name,
    project::{Project, ProjectWorkflow},
    render, results,
    settings::SETTINGS,
};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};
use stepwell::core::spelling::Meant;

/// Checks everything, and summarises what was checked.
///
/// # Errors
/// All findings.
pub fn check(project: &Project) -> Result<String, Findings> {
    let mut findings = folders(project);
    findings.extend(served(project));
    findings.extend(results::undeclared(project));
    match render::render(project) {
        Ok((files, _)) => findings.extend(render::stale(&project.root, &files)),
        Err(wrong) => {
            findings.extend(wrong.into_vec());
            findings.extend(render::stale(&project.root, &render::beside_the_template(project)));
        }
    }
    findings.extend(events::left_over(project));
    Findings::none_of(findings)?;
    let steps: usize = project.workflows.iter().map(|workflow| workflow.steps().count()).sum();
    let workflows = match project.workflows.len() {
        1 => "1 workflow".to_owned(),
        many => format!("{many} workflows"),
    };
    Ok(format!("ok: {workflows}, {steps} steps\n"))
}

/// Each step has its folder, each folder its step, and each function of the settings its folder.
fn folders(project: &Project) -> Vec<Finding> {
    let steps = project.workflows.iter().flat_map(|workflow| {
        workflow.step_names().map(|names| (names.folder(), names.package(), workflow.file.clone(), names.step))
    });
    let functions = project.settings.functions.keys();
    let functions =
        functions.map(|name| (format!("functions/{name}"), name.clone(), PathBuf::from(SETTINGS), name.clone()));
    let expected: Vec<_> = steps.chain(functions).collect();
    let found = packages(&project.root.join("functions"), "functions", 2);
    let mut findings = Vec::new();
    for (folder, package, named_in, name) in &expected {
        let manifest = format!("{folder}/Cargo.toml");
        if !found.contains(folder) {
            let free = found.iter().filter(|folder| !expected.iter().any(|(known, ..)| known == *folder));
            let meant = Meant::among(folder, free.map(String::as_str));
            let problem = format!("`{name}` has no folder {folder} with a Cargo.toml{meant}");
            findings.push(Finding::new(
                named_in,
                problem,
                format!("Make the package {package} there, or take `{name}` out"),
            ));
        } else if let Some(finding) = other_name(project, &manifest, package) {
            findings.push(finding);
        }
    }
    for folder in found.iter().filter(|folder| !expected.iter().any(|(known, ..)| known == *folder)) {
        let problem = "is neither a step of a workflow nor a function of the settings";
        let remedy = format!("Delete it, or name it in a workflow file or under `functions` in {}", SETTINGS);
        findings.push(Finding::new(folder, problem, remedy));
    }
    findings
}

/// Each step's function serves its own step. A function with another step's name would reject every message that it
/// gets.
fn served(project: &Project) -> Vec<Finding> {
    let steps = project.workflows.iter().flat_map(ProjectWorkflow::step_names);
    let wrong = steps.filter_map(|names| {
        let main = format!("{}/src/main.rs", names.folder());
        // A missing folder is another finding.
        let text = project.read_file(&main).ok()?;
        let code: String = text.split_whitespace().collect();
        let call = format!("serve(\"{}\", \"{}\", ", names.workflow, names.step);
        let called: String = call.split_whitespace().collect();
        let problem = format!("does not serve `{}` of `{}`", names.step, names.workflow);
        (!code.contains(&called)).then(|| Finding::new(main, problem, format!("Call `{}step)` in it", call)))
    });
    wrong.collect()
}

/// The folders with a `Cargo.toml`, down to a depth.
fn packages(folder: &Path, path: &str, depth: usize) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let inner = format!("{path}/{}", entry.file_name().to_string_lossy());
        if entry.path().join("Cargo.toml").is_file() {
            found.insert(inner);
        } else if depth > 1 && entry.path().is_dir() {
            found.extend(packages(&entry.path(), &inner, depth - 1));
        }
    }
    found
}

fn other_name(project: &Project, manifest: &str, package: &str) -> Option<Finding> {
    let remedy = format!("Name it {package}: scripts find a function's binary by its folder");
    let text = match project.read_file(manifest) {
        Ok(text) => text,
        Err(finding) => return Some(finding),
    };
    let name = match package_name(&text) {
        Ok(name) => name,
        Err(error) => return Some(Finding::new(manifest, error.message(), remedy)),
    };
    (name != package).then(|| Finding::new(manifest, format!("its package is called {name}"), remedy))
}
