//! The keys that a workflow file may have.

use super::WorkflowError;
use crate::core::spelling::Meant;
use serde_json::{Map, Value};

/// The keys of one mapping in the file: those that are read, and those of Tasker's that are ignored.
pub(super) struct Keys {
    ours: &'static [&'static str],
    taskers: &'static [&'static str],
    /// Whether Tasker allows any key in this mapping.
    open: bool,
}

pub(super) const WORKFLOW: Keys = Keys {
    ours: &[
        "name",
        "namespace_name",
        "version",
        "description",
        "schema",
        "step_templates",
        "adjustments",
        "compensate",
        "compensate_after_seconds",
        "redrives",
        "complete_within_seconds",
        "point_of_no_return",
        "search",
        "secret",
    ],
    taskers: &[
        "annotations",
        "class_name",
        "concurrent",
        "custom_events",
        "default_context",
        "default_dependent_system",
        "domain_events",
        "environments",
        "handler_config",
        "input_validation",
        "lifecycle",
        "metadata",
        "module_namespace",
        "named_steps",
        "system_dependencies",
        "task_handler",
        "task_handler_class",
    ],
    open: false,
};

pub(super) const STEP: Keys = Keys {
    ours: &[
        "name",
        "description",
        "depends_on_step",
        "depends_on_steps",
        "default_retryable",
        "default_retry_limit",
        "handler_config",
        "backoff",
        "compensation",
        "optional",
        "waits_on",
        "secret",
    ],
    taskers: &[
        "annotations",
        "custom_events",
        "dependent_system",
        "handler",
        "handler_class",
        "metadata",
        "named_step",
        "publishes_events",
        "skippable",
        "system_dependency",
    ],
    open: false,
};

/// A compensation depends on no step, but on other compensations, and is not itself compensated.
pub(super) const COMPENSATION: Keys = Keys {
    ours: &[
        "name",
        "description",
        "after",
        "optional",
        "default_retryable",
        "default_retry_limit",
        "handler_config",
        "backoff",
        "waits_on",
        "secret",
    ],
    taskers: STEP.taskers,
    open: false,
};

pub(super) const HANDLER_CONFIG: Keys = Keys { ours: &["timeout_seconds"], taskers: &[], open: true };
pub(super) const SEARCHED_RESULT: Keys = Keys { ours: &["step", "at"], taskers: &[], open: false };
pub(super) const BACKOFF: Keys =
    Keys { ours: &["base_seconds", "multiplier", "max_seconds", "jitter"], taskers: &[], open: false };
pub(super) const ADJUSTMENT: Keys = Keys { ours: &["when", "steps"], taskers: &[], open: false };
pub(super) const ADJUSTED_STEP: Keys = Keys { ours: &["max_attempts", "timeout_seconds"], taskers: &[], open: false };

impl Keys {
    /// Refuses a key that is neither ours nor Tasker's. If Tasker allows any key, only a key that looks like a misspelling
    /// of ours is refused.
    pub(super) fn check(&self, mapping: &Map<String, Value>, place: &str) -> Result<(), WorkflowError> {
        for key in mapping.keys() {
            if self.ours.contains(&key.as_str()) || self.taskers.contains(&key.as_str()) {
                continue;
            }
            let meant = Meant::among(key, self.ours.iter().copied());
            match (meant.is_any(), self.open) {
                (false, true) => {}
                (true, _) => return Err(WorkflowError(format!("{place} has an unknown key `{key}`{meant}"))),
                (false, false) => {
                    let known = self.ours.join("`, `");
                    return Err(WorkflowError(format!("{place} has an unknown key `{key}`; known are `{known}`")));
                }
            }
        }
        Ok(())
    }
}

/// Reads a value as a mapping. `place` names it in the error.
pub(super) fn mapping<'a>(value: &'a Value, place: &str) -> Result<&'a Map<String, Value>, WorkflowError> {
    value.as_object().ok_or_else(|| WorkflowError(format!("{place} has to be a mapping of keys to values")))
}
