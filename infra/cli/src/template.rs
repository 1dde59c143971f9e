//! A rendered template, read again: its names, its size, what its functions may do.

use crate::{
    cfn::{NAMES, Place, Resolver, parse},
    findings::Finding,
    render::TEMPLATE,
};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use stepwell::core::spelling::Meant;

/// A template that has been read.
#[derive(Clone, Debug)]
pub struct Template {
    text: String,
    value: Value,
    resources: Map<String, Value>,
}

/// An action that a function may do on a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Allowed {
    /// The action, such as `sqs:SendMessage`.
    pub action: String,
    /// The resource's ARN, perhaps with `*` in it.
    pub resource: String,
}

/// How large a template is, in what AWS limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measure {
    /// What is counted.
    pub what: &'static str,
    /// The largest resource of those that it is counted for, where it is for each.
    pub of: Option<String>,
    /// How much there is.
    pub value: usize,
    /// How much there may be.
    pub quota: usize,
}

impl Measure {
    /// Whether there is more than there may be.
    pub fn is_beyond(&self) -> bool {
        self.value > self.quota
    }
}

/// AWS's quotas: of CloudFormation for a template, of IAM for the inline policies of a role, of Lambda for the environment of
/// a function. None of them can be raised.
const RESOURCES: usize = 500;
const PARAMETERS: usize = 200;
const OUTPUTS: usize = 200;
const TEMPLATE_BYTES: usize = 1_000_000;
const POLICY_CHARACTERS: usize = 10_240;
const ENVIRONMENT_BYTES: usize = 4 * 1024;

impl Template {
    /// Reads a template's text.
    ///
    /// # Errors
    /// That it is no YAML, or has no resources.
    pub fn read(text: &str) -> Result<Self, Finding> {
        let wrong = |problem: String| Finding::new(TEMPLATE, problem, "Put infra/base.yaml or its fragments right");
        let value = parse(text).map_err(|error| wrong(format!("is not YAML: {error}")))?;
        let resources = value.get("Resources").and_then(Value::as_object).cloned();
        let resources = resources.ok_or_else(|| wrong("has no resources".to_owned()))?;
        Ok(Self { text: text.to_owned(), value, resources })
    }

    /// The whole template, with CloudFormation's functions in their long forms.
    pub fn value(&self) -> &Value {
        &self.value
    }

    fn resolver(&self, place: Place<'_>) -> Resolver<'_> {
        Resolver::new(&self.value, &self.resources, place)
    }

    /// The logical ids of the resources of a kind.
    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a str> {
        self.resources.iter().filter(move |(_, resource)| is(resource, kind)).map(|(id, _)| id.as_str())
    }

    /// The properties of the resources of a kind, with their logical ids.
    fn properties<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let of_kind = self.resources.iter().filter(move |(_, resource)| is(resource, kind));
        of_kind.filter_map(|(id, resource)| Some((id.as_str(), resource.get("Properties")?)))
    }

    /// What is wrong with it: references to what is not there, names that AWS does not take, names that two have.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings = self.dangling();
        findings.extend(self.names());
        let beyond = self.measures().into_iter().filter(Measure::is_beyond);
        findings.extend(beyond.map(|Measure { what, of, value, quota }| {
            let of = of.map(|of| format!(" of {of}")).unwrap_or_default();
            let problem = format!("{what}{of}: {value}, and AWS allows {quota}");
            Finding::new(TEMPLATE, problem, "Make two workflows of it, or fewer steps")
        }));
        findings
    }

    fn dangling(&self) -> Vec<Finding> {
        let parameters = self.value.get("Parameters").and_then(Value::as_object);
        let known: BTreeSet<&str> =
            parameters.into_iter().flat_map(Map::keys).chain(self.resources.keys()).map(String::as_str).collect();
        let mut named = BTreeMap::new();
        for (id, resource) in &self.resources {
            references(resource, id, &mut named);
        }
        for (output, value) in self.value.get("Outputs").and_then(Value::as_object).into_iter().flatten() {
            references(value, output, &mut named);
        }
        let unknown =
            named.into_iter().filter(|(name, _)| !name.starts_with("AWS::") && !known.contains(name.as_str()));
        unknown
            .map(|(name, by)| {
                let meant = Meant::among(&name, known.iter().copied());
                let problem = format!("{by} refers to {name}, which is not there{meant}");
                Finding::new(TEMPLATE, problem, "Correct the name in infra/settings.yaml, or add it to infra/base.yaml")
            })
            .collect()
    }

    fn names(&self) -> Vec<Finding> {
        let resolver = self.resolver(Place::LONGEST);
        let mut findings = Vec::new();
        let mut seen: BTreeMap<(&str, String), &str> = BTreeMap::new();
        for (_, kind, longest, others) in NAMES {
            for id in self.of_kind(kind) {
                let Some(name) = resolver.physical_name(id) else { continue };
                let allowed = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
                if name.len() > longest || !name.chars().all(allowed) {
                    let problem = format!("{id} would be called `{name}`, {} characters", name.len());
                    let remedy = format!("Give it a name of at most {longest} letters, digits and any of `{others}`");
                    findings.push(Finding::new(TEMPLATE, problem, remedy));
                }
                if let Some(other) = seen.insert((kind, name.clone()), id) {
                    let problem = format!("{other} and {id} would both be called `{name}`");
                    findings.push(Finding::new(TEMPLATE, problem, "Give one of them another name"));
                }
            }
        }
        findings
    }

    /// How large it is, with names at their longest.
    pub fn measures(&self) -> Vec<Measure> {
        let resolver = self.resolver(Place::LONGEST);
        let entries = |section: &str| self.value.get(section).and_then(Value::as_object).map_or(0, Map::len);
        let policies = self.properties("AWS::IAM::Role").map(|(id, properties)| {
            let documents = properties.get("Policies").and_then(Value::as_array).into_iter().flatten();
            let documents = documents.filter_map(|policy| policy.get("PolicyDocument"));
            // As IAM counts: without whitespace.
            let text: String = documents.map(|document| resolver.resolve(document).to_string()).collect();
            (id, text.chars().filter(|c| !c.is_whitespace()).count())
        });
        let environments = self.properties("AWS::Lambda::Function").map(|(id, properties)| {
            let variables = properties.pointer("/Environment/Variables").and_then(Value::as_object);
            let bytes = |(name, value): (&String, &Value)| name.len() + resolver.text(value).len();
            (id, variables.into_iter().flatten().map(bytes).sum())
        });
        let whole = |what, value, quota| Measure { what, of: None, value, quota };
        vec![
            whole("resources", self.resources.len(), RESOURCES),
            whole("bytes", self.text.len(), TEMPLATE_BYTES),
            whole("parameters", entries("Parameters"), PARAMETERS),
            whole("outputs", entries("Outputs"), OUTPUTS),
            largest("policy characters", policies, POLICY_CHARACTERS),
            largest("environment bytes", environments, ENVIRONMENT_BYTES),
        ]
    }

    /// What each function may do, by its physical name.
    pub fn rights(&self, place: Place<'_>) -> BTreeMap<String, BTreeSet<Allowed>> {
        let resolver = self.resolver(place);
        let functions = self.properties("AWS::Lambda::Function").filter_map(|(id, properties)| {
            let role = properties.pointer("/Role/Fn::GetAtt/0").and_then(Value::as_str)?;
            Some((resolver.physical_name(id)?, self.allowed(role, &resolver)))
        });
        functions.collect()
    }

    fn allowed(&self, role: &str, resolver: &Resolver<'_>) -> BTreeSet<Allowed> {
        let policies = self.resources.get(role).and_then(|role| role.pointer("/Properties/Policies")?.as_array());
        let statements = policies.into_iter().flatten();
        let statements =
            statements.filter_map(|policy| policy.pointer("/PolicyDocument/Statement")?.as_array()).flatten();
        let mut found = BTreeSet::new();
        for statement in statements {
            for action in texts(statement.get("Action"), resolver) {
                for resource in texts(statement.get("Resource"), resolver) {
                    found.insert(Allowed { action: action.clone(), resource });
                }
            }
        }
        found
    }
}

fn is(resource: &Value, kind: &str) -> bool {
    resource.get("Type").and_then(Value::as_str) == Some(kind)
}

/// One text, or several.
fn texts(value: Option<&Value>, resolver: &Resolver<'_>) -> Vec<String> {
    match value {
        Some(Value::Array(items)) => items.iter().map(|item| resolver.text(item)).collect(),
        Some(one) => vec![resolver.text(one)],
        None => Vec::new(),
    }
}

fn largest<'a>(what: &'static str, all: impl Iterator<Item = (&'a str, usize)>, quota: usize) -> Measure {
    let largest = all.max_by_key(|(_, value)| *value);
    let (of, value) = largest.map_or((None, 0), |(of, value)| (Some(of.to_owned()), value));
    Measure { what, of, value, quota }
}

/// Notes what a value refers to, each with one of those that do.
fn references(value: &Value, by: &str, found: &mut BTreeMap<String, String>) {
    let mut note = |name: &str| {
        found.entry(name.to_owned()).or_insert_with(|| by.to_owned());
    };
    match value {
        Value::Object(object) => {
            if let Some(name) = object.get("Ref").and_then(Value::as_str) {
                note(name);
            }
            if let Some(name) = value.pointer("/Fn::GetAtt/0").and_then(Value::as_str) {
                note(name);
            }
            let (text, own) = match object.get("Fn::Sub") {
                Some(Value::Array(parts)) => (parts.first().and_then(Value::as_str), parts.get(1)),
                other => (other.and_then(Value::as_str), None),
            };
            for part in text.unwrap_or_default().split("${").skip(1) {
                let name = part.split(['}', '.']).next().unwrap_or_default();
                if own.and_then(|own| own.get(name)).is_none() {
                    note(name);
                }
            }
            object.values().for_each(|value| references(value, by, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, by, found)),
        _ => {}
    }
}
