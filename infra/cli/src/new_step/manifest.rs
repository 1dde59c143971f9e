//! The manifests that depend on a step's package.

use super::{Changes, NewStep};
use crate::{findings::Finding, handlers::KNOWS_ALL, naming::StepNames, project::Project};
use std::{
    path::Path,
    process::{Command, Stdio},
};

/// Adds the packages of the step and of its compensation to the dependencies of the package that knows all handlers.
pub(super) fn add_handlers(project: &Project, wanted: &NewStep, changes: &mut Changes) -> Result<(), Finding> {
    if !project.root.join(KNOWS_ALL).is_file() {
        return Ok(());
    }
    for name in [&wanted.step].into_iter().chain(&wanted.compensation) {
        let (package, workflow) = (StepNames::new(&wanted.workflow, name).package(), &wanted.workflow);
        let line = format!("{package} = {{ path = \"../{workflow}/{name}\" }}");
        add(project, KNOWS_ALL, &package, &line, workflow, changes)?;
    }
    Ok(())
}

/// Adds the step's package to the dependencies of a step that reads its result.
pub(super) fn add_reader(
    project: &Project,
    wanted: &NewStep,
    reader: &str,
    changes: &mut Changes,
) -> Result<(), Finding> {
    let manifest = format!("{}/Cargo.toml", StepNames::new(&wanted.workflow, reader).folder());
    let package = StepNames::new(&wanted.workflow, &wanted.step).package();
    let line = format!("{package} = {{ path = \"../{}\" }}", wanted.step);
    add(project, &manifest, &package, &line, &wanted.workflow, changes)
}

/// Adds a line to the dependencies, next to those of the workflow's steps.
fn add(
    project: &Project,
    manifest: &str,
    package: &str,
    line: &str,
    workflow: &str,
    changes: &mut Changes,
) -> Result<(), Finding> {
    let text = match changes.current(Path::new(manifest)) {
        Some(text) => text,
        None => project.read_file(manifest)?,
    };
    let wrong = |problem: &str| Finding::new(manifest, problem, format!("Add it to the dependencies by hand: {line}"));
    let mut lines: Vec<&str> = text.lines().collect();
    let start =
        lines.iter().position(|line| line.trim() == "[dependencies]").ok_or_else(|| wrong("has no [dependencies]"))?
            + 1;
    let end = lines.iter().skip(start).position(|line| line.trim().is_empty() || line.starts_with('['));
    let end = end.map_or(lines.len(), |length| start + length);
    let key = |line: &str| line.split(['=', '.', ' ']).next().unwrap_or_default().to_owned();
    let section: Vec<String> = lines.get(start..end).unwrap_or_default().iter().map(|line| key(line)).collect();
    if section.iter().any(|key| key == package) {
        return Ok(());
    }
    let step = |key: &String| key.strip_prefix(workflow).is_some_and(|rest| rest.starts_with('_'));
    let before = section.iter().position(|key| step(key) && key.as_str() > package);
    let after = section.iter().rposition(|key| step(key) && key.as_str() < package).map(|at| at + 1);
    lines.insert(start + after.or(before).unwrap_or(section.len()), line);
    let mut text = lines.join("\n");
    text.push('\n');
    if toml::from_str::<toml::Table>(&text).is_err() {
        return Err(wrong("cannot be changed here"));
    }
    changes.set(manifest, text);
    Ok(())
}

/// Lets cargo add the new packages to `Cargo.lock`, and reports it. It works offline, since they only use crates that
/// are there.
pub(super) fn update_lock(root: &Path) -> Result<String, Finding> {
    const LOCK: &str = "Cargo.lock";
    const COMMAND: &str = "cargo update --workspace --offline";
    if !root.join(LOCK).is_file() {
        return Ok(String::new());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = COMMAND.split(' ').skip(1).chain(["--quiet"]);
    let output = Command::new(cargo).args(arguments).current_dir(root).stdin(Stdio::null()).output();
    let problem = match output {
        Ok(output) if output.status.success() => return Ok(format!("{LOCK}: brought up to date\n")),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    let problem = format!("does not name the new packages yet; all else is written. cargo says: {problem}");
    Err(Finding::new(LOCK, problem, format!("Run: {COMMAND}")))
}
