//! How large templates are, against AWS's quotas.

use crate::{
    findings::{Finding, Findings},
    model::Model,
    project::{Project, ProjectWorkflow},
    render,
    template::{Measure, Template},
};
use std::{fmt::Write, path::PathBuf};
use stepwell::Workflow;

/// The numbers of steps, compensations included, of the workflows that are measured. The engine allows 100.
const STEPS: [usize; 4] = [5, 20, 50, 100];

/// A table of sizes: the project's own template, and those of generated workflows in its place.
///
/// # Errors
/// A template that cannot be rendered, or one of the project that is beyond a quota.
pub fn table(project: &Project) -> Result<String, Findings> {
    let (_, own) = render::render(project)?;
    let mut rows = vec![("this project".to_owned(), own)];
    for steps in STEPS {
        rows.push((format!("a chain of {steps}"), generated(project, &chain(steps, 0))?));
        let half = steps / 2;
        let name = format!("a chain of {}, {half} compensations", steps - half);
        rows.push((name, generated(project, &chain(steps - half, half))?));
    }
    let measures = rows.iter().map(|(name, template)| (name.as_str(), template.measures())).collect::<Vec<_>>();
    let quotas = measures.first().map(|(_, measures)| measures.as_slice()).unwrap_or_default();
    let mut text =
        "Names at their longest, parameters at their defaults; policy and environment are the largest.\n".to_owned();
    line(&mut text, "", quotas.iter().map(|measure| measure.what.to_owned()), "");
    line(&mut text, "AWS allows", quotas.iter().map(|measure| measure.quota.to_string()), "");
    for (name, measures) in &measures {
        let beyond = measures.iter().any(Measure::is_beyond);
        let end = if beyond { "  BEYOND" } else { "" };
        line(&mut text, name, measures.iter().map(|measure| measure.value.to_string()), end);
    }
    Ok(text)
}

fn line(text: &mut String, name: &str, cells: impl Iterator<Item = String>, end: &str) {
    let cells: String = cells.map(|cell| format!("{cell:>20}")).collect();
    // Writing to a text does not fail.
    let _ = writeln!(text, "{name:<32}{cells}{end}");
}

/// A workflow file with names at their longest: a chain, of which the first so many steps have compensations.
fn chain(steps: usize, compensations: usize) -> String {
    let mut file = "name: a_name_of_16_cha\nredrives: 4\nstep_templates:\n".to_owned();
    for step in 0..steps {
        let _ = writeln!(file, "  - name: a_step_with_24_chars_{step:03}");
        if let Some(before) = step.checked_sub(1) {
            let _ = writeln!(file, "    depends_on_step: a_step_with_24_chars_{before:03}");
        }
        if step < compensations {
            let _ = writeln!(file, "    compensation: {{name: undo_a_step_with_24__{step:03}}}");
        }
    }
    file
}

/// The template of a project that has this workflow in place of its own.
fn generated(project: &Project, file: &str) -> Result<Template, Findings> {
    let name = PathBuf::from("a generated workflow");
    let workflow =
        Workflow::from_yaml(file).map_err(|error| Finding::new(&name, error.to_string(), "Tell the maintainers"))?;
    let mut settings = project.settings.clone();
    settings.steps.clear();
    for right in settings.functions.values_mut().flat_map(|function| &mut function.rights) {
        right.queues_of = right.queues_of.take().map(|_| workflow.id().name.clone());
    }
    let root = project.root.clone();
    let project = Project { root, settings, workflows: vec![ProjectWorkflow { file: name, workflow }] };
    let model = Model::new(&project).map_err(Findings::of)?;
    Ok(Template::read(&render::fill(&project, &model)?)?)
}
