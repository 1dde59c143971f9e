//! Holds a project's parts against each other.

use crate::{
    findings::{Finding, Findings},
    project::Project,
    render,
};

/// Checks everything, and says what was checked.
///
/// # Errors
/// Everything that is wrong.
pub fn check(project: &Project) -> Result<String, Findings> {
    let mut findings: Vec<Finding> = Vec::new();
    match render::render(project) {
        Ok((files, _)) => findings.extend(render::stale(&project.root, &files)),
        Err(wrong) => findings.extend(wrong.into_vec()),
    }
    Findings::none_of(findings)?;
    let steps: usize = project.workflows.iter().map(|workflow| workflow.steps().count()).sum();
    Ok(format!("ok: {} workflows, {steps} steps\n", project.workflows.len()))
}
