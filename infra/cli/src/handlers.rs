//! The lists of handlers that simulation, comparison, cost and tests host: one a workflow.

use crate::{
    naming::StepNames,
    project::Project,
    render::{COMMAND, Rendered},
};
use std::{collections::BTreeSet, fmt::Write};

/// The package that hosts them, from the root of the repository. A project may do without.
pub(crate) const HOST: &str = "tests/Cargo.toml";

/// The list of each workflow's handlers.
pub(crate) fn lists(project: &Project) -> Vec<Rendered> {
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
         //! The handlers of all its steps and compensations, and the library that each is in, sorted.\n\n\
         /// Calls a macro with the name of each step and of each compensation of `{workflow}`, and the library that it is in.\n\
         #[macro_export]\n\
         macro_rules! each_{workflow}_step {{\n    \
             ($each:ident) => {{\n"
    );
    for name in names {
        // Writing to a text does not fail.
        let _ = writeln!(text, "        $each!(\"{}\", {});", name.step, name.package());
    }
    text + "    };\n}\n"
}
