//! Error codes: one list each of the engine and of a workflow's steps, with what every code means and what to do about it.
//!
//! [`error_codes!`](crate::error_codes) makes an enum of such a list. A step error is made of one of its variants
//! ([`StepError::new`](crate::runtime::step::StepError::new)), so a code that is reported is in the list, and has the kind
//! that the list says. The engine's own list is [`EngineCode`]; `ERRORS.md` of this crate is rendered from it.

/// An error code that a list made by [`error_codes!`](crate::error_codes) holds.
pub trait ErrorCode: Copy + 'static {
    /// The whole list, in its order.
    const ALL: &'static [Self];

    /// What the list says of this code.
    fn entry(self) -> &'static CodeEntry;
}

/// What a list says of one code.
#[derive(Debug, PartialEq, Eq)]
pub struct CodeEntry {
    /// The code as it is stored, logged and answered.
    pub code: &'static str,
    /// Whether another attempt may help.
    pub kind: CodeKind,
    /// Which steps or parts of the engine report it.
    pub reported_by: &'static str,
    /// What has happened. Sentences, as the variant's documentation has them.
    pub meaning: &'static str,
    /// What to do about it. Sentences.
    pub remedy: &'static str,
}

/// Whether another attempt may help where a code is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeKind {
    /// It may. The step is tried again while attempts are left, and failed steps are redriven where the workflow says so.
    Retryable,
    /// It will not. The step fails at once.
    Permanent,
    /// No attempt reports it: it is said of a message or of a task.
    NoAttempt,
}

/// Makes an enum of a list of error codes: the variant's documentation is the code's meaning, and beside it stand the code,
/// its kind (`Retryable`, `Permanent` or `NoAttempt`), who reports it, and what to do.
///
/// ```
/// stepwell::error_codes! {
///     /// What the gift wrapping reports.
///     pub enum WrapCode {
///         /// The workshop has too much to do.
///         WorkshopBusy = "WORKSHOP_BUSY", Retryable, by "wrap_gift", "Nothing: the step is tried again.";
///     }
/// }
///
/// let error = stepwell::StepError::new(WrapCode::WorkshopBusy, "40 parcels wait");
/// assert!(error.is_retryable());
/// assert_eq!(error.to_string(), "WORKSHOP_BUSY: 40 parcels wait");
/// ```
#[macro_export]
macro_rules! error_codes {
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $list:ident {
            $($(#[doc = $meaning:literal])+ $variant:ident = $code:literal, $kind:ident, by $by:literal, $remedy:literal;)+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $list {
            $($(#[doc = $meaning])+ $variant,)+
        }

        impl $list {
            /// The code as it is stored, logged and answered.
            $visibility const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)+
                }
            }
        }

        impl $crate::core::codes::ErrorCode for $list {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn entry(self) -> &'static $crate::core::codes::CodeEntry {
                match self {
                    $(Self::$variant => &$crate::core::codes::CodeEntry {
                        code: $code,
                        kind: $crate::core::codes::CodeKind::$kind,
                        reported_by: $by,
                        meaning: concat!($($meaning),+),
                        remedy: $remedy,
                    },)+
                }
            }
        }
    };
}

error_codes! {
    /// What the engine itself reports, whatever the workflow.
    pub enum EngineCode {
        /// Every attempt ended without an answer: its worker died or lost its lease, for example because the function's
        /// memory did not suffice. No attempt is left, so the step fails; as it may pass, a redrive by itself can
        /// follow.
        AttemptsExhausted = "ATTEMPTS_EXHAUSTED", Retryable, by "the worker",
            "Look in the log of the step's function for what ended it (`Runtime exited`, `Task timed out`). Mend \
             that, then redrive the task.";
        /// SQS gave up on the step's message, after many more deliveries than attempts: something keeps workers from
        /// claiming the step or from writing how it went.
        DeliveryExhausted = "DELIVERY_EXHAUSTED", NoAttempt, by "the reader of dead letters",
            "Look in the log of the step's function for `delivery failed`: rights, a time-out of the function, a \
             table that is not there. Mend that, then redrive the task.";
        /// The task's context cannot be read as the type that the step takes.
        InvalidContext = "INVALID_CONTEXT", Permanent, by "the worker",
            "The message names the field. Make the step's type and the workflow's `schema` agree, deploy, then \
             redrive the task; or cancel it, and start it anew with a context that fits.";
        /// The result of an earlier step cannot be read as the type that the step takes, or the output of the handler
        /// cannot be written as JSON.
        InvalidResult = "INVALID_RESULT", Permanent, by "the worker",
            "The message names the step and the field. A result that somebody has given by hand stands: do this step \
             by hand, too, and resolve it. Otherwise make the two steps' types agree, deploy, then redrive the task.";
        /// An earlier step is done and has left no result, or has left `null`.
        MissingResult = "MISSING_RESULT", Permanent, by "the worker",
            "The step was resolved with `null` as its result, or leaves nothing by its type. Do this step by hand \
             and resolve it, or let it take an `Option<ResultOf<T>>`, deploy, then redrive the task.";
        /// An item was written by a newer version, and this one may not act on it. The task can be shown, and waits at
        /// no attempt.
        NewerFormat = "NEWER_FORMAT", NoAttempt, by "every function, in its log; the operators' API",
            "Deploy the newer version again: the task goes on by itself. See the alarm `newer-formats` in the \
             runbook.";
        /// The handler panicked. The message has the panic's text.
        Panic = "PANIC", Retryable, by "the worker",
            "The log of the step's function has the line of code. Mend the handler, deploy, then redrive the task.";
        /// The step's result has more bytes of JSON than can be kept.
        ResultTooLarge = "RESULT_TOO_LARGE", Permanent, by "the worker",
            "Keep the data elsewhere and leave its name as the result. The step has had its effect, so it must bear \
             to be run again: deploy, then redrive the task.";
        /// The handler took longer than its time-out, or than what was left of the function's invocation. Whether it
        /// had its effect is not known; the next attempt has the same idempotency key.
        Timeout = "TIMEOUT", Retryable, by "the worker",
            "Nothing while the step is tried again. If it fails: find out what the handler waits for, or raise \
             `timeout_seconds` for the tasks to come, then redrive the task.";
        /// The step takes the result of a step that need not be done when it runs.
        UndeclaredDependency = "UNDECLARED_DEPENDENCY", Permanent, by "the worker",
            "Add the step that is named to `depends_on_steps` and deploy. A task that runs keeps its plan: cancel it \
             and start it anew.";
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::render_codes;
    use expect_test::expect_file;

    const INTRO: &str = "\
# Errors of the engine

<!-- Rendered from shared/stepwell/src/core/codes.rs. To change it, change that list and bless the result: see tests/README.md. -->

What the engine itself reports, whatever the workflow. A task shows a code as `error.code` in `GET /order_status` and
`GET /tasks/TASK`; the message beside it says which value was wrong. What the checkout's own steps report is in
[the shop's list](../checkout/ERRORS.md).

- *retryable*: the step is tried again while attempts are left. If it fails by it, it is redriven by itself where the
  workflow file says so (`redrives`).
- *permanent*: the step fails at once.
- *no attempt*: no attempt reports it. It is said of a message or of a task.

To redrive a task is to give its failed steps a fresh set of attempts: `infra/tasks.sh redrive TASK --reason ...`. What has to be
done by hand is declared done with `infra/tasks.sh resolve-step TASK STEP --result JSON --reason ...`.
";

    #[test]
    fn errors_md_is_what_the_list_renders() {
        expect_file!["../../ERRORS.md"].assert_eq(&format!("{INTRO}{}", render_codes(EngineCode::ALL)));
    }
}
