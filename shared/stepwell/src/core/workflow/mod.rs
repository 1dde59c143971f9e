//! A workflow: a named, versioned graph of steps with the schema of its context, read from a YAML file.
//!
//! ```yaml
//! name: checkout                    # required; with namespace_name and version it names the workflow
//! namespace_name: ecommerce         # default: default
//! version: 1.0.0                    # default: 0.1.0
//! description: From cart to confirmation
//! schema:                           # JSON Schema of the context; default: anything
//!   type: object
//!   required: [cart]
//! step_templates:
//!   - name: take_payment            # required: with the workflow's it names the queue and the function
//!     description: Charges the card
//!     depends_on_step: check_cart   # or depends_on_steps: [check_cart, check_address]
//!     default_retryable: true       # false: a retryable error is final too
//!     default_retry_limit: 3        # attempts in all, the first included; default 3
//!     handler_config:
//!       timeout_seconds: 30         # of one attempt; default 30
//!     backoff:                      # see crate::core::backoff; default: all of it
//!       base_seconds: 1
//!     compensation:                 # what undoes this step: a step of its own, with the same keys but no dependencies
//!       name: refund_payment
//!       default_retry_limit: 20     # default 50; its timeout is its step's where it says none
//!   - name: check_cart
//! compensate: on_error              # when compensations start by themselves: on_error (and on_cancel), on_cancel, manual
//! compensate_after_seconds: 900     # on_error only: how long a failed task stays open to a redrive first; default 0
//! redrives: 4                       # how often a task is redriven by itself that failed at what may pass; default 0
//! adjustments:                      # changes to the plan of a single task, read off its context
//!   - when: { /priority: express }  # JSON pointers into the context, and the values they have to have
//!     steps:
//!       take_payment: { max_attempts: 2, timeout_seconds: 15 }
//! ```
//!
//! The keys are Tasker's (`adjustments`, `backoff` and those of compensation are ours), and a Tasker file's other keys are passed over. Any
//! other key is refused, so that a misspelt limit cannot quietly become the default.

mod adjustment;
mod file;
mod keys;
#[cfg(test)]
mod tests;

use crate::core::plan::{Plan, PlanError};
use adjustment::Adjustment;
use file::Formats;
use jsonschema::error::{ValidationError, ValidationErrorKind};
use serde_json::Value;
use std::fmt;

/// What names a workflow: `namespace/name@version`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowId {
    /// The namespace; idempotency keys are told apart by it.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The version. Tasks keep the version they were started with.
    pub version: String,
}

impl fmt::Display for WorkflowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.namespace, self.name, self.version)
    }
}

/// A workflow that has been read and checked: its graph, its limits, its schema, its adjustments.
#[derive(Debug)]
pub struct Workflow {
    id: WorkflowId,
    description: String,
    plan: Plan,
    schema: jsonschema::Validator,
    formats: Vec<TextFormat>,
    adjustments: Vec<Adjustment>,
}

/// A rule for texts that is written in Rust: what `format: NAME` means in the schema of a workflow file. So the check of a
/// request and the step that uses the text can have one rule.
#[derive(Clone, Copy, Debug)]
pub struct TextFormat {
    /// The name that the schema calls it by.
    pub name: &'static str,
    /// The rule. Its error is the rest of a sentence that begins with `value`, and must not repeat the value, which may be
    /// a secret.
    pub check: fn(&str) -> Result<(), String>,
}

/// Why a workflow file is refused. It is debugged as it is displayed: a `main` that ends with it shows the sentence.
#[derive(thiserror::Error)]
#[error("workflow file: {0}")]
pub struct WorkflowError(String);

impl fmt::Debug for WorkflowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<PlanError> for WorkflowError {
    fn from(error: PlanError) -> Self {
        Self(error.to_string())
    }
}

/// One thing that is wrong with a context.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Violation {
    /// Where, as a JSON pointer into the context; empty for the context as a whole.
    pub path: String,
    /// What. It says `value` for the value that stands there, which may be a secret.
    pub message: String,
}

impl Workflow {
    /// Reads and checks a workflow file.
    ///
    /// # Errors
    /// What is wrong with it, with the line or the name of the step.
    pub fn from_yaml(text: &str) -> Result<Self, WorkflowError> {
        file::read(text, Formats::Known(&[]))
    }

    /// The same for a file whose schema has formats of its own.
    ///
    /// # Errors
    /// As [`Workflow::from_yaml`]; also a format that is neither one of these nor one of JSON Schema's, because a schema that
    /// names it would check nothing.
    pub fn from_yaml_with_formats(text: &str, formats: &[TextFormat]) -> Result<Self, WorkflowError> {
        file::read(text, Formats::Known(formats))
    }

    /// The same for tools that have not linked the Rust code of the file's formats: a format that JSON Schema does not know is
    /// taken for granted. Such a workflow is good for its graph and its limits; [`Workflow::validate`] lets too much pass.
    ///
    /// # Errors
    /// As [`Workflow::from_yaml`].
    pub fn from_yaml_taking_formats_for_granted(text: &str) -> Result<Self, WorkflowError> {
        file::read(text, Formats::TakenForGranted)
    }

    /// Its name.
    pub fn id(&self) -> &WorkflowId {
        &self.id
    }

    /// What it is for.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The plan before any adjustment.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The plan for a task with this context.
    pub fn plan_for(&self, context: &Value) -> Plan {
        let fitting = self.adjustments.iter().filter(|adjustment| adjustment.fits(context));
        fitting.fold(self.plan.clone(), |plan, adjustment| adjustment.apply(plan))
    }

    /// Holds a context against the schema.
    ///
    /// # Errors
    /// Every violation, in the order of the context.
    pub fn validate(&self, context: &Value) -> Result<(), Vec<Violation>> {
        let violations: Vec<Violation> = self
            .schema
            .iter_errors(context)
            .map(|error| Violation { path: error.instance_path().to_string(), message: self.message(&error) })
            .collect();
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }

    fn message(&self, error: &ValidationError<'_>) -> String {
        let problem = match error.kind() {
            ValidationErrorKind::PropertyNames { error } => return self.message(error),
            ValidationErrorKind::Format { format } => {
                let format = self.formats.iter().find(|known| known.name == format);
                format.zip(error.instance().as_str()).and_then(|(format, text)| (format.check)(text).err())
            }
            _ => None,
        };
        problem.map_or_else(|| error.masked().to_string(), |problem| format!("value {problem}"))
    }
}
