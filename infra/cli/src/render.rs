//! Renders a project's template.

use crate::{
    cfn::Place,
    events,
    findings::{Finding, Findings},
    handlers,
    model::{Function, Model, table_id},
    project::Project,
    settings::{SETTINGS, Subject},
    template::Template,
};
use minijinja::{Environment, UndefinedBehavior, syntax::SyntaxConfig, value::Serde};
use serde::Serialize;
use serde_json::Value;
use std::{fmt::Write, fs, io::ErrorKind, path::Path};
use stepwell::core::spelling::Meant;

/// The rendered template, from the root of the repository.
pub const TEMPLATE: &str = "infra/template.yaml";

/// The rendered list of functions for the scripts, from the root of the repository.
pub const FUNCTIONS: &str = "infra/functions.txt";

/// The handwritten part of the template.
const BASE: &str = "infra/base.yaml";

/// The folder of the fragments that the base repeats.
const FRAGMENTS: &str = "infra/fragments";

/// The command that renders.
pub const COMMAND: &str = "cargo stepwell render";

/// A rendered file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// The file, from the root of the repository.
    pub file: String,
    /// Its text.
    pub text: String,
}

/// Renders a project's files, and checks the template.
///
/// # Errors
/// Everything that could not be deployed.
pub fn render(project: &Project) -> Result<(Vec<Rendered>, Template), Findings> {
    let model = Model::new(project).map_err(Findings::of)?;
    let text = fill(project, &model)?;
    let template = Template::read(&text)?;
    let mut findings = template.findings();
    findings.extend(unknown_indexes(project, &template));
    Findings::none_of(findings)?;
    let rendered = |file: &str, text: String| Rendered { file: file.to_owned(), text };
    let mut files = vec![rendered(TEMPLATE, text), rendered(FUNCTIONS, functions(&model))];
    files.extend(beside_the_template(project));
    Ok((files, template))
}

/// The rendered files that do not depend on the settings.
pub(crate) fn beside_the_template(project: &Project) -> Vec<Rendered> {
    handlers::list(project).into_iter().chain(events::rendered(project)).collect()
}

/// Finds rights on an index that its table does not have. CloudFormation would take the index's name as text.
fn unknown_indexes(project: &Project, template: &Template) -> Vec<Finding> {
    let indexes = project.settings.rights().filter_map(|right| match right.subject() {
        Ok(Subject::Table(table, Some(index))) => Some((table, index)),
        _ => None,
    });
    let unknown = indexes.filter_map(|(table, index)| {
        let indexes =
            template.value().pointer(&format!("/Resources/{}/Properties/GlobalSecondaryIndexes", table_id(table)));
        let indexes = indexes.and_then(Value::as_array).into_iter().flatten();
        let known: Vec<&str> = indexes.filter_map(|index| index.get("IndexName")?.as_str()).collect();
        let meant = Meant::among(index, known.iter().copied());
        let problem = || format!("the table `{table}` has no index `{index}`{meant}");
        (!known.contains(&index))
            .then(|| Finding::new(SETTINGS, problem(), "Correct it, or add the index to infra/base.yaml"))
    });
    unknown.collect()
}

/// The variables of the base.
#[derive(Serialize)]
struct Values<'a> {
    #[serde(flatten)]
    model: &'a Model,
    /// All functions, those of the steps first.
    all: Vec<&'a Function>,
}

/// The base with its loops and values filled in.
pub(crate) fn fill(project: &Project, model: &Model) -> Result<String, Finding> {
    let base = project.read_file(BASE)?;
    let mut environment = Environment::new();
    let wrong = |error: minijinja::Error| {
        let place = error
            .name()
            .map_or(BASE.to_owned(), |name| if name == BASE { name.to_owned() } else { format!("{FRAGMENTS}/{name}") });
        let line = error.line().map(|line| format!(" in line {line}")).unwrap_or_default();
        Finding::new(place, format!("cannot be rendered{line}: {error}"), "Put it right")
    };
    // `#%` makes a loop a YAML comment, so that the base stays valid YAML for editors.
    let syntax = SyntaxConfig::builder()
        .line_statement_prefix("#%")
        .line_comment_prefix("##")
        .keep_trailing_newline(true)
        .build();
    environment.set_syntax(syntax.map_err(wrong)?);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let folder = project.root.join(FRAGMENTS);
    environment.set_loader(minijinja::path_loader(folder));
    environment.add_template(BASE, &base).map_err(wrong)?;
    let values = minijinja::Value::from(Serde(Values { model, all: model.all().collect() }));
    let text = environment.get_template(BASE).and_then(|base| base.render(values));
    Ok(format!("{}{}\n", heading("infra/base.yaml"), text.map_err(wrong)?.trim_end()))
}

/// The first line of a rendered file.
fn heading(from: &str) -> String {
    format!("# Rendered from {from}, infra/settings.yaml and the workflow files. Do not edit; run: {COMMAND}\n")
}

/// A line for each function: its name, its package, the parameter for the key of its code, its log, and the name that its
/// log lines are shown under.
fn functions(model: &Model) -> String {
    let mut text = heading("the folders of functions/");
    for function in model.all() {
        let log = model.logs.iter().find(|log| format!("{}Log", log.id) == function.log);
        let log = log.map_or(function.name.as_str(), |log| log.name.as_str());
        let Function { id, name, package, shown, .. } = function;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name} {package} {id}Code {log} {shown}");
    }
    text
}

/// Finds stale rendered files, and shows the first differing line of each.
pub fn stale(root: &Path, files: &[Rendered]) -> Vec<Finding> {
    let stale = files.iter().filter_map(|Rendered { file, text }| {
        let problem = match fs::read_to_string(root.join(file)) {
            Ok(found) => first_difference(&found, text)?,
            Err(error) if error.kind() == ErrorKind::NotFound => "is not there".to_owned(),
            Err(error) => format!("cannot be read: {error}"),
        };
        Some(Finding::new(file, problem, format!("Render it: {COMMAND}")))
    });
    stale.collect()
}

fn first_difference(found: &str, wanted: &str) -> Option<String> {
    if found == wanted {
        return None;
    }
    let (mut found, mut wanted) = (found.lines(), wanted.lines());
    let mut line = 1;
    loop {
        match (found.next(), wanted.next()) {
            (Some(one), Some(other)) if one == other => line += 1,
            (None, None) => return Some("is stale: only its line ends differ".to_owned()),
            (one, other) => {
                let told = |line: Option<&str>| line.map_or("nothing".to_owned(), |line| format!("`{}`", line.trim()));
                return Some(format!("is stale: line {line} is {}, and should be {}", told(one), told(other)));
            }
        }
    }
}

/// Writes the rendered files that differ, and lists them.
///
/// # Errors
/// A file cannot be written.
pub fn write(root: &Path, files: &[Rendered]) -> Result<String, Finding> {
    let mut told = String::new();
    for Rendered { file, text } in files {
        let path = root.join(file);
        let same = fs::read_to_string(&path).is_ok_and(|found| found == *text);
        if !same {
            let failed = |error| Finding::new(file, format!("cannot be written: {error}"), "Make it writable");
            fs::write(&path, text).map_err(failed)?;
        }
        let _ = writeln!(told, "{file}: {}", if same { "as it was" } else { "written" });
    }
    Ok(told)
}

/// Each function's permissions on a stage, as JSON: by the function's name, the actions and their resources.
///
/// # Errors
/// Everything that could not be deployed.
pub fn rights(project: &Project, stage: &str) -> Result<String, Findings> {
    let (_, template) = render(project)?;
    let rights = template.rights(Place { stage, partition: "aws", region: "us-east-1" });
    let text = serde_json::to_string_pretty(&rights);
    Ok(text.map_err(|error| Finding::new(TEMPLATE, error.to_string(), "Tell the maintainers"))? + "\n")
}
