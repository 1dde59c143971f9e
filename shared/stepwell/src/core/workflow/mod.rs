//! A workflow: a named, versioned DAG of steps with the schema of its context, read from a YAML file.
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
//!   - name: take_payment            # required: with the workflow's name it names the queue and the function
//!     description: Charges the card
//!     depends_on_step: check_cart   # or depends_on_steps: [check_cart, check_address]
//!     default_retryable: true       # false: a retryable error is final, too
//!     default_retry_limit: 3        # max_attempts: attempts in all, the first included; default 3
//!     handler_config:
//!       timeout_seconds: 30         # of one attempt; default 30
//!     backoff:                      # see crate::core::backoff; default: all of it
//!       base_seconds: 1
//!     waits_on: payment_gateway     # the service outside the stack that it calls: it gets one message at a time, and many copies,
//!                                   # and while the service is out, it waits without an attempt (crate::core::breaker), unless it is optional
//!     secret: [/receipt/iban]       # the fields of its result that no API shows, nor the console or the terminal, as JSON pointers; default: none
//!     compensation:                 # the step that undoes this one, with the same keys but no dependencies
//!       name: refund_payment
//!       after: [cancel_order]       # the compensations that it waits for; [] for none. Default: those of the steps that depend
//!                                   # on this step. If one of them does not run, because its step was never attempted, this
//!                                   # compensation waits for those that that one would have waited for
//!       handler_config: { timeout_seconds: 60 } # default: that of the step it compensates; it has no last attempt
//!       optional: true              # the task ends without it, with a warning; no compensation may wait for it; default false.
//!                                   # Only an optional one has a last attempt: default_retry_limit, as of a step
//!   - name: check_cart
//!   - name: send_receipt
//!     depends_on_step: take_payment
//!     optional: true                # the task completes without it, with a warning; no step may depend on it; default false
//! compensate: on_error              # when compensations start by themselves: on_error (and on_cancel), on_cancel, manual
//! compensate_after_seconds: 900     # on_error only: how long a failed task stays open to a redrive first; default 0
//! redrives: 4                       # how often the engine redrives a task after transient failures; default 0
//! complete_within_seconds: 1800     # the deadline, from the task's start; default: none. After it no step starts an attempt
//! point_of_no_return: take_payment  # the step that ends the deadline when it is done; the steps after it have none. Default: no step
//! search:                           # the values by which a task is found, besides its id: at most 5, each a write of every task
//!   email: /customer/email          # the name, and a JSON pointer into the context
//!   charge: { step: take_payment, at: /charge_id } # or into the result of a step. A text without regard to its case, or a number
//! secret: [/customer/iban]          # the fields of the context that no API shows, as JSON pointers; default: none
//! adjustments:                      # changes to the plan of a single task, depending on its context
//!   - when: { /priority: express }  # JSON pointers into the context, and the values required there
//!     steps:
//!       take_payment: { max_attempts: 2, timeout_seconds: 15 }
//! ```
//!
//! The keys are Tasker's, except for `adjustments`, `backoff`, `optional`, `redrives`, `search`, `secret`, `waits_on` and those of
//! compensation and of the deadline. Other keys of Tasker's are ignored. Any other key is refused, so that a misspelt limit cannot silently become the default.

mod adjustment;
mod file;
mod keys;
mod search;
mod secret;
#[cfg(test)]
mod tests;

use crate::core::{
    plan::{Plan, PlanError, SearchKeys},
    shown::shown,
};
use adjustment::Adjustment;
use file::Formats;
use jsonschema::error::{ValidationError, ValidationErrorKind};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// The identity of a workflow: `namespace/name@version`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowId {
    /// The namespace. It is the scope of idempotency keys.
    pub namespace: String,
    /// The name, from which those of queues and functions are derived.
    pub name: String,
    /// The version. A task keeps the version it was started with.
    pub version: String,
}

impl fmt::Display for WorkflowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.namespace, self.name, self.version)
    }
}

/// A workflow that has been read and checked: its DAG, limits, schema and adjustments.
#[derive(Debug)]
pub struct Workflow {
    id: WorkflowId,
    description: String,
    plan: Plan,
    waits_on: BTreeMap<String, String>,
    schema: jsonschema::Validator,
    formats: Vec<TextFormat>,
    adjustments: Vec<Adjustment>,
    search_keys: SearchKeys,
    secret: BTreeSet<String>,
}

/// A rule for texts, written in Rust: the meaning of `format: NAME` in the schema of a workflow file. The validation of a
/// request and the step that uses the text can then share one rule.
#[derive(Clone, Copy, Debug)]
pub struct TextFormat {
    /// The format's name in the schema.
    pub name: &'static str,
    /// The rule. Its error completes a sentence that begins with `value`. It must not repeat the value, which may be a
    /// secret.
    pub check: fn(&str) -> Result<(), String>,
}

/// The reason why a workflow file is refused. `Debug` prints the same sentence as `Display`, for a `main` that returns it.
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

/// One violation of the schema by a context.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Violation {
    /// The place, as a JSON pointer into the context; empty for the context as a whole.
    pub path: String,
    /// The violated rule. The offending value appears as `value`, because it may be a secret.
    pub message: String,
}

impl Workflow {
    /// Reads and checks a workflow file.
    ///
    /// # Errors
    /// The file is invalid. The message names the line or the step.
    pub fn from_yaml(text: &str) -> Result<Self, WorkflowError> {
        file::read(text, Formats::Known(&[]))
    }

    /// Reads and checks a workflow file whose schema uses these formats.
    ///
    /// # Errors
    /// As [`Workflow::from_yaml`]; also if the schema names a format that is neither one of these nor one of JSON
    /// Schema's, because such a format would check nothing.
    pub fn from_yaml_with_formats(text: &str, formats: &[TextFormat]) -> Result<Self, WorkflowError> {
        file::read(text, Formats::Known(formats))
    }

    /// Reads and checks a workflow file for tools that do not link the Rust code of its formats. Unknown formats accept
    /// every value, so [`Workflow::validate`] accepts too much. The DAG and the limits are complete.
    ///
    /// # Errors
    /// As [`Workflow::from_yaml`].
    pub fn from_yaml_taking_formats_for_granted(text: &str) -> Result<Self, WorkflowError> {
        file::read(text, Formats::TakenForGranted)
    }

    /// Namespace, name and version.
    pub fn id(&self) -> &WorkflowId {
        &self.id
    }

    /// The description in the file; empty by default.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The plan before adjustments.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The service outside the stack that this step or compensation waits on, if it is declared. A step that waits on a service
    /// may hang as long as its timeout, so its function gets one message at a time, and more copies run beside each other.
    pub fn waits_on(&self, step: &str) -> Option<&str> {
        self.waits_on.get(step).map(String::as_str)
    }

    /// The service whose [breaker](crate::core::breaker) guards this step or compensation: the one that it waits on. An optional step has
    /// none, because its attempts have to end, or its task would not complete while the service is out.
    pub fn breaker_of(&self, step: &str) -> Option<&str> {
        self.waits_on(step).filter(|_| !self.plan.is_optional(step))
    }

    /// The services outside the stack without which no task completes: those that its steps wait on, optional steps and compensations
    /// left out.
    pub fn needed_services(&self) -> BTreeSet<&str> {
        self.plan.steps().iter().filter_map(|step| self.breaker_of(&step.name)).collect()
    }

    /// The search keys in the context. Those in results are in the [plan](Plan::search_keys_of).
    pub fn search_keys(&self) -> &SearchKeys {
        &self.search_keys
    }

    /// The names of all search keys, sorted.
    pub fn search_names(&self) -> BTreeSet<&str> {
        self.search_keys.names().chain(self.plan.result_key_names()).collect()
    }

    /// The context of a task of this workflow as it may be shown to who may see contexts: [`REDACTED`](redaction::REDACTED) stands in the place of each
    /// secret field that has a value. Also the JSON pointers to these. A context that cannot be read is not shown.
    pub fn shown_context(&self, context: &str) -> (Value, Vec<&str>) {
        shown(context, &self.secret)
    }

    /// The plan of a task with this context: with the adjustments that match it.
    pub fn plan_for(&self, context: &Value) -> Plan {
        let fitting = self.adjustments.iter().filter(|adjustment| adjustment.fits(context));
        fitting.fold(self.plan.clone(), |plan, adjustment| adjustment.apply(plan))
    }

    /// Validates a context against the schema.
    ///
    /// # Errors
    /// All violations, in the order of the context.
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
