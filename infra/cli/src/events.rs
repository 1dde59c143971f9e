//! The sample events in `events/`: the first message of each step and of each compensation as its function gets it, and one
//! that SQS gave up on. All are rendered.

use crate::{findings::Finding, naming::StepNames, project::Project, render::Rendered};
use std::{collections::BTreeSet, fs};
use stepwell::testing::sample;

/// Where they are, from the root of the repository. A file in it belongs to a step or to a function of the settings; what the
/// APIs are sent is in folders of their own.
const FOLDER: &str = "events";

/// The function that is sent what SQS gave up on.
const DEAD_LETTERS: &str = "dead_letters";

/// Where the sample event of a step is, from the root of the repository.
pub fn file(names: &StepNames) -> String {
    of(&names.step)
}

fn of(name: &str) -> String {
    format!("{FOLDER}/{name}.json")
}

/// The sample events of all steps, and the dead letter of a step that waits for no other.
pub(crate) fn rendered(project: &Project) -> Vec<Rendered> {
    let steps = project.workflows.iter().flat_map(|workflow| {
        let event = |names: StepNames| {
            let text = sample::step_event(&workflow.workflow, &names.step)?;
            Some(Rendered { file: file(&names), text })
        };
        workflow.step_names().filter_map(event)
    });
    let dead_letter = project.workflows.first().and_then(|workflow| {
        let root = workflow.workflow.plan().roots().next()?;
        let text = sample::dead_letter_event(&workflow.workflow, &root.name)?;
        Some(Rendered { file: of(DEAD_LETTERS), text })
    });
    steps.chain(dead_letter).collect()
}

/// The files that belong to nothing: a step that is gone has left them.
pub(crate) fn left_over(project: &Project) -> Vec<Finding> {
    let functions = project.settings.functions.keys().map(|name| of(name));
    let known: BTreeSet<String> =
        rendered(project).into_iter().map(|rendered| rendered.file).chain(functions).collect();
    let files = fs::read_dir(project.root.join(FOLDER)).into_iter().flatten().flatten();
    let files = files.filter_map(|file| Some(format!("{FOLDER}/{}", file.file_name().to_str()?)));
    let left: BTreeSet<String> = files.filter(|file| file.ends_with(".json") && !known.contains(file)).collect();
    let finding = |file| Finding::new(file, "is the sample event of no step and of no function", "Delete it");
    left.into_iter().map(finding).collect()
}
