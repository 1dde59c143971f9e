//! `stepwell new step`: creates a step, and updates every file that names a step.
//!
//! The command first determines all contents and reports all findings together; only then does it write. The code that
//! renders and checks derived files (the template, the list of handlers, the sample events) also writes them here.
//!
//! A step's code relies on these conventions. A workflow's *library* is the package with the workflow file: it exports
//! `workflow()`, the trait `Shop` with its `ConfigError`, the request as `WorkflowRequest` (`CheckoutRequest`),
//! `Product`, and in its module `testing` a `MemoryShop`. `LIBRARY_aws` exports `AwsShop`. `infra/products.json` lists
//! the shop's products, and `events/requests/success.json` is a request that succeeds.
//!
//! A step's result is a type of the step's own package, so that a step is one folder. A step that reads the result
//! depends on that package. The workflow is a DAG, so the packages have no cycle either.

mod changes;
mod code;
mod graph;
mod manifest;
mod names;
mod text;

use crate::{
    events,
    findings::{Finding, Findings},
    naming::StepNames,
    project::{Project, ProjectWorkflow},
    render,
    settings::SETTINGS,
};
use changes::Changes;
use clap::Args;
use graph::Wiring;
use std::{
    fmt::Write,
    path::{Path, PathBuf},
};
use stepwell::core::spelling::Meant;
use stepwell::{Workflow, core::names::MAX_STEP, testing::sample};

/// The requested step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct NewStep {
    /// The workflow, by its name
    pub workflow: String,
    /// The new step: lower-case letters, digits and `_`
    pub step: String,
    /// The steps that it depends on
    #[arg(long, value_name = "STEP", value_delimiter = ',', required_unless_present = "before")]
    pub after: Vec<String>,
    /// The steps that depend on it; by default those that depended on nothing but the steps of --after
    #[arg(long, value_name = "STEP", value_delimiter = ',', conflicts_with = "beside")]
    pub before: Vec<String>,
    /// Let no step depend on it: it runs concurrently with the other dependents of its dependencies
    #[arg(long)]
    pub beside: bool,
    /// The later steps that read its result: their packages may then use its type
    #[arg(long, value_name = "STEP", value_delimiter = ',')]
    pub read_by: Vec<String>,
    /// A compensation of the step, created as well
    #[arg(long, value_name = "NAME")]
    pub compensation: Option<String>,
    /// What it does, such as "Checks the order for fraud"; by default its name in words
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// Write nothing; print what would be written
    #[arg(long)]
    pub dry_run: bool,
}

impl NewStep {
    /// What the step does, in words.
    fn what(&self) -> String {
        self.description.clone().unwrap_or_else(|| in_words(&self.step))
    }

    /// What the compensation does, in words.
    fn what_undoes(&self) -> String {
        format!("Compensates {}", self.step)
    }
}

/// `check_fraud` becomes `Check fraud`.
fn in_words(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut letters = words.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// Creates the step, or shows what it would write.
///
/// # Errors
/// All obstacles; then no file changes.
pub fn run(project: &Project, wanted: &NewStep) -> Result<String, Findings> {
    let prepared = prepare(project, wanted)?;
    if prepared.changes.is_empty() {
        return Ok(format!("nothing to do: `{}` is there, and all that has to know of it\n", wanted.step));
    }
    if wanted.dry_run {
        return Ok(format!("{}\n{}", prepared.changes.preview(), prepared.report));
    }
    let mut told = prepared.changes.write()?;
    // The order matters: cargo reads the new files.
    let lock = manifest::update_lock(&project.root)?;
    // Writing to a String cannot fail.
    let _ = write!(told, "{lock}\n{}", prepared.report);
    Ok(told)
}

/// The files to write for a new step, and the report.
struct Prepared {
    changes: Changes,
    /// The new dependencies, and what is left to do by hand.
    report: String,
}

/// Determines the changes for a new step. Nothing is written.
fn prepare(project: &Project, wanted: &NewStep) -> Result<Prepared, Findings> {
    let Some(workflow) = project.workflows.iter().find(|workflow| workflow.name() == wanted.workflow) else {
        return Err(unknown_workflow(project, wanted).into());
    };
    let plan = workflow.workflow.plan();
    let mut findings = names::findings(project, workflow, wanted);
    findings.extend(graph::unknown_steps(plan, wanted).into_iter().map(|problem| of_workflow(workflow, problem)));
    Findings::none_of(findings)?;

    let wiring = Wiring::new(plan, wanted);
    wiring.check(plan, wanted).map_err(|problems| {
        Findings::of(problems.into_iter().map(|problem| of_workflow(workflow, problem)).collect())
    })?;

    let mut changes = Changes::new(&project.root);
    let new_workflow = edit_workflow(project, workflow, wanted, &wiring, &mut changes)?;
    let mut findings = make_packages(code::files(project, workflow, wanted, &wiring)?, &wiring, &mut changes);
    findings.extend(manifest::add_handlers(project, wanted, &mut changes).err());
    findings.extend(
        wanted.read_by.iter().filter_map(|reader| manifest::add_reader(project, wanted, reader, &mut changes).err()),
    );
    findings.extend(check_events(workflow, &new_workflow, wanted, &changes));
    Findings::none_of(findings)?;
    render_all(project, workflow, new_workflow, &mut changes)?;
    let report = report(wanted, &wiring);
    Ok(Prepared { changes, report })
}

fn unknown_workflow(project: &Project, wanted: &NewStep) -> Finding {
    let known: Vec<&str> = project.workflows.iter().map(ProjectWorkflow::name).collect();
    let problem =
        format!("there is no workflow `{}`{}", wanted.workflow, Meant::among(&wanted.workflow, known.iter().copied()));
    Finding::new(SETTINGS, problem, format!("Name one of its workflows: {}", known.join(", ")))
}

fn of_workflow(workflow: &ProjectWorkflow, (problem, remedy): (String, String)) -> Finding {
    Finding::new(&workflow.file, problem, remedy)
}

/// Adds the step to the workflow file, and parses the result.
fn edit_workflow(
    project: &Project,
    workflow: &ProjectWorkflow,
    wanted: &NewStep,
    wiring: &Wiring,
    changes: &mut Changes,
) -> Result<Workflow, Finding> {
    let old = project.read_file(&workflow.file)?;
    let new = if wiring.is_there { old } else { text::with_step(&workflow.file, &old, wanted, wiring)? };
    let read = read(&workflow.file, &new)?;
    changes.set(&workflow.file, new);
    Ok(read)
}

fn read(file: &Path, text: &str) -> Result<Workflow, Finding> {
    Workflow::from_yaml_taking_formats_for_granted(text)
        .map_err(|error| Finding::new(file, error.to_string(), text::BY_HAND))
}

/// Creates the packages of the step and of its compensation. Existing files of a step of the workflow stay, because
/// they contain handwritten code.
fn make_packages(files: Vec<(PathBuf, String)>, wiring: &Wiring, changes: &mut Changes) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in files {
        match changes.current(&path) {
            None => changes.set(path, text),
            Some(found) if wiring.is_there || found == text => {}
            Some(_) => {
                let remedy = "Give the step another name, or take the file away";
                findings.push(Finding::new(path, "is there already, with other content", remedy));
            }
        }
    }
    findings
}

/// Refuses to overwrite a file with a sample event of the new steps.
fn check_events(old: &ProjectWorkflow, new: &Workflow, wanted: &NewStep, changes: &Changes) -> Vec<Finding> {
    let steps = new.plan().steps().iter().chain(new.plan().compensations());
    let added = steps.filter(|step| old.workflow.plan().step(&step.name).is_none());
    let taken = added.filter_map(|step| {
        let path = events::file(&StepNames::new(old.name(), &step.name));
        let found = changes.current(Path::new(&path))?;
        (Some(found) != sample::step_event(new, &step.name)).then(|| {
            let problem = format!("is there already, and is no event of `{}`", step.name);
            Finding::new(path, problem, format!("Give `{}` another name", wanted.step))
        })
    });
    taken.collect()
}

/// Renders the files that derive from the workflows with the new step.
fn render_all(
    project: &Project,
    changed: &ProjectWorkflow,
    new: Workflow,
    changes: &mut Changes,
) -> Result<(), Findings> {
    let others = project.workflows.iter().filter(|workflow| workflow.file != changed.file);
    let mut workflows = vec![ProjectWorkflow { file: changed.file.clone(), workflow: new }];
    for ProjectWorkflow { file, .. } in others {
        workflows.push(ProjectWorkflow { file: file.clone(), workflow: read(file, &project.read_file(file)?)? });
    }
    let place = |workflow: &ProjectWorkflow| project.settings.workflows.iter().position(|file| *file == workflow.file);
    workflows.sort_by_key(place);
    let project = Project { root: project.root.clone(), settings: project.settings.clone(), workflows };
    let (files, _) = render::render(&project)?;
    files.into_iter().for_each(|file| changes.set(file.file, file.text));
    Ok(())
}

/// The new dependencies, and what has to be done by hand.
fn report(wanted: &NewStep, wiring: &Wiring) -> String {
    let lib = |name: &str| format!("{}/src/lib.rs", StepNames::new(&wanted.workflow, name).folder());
    let mut told = wiring.told(wanted);
    for name in [&wanted.step].into_iter().chain(&wanted.compensation).filter(|name| name.len() > MAX_STEP) {
        let resource = StepNames::new(&wanted.workflow, name).resource();
        told += &format!(
            "{name} is longer than {MAX_STEP} characters: its queue and function are called stepwell-STAGE-{resource}.\n"
        );
    }
    told += "\nBy hand:\n";
    told += &format!("  {}: what the step does, what it reads, its result\n", lib(&wanted.step));
    if let Some(name) = &wanted.compensation {
        told += &format!("  {}: how the step is compensated\n", lib(name));
    }
    for reader in &wanted.read_by {
        told += &format!("  {}: the result among its inputs\n", lib(reader));
    }
    told += &format!("  {SETTINGS}: a row, if it makes AWS calls of its own; then run: {}\n", render::COMMAND);
    told += &format!(
        "Its limits and its timeout are in the workflow file. Then test it: cargo test -p {}\n",
        StepNames::new(&wanted.workflow, &wanted.step).package()
    );
    told
}
