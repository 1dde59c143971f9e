//! The result types of the steps that a deployment runs. They check a result that a person gives in the place of a step's, and
//! say beforehand what it has to look like.

use crate::{core::workflow::Violation, runtime::step::Step};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_path_to_error::Segment;
use std::{collections::BTreeMap, fmt::Write};

/// Reads a result, JSON as text, as a step's type.
type Check = fn(&str) -> Result<(), Violation>;

/// What is to be known of a step's result type.
#[derive(Clone, Copy, Debug)]
struct ResultType {
    check: Check,
    schema: fn() -> Value,
}

/// The result types of steps, by workflow and step.
#[derive(Clone, Debug, Default)]
pub struct ResultTypes(BTreeMap<(&'static str, &'static str), ResultType>);

impl ResultTypes {
    /// Adds the result type of a step. The function that makes the step says what the step is, and so what its result is; it
    /// is not called.
    #[must_use]
    pub fn with<P, S, E>(
        mut self,
        workflow: &'static str,
        step: &'static str,
        _makes: impl Fn(&P) -> Result<S, E>,
    ) -> Self
    where
        S: Step,
        S::Output: DeserializeOwned + JsonSchema,
    {
        let of_step = ResultType { check: check::<S::Output>, schema: schema::<S::Output> };
        self.0.insert((workflow, step), of_step);
        self
    }

    /// Checks a result of a step. A result of an unknown step passes: the plan of a task may name a step that the deployment
    /// no longer has.
    ///
    /// # Errors
    /// The place that does not fit the step's type, as a JSON pointer into the result, and why it does not.
    pub(crate) fn check(&self, workflow: &str, step: &str, result: &str) -> Result<(), Violation> {
        self.0.get(&(workflow, step)).map_or(Ok(()), |found| (found.check)(result))
    }

    /// The JSON schema of a step's result, as it is read: what may be left out is not required. Its parts are where they belong, and not among
    /// `$defs`, unless a type has itself in it.
    pub(crate) fn schema(&self, workflow: &str, step: &str) -> Option<Value> {
        self.0.get(&(workflow, step)).map(|found| (found.schema)())
    }
}

fn schema<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

fn check<T: DeserializeOwned>(result: &str) -> Result<(), Violation> {
    let mut reader = serde_json::Deserializer::from_str(result);
    let read: Result<T, _> = serde_path_to_error::deserialize(&mut reader);
    read.map(drop).map_err(|error| Violation { path: pointer(error.path()), message: error.inner().to_string() })
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        // Writing to a String cannot fail.
        let _ = match segment {
            Segment::Seq { index } => write!(pointer, "/{index}"),
            Segment::Map { key } => write!(pointer, "/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => write!(pointer, "/{variant}"),
            Segment::Unknown => Ok(()),
        };
    }
    pointer
}
