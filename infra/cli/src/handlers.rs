//! The lists of handlers that the simulation, the comparison, `cost` and the tests host: one for each workflow.

use crate::{
    naming::StepNames,
    project::Project,
    render::{COMMAND, Rendered},
};
use std::{collections::BTreeSet, fmt::Write};

/// The package that hosts them, from the root of the repository. A project need not have it.
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
