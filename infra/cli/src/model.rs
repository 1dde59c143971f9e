//! The deployment that the workflows and the settings describe: the functions with their limits and rights, and their
//! logs.

use crate::{
    cfn::{attribute, inline, sub},
    findings::Finding,
    naming::{StepNames, camel_case},
    project::{Project, ProjectWorkflow},
    settings::{ALL, FunctionSettings, Right, SETTINGS, StepSettings, Subject},
};
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use stepwell::core::{limits::FUNCTION_MARGIN, message::UNDELIVERABLE, names::step_resource, plan::StepPlan};

/// Lambda's longest timeout, in seconds.
const LONGEST_FUNCTION_SECONDS: u64 = 900;

/// How many concurrent invocations a step's queue may start, unless the settings say otherwise. With batches of ten a step that waits on nothing
/// could do ten times as many checkouts as a new stack carries (`target/debug/capacity`). Lambda begins with five.
pub const STEP_CONCURRENCY: u32 = 10;
/// See [`STEP_CONCURRENCY`].
const COMPENSATION_CONCURRENCY: u32 = 5;

/// The largest batch of an invocation, unless the settings say otherwise.
const BATCH: u32 = 10;

/// What a function does to its log.
const LOG_ACTIONS: [&str; 2] = ["logs:CreateLogStream", "logs:PutLogEvents"];

/// What Lambda does to a step's queue in the name of its function, and the engine to hide a message.
const OWN_QUEUE_ACTIONS: [&str; 4] =
    ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"];

/// What the engine does to the tasks table in a step's function: it reads the steps that this one takes from, claims, ends
/// and releases steps, takes away a claim that belongs to no task, and reads the whole task to compensate it.
const TASKS_ACTIONS: [&str; 4] =
    ["dynamodb:BatchGetItem", "dynamodb:DeleteItem", "dynamodb:Query", "dynamodb:UpdateItem"];

/// All that the base template is filled with.
#[derive(Clone, Debug, Serialize)]
pub struct Model {
    /// The names of the workflows.
    pub workflows: Vec<String>,
    /// The functions of all steps and compensations.
    pub steps: Vec<Function>,
    /// The functions that are not steps, by name.
    pub functions: BTreeMap<String, Function>,
    /// The logs: one for each workflow, and those of the functions that are not steps.
    pub logs: Vec<Log>,
}

/// A Lambda function.
#[derive(Clone, Debug, Serialize)]
pub struct Function {
    /// The prefix of its logical ids.
    pub id: String,
    /// Its name without the prefix `stepwell-STAGE-`.
    pub name: String,
    /// Its package, which is also its binary's name.
    pub package: String,
    /// A description for people.
    pub what: String,
    /// The name that its log lines are shown under: the step's, or its own.
    pub shown: String,
    /// The workflow of its step; `None` where it is not a step.
    pub workflow: Option<String>,
    /// Its timeout in seconds; for a step also the visibility timeout of its queue.
    pub timeout_seconds: u64,
    /// Its memory in MB.
    pub memory_mb: u32,
    /// The logical id of its log.
    pub log: String,
    /// Its rights.
    pub statements: Vec<Statement>,
    /// The limits of its queue; `None` where it is not a step.
    pub queue: Option<QueueLimits>,
    /// The service outside the stack whose breaker guards the step.
    pub waits_on: Option<String>,
}

/// The limits with which a queue invokes its function.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QueueLimits {
    /// The largest batch of an invocation.
    pub batch_size: u32,
    /// How many copies of the function it keeps busy at a time.
    pub max_concurrency: u32,
}

/// A log group.
#[derive(Clone, Debug, Serialize)]
pub struct Log {
    /// The prefix of its logical ids.
    pub id: String,
    /// Its name without the prefix `/aws/lambda/stepwell-STAGE-`.
    pub name: String,
}

/// A statement of a role's policy. Resources and condition are text of a template.
#[derive(Clone, Debug, Serialize)]
pub struct Statement {
    /// Its name.
    pub sid: Option<String>,
    /// The actions.
    pub actions: Vec<String>,
    /// The resources.
    pub resources: Vec<String>,
    /// The condition.
    pub condition: Option<String>,
}

impl Statement {
    fn new<'a>(
        sid: &str,
        actions: impl IntoIterator<Item = &'a str>,
        resources: impl IntoIterator<Item = Value>,
    ) -> Self {
        let actions = actions.into_iter().map(str::to_owned).collect();
        let resources = resources.into_iter().map(|resource| inline(&resource)).collect();
        Self { sid: Some(sid.to_owned()), actions, resources, condition: None }
    }
}

impl Model {
    /// The deployment of a project.
    ///
    /// # Errors
    /// Everything that cannot be deployed: settings for a missing step or function, a timeout that Lambda does not
    /// allow, two functions with one logical id.
    pub fn new(project: &Project) -> Result<Self, Vec<Finding>> {
        let mut findings = settings_findings(project);
        let mut model = Self { workflows: Vec::new(), steps: Vec::new(), functions: BTreeMap::new(), logs: Vec::new() };
        for workflow in &project.workflows {
            let name = step_resource(workflow.name(), "");
            model.logs.push(Log { id: camel_case(workflow.name()), name: name.trim_end_matches('-').to_owned() });
            model.workflows.push(workflow.name().to_owned());
            for step in workflow.steps() {
                let settings = project.settings.step(workflow.name(), &step.name);
                let function = step_function(workflow, step, &settings);
                if function.timeout_seconds > LONGEST_FUNCTION_SECONDS {
                    let most = LONGEST_FUNCTION_SECONDS - FUNCTION_MARGIN.as_secs();
                    let problem = format!("`{}` has a timeout of {} s", step.name, step.timeout_seconds);
                    let remedy =
                        format!("Give it {most} s at most: Lambda ends a function after {LONGEST_FUNCTION_SECONDS} s");
                    findings.push(Finding::new(&workflow.file, problem, remedy));
                }
                model.steps.push(function);
            }
        }
        let mut logs = BTreeSet::new();
        for (name, settings) in &project.settings.functions {
            logs.insert(settings.log.as_ref().unwrap_or(name));
            model.functions.insert(name.clone(), function(name, settings, project));
        }
        model.logs.extend(logs.into_iter().map(|name| Log { id: camel_case(name), name: name.clone() }));
        findings.extend(same_workflows(project));
        findings.extend(model.same_logical_ids());
        if findings.is_empty() { Ok(model) } else { Err(findings) }
    }

    /// All functions, those of the steps first.
    pub fn all(&self) -> impl Iterator<Item = &Function> {
        self.steps.iter().chain(self.functions.values())
    }

    /// Finds functions, or logs, with the same logical id. No other kind of resource has their prefixes.
    fn same_logical_ids(&self) -> Vec<Finding> {
        let functions = self.all().map(|function| (format!("{}Function", function.id), function.what.clone()));
        let logs = self.logs.iter().map(|log| (format!("{}Log", log.id), format!("the log {}", log.name)));
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        let twice =
            functions.chain(logs).filter_map(|(id, what)| Some((id.clone(), seen.insert(id, what.clone())?, what)));
        twice
            .map(|(id, one, other)| {
                let problem = format!("{one} and {other} would both be {id} in the template");
                Finding::new(SETTINGS, problem, "Give one of them another name")
            })
            .collect()
    }
}

fn same_workflows(project: &Project) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let twice = project.workflows.iter().filter(|workflow| !seen.insert(workflow.name()));
    twice
        .map(|workflow| {
            let problem = format!("the workflow `{}` is there twice", workflow.name());
            Finding::new(&workflow.file, problem, "Give one of them another name")
        })
        .collect()
}

fn settings_findings(project: &Project) -> Vec<Finding> {
    let steps = |workflow: &ProjectWorkflow| workflow.steps().map(|step| step.name.clone()).collect::<Vec<_>>();
    let names: Vec<(&str, Vec<String>)> =
        project.workflows.iter().map(|workflow| (workflow.name(), steps(workflow))).collect();
    let names = names.iter().map(|(name, steps)| (*name, steps.iter().map(String::as_str).collect())).collect();
    let problems = project.settings.problems(&names).into_iter();
    problems.map(|problem| Finding::new(SETTINGS, problem, "Put the row right, or take it out")).collect()
}

fn step_function(workflow: &ProjectWorkflow, step: &StepPlan, settings: &StepSettings) -> Function {
    let names = StepNames::new(workflow.name(), &step.name);
    let id = names.logical_id();
    let log = camel_case(workflow.name()) + "Log";
    let usual = if step.compensates.is_some() { COMPENSATION_CONCURRENCY } else { STEP_CONCURRENCY };
    // An invocation lasts as long as its slowest message. Where messages wait on a service that may hang, each has an invocation of its
    // own, and just as many are worked on at a time.
    let (usual_batch, usual) = match workflow.workflow.waits_on(&step.name) {
        Some(_) => (1, usual * BATCH),
        None => (BATCH, usual),
    };
    let statements = [
        Statement::new("Log", LOG_ACTIONS, [attribute(&log, "Arn")]),
        Statement::new("TakeItsMessages", OWN_QUEUE_ACTIONS, [attribute(&format!("{id}Queue"), "Arn")]),
        Statement::new("KeepTheState", TASKS_ACTIONS, [attribute("TasksTable", "Arn")]),
        Statement::new("WakeSteps", ["sqs:SendMessage"], woken(workflow.name())),
    ];
    let workflows = [workflow.name().to_owned()];
    Function {
        name: names.resource(),
        package: names.package(),
        what: format!("the {} {} of {}", kind(step), step.name, workflow.name()),
        shown: step.name.clone(),
        workflow: Some(workflow.name().to_owned()),
        // An adjustment can only shorten the step's timeout.
        timeout_seconds: u64::from(step.timeout_seconds) + FUNCTION_MARGIN.as_secs(),
        memory_mb: settings.memory_mb,
        log,
        statements: statements.into_iter().chain(own_statements(&settings.rights, &workflows)).collect(),
        queue: Some(QueueLimits {
            batch_size: settings.batch_size.unwrap_or(usual_batch),
            max_concurrency: settings.max_concurrency.unwrap_or(usual),
        }),
        waits_on: workflow.workflow.breaker_of(&step.name).map(str::to_owned),
        id,
    }
}

fn kind(step: &StepPlan) -> &'static str {
    if step.compensates.is_some() { "compensation" } else { "step" }
}

/// The queues that a step's worker may send to: those of all steps of its workflow. Any worker may find a task due to be
/// compensated or redriven, and then sends messages to the steps that become ready.
fn woken(workflow: &str) -> Vec<Value> {
    vec![queues_of(workflow), attribute(&queue_id(UNDELIVERABLE), "Arn")]
}

fn function(name: &str, settings: &FunctionSettings, project: &Project) -> Function {
    let id = camel_case(name);
    let log = settings.log.as_ref().map_or_else(|| id.clone(), |log| camel_case(log)) + "Log";
    let workflows: Vec<String> = project.workflows.iter().map(|workflow| workflow.name().to_owned()).collect();
    let statements = [Statement::new("Log", LOG_ACTIONS, [attribute(&log, "Arn")])];
    let own = own_statements(&settings.rights, &workflows);
    Function {
        name: name.to_owned(),
        package: name.to_owned(),
        what: format!("the function {name}"),
        shown: name.to_owned(),
        workflow: None,
        timeout_seconds: settings.timeout_seconds.into(),
        memory_mb: settings.memory_mb,
        log,
        statements: statements.into_iter().chain(own).collect(),
        queue: None,
        waits_on: None,
        id,
    }
}

/// The statements of the settings' rights. Invalid rights are refused before.
fn own_statements(rights: &[Right], workflows: &[String]) -> Vec<Statement> {
    let statements = rights.iter().filter_map(|right| {
        let subject = right.subject().ok()?;
        let (sid, resources) = match subject {
            Subject::Table(table, None) => (camel_case(table), vec![attribute(&table_id(table), "Arn")]),
            Subject::Table(table, Some(index)) => {
                let arn = sub(format!("${{{}.Arn}}/index/{index}", table_id(table)));
                (camel_case(table) + &camel_case(index), vec![arn])
            }
            Subject::Queue(queue) => (camel_case(queue), vec![attribute(&queue_id(queue), "Arn")]),
            Subject::QueuesOf(ALL) => ("Steps".to_owned(), workflows.iter().map(|name| queues_of(name)).collect()),
            Subject::QueuesOf(workflow) => (camel_case(workflow) + "Steps", vec![queues_of(workflow)]),
            Subject::Resources(resources) => (String::new(), resources.to_vec()),
        };
        let sid = (!sid.is_empty()).then(|| format!("Use{sid}"));
        let mut statement = Statement::new("", right.actions.iter().map(String::as_str), resources);
        (statement.sid, statement.condition) = (sid, right.condition.as_ref().map(Value::to_string));
        Some(statement)
    });
    statements.collect()
}

/// The logical id of a table of the base template.
pub(crate) fn table_id(table: &str) -> String {
    camel_case(table) + "Table"
}

/// The logical id of a queue of the base template.
pub(crate) fn queue_id(queue: &str) -> String {
    camel_case(queue) + "Queue"
}

/// The queues of all steps of a workflow. No other stack's queue matches, because the stage has no hyphen and is the
/// beginning of the queue's name.
fn queues_of(workflow: &str) -> Value {
    let steps = step_resource(workflow, "") + "*";
    sub(format!("arn:${{AWS::Partition}}:sqs:${{AWS::Region}}:${{AWS::AccountId}}:stepwell-${{Stage}}-{steps}"))
}
