//! The sample messages in `events/`: one a step, as SQS hands it to the step's function.

use crate::{findings::Finding, naming::StepNames, project::Project};
use md5::{Digest, Md5};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;
use stepwell::core::plan::{Plan, StepPlan};

/// Where the sample message of a step is, from the root of the repository.
pub fn file(names: &StepNames) -> String {
    format!("events/{}.json", names.step)
}

/// The stack that the samples come from.
const STACK: &str = "stepwell-local";

/// What is read of a sample.
#[derive(Deserialize)]
struct Sample {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    body: String,
    md5_of_body: String,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: String,
}

/// What is wrong with the samples.
pub fn findings(project: &Project) -> Vec<Finding> {
    let steps = project.workflows.iter().flat_map(|workflow| {
        let plan = workflow.workflow.plan();
        workflow.steps().map(move |step| (StepNames::new(workflow.name(), &step.name), load(plan, step)))
    });
    steps.flat_map(|(names, load)| of_step(project, &names, &load)).collect()
}

/// What the message of a step says is to be read with it: its dependencies. A compensation waits for the one before it, in the
/// order of a task that has done all of its steps.
pub fn load<'a>(plan: &'a Plan, step: &'a StepPlan) -> BTreeSet<&'a str> {
    if step.undoes.is_none() {
        return step.depends_on.iter().map(String::as_str).collect();
    }
    let order: Vec<&str> =
        plan.steps().iter().rev().filter_map(|step| Some(plan.compensation_of(&step.name)?.name.as_str())).collect();
    let place = order.iter().position(|name| *name == step.name);
    place.and_then(|place| order.get(place.checked_sub(1)?)).copied().into_iter().collect()
}

fn of_step(project: &Project, names: &StepNames, load: &BTreeSet<&str>) -> Vec<Finding> {
    let file = file(names);
    let wrong = |problem: String, remedy: String| Finding::new(&file, problem, remedy);
    if !project.root.join(&file).is_file() {
        let problem = format!("is not there; it is the sample message of the step `{}`", names.step);
        return vec![wrong(problem, "Copy another step's, and correct what this check finds in it".to_owned())];
    }
    let text = match project.read_file(&file) {
        Ok(text) => text,
        Err(finding) => return vec![finding],
    };
    let records = match serde_json::from_str::<Sample>(&text) {
        Ok(sample) => sample.records,
        Err(error) => return vec![wrong(format!("is no batch of SQS messages: {error}"), "Put it right".to_owned())],
    };
    records
        .iter()
        .flat_map(|record| of_record(record, names, load))
        .map(|(problem, remedy)| wrong(problem, remedy))
        .collect()
}

fn of_record(record: &Record, names: &StepNames, load: &BTreeSet<&str>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut differs = |what: &str, is: &str, should: &str| {
        if is != should {
            found.push((format!("its {what} is {is}"), format!("Make it {should}")));
        }
    };
    let body: Value = serde_json::from_str(&record.body).unwrap_or_default();
    differs("body's step", body.get("step").and_then(Value::as_str).unwrap_or_default(), &names.step);
    let is = body.get("load").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let listed = |names: &BTreeSet<&str>| format!("[{}]", names.iter().copied().collect::<Vec<_>>().join(", "));
    differs("body's load", &listed(&is.collect()), &listed(load));
    let digest: String = Md5::digest(&record.body).iter().map(|byte| format!("{byte:02x}")).collect();
    differs("md5OfBody", &record.md5_of_body, &digest);
    let queue = record.event_source_arn.rsplit(':').next().unwrap_or_default();
    differs("eventSourceARN's queue", queue, &format!("{STACK}-{}", names.resource()));
    found
}
