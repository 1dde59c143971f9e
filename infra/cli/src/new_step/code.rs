//! The packages of a step and of its compensation.

use super::{NewStep, graph::Wiring};
use crate::{
    findings::Finding,
    naming::{StepNames, camel_case},
    project::{Project, ProjectWorkflow},
};
use minijinja::{Environment, UndefinedBehavior, context};
use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

/// The files of a package, and their templates.
const FILES: [(&str, &str, &str); 4] = [
    ("Cargo.toml", include_str!("templates/Cargo.toml.jinja"), include_str!("templates/Cargo.toml.jinja")),
    ("src/main.rs", include_str!("templates/main.rs.jinja"), include_str!("templates/main.rs.jinja")),
    ("src/lib.rs", include_str!("templates/step.rs.jinja"), include_str!("templates/compensation.rs.jinja")),
    (
        "src/tests.rs",
        include_str!("templates/step_tests.rs.jinja"),
        include_str!("templates/compensation_tests.rs.jinja"),
    ),
];

/// The files to create, by their path from the root of the repository.
pub(super) fn files(
    project: &Project,
    workflow: &ProjectWorkflow,
    wanted: &NewStep,
    wiring: &Wiring,
) -> Result<Vec<(PathBuf, String)>, Finding> {
    let library = workflow.library(&project.root).ok_or_else(|| {
        let remedy = "Move it into the package that has what its steps share: shop, request, errors";
        Finding::new(&workflow.file, "is in no package", remedy)
    })?;
    let step = StepNames::new(workflow.name(), &wanted.step);
    let before: Vec<_> = wiring.before_it.iter().map(|name| StepNames::new(workflow.name(), name)).collect();
    let before: Vec<_> =
        before.iter().map(|names| context! { step => &names.step, package => names.package() }).collect();
    let mut files = Vec::new();
    let compensation = wanted.compensation.as_ref().map(|name| StepNames::new(workflow.name(), name));
    for (names, undoes) in [(&step, None)].into_iter().chain(compensation.iter().map(|names| (names, Some(&step)))) {
        for (file, of_step, of_compensation) in FILES {
            let path = PathBuf::from(names.folder()).join(file);
            let template = if undoes.is_some() { of_compensation } else { of_step };
            let values = context! {
                library => &library,
                workflow => workflow.name(),
                request => format!("{}Request", camel_case(workflow.name())),
                what => if undoes.is_some() { wanted.what_undoes() } else { wanted.what() },
                step => &names.step,
                package => names.package(),
                handler => camel_case(&names.step),
                result => result(&names.step),
                before => &before,
                undoes => undoes.map(|step| context! {
                    step => &step.step, package => step.package(), result => result(&step.step),
                }),
            };
            let text = fill(template, values).map_err(|error| {
                Finding::new(&path, format!("cannot be made: {error}"), "Tell the maintainers of this command")
            })?;
            let text = if file.ends_with(".rs") { formatted(project, &text)? } else { text };
            files.push((path, text));
        }
    }
    Ok(files)
}

/// The type of a step's result.
fn result(step: &str) -> String {
    camel_case(step) + "Result"
}

fn fill(template: &str, values: minijinja::Value) -> Result<String, minijinja::Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    Ok(environment.render_str(template, values)?.trim_end().to_owned() + "\n")
}

/// Formats the code as `cargo fmt` does: the lengths of names decide line breaks.
fn formatted(project: &Project, text: &str) -> Result<String, Finding> {
    let failed = |problem: String| {
        Finding::new(
            "rustfmt.toml",
            format!("rustfmt does not work: {problem}"),
            "Install it: rustup component add rustfmt",
        )
    };
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.args(["--edition", "2024", "--config-path"]).arg(&project.root);
    rustfmt.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = rustfmt.spawn().map_err(|error| failed(error.to_string()))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(text.as_bytes()).map_err(|error| failed(error.to_string()))?;
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()))
    }
}
