//! The list of handlers: those that one process hosts, whether on one machine, in a test or in a comparison, and the types of
//! their results for the operators' API.

use crate::{
    naming::{StepNames, camel_case},
    project::{Project, ProjectWorkflow},
    render::{COMMAND, Rendered},
};
use std::{collections::BTreeSet, fmt::Write};

/// The package that knows all handlers, from the root of the repository. A project need not have it.
pub(crate) const KNOWS_ALL: &str = "functions/tasks_api/Cargo.toml";

/// The list, if a package knows all handlers.
pub(crate) fn list(project: &Project) -> Option<Rendered> {
    if !project.root.join(KNOWS_ALL).is_file() {
        return None;
    }
    let mut text = format!(
        "//! Rendered from the workflow files. Do not edit; run: {COMMAND}\n\
         //!\n\
         //! The handlers of all steps and compensations, sorted.\n\n\
         use stepwell::ResultTypes;\n\n"
    );
    text.push_str(&search_keys(project));
    text.push_str(&result_types(project));
    for workflow in &project.workflows {
        text.push_str(&each_step(workflow));
    }
    Some(Rendered { file: "functions/tasks_api/src/handlers.rs".to_owned(), text })
}

/// A macro with which a host goes through the handlers of a workflow.
fn each_step(workflow: &ProjectWorkflow) -> String {
    let name = workflow.name();
    let mut libraries = format!(
        "\n/// The libraries of the handlers of `{name}`, by the names of their steps.\npub mod {name}_steps {{\n"
    );
    let mut calls = format!(
        "\n/// Calls a macro with the name and the library of each step and of each compensation of `{name}`.\n\
         #[macro_export]\n\
         macro_rules! each_{name}_step {{\n    \
             ($each:ident) => {{\n"
    );
    let names: BTreeSet<StepNames> = workflow.step_names().collect();
    for StepNames { step, .. } in &names {
        // Writing to a String cannot fail.
        let _ = writeln!(calls, "        $each!(\"{step}\", $crate::handlers::{name}_steps::{step});");
    }
    for name in &names {
        let _ = writeln!(libraries, "    pub use {} as {};", name.package(), name.step);
    }
    format!("{libraries}}}\n{calls}    }};\n}}\n")
}

/// The names of the search keys of all workflows.
fn search_keys(project: &Project) -> String {
    let names = project.workflows.iter().flat_map(|workflow| workflow.workflow.search_names());
    let names: BTreeSet<String> = names.map(|name| format!("\"{name}\"")).collect();
    let names: Vec<String> = names.into_iter().collect();
    format!(
        "/// The names of the search keys of all workflows, by which tasks are found.\n\
         #[rustfmt::skip]\n\
         pub(crate) const SEARCH_KEYS: &[&str] = &[{}];\n\n",
        names.join(", ")
    )
}

fn result_types(project: &Project) -> String {
    let parameter = |workflow: &str| camel_case(workflow) + "Shop";
    let parameters = project.workflows.iter().map(|workflow| {
        let library = workflow.library(&project.root).unwrap_or_else(|| workflow.name().to_owned());
        format!("{}: {library}::Shop", parameter(workflow.name()))
    });
    let mut text = format!(
        "/// The types of the results of all steps and compensations, by which the API checks what operators give as a result.\n\
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
    text + "}\n"
}
