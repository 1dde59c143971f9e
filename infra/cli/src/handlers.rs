//! The lists of handlers: those that the simulation, the comparison, `cost` and the tests host, one for each workflow, and
//! the types of their results for the operators' API.

use crate::{
    naming::{StepNames, camel_case},
    project::Project,
    render::{COMMAND, Rendered},
};
use std::{collections::BTreeSet, fmt::Write};

/// The package that hosts them, from the root of the repository. A project need not have it.
pub(crate) const HOST: &str = "tests/Cargo.toml";

/// The package that checks the results which operators give, from the root of the repository. A project need not have it.
pub(crate) const CHECKER: &str = "functions/tasks_api/Cargo.toml";

/// The list of each workflow's handlers, and the list of their result types.
pub(crate) fn lists(project: &Project) -> Vec<Rendered> {
    hosted(project).into_iter().chain(result_types(project)).collect()
}

fn hosted(project: &Project) -> Vec<Rendered> {
    if !project.root.join(HOST).is_file() {
        return Vec::new();
    }
    let lists = project.workflows.iter().map(|workflow| {
        let names: BTreeSet<StepNames> = workflow.step_names().collect();
        Rendered { file: format!("tests/src/{}_steps.rs", workflow.name()), text: list(workflow.name(), &names) }
    });
    lists.collect()
}

fn list(workflow: &str, names: &BTreeSet<StepNames>) -> String {
    let mut text = format!(
        "//! Rendered from the workflow file of `{workflow}`. Do not edit; run: {COMMAND}\n\
         //!\n\
         //! It lists the handlers of all steps and compensations with their libraries, sorted.\n\n\
         /// Calls a macro with the name and the library of each step and of each compensation of `{workflow}`.\n\
         #[macro_export]\n\
         macro_rules! each_{workflow}_step {{\n    \
             ($each:ident) => {{\n"
    );
    for name in names {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "        $each!(\"{}\", {});", name.step, name.package());
    }
    text + "    };\n}\n"
}

fn result_types(project: &Project) -> Option<Rendered> {
    if !project.root.join(CHECKER).is_file() {
        return None;
    }
    let parameter = |workflow: &str| camel_case(workflow) + "Shop";
    let parameters = project.workflows.iter().map(|workflow| {
        let library = workflow.library(&project.root).unwrap_or_else(|| workflow.name().to_owned());
        format!("{}: {library}::Shop", parameter(workflow.name()))
    });
    let mut text = format!(
        "//! Rendered from the workflow files. Do not edit; run: {COMMAND}\n\n\
         use stepwell::ResultTypes;\n\n\
         /// The types of the results of all steps and compensations, by which the API checks what operators give as a result.\n\
         pub fn result_types<{}>() -> ResultTypes {{\n    \
             ResultTypes::default()\n",
        parameters.collect::<Vec<_>>().join(", ")
    );
    for workflow in &project.workflows {
        let names: BTreeSet<StepNames> = workflow.step_names().collect();
        for name in names {
            let (package, shop) = (name.package(), parameter(workflow.name()));
            // Writing to a String cannot fail.
            let _ =
                writeln!(text, "        .with(\"{}\", \"{}\", {package}::step::<{shop}>)", workflow.name(), name.step);
        }
    }
    text.push_str("}\n");
    Some(Rendered { file: "functions/tasks_api/src/result_types.rs".to_owned(), text })
}
