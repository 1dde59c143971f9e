//! The interface for the author of a step: its input, its output, and its work.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use stepwell::{Context, ResultOf, Step, StepContext, StepError, StepResult, permanent, throttled};
//!
//! #[derive(Deserialize)]
//! struct Request { token: String }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Cart { total_cents: i64 }
//! impl StepResult for Cart { const STEP: &'static str = "validate_cart"; }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Payment { payment_id: String }
//! impl StepResult for Payment { const STEP: &'static str = "process_payment"; }
//!
//! struct ProcessPayment;
//!
//! impl Step for ProcessPayment {
//!     type Input = (Context<Request>, ResultOf<Cart>);
//!     type Output = Payment;
//!
//!     async fn run(&self, (Context(request), ResultOf(cart)): Self::Input, ctx: &StepContext) -> Result<Payment, StepError> {
//!         match request.token.as_str() {
//!             "" => Err(permanent("MISSING_PAYMENT_TOKEN", "payment_info.token is empty")),
//!             "busy" => Err(throttled("RATE_LIMITED", "the gateway is busy").retry_after(std::time::Duration::from_secs(30))),
//!             token => Ok(Payment { payment_id: format!("{token}:{}:{}", cart.total_cents, ctx.idempotency_key()) }),
//!         }
//!     }
//! }
//! ```

use crate::core::{
    codes::{CodeKind, EngineCode, ErrorCode},
    id::TaskId,
    plan::{Plan, StepPlan},
    timestamp::Timestamp,
};
use redaction::REDACTED;
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

/// One step of a workflow. Its name comes from its host: on AWS the `main` of its function, in a test the harness.
///
/// A step runs at least once, and its result counts once. Its effects on the outside world have to be idempotent: pass
/// [`StepContext::idempotency_key`] to the services that it calls.
pub trait Step: Send + Sync {
    /// What the step takes from its task: [`Context`], [`ResultOf`], an `Option` of it, a tuple of these, or nothing: `()`.
    type Input: Input;
    /// The result for later steps. It is stored as JSON.
    type Output: Serialize + Send;

    /// Does the step's work.
    ///
    /// # Errors
    /// [`retryable`] for a transient failure, [`throttled`] if the called service turned the call away without doing
    /// anything, [`permanent`] for any other failure. A panic counts as the retryable error `PANIC`, an
    /// attempt past its timeout as the retryable error `TIMEOUT`.
    fn run(
        &self,
        input: Self::Input,
        ctx: &StepContext,
    ) -> impl Future<Output = Result<Self::Output, StepError>> + Send;
}

/// The result of a step, which other steps take as an input by [`ResultOf`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which step's result it is",
    note = "implement `StepResult` for it, beside serde's `Serialize` and `Deserialize`"
)]
pub trait StepResult: Serialize + DeserializeOwned + Send {
    /// The name of the step with this result, as in the workflow file.
    const STEP: &'static str;
}

/// The running attempt.
#[derive(Clone, Debug)]
pub struct StepContext {
    /// The task.
    pub task_id: TaskId,
    /// The time of the task's start. It is the same for every attempt of every step.
    pub task_created_at: Timestamp,
    /// The step's name.
    pub step: String,
    /// The number of this attempt, from 1. It rises with every claim and never falls.
    pub attempt: u32,
    /// The time of this attempt's claim.
    pub started_at: Timestamp,
    /// The compensation of this step by the plan of the task; `None` if nothing undoes the step.
    pub compensation: Option<String>,
    /// For a compensation: the step that it compensates by the plan of the task.
    pub compensates: Option<String>,
    pub(crate) deadline: tokio::time::Instant,
    /// Whether the attempt has done without the service that the step waits on.
    pub(crate) did_without_service: Arc<AtomicBool>,
}

impl StepContext {
    /// The context of the attempt of this number of a step of the plan, which ends after `limit`.
    pub(crate) fn of_attempt(
        (task_id, task_created_at): (TaskId, Timestamp),
        plan: &Plan,
        step: &StepPlan,
        (attempt, started_at): (u32, Timestamp),
        limit: Duration,
    ) -> Self {
        Self {
            task_id,
            task_created_at,
            step: step.name.clone(),
            attempt,
            started_at,
            compensation: plan.compensation_of(&step.name).map(|compensation| compensation.name.clone()),
            compensates: step.compensates.clone(),
            deadline: tokio::time::Instant::now() + limit,
            did_without_service: Arc::default(),
        }
    }

    /// A context for a test that calls a step directly: attempt 1, with 30 seconds left, of a plan without compensations.
    pub fn for_test(step: impl Into<String>, task_id: TaskId, task_created_at: Timestamp) -> Self {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        Self {
            task_id,
            task_created_at,
            step: step.into(),
            attempt: 1,
            started_at: task_created_at,
            compensation: None,
            compensates: None,
            deadline,
            did_without_service: Arc::default(),
        }
    }

    /// Says that the attempt did not need the service that the step waits on, such as a refund of what was never charged. Its
    /// success then says nothing about the service, and does not close its [breaker](crate::core::breaker).
    pub fn do_without_service(&self) {
        self.did_without_service.store(true, Relaxed);
    }

    /// The idempotency key of this step of this task: `task id:step`. It is the same for every attempt, and no other step has
    /// it.
    pub fn idempotency_key(&self) -> String {
        self.idempotency_key_of(&self.step)
    }

    /// The [`idempotency_key`](Self::idempotency_key) of another step of this task. A compensation finds the effect of the
    /// compensated step by it, or prevents a later effect.
    pub fn idempotency_key_of(&self, step: &str) -> String {
        format!("{}:{step}", self.task_id)
    }

    /// A key for a service outside, whose logs others read: a hash of the task, the step and the attempt, so that the task's id
    /// cannot be read from it. It differs from attempt to attempt, because such a service may answer a repeated key with
    /// the failure of the first request. So it suits calls that may be repeated, such as one that opens a payment.
    pub fn opaque_key(&self) -> String {
        let digest = Sha256::digest(format!("{}:{}", self.idempotency_key(), self.attempt));
        digest.iter().take(16).fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    }

    /// The time until this attempt fails with `TIMEOUT`.
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(tokio::time::Instant::now())
    }
}

/// The error of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepError {
    /// Whether another attempt may help.
    pub kind: ErrorKind,
    /// The code, for programs, such as `PAYMENT_DECLINED`. [`error_codes!`](crate::error_codes) makes a list of codes.
    pub code: String,
    /// A sentence for people. It is stored and shown, so it must hold no secret. The worker [redacts](redaction) those that it knows.
    pub message: String,
    /// Whether it is about the service that the step waits on ([`from_service`](Self::from_service)).
    pub from_service: bool,
}

/// The kinds of step error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A transient error: the step is retried while attempts are left.
    Retryable {
        /// The wait before the retry, if the called service has asked for one; otherwise the step's backoff decides.
        retry_after: Option<Duration>,
    },
    /// The called service turned the call away for now and did nothing: a rate limit, a conflict of transactions. The step
    /// is retried, and the attempt does not count against `max_attempts`. It counts from
    /// [`THROTTLED_FOR`](crate::core::limits::THROTTLED_FOR) after the task's start or last redrive, so that the waits of a
    /// step come to an end. A compensation has no such end.
    Throttled {
        /// The wait before the retry, if the called service has asked for one; otherwise the step's backoff decides.
        retry_after: Option<Duration>,
    },
    /// A compensation refuses to undo its step: no attempt of it has undone anything, and none will. It fails at once. If no other
    /// compensation has undone anything either, a task that was complete is [complete again](crate::core::recovery).
    Refused,
    /// Any other error: the step fails at once.
    Permanent,
}

/// Makes a transient error: a timeout, a throttled call, a lack of stock that the next delivery may end.
pub fn retryable(code: impl Into<String>, message: impl Into<String>) -> StepError {
    StepError {
        kind: ErrorKind::Retryable { retry_after: None },
        code: code.into(),
        message: message.into(),
        from_service: false,
    }
}

/// Makes the error of a call that the called service turned away for now, without doing anything: a rate limit, a conflict of
/// transactions. It costs no attempt ([`ErrorKind::Throttled`]).
pub fn throttled(code: impl Into<String>, message: impl Into<String>) -> StepError {
    StepError {
        kind: ErrorKind::Throttled { retry_after: None },
        code: code.into(),
        message: message.into(),
        from_service: false,
    }
}

/// Makes the error of a compensation that refuses to undo its step, has undone nothing and will not: the order was shipped
/// ([`ErrorKind::Refused`]).
pub fn refused(code: impl Into<String>, message: impl Into<String>) -> StepError {
    StepError { kind: ErrorKind::Refused, code: code.into(), message: message.into(), from_service: false }
}

/// Makes a permanent error, which no retry can avoid: a declined card, a missing field.
pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> StepError {
    StepError { kind: ErrorKind::Permanent, code: code.into(), message: message.into(), from_service: false }
}

impl StepError {
    /// Makes an error with a code of a list, which also gives its kind. A code that no attempt reports counts as permanent.
    pub fn new(code: impl ErrorCode, message: impl Into<String>) -> Self {
        let entry = code.entry();
        match entry.kind {
            CodeKind::Retryable => retryable(entry.code, message),
            CodeKind::Throttled => throttled(entry.code, message),
            CodeKind::Refused => refused(entry.code, message),
            CodeKind::Permanent | CodeKind::NoAttempt => permanent(entry.code, message),
        }
    }

    /// Sets the wait before the retry, in place of the backoff. The backoff's cap still applies, and the step comes back up to
    /// half as much later, so that many tasks do not come back together. A permanent error stays permanent.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        match &mut self.kind {
            ErrorKind::Retryable { retry_after } | ErrorKind::Throttled { retry_after } => *retry_after = Some(wait),
            ErrorKind::Refused | ErrorKind::Permanent => {}
        }
        self
    }

    /// Marks it as an error of the service that the step waits on (`waits_on`). A retryable one then says that the service may be out,
    /// and counts towards opening its [breaker](crate::core::breaker); any other one is an answer of it. An error without the mark,
    /// such as one of a table, says nothing about the service.
    #[must_use]
    pub fn from_service(self) -> Self {
        Self { from_service: true, ..self }
    }

    /// Whether another attempt may help.
    pub const fn is_retryable(&self) -> bool {
        !matches!(self.kind, ErrorKind::Refused | ErrorKind::Permanent)
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for StepError {}

/// The data that the engine loaded for an attempt: the context and the results of earlier steps, as JSON text. `Debug` shows none of it.
#[derive(Clone, Default)]
pub struct TaskData {
    /// The task's context.
    pub context: String,
    /// The results of the steps that are done, by step name.
    pub results: BTreeMap<String, String>,
}

impl fmt::Debug for TaskData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskData").field("results_of", &self.results.keys()).finish_non_exhaustive()
    }
}

/// A type that a step can take as its input.
#[diagnostic::on_unimplemented(
    message = "a step cannot take `{Self}` as its input",
    note = "it can take `Context<T>`, `ResultOf<T>`, an `Option` or a `Result` of the latter, or a tuple of up to six of these, or `()`"
)]
pub trait Input: Sized + Send {
    /// The earlier steps whose results the input needs. They are read together with the claim.
    fn wanted() -> Vec<&'static str>;

    /// Reads the input from the loaded data.
    ///
    /// # Errors
    /// Permanent `INVALID_CONTEXT`, `MISSING_RESULT` or `INVALID_RESULT`. The message names the step and the field.
    fn from_data(data: &TaskData) -> Result<Self, StepError>;
}

/// The task's context, read as a `T`.
#[derive(Clone, Debug)]
pub struct Context<T>(pub T);

/// The result of an earlier step. It is required; `Option<ResultOf<T>>` is `None` if there is no result.
#[derive(Clone, Debug)]
pub struct ResultOf<T>(pub T);

/// For a step that takes nothing from its task.
impl Input for () {
    fn wanted() -> Vec<&'static str> {
        Vec::new()
    }

    fn from_data(_: &TaskData) -> Result<Self, StepError> {
        Ok(())
    }
}

impl<T: DeserializeOwned + Send> Input for Context<T> {
    fn wanted() -> Vec<&'static str> {
        Vec::new()
    }

    fn from_data(data: &TaskData) -> Result<Self, StepError> {
        serde_json::from_str(&data.context).map(Self).map_err(|error| {
            let message = format!("the task's context does not fit this step: {}", misfit(&error));
            StepError::new(EngineCode::InvalidContext, message)
        })
    }
}

impl<T: StepResult> Input for ResultOf<T> {
    fn wanted() -> Vec<&'static str> {
        vec![T::STEP]
    }

    fn from_data(data: &TaskData) -> Result<Self, StepError> {
        <Option<Self> as Input>::from_data(data)?
            .ok_or_else(|| StepError::new(EngineCode::MissingResult, format!("step `{}` has left no result", T::STEP)))
    }
}

impl<T: StepResult> Input for Option<ResultOf<T>> {
    fn wanted() -> Vec<&'static str> {
        vec![T::STEP]
    }

    fn from_data(data: &TaskData) -> Result<Self, StepError> {
        let Some(text) = data.results.get(T::STEP) else { return Ok(None) };
        let result: Option<T> = serde_json::from_str(text).map_err(|error| {
            let message = format!("the result of step `{}` does not fit this step: {}", T::STEP, misfit(&error));
            StepError::new(EngineCode::InvalidResult, message)
        })?;
        Ok(result.map(ResultOf))
    }
}

/// Says why a text does not fit a type, without the value that does not, which may be a secret.
fn misfit(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // What is wrong with the JSON is said without any of it.
    let told = if error.is_data() { without_value(&text) } else { Some(text) };
    told.unwrap_or_else(|| match (error.line(), error.column()) {
        // The whole text is the value.
        (0, _) => "a value that its type refuses".to_owned(),
        (line, column) => format!("a value that its type refuses at line {line} column {column}"),
    })
}

/// One of serde's own texts without the value in it; `None` for any other, such as that of a type with a check of its own.
fn without_value(text: &str) -> Option<String> {
    /// What serde calls values: those that it quotes, and those that it does not.
    const KINDS: [&str; 12] = [
        "boolean",
        "integer",
        "floating point",
        "character",
        "string",
        "byte array",
        "null",
        "unit value",
        "Option value",
        "sequence",
        "map",
        "enum",
    ];
    // The names of fields are the type's own.
    if text.starts_with("missing field `") || text.starts_with("duplicate field `") {
        return Some(text.to_owned());
    }
    let end = [", expected ", ", there are no "].iter().filter_map(|end| text.rfind(end)).max()?;
    let (found, expected) = text.split_at_checked(end)?;
    let quoted = found.find(['"', '`']);
    let (start, value) = found.split_at_checked(quoted.unwrap_or(found.len()))?;
    let kind = start.strip_prefix("invalid type: ").or_else(|| start.strip_prefix("invalid value: "));
    let is_known =
        kind.map_or(start == "unknown variant " || start == "unknown field ", |kind| KINDS.contains(&kind.trim_end()));
    let hidden = if value.is_empty() { "" } else { REDACTED };
    is_known.then(|| format!("{start}{hidden}{expected}"))
}

/// Lets the step handle an input that cannot be read.
impl<T: Input> Input for Result<T, StepError> {
    fn wanted() -> Vec<&'static str> {
        T::wanted()
    }

    fn from_data(data: &TaskData) -> Result<Self, StepError> {
        Ok(T::from_data(data))
    }
}

macro_rules! input_of_tuple {
    ($($part:ident),+) => {
        impl<$($part: Input),+> Input for ($($part,)+) {
            fn wanted() -> Vec<&'static str> {
                let mut wanted = Vec::new();
                $(wanted.extend($part::wanted());)+
                wanted
            }

            fn from_data(data: &TaskData) -> Result<Self, StepError> {
                Ok(($($part::from_data(data)?,)+))
            }
        }
    };
}

input_of_tuple!(A);
input_of_tuple!(A, B);
input_of_tuple!(A, B, C);
input_of_tuple!(A, B, C, D);
input_of_tuple!(A, B, C, D, E);
input_of_tuple!(A, B, C, D, E, F);
