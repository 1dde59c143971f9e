//! Error codes: a list for the engine and one for a workflow's steps, with the meaning and the remedy of each code.
//!
//! [`error_codes!`](crate::error_codes) makes an enum of such a list. [`StepError::new`](crate::runtime::step::StepError::new)
//! makes a step error of one of its variants, so every reported code is in the list and has the kind given there. The
//! engine's own list is [`EngineCode`]. `ERRORS.md` of this crate is rendered from it.

/// An error code of a list made by [`error_codes!`](crate::error_codes).
pub trait ErrorCode: Copy + 'static {
    /// All codes of the list, in its order.
    const ALL: &'static [Self];

    /// The entry of this code.
    fn entry(self) -> &'static CodeEntry;
}

/// The entry of one code in a list.
#[derive(Debug, PartialEq, Eq)]
pub struct CodeEntry {
    /// The code in the store, the logs and the API.
    pub code: &'static str,
    /// Whether another attempt may help.
    pub kind: CodeKind,
    /// The steps or parts of the engine that report it.
    pub reported_by: &'static str,
    /// What has happened, in sentences. It is the variant's documentation.
    pub meaning: &'static str,
    /// What to do, in sentences.
    pub remedy: &'static str,
    /// What a customer reads, if the code concerns them.
    pub customer: Option<CustomerText>,
}

/// What a customer reads of an error. The author of a step writes it for customers; the message of the error itself is for
/// engineers, and no customer sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CustomerText {
    /// What has happened and what they can do, in sentences.
    pub text: &'static str,
    /// Whether they are offered a retry.
    pub retry: bool,
}

/// Whether another attempt may help after an error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeKind {
    /// It may. The step is retried while attempts are left, and the engine redrives failed steps if the workflow says so.
    Retryable,
    /// It may, and this one costs none: the called service turned the call away for now and did nothing.
    Throttled,
    /// It will not. A compensation has undone nothing, and fails at once.
    Refused,
    /// It will not. The step fails at once.
    Permanent,
    /// No attempt reports the code. It concerns a message or a task.
    NoAttempt,
}

impl CodeKind {
    /// The words for it, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Retryable => "retryable",
            Self::Throttled => "throttled",
            Self::Refused => "refused",
            Self::Permanent => "permanent",
            Self::NoAttempt => "no attempt",
        }
    }
}

/// Makes an enum of a list of error codes. The variant's documentation is the code's meaning. After the variant come the
/// code, its kind (`Retryable`, `Throttled`, `Refused`, `Permanent` or `NoAttempt`), who reports it, and the remedy. A [`CustomerText`]
/// may follow; with `no_retry` the customer is offered no retry.
///
/// ```
/// stepwell::error_codes! {
///     /// The error codes of the gift wrapping.
///     pub enum WrapCode {
///         /// The workshop has too much to do.
///         WorkshopBusy = "WORKSHOP_BUSY", Retryable, by "wrap_gift", "Nothing: the step is retried.";
///         /// The gift cannot be wrapped.
///         NotWrappable = "NOT_WRAPPABLE", Permanent, by "wrap_gift", "Send it as it is, and resolve the step.",
///             customer "We cannot wrap this gift." no_retry;
///     }
/// }
///
/// let error = stepwell::StepError::new(WrapCode::WorkshopBusy, "40 parcels wait");
/// assert!(error.is_retryable());
/// assert_eq!(error.to_string(), "WORKSHOP_BUSY: 40 parcels wait");
/// ```
#[macro_export]
macro_rules! error_codes {
    (@customer) => { None };
    (@customer $text:literal) => { Some($crate::core::codes::CustomerText { text: $text, retry: true }) };
    (@customer $text:literal no_retry) => { Some($crate::core::codes::CustomerText { text: $text, retry: false }) };
    (
        $(#[$attribute:meta])*
        $visibility:vis enum $list:ident {
            $($(#[doc = $meaning:literal])+ $variant:ident = $code:literal, $kind:ident, by $by:literal, $remedy:literal
                $(, customer $text:literal $($no_retry:ident)?)?;)+
        }
    ) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $list {
            $($(#[doc = $meaning])+ $variant,)+
        }

        impl $list {
            /// The code in the store, the logs and the API.
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
                        customer: $crate::error_codes!(@customer $($text $($no_retry)?)?),
                    },)+
                }
            }
        }
    };
}

error_codes! {
    /// The error codes of the engine itself, for every workflow.
    pub enum EngineCode {
        /// Every attempt ended without an answer: its worker died or lost its lease, for example because the function ran
        /// out of memory. No attempt is left, so the step fails. The failure may be transient, so the engine may redrive
        /// the step.
        AttemptsExhausted = "ATTEMPTS_EXHAUSTED", Retryable, by "the worker",
            "Search the log of the step's function for the cause (`Runtime exited`, `Task timed out`). Fix it, then \
             redrive the task.";
        /// The service that the step waits on (`waits_on` in the workflow file) has not answered for a while, so the step waits without
        /// an attempt, until the time that it shows. Every ten seconds one step tries whether the service is back.
        BreakerOpen = "BREAKER_OPEN", NoAttempt, by "the worker, in the steps that wait and in its log",
            "Ask the service's operator what is wrong. Nothing else is to be done: once the service is back, compensations begin, \
             and then the other steps. A deadline of the task ends the wait.";
        /// The task had to be complete by its deadline (`complete_within_seconds` of the workflow file), and the step was not
        /// started any more. An earlier attempt of it may have had its effect. The engine does not redrive the task, and compensates it at once if
        /// the workflow says `compensate: on_error`.
        DeadlineExceeded = "DEADLINE_EXCEEDED", Permanent, by "the worker",
            "Find out what kept the task: the attempts of its steps, a queue with a backlog, a service that was out. Where \
             the task is not compensated by itself, compensate it or redrive it: an operator's redrive gives it its whole time \
             once more.",
            customer "This took too long on our side, so we have stopped it." no_retry;
        /// SQS gave up on the step's message, after many more deliveries than attempts. Something keeps workers from
        /// claiming the step or from writing its outcome. The engine redrives the step as often as the workflow file
        /// says, and after that the task waits for a person: it is not compensated.
        DeliveryExhausted = "DELIVERY_EXHAUSTED", NoAttempt, by "the dead-letter handler; the watchdog, in its log",
            "Search the log of the step's function for `delivery failed`. Likely causes are missing permissions, a \
             timeout of the function, or a missing table. Fix the cause, then redrive the task.";
        /// The task's context cannot be read as the type that the step takes.
        InvalidContext = "INVALID_CONTEXT", Permanent, by "the worker",
            "The message names the field. Make the step's type and the workflow's `schema` agree, deploy, then \
             redrive the task. Or cancel the task, and start a new one with a valid context.";
        /// The result of an earlier step cannot be read as the type that the step takes, or the output of the handler
        /// cannot be written as JSON.
        InvalidResult = "INVALID_RESULT", Permanent, by "the worker",
            "The message names the step and the field. If somebody resolved the earlier step by hand, its result cannot \
             be changed: do this step by hand, too, and resolve it. Otherwise make the two steps' types agree, deploy, \
             then redrive the task.";
        /// An earlier step is done and has left no result, or has left `null`.
        MissingResult = "MISSING_RESULT", Permanent, by "the worker",
            "The earlier step was resolved with `null` as its result, or its type leaves no result. Do this step by \
             hand and resolve it. Or let it take an `Option<ResultOf<T>>`, deploy, then redrive the task.";
        /// A message was replaced by its successor, which waits for the next attempt, more than 50 times within a minute. A queue
        /// does not hold back what is sent with a delay, or clocks are wrong. The message is hidden instead.
        LoopDetected = "LOOP_DETECTED", NoAttempt, by "the worker, in its log",
            "Compare the clocks of the functions' logs with that of the queue, and see whether the queue is one of this \
             stack's. Nothing is lost.";
        /// An item was written by a newer version, and this one may not act on it. The task can be shown. It waits, which
        /// costs no attempt.
        NewerFormat = "NEWER_FORMAT", NoAttempt, by "every function, in its log; the operators' API",
            "Deploy the newer version again, and the task goes on without further action. See the alarm \
             `newer-formats` in the runbook.";
        /// The handler panicked. The message has the panic's text.
        Panic = "PANIC", Retryable, by "the worker",
            "The log of the step's function names the line of code. Fix the handler, deploy, then redrive the task.";
        /// The step's result has more bytes of JSON than can be stored.
        ResultTooLarge = "RESULT_TOO_LARGE", Permanent, by "the worker",
            "Store the data elsewhere, and return a reference to it as the result. The step has had its effect, so it \
             has to be idempotent: deploy, then redrive the task.";
        /// A task was started, and a message to one of its first steps could not be sent. The watchdog sends it a minute
        /// later. Whoever started the task was told that it runs.
        StartNotSent = "START_NOT_SENT", NoAttempt, by "whoever starts a task, in its log",
            "Nothing for a single task. If many have it, look for throttling or missing permissions of the queues.";
        /// The handler took longer than its timeout, or than the rest of the function's invocation. It is not known
        /// whether it had its effect. The next attempt has the same idempotency key.
        Timeout = "TIMEOUT", Retryable, by "the worker",
            "Nothing while the step is retried. If it fails, find out what the handler waits for, or raise \
             `timeout_seconds` for future tasks, then redrive the task.";
        /// The step takes the result of a step that is not among its ancestors, so it need not be done when the step runs.
        UndeclaredDependency = "UNDECLARED_DEPENDENCY", Permanent, by "the worker",
            "Add the step that the message names to `depends_on_steps`, and deploy. A running task keeps its plan: cancel \
             it and start a new one.";
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

These are the error codes of the engine itself, for every workflow. The API shows the code of a task's error as `error.code` in
`GET /order_status` and `GET /tasks/TASK`. The message next to it names the wrong value. The codes of the checkout's own steps
are in [the shop's list](../checkout/ERRORS.md).

- *retryable*: the step is retried while attempts are left. If it fails with such a code, the engine redrives it as often as
  the workflow file says (`redrives`).
- *throttled*: the called service turned the call away for now and did nothing. The step is retried, which costs no attempt for
  the first half hour after the task's start or its last redrive.
- *permanent*: the step fails at once.
- *refused*: a compensation refuses to undo its step, and has undone nothing. If no other compensation has either, a task that was
  complete is complete again; otherwise it waits for a person.
- *no attempt*: no attempt reports the code. It concerns a message or a task.

A redrive gives the failed steps of a task a fresh set of attempts: `cargo stepwell redrive TASK --reason ...`. After doing a step by
hand, resolve it: `cargo stepwell resolve-step TASK STEP --result JSON --reason ...`.
";

    #[test]
    fn errors_md_is_rendered_from_the_list() {
        expect_file!["../../ERRORS.md"].assert_eq(&format!("{INTRO}{}", render_codes(EngineCode::ALL)));
    }
}
